"""Configs with annotated fields: one of every kind of value, and every way to choose between kinds."""

import enum
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, MultipleOf

from nameplate_config import DType, OnlyWhen, PreTrainedConfig, Problem, Tiny, migrates, register_codec

Steps = NewType("Steps", int)


class Pooling(enum.StrEnum):
    """A choice by text."""

    MEAN = "mean"
    MAX = "max"


class Level(enum.IntEnum):
    """A choice by number."""

    LOW = 1
    HIGH = 2


class Size(NamedTuple):
    """A list in JSON."""

    height: int
    width: int = 32


@dataclass
class Optimiser:
    """An object in JSON, with a list that it must not share."""

    name: str = "sgd"
    betas: tuple[float, float] = (0.9, 0.99)
    groups: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Crop:
    """An object in JSON that cannot be changed and has slots."""

    size: Size
    scale: Annotated[float, Ge(0.0)] = 1.0


class Ratio:
    """A class of the user's own, which JSON does not know."""

    def __init__(self, over: int, under: int) -> None:
        self.over, self.under = over, under

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ratio) and (self.over, self.under) == (other.over, other.under)

    def __hash__(self) -> int:
        return hash((self.over, self.under))

    def __repr__(self) -> str:
        return f"Ratio({self.over}, {self.under})"


def _ratio_from_json(value: str) -> Ratio:
    over, under = value.split(":")
    return Ratio(int(over), int(under))


register_codec(
    Ratio,
    to_json=lambda ratio: f"{ratio.over}:{ratio.under}",
    from_json=_ratio_from_json,
    schema={"type": "string", "pattern": "^[0-9]+:[0-9]+$"},
)


class EveryKindConfig(PreTrainedConfig):
    """A field of every kind that has a codec."""

    model_type = "sample_every_kind"

    flag: bool = False
    count: int = 2
    rate: float = 0.1
    phase: complex = 1j
    title: str = "tïtle"
    salt: bytes = b"\x00salt"
    nothing: None = None
    anything: Any = None
    act: Literal["relu", "gelu", 2] | None = "relu"
    pooling: Pooling = Pooling.MEAN
    level: Level = Level.LOW
    compute: DType = "float32"
    home: Path = Path("weights/here")
    remote: PurePosixPath = PurePosixPath("there")
    steps: Steps = Steps(10)
    ratio: Ratio = Ratio(1, 2)
    size: Size = Size(8)
    optimiser: Optimiser = Optimiser(groups=[1])
    crop: Crop = Crop(Size(4, 4))
    crops: list[Crop] = []  # noqa: RUF012 - copied by the base class, like every default here
    by_name: dict[str, Optimiser] = {"main": Optimiser()}  # noqa: RUF012


class ContainersConfig(PreTrainedConfig):
    """A field for every kind of container, bare, typed and inside of each other."""

    model_type = "sample_containers"

    widths: list[int] = [1, 2]  # noqa: RUF012
    empty: list[str] = []  # noqa: RUF012
    layers: tuple[int, ...] = (3, 4)
    pair: tuple[int, str] = (1, "a")
    unit: tuple[()] = ()
    tags: set[str] = {"b", "a"}  # noqa: RUF012
    codes: frozenset[int] = frozenset({3, 1})
    scales: dict[str, float] = {"x": 0.5, "y": 1.0}  # noqa: RUF012
    names: dict[int, str] = {0: "zero"}  # noqa: RUF012
    by_half: dict[float, int] = {0.5: 1}  # noqa: RUF012
    by_pooling: dict[Pooling, list[int]] = {Pooling.MAX: [1]}  # noqa: RUF012
    ordered: OrderedDict[str, int] = OrderedDict(z=1, a=2)  # noqa: RUF012
    ordered_by_number: OrderedDict[int, tuple[int, ...]] = OrderedDict({2: (1,), 1: ()})  # noqa: RUF012
    nested: dict[str, list[tuple[int, ...]]] = {"a": [(1,), ()]}  # noqa: RUF012
    either: Sequence[int] = (1, 2)
    mapping: Mapping[str, bool] = {"on": True}
    bare_list: list = []  # type: ignore[type-arg]  # noqa: RUF012
    bare_dict: dict = {}  # type: ignore[type-arg]  # noqa: RUF012
    chunks: list[bytes] = [b""]  # noqa: RUF012
    roots: list[complex] = [0j]  # noqa: RUF012


class UnionsConfig(PreTrainedConfig):
    """Unions whose members JSON can tell apart, and unions whose members it cannot."""

    model_type = "sample_unions"

    maybe_int: int | None = None
    maybe_list: list[int] | None = None
    number: int | float = 1.0
    text_or_number: str | int = "1"
    text_or_path: str | Path = Path("a")
    path_or_text: Path | str | None = None
    text_or_bytes: str | bytes = b"abc"
    list_or_tuple: list[int] | tuple[int, ...] = (1,)
    set_or_list: set[int] | list[int] = [1]  # noqa: RUF012
    int_or_text_keys: dict[int, str] | dict[str, str] = {"0": "zero"}  # noqa: RUF012
    pooling_or_text: Pooling | str = "mean"
    complex_or_pair: complex | list[float] = [1.0, 2.0]  # noqa: RUF012
    size_or_list: Size | list[int] | None = None
    one_or_many: float | list[float | None] = 0.5
    many: list[str | Path | None] = [Path("x"), "x"]  # noqa: RUF012


class BoundedConfig(PreTrainedConfig):
    """Required fields, every kind of bound, conditions between fields, and a hook that sees them together."""

    model_type = "sample_bounded"

    vocab: Annotated[int, Ge(1)]
    style: Literal["plain", "grouped"]
    width: Annotated[int, Ge(8), Le(64), MultipleOf(8)] = 16
    drop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    temperature: Annotated[float, Gt(0.0)] = 1.0
    below: Annotated[int, Lt(10)] = 1
    word: Annotated[str, MinLen(1), MaxLen(3)] = "ab"
    key: Annotated[bytes, Len(2, 4)] = b"ab"
    stages: Annotated[list[int], Len(1, 3)] = [1]  # noqa: RUF012
    pads: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(2)] = (0, 0)
    marks: Annotated[dict[str, int], MaxLen(1)] = {}  # noqa: RUF012
    maybe: Annotated[int, Ge(1)] | None = None
    groups: Annotated[int, Ge(1), Tiny(1, 2), OnlyWhen("style", "grouped")] = 1
    heads: Annotated[int, Tiny(1, 2, 4)] = 4

    def validate_heads(self) -> Iterator[Problem]:
        """Refuse heads that do not share the width."""
        if self.width % self.heads:
            yield Problem("heads", f"a divisor of {self.width}", str(self.heads))


class VersionedConfig(PreTrainedConfig):
    """The third version of a class, which reads the two before."""

    model_type = "sample_versioned"
    config_version = 3

    width: Annotated[int, Tiny(4, 8)] = 8
    layers: tuple[Annotated[int, Tiny(1, 2)], ...] = (2, 2)
    act: Literal["relu", "gelu"] = "relu"

    @migrates(1, 2)
    @staticmethod
    def hidden_size_became_width(values: dict[str, Any]) -> dict[str, Any]:
        """Rename a field."""
        values["width"] = values.pop("hidden_size", 8)
        return values

    @migrates(2, 3)
    @staticmethod
    def depth_became_layers(values: dict[str, Any]) -> dict[str, Any]:
        """Turn a number into that many numbers."""
        values["layers"] = [2] * values.pop("depth", 2)
        return values


class GrandparentConfig(PreTrainedConfig):
    """The oldest of three generations."""

    model_type = "sample_grandparent"
    attribute_map = {"hidden_size": "width"}  # noqa: RUF012 - a ClassVar of the base class

    width: Annotated[int, Tiny(4, 8)] = 16
    scales: list[float] = [1.0]  # noqa: RUF012
    act: Literal["relu", "gelu"] = "relu"


class ParentConfig(GrandparentConfig):
    """Gives fields other defaults, without and with an annotation."""

    model_type = "sample_parent"

    width = 8
    scales: list[float] = [0.5, 2.0]  # noqa: RUF012
    depth: Annotated[int, Tiny(1, 2)] = 2


class GrandchildConfig(ParentConfig):
    """Gives two fields a third default, with and without an annotation, and adds another name."""

    model_type = "sample_grandchild"
    attribute_map = {"num_layers": "depth"}  # noqa: RUF012

    act: Literal["relu", "gelu"] = "gelu"
    width = 4
    bias: bool = True


class LabelledConfig(PreTrainedConfig):
    """Counts its labels in a field of its own."""

    model_type = "sample_labelled"

    num_labels: Annotated[int, Ge(1), Tiny(2, 3)] = 3
    multi_label: bool = False
    thresholds: dict[int, float] = {0: 0.5}  # noqa: RUF012


class RenamedLabelsConfig(PreTrainedConfig):
    """Counts its labels under another name."""

    model_type = "sample_renamed_labels"
    attribute_map = {"num_labels": "num_classes"}  # noqa: RUF012

    num_classes: Annotated[int, Ge(1), Tiny(2, 3)] = 3
    weights: tuple[float, ...] = (1.0,)
