"""`PreTrainedModel`: a torch module that belongs to a config and can be saved and loaded by name.

The façade: every method here is a few lines and calls a room of its own. Construction is `_construct`, loading
`_load`, saving `_save`.
"""

from abc import ABCMeta
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypeVar, Unpack, cast, get_type_hints, overload

import torch
from torch import nn

from nameplate_config import PreTrainedConfig, Source, UnknownOptionError
from nameplate_config.files import folder_of
from nameplate_config.typing import PublishOptions, StrPath
from nameplate_config.wording import shown
from nameplate_model._auto_class import own_config, registered_for
from nameplate_model._boxes import is_sharded
from nameplate_model._checkpointing import GradientCheckpointing
from nameplate_model._construct import is_deferred
from nameplate_model._content import check_options, check_state, checkpoint_of, is_left_to_first_rank, state_of
from nameplate_model._heads import open_heads
from nameplate_model._load import load
from nameplate_model._materialize import materialize
from nameplate_model._measures import Measures
from nameplate_model._names import Migration, migrations_of
from nameplate_model._plan import LoadPlan, Sharing, planned
from nameplate_model._publishing import push
from nameplate_model._report import LoadReport
from nameplate_model._request import meeting, prepare, read_request
from nameplate_model._save import Checkpoint, save_checkpoint
from nameplate_model._weights import open_weights

_T = TypeVar("_T")


class ModelMeta(ABCMeta):
    """Finishes a model when the outermost `__init__` has returned, so no `post_init()` can be forgotten.

    An `ABCMeta`, so that a model can also be an abstract class.
    """

    def __call__(cls: type[_T], *args: Any, **kwargs: Any) -> _T:
        """Construct the model, then finish it."""
        model = super().__call__(*args, **kwargs)  # type: ignore[misc]
        model._finish()  # noqa: SLF001 - our own instance
        return model


class PreTrainedModel(GradientCheckpointing, Measures, metaclass=ModelMeta):
    """A torch module built from a config, with `save_pretrained` and `from_pretrained`.

    A subclass names its config class, in `config_class` or by annotating the `config` parameter of `__init__`, calls
    ``super().__init__(config)`` and builds itself from the config. Nothing else is asked of it: no `post_init()`, no
    list of tied weights, no way to initialise. Any `torch.nn.Module` can be wrapped.

    A class that defines ``_init_weights(module)``, as models written for Transformers do, has it applied to each
    of its modules once, after construction.

    Attributes:
        config_class: The class of the configs that it is built from.
        main_input_name: The name of the first argument of `forward`.
        head_prefixes: Beginnings of the keys that belong to a head. They may be absent from, or left over in, a
            checkpoint that another class of the same architecture saved.
        base_model_prefix: The attribute of a model with a head that holds the body. Each then loads the other's
            checkpoints: the names get or lose this prefix, and what is not body may be absent or left over.
        foreign_key_mapping: Regular expressions and what replaces them in the names that other libraries give the
            tensors; applied to the names of a file that the model does not have.
        keep_in_fp32: Patterns of keys, or names of modules, that stay float32 when a load casts to another dtype.
        state_dict_version: The version of the names in the state dict, see `migrates_state`.
        sharding_plan: How ranks share the model where a load gets a *device_mesh* without a *plan*: all that *plan*
            takes, and also a method with the parameter *mesh*.
        config: The config that it was built from; shared with the caller, never changed.
        load_report: What the load that made it did with every key, or None.

    Example:
        >>> import tempfile
        >>> class LineConfig(PreTrainedConfig):
        ...     model_type = "line"
        ...     width: int = 3
        >>> class LineModel(PreTrainedModel):
        ...     config_class = LineConfig
        ...     def __init__(self, config: LineConfig) -> None:
        ...         super().__init__(config)
        ...         self.linear = nn.Linear(config.width, 1)
        >>> model = LineModel(LineConfig())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     loaded = LineModel.from_pretrained(folder)
        >>> torch.equal(model.linear.weight, loaded.linear.weight)
        True
    """

    config_class: ClassVar[type[PreTrainedConfig] | None] = None
    main_input_name: ClassVar[str] = "pixel_values"
    head_prefixes: ClassVar[Sequence[str]] = ()
    base_model_prefix: ClassVar[str] = ""
    foreign_key_mapping: ClassVar[Mapping[str, str]] = {}
    keep_in_fp32: ClassVar[Sequence[str]] = ()
    state_dict_version: ClassVar[int] = 1
    sharding_plan: ClassVar[Any] = None

    _auto_classes: ClassVar[tuple[str, ...]]  # of this very class; those of its bases do not count
    _state_migrations: ClassVar[Mapping[int, Migration]] = {}

    config: Any  # a subclass may say which; the type of a writable attribute cannot be narrowed
    load_report: LoadReport | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" not in cls.__dict__ and "__init__" in cls.__dict__:
            annotated = _annotated_config(cls)
            if annotated is not None:
                cls.config_class = annotated
        cls._state_migrations = migrations_of(cls, cls.state_dict_version)

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        expected = type(self).config_class or PreTrainedConfig
        if not isinstance(config, expected):
            message = f"{type(self).__name__} is built from a {expected.__name__}, found {shown(config)}."
            raise UnknownOptionError(message)
        self.config = config
        self.load_report = None

    def _finish(self) -> None:
        initialise = getattr(self, "_init_weights", None)
        if initialise is not None and not is_deferred():
            for module in _modules_below(self):
                initialise(module)

    def post_init(self) -> None:
        """Do nothing: construction is finished without it. Here so that models written for Transformers run."""

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Self:
        """Return a model with freshly initialised weights."""
        return cls(config)

    @classmethod
    def _from_config(cls, config: PreTrainedConfig) -> Self:
        """Return a model for `from_config` of Transformers' Auto classes, which calls this."""
        return cls.from_config(own_config(cls, config))

    @property
    def base_model(self) -> nn.Module:
        """The body of a model with a head, as `base_model_prefix` names it; else the model itself."""
        body = getattr(self, self.base_model_prefix, None) if self.base_model_prefix else None
        return body if isinstance(body, nn.Module) else self

    # ---- saving

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoModel") -> None:
        """Let saving copy the source of this class and of its config's, so that the folder loads without their package.

        `auto_map` in `config.json` says where they lie. The files that their modules import relatively are copied too,
        in the layout of their package, and the data files beside them that they name, such as ``"labels.txt"``. A class
        can be registered for several Auto classes. A class that came as code itself needs no registration.

        `nameplate_auto` loads any such folder, with `trust_remote_code`. Transformers loads it where all modules lie
        side by side and import each other as ``from .configuration import Config``: of ``from . import module``, of
        sub-packages and of data files its loader knows nothing.

        Args:
            auto_class: The name of an Auto class that is to find it, or the Auto class itself.

        Raises:
            SourceCodeError: If the class has no source file of its own, or it could not run beside a checkpoint.
            UnknownOptionError: If *auto_class* is neither a name nor a class, or is the Auto class of configs.
        """
        cls._auto_classes = registered_for(cls, auto_class)

    def save_pretrained(
        self,
        folder: StrPath,
        *,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        layout: str | None = None,
        is_main_process: bool = True,
        timeout: float = 600.0,
        writers: Literal["auto", "shared", "apart"] = "auto",
        **kwargs: Any,
    ) -> None:
        """Write weights and `config.json` into *folder*: the old checkpoint or the new, never a mix.

        Equal weights and configs give equal bytes; what is there already is not written again, but by ranks that save
        together. Neither the model nor its config is changed. Tensors that share memory are stored once and come back
        shared. Of what the folder holds, only the checkpoint before gives way; other files stay. The code of registered
        classes takes its place an instant before the new checkpoint does; what the folder holds of other code stays.

        Where the state dict has DTensors, as FSDP2 and tensor parallelism make them, all ranks of their mesh call this,
        and each writes its own parts: no rank ever holds more. What comes of it is the same file, with the same bytes
        whatever the number of ranks. Of tensors that are no DTensors, those of the first rank are saved.

        Args:
            folder: Where to; created if needed. Ranks that save together must see the same folder.
            max_shard_size: The most bytes of one weight file: a number, ``"5GB"`` or ``"5GiB"``. Larger weights are
                written as several files, side by side, and `model.safetensors.index.json`.
            variant: A word that becomes part of the names of the weight files, such as ``"fp16"``.
            state_dict: What to save instead of the model's own state dict. A rank that gets an empty one, as from
                torch's `get_model_state_dict` with ``full_state_dict=True``, leaves the saving to the first rank.
            layout: The name of one of the config class's `foreign_formats`: config and tensors are written in the words
                of that library, which then loads the folder, as this one still does. None means our own.
            is_main_process: Whether this process saves at all: of many that call this, one should. Of no meaning where
                ranks save together.
            timeout: How many seconds a rank waits at each step for those that save with it. Between two steps each
                rank writes its parts, so this must be longer than that takes.
            writers: Who writes into one file where ranks save together: all (``"shared"``) or only those of one
                machine (``"apart"``), which makes a file for each machine. ``"auto"`` is apart where the folder is
                known to lie on a network file system.
            **kwargs: *safe_serialization* and *save_function*, as callers of Transformers pass them, change nothing.

        Raises:
            CheckpointError: If the state dict holds something that safetensors cannot.
            ConfigError: If the layout cannot express the config; names every field. Nothing is written.
            SaveError: If the system cannot write. The folder is as it was before.
            CommittedError: If it fails when the new checkpoint is in place, which is whole.
            RanksDisagreeError: If ranks that save together want to save different things.
            MissingRankError: If one of them does not come in time. What one rank raises, all do.
            ShardingPlanError: If a DTensor has no values to be saved, as one with a Partial placement.
            SourceCodeError: If a class is registered and its code cannot be copied. Nothing is written.
            UnsafePathError: If the path is a file, or the variant no word.
            UnknownOptionError: If an option is unknown, or has a value that it cannot have.
        """
        check_state(state_dict)
        state = state_of(self) if state_dict is None else state_dict
        given = {**kwargs, "timeout": timeout, "writers": writers}
        options = {"max_shard_size": max_shard_size, "variant": variant, "layout": layout}

        def describe() -> Checkpoint:
            check_options(self, given)  # where ranks save together, the others hear of it
            return checkpoint_of(self, self.config, state_dict=state, **options)

        if any(map(is_sharded, state.values())):
            from nameplate_model._distributed.saving import save_together  # noqa: PLC0415 - see that package

            save_together(folder, state, describe, writers=writers, timeout=timeout)
            return
        check_options(self, given)
        target = folder_of(folder)
        if is_main_process and not (state_dict is not None and is_left_to_first_rank(self, state)):
            save_checkpoint(target, describe())

    def push_to_hub(
        self,
        repository: str,
        *,
        max_shard_size: str | int | None = None,
        variant: str | None = None,
        layout: str | None = None,
        **options: Unpack[PublishOptions],
    ) -> str:
        """Publish weights, config, the code of registered classes, and a card, all in one commit.

        Other weights of the same variant leave the repository in that commit. A `README.md` that is there stays.
        A model that lies on several ranks is first saved into a folder, and published by one process that loads it.

        Args:
            repository: The id of a repository on the Hub, created if there is none.
            max_shard_size: The most bytes of one weight file, as in `save_pretrained`.
            variant: What kind of weights these are, as in `save_pretrained`.
            layout: In the words of which library, as in `save_pretrained`.
            **options: How to publish it, see `PublishOptions`.

        Returns:
            The address of the commit.

        Raises:
            CheckpointError: If the model cannot be saved.
            ConfigError: If the layout cannot express its config.
            HubError: If the Hub refused or could not be reached.
            UnknownOptionError: If an option is none of `PublishOptions`.
        """
        saving = {"max_shard_size": max_shard_size, "variant": variant, "layout": layout}
        return push(self, repository, {name: each for name, each in saving.items() if each is not None}, **options)

    # ---- loading

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source | None, *, output_loading_info: Literal[True], **kwargs: Any
    ) -> tuple[Self, LoadReport]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source | None, *, output_loading_info: Literal[False] = False, **kwargs: Any
    ) -> Self: ...

    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source | None, *, output_loading_info: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, LoadReport]:
        """Load a model from a checkpoint folder or from a repository on the Hub, in evaluation mode.

        On the CPU and without a change of dtype, parameters are views of the mapped file: the load takes no memory
        of its own. The first write to a page, such as the first step of a training, copies that page; the file is
        never written to. `materialize_` copies all of them at once.

        Args:
            source: A folder, or the id of a repository. None if *config* and *state_dict* are given.
            output_loading_info: Return ``(model, report)``; the report also answers Transformers' keys.
            **kwargs: Options of the load, of the source, and fields of the config.

                *config*: the config to build from, instead of the checkpoint's.
                *state_dict*: the tensors to load; they are copied.
                *strict* (True): whether any missing or unexpected key is an error.
                *allow_missing*, *allow_unexpected*: shell patterns of keys to which that does not apply.
                *ignore_mismatched_sizes* (False): initialise tensors of another shape anew.
                *key_mapping*: regular expressions and what replaces them in the names of the file.
                *device*: where the tensors go; the default device if not given.
                *device_map*: a device, devices by the path of a module, or ``"auto"`` for those that there are.
                *device_mesh*: the ranks that load the model together, as torch's `DeviceMesh`. Each reads just its
                parts from its own view of the folder, and has parameters that are DTensors.
                *plan*: how the model is cut on that mesh: ``"fsdp"``, styles by the paths of modules, a function of
                model and mesh that applies torch's own engine, or such plans by dimensions of the mesh. If it is not
                given, the `sharding_plan` of the class.
                *timeout* (600): how many seconds a rank waits for the others before it names who is missing.
                *dtype* (``"checkpoint"``, as stored): what floating tensors are cast to; ``"auto"`` means the dtype
                that the config names, else that of the first floating tensor.
                *keep_in_fp32*: patterns or names of modules that a cast makes float32.
                *memory* (``"auto"``): ``"mmap"``, ``"copy"``, or mapped unless the file system is a network's.
                *engine* (``"auto"``): who brings tensors to their device: ``"mapped"`` through the page cache,
                ``"ring"`` through pinned memory, as for CUDA devices, or ``"prefetch"``, that of safetensors 0.9.
                *variant*: the middle of the file names, as in ``model.fp16.safetensors``.
                *use_safetensors*: False reads ``pytorch_model.bin`` or DCP's ``.metadata``, and runs no code in it.
                *verify* (``"structure"``): ``"full"`` compares every byte with its checksum first.
                The options of `HubOptions`, and any field of the config, which then gets another value.

        Raises:
            SourceNotFoundError: If there is no such folder or repository, or it lacks a config or weights.
            ConfigError: If its config does not fit `config_class`.
            MismatchError: If keys or shapes do not fit; lists all of them with the likely cause.
            CheckpointError: If a weight file is torn or ambiguous.
            UnknownOptionError: If an argument is neither an option nor a field.
            ShardingPlanError: If the plan does not fit the model or the mesh.
            RanksDisagreeError: If ranks see different checkpoints, or want different things.
            MissingRankError: If a rank does not come in time. What one rank raises, all do.
        """
        with meeting(kwargs) as ranks:
            prepared = prepare(read_request(cls, source, kwargs), open_weights, ranks)
            built, report = load(partial(cls, prepared.config), prepared.weights, prepared.loading)
        model = cast("Self", built)
        model.load_report = report
        model.eval()
        return (model, report) if output_loading_info else model

    @classmethod
    def plan_load(cls, source: StrPath | Source, **kwargs: Any) -> LoadPlan:
        """Return what `from_pretrained` would do with the same arguments; only headers are read.

        From the Hub only the config, the index and the headers of the weight files are fetched.

        With *device_mesh*, the plan also says what each rank would read and keep, in `LoadPlan.ranks`. The mesh need
        not exist then: the sizes of its dimensions by name will do, such as ``{"dp": 125, "tp": 8}``.

        Raises:
            SourceNotFoundError: If there is no such folder or repository, or it lacks a config or weights.
            ConfigError: If its config does not fit `config_class`.
            CheckpointError: If a weight file is torn or ambiguous.
            ShardingPlanError: If *plan* does not fit the model or the mesh.
            UnknownOptionError: If an argument is neither an option nor a field.

        Example:
            >>> import tempfile
            >>> class SumConfig(PreTrainedConfig):
            ...     model_type = "sum"
            >>> class SumModel(PreTrainedModel):
            ...     config_class = SumConfig
            ...     def __init__(self, config: SumConfig) -> None:
            ...         super().__init__(config)
            ...         self.linear = nn.Linear(3, 1)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     SumModel(SumConfig()).save_pretrained(folder)
            ...     plan = SumModel.plan_load(folder, dtype=torch.bfloat16)
            >>> plan.bytes, plan.dtypes, plan.memory, plan.allowed
            (16, {'float32': 16}, {'cpu': 8}, True)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     SumModel(SumConfig()).save_pretrained(folder)
            ...     plan = SumModel.plan_load(folder, device_mesh={"tp": 3}, plan={"linear": "rowwise"})
            >>> [rank.bytes for rank in plan.ranks], plan.ranks[2].memory, plan.ranks.ratio
            ([8, 8, 8], {'float32': 8}, 1.5)
        """
        request = read_request(cls, source, kwargs)
        sharing = Sharing.of(request.options["device_mesh"], request.options["plan"])
        prepared = prepare(request, open_heads)
        try:
            return planned(partial(cls, prepared.config), prepared.weights, prepared.loading, sharing)
        finally:
            prepared.weights.close()

    def materialize_(self) -> Self:
        """Copy every tensor that is a view of a file, or lies off the grid, into memory of its own; return the model.

        What shares memory goes on sharing it. After this the files may be edited in place, and the first step of a
        training costs no more than the second.
        """
        materialize(self)
        return self


def _modules_below(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules of a model without those of models inside it, which initialised themselves."""
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module is not model and isinstance(module, PreTrainedModel):
            inner |= set(module.modules())
    return [module for module in model.modules() if module not in inner]


def _annotated_config(cls: type) -> type[PreTrainedConfig] | None:
    try:
        annotation = get_type_hints(cls.__dict__["__init__"]).get("config")
    except NameError:  # a name that exists only for type checkers
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, PreTrainedConfig) else None
