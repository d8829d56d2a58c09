"""`Architecture`: the one thing that a third party writes to have an architecture judged.

Only the declaration and how it is found; what is drawn from it is `strategies`, how it is judged is `laws`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from nameplate_auto import CONFIG_MAPPING, AutoClass, UnknownArchitectureError
from nameplate_config import PreTrainedConfig
from nameplate_config.wording import brief, did_you_mean, listed, sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.admission import Known
from nameplate_model import PreTrainedModel

Inputs = Callable[[PreTrainedModel], Mapping[str, Tensor]]
"""Makes the keyword arguments of a model's `forward`."""

Outputs = Callable[[Any, Mapping[str, Tensor]], Mapping[str, tuple[Sequence[int], torch.dtype]]]
"""Promises, for a config and inputs, the shape and dtype of every output by its name."""

Constrain = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Makes drawn arguments of a config fit together."""

Labels = Callable[[Any, Tensor], Tensor]
"""Makes labels, always the same, for a config and logits."""

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""Computes the documented loss for a config, logits and labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Another library that has the same architecture, and how it saves it (I04).

    Attributes:
        library: The name by which the library is imported; where it cannot be, the law does not apply.
        head: The Auto class whose model reads what the library saves.
        make: Returns the library's own module for a config of ours.
        save: Lets the library save its module, made for a config of ours, into a folder.
        answer: Returns what its module answers to the inputs of our model, by the names of our outputs.
    """

    library: str
    head: str
    make: Callable[[Any], nn.Module]
    save: Callable[[Any, Any, Path], object]
    answer: Callable[[Any, Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What an architecture by its nature can, cannot or need not do. Each tag is read by a law; there are no others.

    Attributes:
        batch_independent: Whether each row of a batch is answered by itself in evaluation mode (M10, M13).
        builds_on_meta: Whether it can be built without memory, which it cannot with a constructor that reads its own
            weights or loads another model, or with a lazy layer (M08, M11).
        compilable: Whether `torch.compile` can capture `forward` as one graph, which it cannot for recurrent layers
            (K02).
        exportable: Whether `forward` can be followed without values, so that it can be exported (M11, K01).
        gradient_checkpointing: Whether it can be checkpointed; None leaves the answer to the model (T03).
        half_precision: Whether it computes in bfloat16 and float16 too, which it cannot with numbers beyond 65,504 or
            with a kernel for float32 alone (D09).
        passive_fields: Fields of the config that no model reads, such as names of labels (M12).
        unused_parameters: Patterns, as in a shell, of trainable parameters that get no gradient (T01).

    Example:
        >>> Tags(batch_independent=False).exportable
        True
    """

    batch_independent: bool = True
    builds_on_meta: bool = True
    compilable: bool = True
    exportable: bool = True
    gradient_checkpointing: bool | None = None
    half_precision: bool = True
    passive_fields: tuple[str, ...] = ()
    unused_parameters: tuple[str, ...] = ()


_Said = TypeVar("_Said")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A config class, its models, and what a test needs to know about them.

    Classes may be given as texts ``"package.module:Class"``; they are then imported when a law runs.

    Attributes:
        config: The config class.
        models: The model class for each Auto class, by the Auto class's name. Without any, the config alone is
            judged: laws that need a model are not applicable.
        inputs: Makes the inputs of a model; its `dummy_inputs` if not given.
        outputs: What is promised about the outputs, for all models or by the Auto class's name. A name is the key of a
            dict or the field of a dataclass, then the way to the tensor, such as ``"features[0]"``; a tensor that is
            the whole answer is ``"output"``.
        labels: Makes labels for logits, for all models or by the Auto class's name; classes if not given.
        loss: The documented loss of logits and labels, likewise; their cross entropy if not given.
        tags: What it can and cannot do.
        fields: How to draw fields whose annotations do not say enough, by name.
        constrain: Makes drawn arguments fit together where fields depend on each other: it is given a value for every
            field and returns all of them, some changed. What it need not change it should leave alone, so that a
            counterexample shrinks. Better for whoever uses the config is a ``validate_*`` method beside it.
        golden: The golden folder, in which every released version has left what it saved (`golden`): a path, or
            ``"package:folder"`` for one inside a package.
        foreign: Other libraries that have the same architecture.
        known: Failures that are admitted, by the law's id. One that passes counts as a failure too.
        name: What reports call it; the `model_type` if not given.
        reference: The text by which another process finds it (`references`); empty if none can.

    Example:
        >>> ARCHITECTURE = Architecture(
        ...     config="my_package.configuration:MyConfig",
        ...     models={"AutoModel": "my_package.modeling:MyModel"},
        ...     constrain=lambda kwargs: kwargs | {"width": kwargs["heads"] * kwargs["width"]},
        ... )
        >>> ARCHITECTURE.constrained({"heads": 2, "width": 4})
        {'heads': 2, 'width': 8}
    """

    config: type[PreTrainedConfig] | str
    models: Mapping[str, type[PreTrainedModel] | str] = field(default_factory=dict)
    inputs: Inputs | None = None
    outputs: Outputs | Mapping[str, Outputs] | None = None
    labels: Labels | Mapping[str, Labels] | None = None
    loss: Loss | Mapping[str, Loss] | None = None
    tags: Tags = Tags()
    fields: Mapping[str, SearchStrategy[Any]] = field(default_factory=dict)
    constrain: Constrain | None = None
    golden: str | Path | None = None
    foreign: Sequence[Foreign] = ()
    known: Mapping[str, Known] = field(default_factory=dict)
    name: str = ""
    reference: str = ""

    @property
    def config_class(self) -> type[PreTrainedConfig]:
        """The config class, imported."""
        return cast("type[PreTrainedConfig]", _loaded(self.config))

    @property
    def label(self) -> str:
        """What reports call the architecture."""
        return self.name or self.config_class.model_type

    def model_class(self, auto_class: str) -> type[PreTrainedModel]:
        """Return the model class for an Auto class, imported."""
        return cast("type[PreTrainedModel]", _loaded(self.models[auto_class]))

    def constrained(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return drawn arguments as the architecture wants them together; those given are left alone."""
        given = dict(kwargs)
        return given if self.constrain is None else dict(self.constrain(given))

    def promise(self, auto_class: str) -> Outputs | None:
        """Return what is promised about the outputs of the model for an Auto class, or None."""
        return _of(self.outputs, auto_class)

    def labels_of(self, auto_class: str) -> Labels | None:
        """Return what makes labels for the model for an Auto class, or None."""
        return _of(self.labels, auto_class)

    def loss_of(self, auto_class: str) -> Loss | None:
        """Return the documented loss of the model for an Auto class, or None."""
        return _of(self.loss, auto_class)

    def make_inputs(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """Return fresh inputs for a model.

        Raises:
            ConformanceError: If neither the architecture nor the model says what they look like.
        """
        if self.inputs is not None:
            return dict(self.inputs(model))
        inputs = getattr(model, "dummy_inputs", None)
        if inputs is None:
            message = sentences(
                f"nothing says what {type(model).__name__}.forward takes.",
                "Give the model a property `dummy_inputs`, or the Architecture a function `inputs`.",
            )
            raise ConformanceError(message)
        return dict(inputs)


def registered(model_type: str) -> Architecture:
    """Return the architecture that is registered under a name, with every head that Auto classes know.

    Raises:
        ConformanceError: If nothing is registered under it, or no Auto class has a model for it.
    """
    if model_type not in CONFIG_MAPPING:
        names = CONFIG_MAPPING.names()
        message = sentences(
            f"no architecture is registered as {model_type!r}.",
            did_you_mean(model_type, names) or f"Registered: {listed(names)}.",
        )
        raise ConformanceError(message)
    config_class = CONFIG_MAPPING[model_type]
    models: dict[str, type[PreTrainedModel] | str] = {}
    for auto_class in auto_classes().values():
        try:
            models[auto_class.__name__] = auto_class.model_class_of(config_class)
        except UnknownArchitectureError:
            continue
    if not models:
        message = f"no Auto class has a model for {model_type!r}, so there is nothing to judge."
        raise ConformanceError(message)
    return Architecture(config=CONFIG_MAPPING.find(model_type).value, models=models)


def auto_classes() -> dict[str, type[AutoClass]]:
    """Return every Auto class that is defined, by name."""
    found: dict[str, type[AutoClass]] = {}
    waiting = list(AutoClass.__subclasses__())
    while waiting:
        each = waiting.pop(0)
        found[each.__name__] = each
        waiting += each.__subclasses__()
    return found


def _of(said: _Said | Mapping[str, _Said] | None, auto_class: str) -> _Said | None:
    """Return what is said of all models or, by the Auto class's name, of one."""
    return said.get(auto_class) if isinstance(said, Mapping) else said


def _loaded(value: type | str) -> type:
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    if not name:
        message = f"{value!r} names no class. Write it as 'package.module:Class'."
        raise ConformanceError(message)
    try:
        return cast("type", getattr(importlib.import_module(module), name))
    except (Exception, SystemExit) as error:  # a module may raise whatever it likes, a SyntaxError too
        message = f"{value!r} cannot be imported: {brief(error)}."
        raise ConformanceError(message) from error
