# ruff: noqa: INP001 - no package: nothing imports this
"""What a type checker sees of a config: nothing here runs; `hatch run types` and `tests/test_typing.py` read it."""

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, assert_type

from annotated_types import Ge

from nameplate_config import (
    ConfigError,
    ConfigFileError,
    DType,
    Field,
    NameplateError,
    PreTrainedConfig,
    Problem,
    Source,
    fields,
    given_fields,
    migrates,
    open_source,
    register_codec,
)


class StageConfig(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1


class BlockConfig(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"
    config_version = 2
    attribute_map = {"hidden_size": "width"}  # noqa: RUF012 - what users write

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    act: Literal["relu", "gelu"] = "relu"
    compute: DType = "float32"
    dropout: float | None = None
    names: list[str] = field(default_factory=list)
    stage: StageConfig = StageConfig()
    stages: dict[str, StageConfig] = field(default_factory=dict)

    @migrates(1, 2)
    @staticmethod
    def hidden_size_became_width(values: dict[str, Any]) -> dict[str, Any]:
        """Read what version 1 wrote."""
        return values

    def validate_width(self) -> None:
        """Check what spans several fields."""
        assert_type(self.width, int)
        assert_type(self.layers, tuple[int, ...])


class WideConfig(BlockConfig):
    """A config that adds a field, and changes a default."""

    width = 64
    groups: int = 1


class StrictConfig(PreTrainedConfig):
    """A config that must be told its width."""

    width: int
    depth: int = 2


class PlainConfig(PreTrainedConfig):
    """A config in the style of Transformers, whose parameters are its fields."""

    model_type = "plain"

    def __init__(self, width: int = 8, act: str = "relu", **kwargs: Any) -> None:
        self.width = width
        self.act = act
        super().__init__(**kwargs)


class PlainChildConfig(PlainConfig):
    """A config that extends the `__init__` of another."""

    def __init__(self, groups: int = 1, **kwargs: Any) -> None:
        self.groups = groups
        super().__init__(**kwargs)


class PlainHeirConfig(PlainConfig):
    """A config that inherits the `__init__` of another."""

    model_type = "heir"


class PlainNamedConfig(PlainConfig):
    """A config that inherits the `__init__` of another, and says so."""

    model_type = "named"
    __init__ = PlainConfig.__init__


class MixedConfig(PlainConfig):
    """A config that adds an annotated field to the parameters of another."""

    groups: int = 1


class Shift:
    """A class that JSON does not know."""

    def __init__(self, by: int) -> None:
        self.by = by


class ShiftedConfig(PreTrainedConfig):
    """A config that holds one."""

    shift: Shift = Shift(0)


# ---- annotated fields


def check_construction() -> None:
    """A constructor takes the fields by name, those of every config among them."""
    assert_type(BlockConfig(), BlockConfig)
    assert_type(BlockConfig(layers=(3, 4), width=16, act="gelu", compute="bfloat16", dropout=0.1), BlockConfig)
    assert_type(BlockConfig(names=["a"], stage=StageConfig(depth=2), stages={"a": StageConfig()}), BlockConfig)
    assert_type(BlockConfig(dtype="bfloat16", torch_dtype="bfloat16", architectures=["Block"]), BlockConfig)
    assert_type(BlockConfig(num_labels=3), BlockConfig)
    assert_type(BlockConfig(id2label={0: "cat"}, label2id={"cat": 0}), BlockConfig)
    assert_type(StrictConfig(width=3), StrictConfig)


def check_wrong_construction() -> None:
    """What would fail when it runs is an error before."""
    BlockConfig(wdith=16)  # pyrefly: ignore[unexpected-keyword]
    BlockConfig(width="wide")  # pyrefly: ignore[bad-argument-type]
    BlockConfig(act="swish")  # pyrefly: ignore[bad-argument-type]
    BlockConfig(stage=3)  # pyrefly: ignore[bad-argument-type]
    BlockConfig(compute=32)  # pyrefly: ignore[bad-argument-type]
    BlockConfig((3, 4))  # pyrefly: ignore[bad-argument-count]
    BlockConfig(model_type="other")  # pyrefly: ignore[unexpected-keyword]
    BlockConfig(num_labels="3")  # pyrefly: ignore[bad-argument-type]
    StrictConfig()  # pyrefly: ignore[missing-argument]


def check_attributes(config: BlockConfig) -> None:
    """An attribute has the type of its annotation, less the marks."""
    assert_type(config.layers, tuple[int, ...])
    assert_type(config.width, int)
    assert_type(config.act, Literal["relu", "gelu"])
    assert_type(config.compute, str)
    assert_type(config.dropout, float | None)
    assert_type(config.names, list[str])
    assert_type(config.stage, StageConfig)
    assert_type(config.stage.depth, int)
    assert_type(config.stages["a"].depth, int)


def check_common_attributes(config: PreTrainedConfig) -> None:
    """Every config has these."""
    assert_type(config.model_type, str)
    assert_type(config.num_labels, int)
    assert_type(config.id2label, dict[int, str])
    assert_type(config.label2id, dict[str, int])
    assert_type(config.dtype, str | None)
    assert_type(config.torch_dtype, str | None)
    assert_type(config.architectures, list[str] | None)
    assert_type(config.auto_map, dict[str, Any] | None)
    assert_type(config.name_or_path, str)
    assert_type(config.commit_hash, str | None)


def check_assignment(config: BlockConfig) -> None:
    """Assignments are checked, and facts cannot be assigned."""
    config.width = 16
    config.compute = "bfloat16"
    config.num_labels = 3
    config.id2label = {0: "cat"}
    config.width = "wide"  # pyrefly: ignore[bad-assignment]
    config.stage.depth = None  # pyrefly: ignore[bad-assignment]
    config.name_or_path = "here"  # pyrefly: ignore[read-only]


def check_other_keys(config: BlockConfig) -> None:
    """A key of a file that no field knows is no attribute that can be typed, so a misspelt name is noticed."""
    _ = config.other  # pyrefly: ignore[missing-attribute]
    config.wdith = 3  # pyrefly: ignore[missing-attribute]


def check_inheritance(config: WideConfig) -> None:
    """A subclass has the fields of its base and its own, in constructor and attributes."""
    assert_type(WideConfig(width=16, layers=(1,), groups=2, num_labels=3), WideConfig)
    assert_type(config.width, int)
    assert_type(config.groups, int)
    base: BlockConfig = config
    assert_type(base.width, int)
    WideConfig(group=2)  # pyrefly: ignore[unexpected-keyword]
    BlockConfig(groups=2)  # pyrefly: ignore[unexpected-keyword]


# ---- a plain __init__


def check_plain_construction() -> None:
    """The parameters of a plain `__init__` are checked; what it takes by ``**kwargs`` is not."""
    assert_type(PlainConfig(width=3, act="gelu"), PlainConfig)
    assert_type(PlainConfig(num_labels=3, anything=None), PlainConfig)
    assert_type(PlainChildConfig(width=3, groups=2), PlainChildConfig)
    PlainConfig(width="wide")  # pyrefly: ignore[bad-argument-type]
    PlainChildConfig(groups="two")  # pyrefly: ignore[bad-argument-type]


def check_plain_attributes(config: PlainChildConfig) -> None:
    """What `__init__` assigns are the attributes."""
    assert_type(config.width, int)
    assert_type(config.act, str)
    assert_type(config.groups, int)
    assert_type(config.num_labels, int)
    config.width = "wide"  # pyrefly: ignore[bad-assignment]


def check_inherited_init() -> None:
    """A class without an `__init__` of its own is checked by its annotated fields, unless it names its base's.

    Checkers know no other rule for classes whose metaclass makes the constructor: the first two calls are right.
    """
    PlainHeirConfig(width=3)  # pyrefly: ignore[unexpected-keyword]
    MixedConfig(width=3, groups=3)  # pyrefly: ignore[unexpected-keyword]
    assert_type(PlainHeirConfig(num_labels=3).width, int)
    assert_type(PlainNamedConfig(width=3, num_labels=3), PlainNamedConfig)
    assert_type(PlainNamedConfig(width=3).width, int)
    PlainNamedConfig(width="wide")  # pyrefly: ignore[bad-argument-type]


# ---- copies and dicts


def check_copies(config: BlockConfig, wide: WideConfig) -> None:
    """A copy is of the same class."""
    assert_type(config.copy(), BlockConfig)
    assert_type(wide.copy(width=3, stage={"depth": 3}), WideConfig)
    assert_type(wide.freeze(), WideConfig)
    assert_type(config.update({"width": 3}), None)
    assert_type(config.diff(wide), dict[str, tuple[Any, Any]])
    assert_type(config == wide, bool)


def check_dicts(values: Mapping[str, Any], *, flag: bool) -> None:
    """A dict makes a config of the class, and the unused overrides beside it if those are asked for."""
    assert_type(BlockConfig.from_dict(values), BlockConfig)
    assert_type(WideConfig.from_dict({"width": 3}, groups=2), WideConfig)
    assert_type(WideConfig.from_dict(values, return_unused_kwargs=False), WideConfig)
    assert_type(WideConfig.from_dict(values, return_unused_kwargs=True), tuple[WideConfig, dict[str, Any]])
    assert_type(BlockConfig().to_dict(), dict[str, Any])
    assert_type(BlockConfig().to_diff_dict(), dict[str, Any])
    assert_type(BlockConfig().to_json_string(), str)
    assert_type(BlockConfig.json_schema(), dict[str, Any])
    assert_type(WideConfig.from_dict(values, return_unused_kwargs=flag), WideConfig | tuple[WideConfig, dict[str, Any]])
    BlockConfig.from_dict([1])  # pyrefly: ignore[bad-argument-type]


# ---- files and the Hub


def check_loading(folder: Path, *, flag: bool) -> None:
    """A load returns the class, and the unused arguments beside it if those are asked for."""
    assert_type(BlockConfig.from_pretrained(folder), BlockConfig)
    assert_type(WideConfig.from_pretrained("org/block", revision="main", width=4), WideConfig)
    assert_type(PlainHeirConfig.from_pretrained(open_source("org/plain", token=False)), PlainHeirConfig)
    assert_type(WideConfig.from_pretrained(folder, return_unused_kwargs=False), WideConfig)
    assert_type(WideConfig.from_pretrained(folder, return_unused_kwargs=True), tuple[WideConfig, dict[str, Any]])
    assert_type(
        WideConfig.from_pretrained(folder, return_unused_kwargs=flag), WideConfig | tuple[WideConfig, dict[str, Any]]
    )
    assert_type(BlockConfig.get_config_dict(folder), tuple[dict[str, Any], dict[str, Any]])
    BlockConfig.from_pretrained(3)  # pyrefly: ignore[bad-argument-type]


def check_saving(config: BlockConfig, folder: Path) -> None:
    """A folder is a path or a text; the options of publishing are checked."""
    assert_type(config.save_pretrained(folder), None)
    config.save_pretrained("block", push_to_hub="user/block", private=True)
    assert_type(config.push_to_hub("user/block", commit_message="Widen", revision="dev"), str)
    config.save_pretrained(3)  # pyrefly: ignore[bad-argument-type]
    config.push_to_hub("user/block", privat=True)  # pyrefly: ignore[unexpected-keyword]
    config.push_to_hub("user/block", private="yes")  # pyrefly: ignore[bad-argument-type]


def check_sources(source: Source) -> None:
    """A source is a typed record, and its options are checked."""
    assert_type(source.find("config.json"), Path | None)
    assert_type(source.path("config.json"), Path)
    open_source("org/block", revison="main")  # pyrefly: ignore[unexpected-keyword]


# ---- beside the class


def check_fields(config: BlockConfig) -> None:
    """Fields are records."""
    assert_type(fields(BlockConfig), tuple[Field, ...])
    assert_type(fields(BlockConfig)[0].name, str)
    assert_type(given_fields(config), frozenset[str])
    fields(config)  # pyrefly: ignore[bad-argument-type]


def check_extension(values: dict[str, Any]) -> None:
    """A codec is a pair of functions, and a migration stays callable."""
    assert_type(register_codec(Shift, to_json=lambda shift: shift.by, from_json=Shift), None)
    assert_type(ShiftedConfig(shift=Shift(3)).shift, Shift)
    step: Callable[[dict[str, Any]], dict[str, Any]] = BlockConfig.hidden_size_became_width
    assert_type(step(values), dict[str, Any])
    register_codec(Shift, to_json=lambda shift: shift.by)  # pyrefly: ignore[missing-argument]
    migrates("1", 2)  # pyrefly: ignore[bad-argument-type]


def check_errors(error: ConfigError) -> None:
    """The error tree can be caught at any level, by our name or by the builtin's."""
    root: NameplateError = error
    builtin: ValueError = error
    narrower: type[ConfigError] = ConfigFileError
    assert_type(error.problems, tuple[Problem, ...])
    assert_type(error.problems[0].path, str)
    print(root, builtin, narrower)  # noqa: T201 - so that they are used
