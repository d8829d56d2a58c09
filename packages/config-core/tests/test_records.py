"""Small classes as values: dataclasses, named tuples, and classes that `register_codec` teaches a file."""

import json
from collections import OrderedDict
from dataclasses import InitVar, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NewType

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, PreTrainedConfig, register_codec


class Span(NamedTuple):
    """A named tuple with a default."""

    start: int
    stop: Path = Path("end")


@dataclass
class Anchor:
    """A dataclass with a container, a bound and a computed field."""

    size: Annotated[int, Ge(1)]
    ratios: tuple[float, ...] = (1.0,)
    extra: dict[int, str] = field(default_factory=dict)
    area: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if len(self.ratios) > 3:
            message = "at most three ratios"
            raise ValueError(message)
        self.area = self.size**2


@dataclass(frozen=True, slots=True)
class Link:
    """A dataclass that holds its own kind."""

    name: str
    after: "Link | None" = None


class Growing:
    """Two dataclasses that cannot be kept: reading one changes it, the other forgets an argument."""

    @dataclass
    class Doubling:
        """It doubles its size whenever it is built."""

        size: int

        def __post_init__(self) -> None:
            self.size *= 2

    @dataclass
    class Forgetting:
        """It does not keep its seed."""

        size: int
        seed: InitVar[int] = 0


Tag = NewType("Tag", str)


class Holder(PreTrainedConfig):
    """A field of each."""

    model_type = "holder"

    span: Span = Span(0)
    anchor: Anchor = Anchor(4)
    anchors: list[Anchor] = []
    link: Link | None = None
    order: OrderedDict[str, Anchor] = OrderedDict()
    blob: bytes = b"\x00\xff"
    wave: complex = 1 - 2j
    waves: tuple[complex, ...] = (complex(float("inf"), float("nan")),)
    tag: Tag = Tag("a")


def reread(config: PreTrainedConfig) -> Any:
    """Return what the text of a config gives back."""
    return type(config).from_dict(json.loads(config.to_json_string()))


FULL: dict[str, Any] = {
    "span": Span(3, Path("a/b")),
    "anchor": Anchor(2, (0.5, 1.0), {1: "x"}),
    "anchors": [Anchor(1), Anchor(5)],
    "link": Link("a", Link("b")),
    "order": OrderedDict(b=Anchor(1), a=Anchor(2)),
    "blob": bytes(range(256)),
    "wave": 0.5j,
    "waves": (1j, 2 + 0j),
}


def test_values_of_small_classes_come_back():
    """Each is restored as an instance of its class, with everything inside it."""
    config = Holder(**FULL)
    loaded = reread(config)

    assert loaded == config
    for name, value in FULL.items():
        assert (type(getattr(loaded, name)), getattr(loaded, name)) == (type(value), value)
    assert list(loaded.order) == ["b", "a"]
    assert loaded.anchor.area == 4


def test_what_is_written_is_plain():
    """The file holds objects for dataclasses, lists for named tuples and pairs, base64 for bytes."""
    values = Holder(**FULL).to_dict()

    assert values["span"] == [3, "a/b"]
    assert values["anchor"] == {"size": 2, "ratios": [0.5, 1.0], "extra": {"1": "x"}}
    assert values["order"][0] == ["b", {"size": 1, "ratios": [1.0], "extra": {}}]
    assert (values["wave"], Holder().to_dict()["blob"]) == ([0.0, 0.5], "AP8=")
    assert Holder().to_dict()["waves"] == [[{"__float__": "Infinity"}, {"__float__": "NaN"}]]


def test_a_record_is_copied():
    """Neither the caller's dataclass nor a default is shared with a config."""
    given = Anchor(2, extra={1: "x"})
    config = Holder(anchor=given)
    given.extra[2] = "y"
    given.size = 9
    Holder().anchor.extra[3] = "z"

    assert config.anchor == Anchor(2, extra={1: "x"})
    assert Holder().anchor.extra == {}


def test_a_dict_stands_for_a_dataclass():
    """In code too; what it leaves out has its default."""
    assert Holder(anchor={"size": 3}).anchor == Anchor(3)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("anchor", {"size": 0}, "anchor.size: expected an int and at least 1, found 0"),
        ("anchor", {"ratios": []}, "anchor.size: expected an int and at least 1, and it has no default"),
        ("anchor", {"size": 1, "ratio": 1}, "anchor.ratio: expected a field of Anchor. Did you mean 'ratios'?"),
        ("anchor", {"size": 1, "ratios": [1, 2, 3, 4]}, "anchor: at most three ratios"),
        ("anchor", [1], "anchor: expected an Anchor, found [1]"),
        ("anchors", [Anchor(1), {"size": "2"}], "anchors[1].size: expected an int, found '2'"),
        ("span", (1,), "span: expected a Span(start, stop), found (1,)"),
        ("span", (1, 2), "span[1]: expected a path, found 2"),
        ("link", {"name": "a", "after": {"name": 1}}, "link.after.name: expected a str, found 1"),
        ("blob", "AP8=", "blob: expected bytes, found 'AP8='"),
        ("wave", "1j", "wave: expected a complex, found '1j'"),
        ("tag", 1, "tag: expected a str, found 1"),
    ],
)
def test_a_wrong_part_is_named(name: str, value: Any, says: str):
    """The path leads into the record."""
    with pytest.raises(ConfigError) as caught:
        Holder(**{name: value})

    assert f"\n  {says}" in str(caught.value)


@pytest.mark.parametrize("text", ["AP8", "A P8=", "AP8=\n", "ÄP8=", "AP=="[:3]])
def test_bytes_are_strict_base64(text: str):
    """Text that is no base64, or holds anything else, is refused from a file."""
    with pytest.raises(ConfigError, match="blob: expected bytes as base64 text"):
        Holder.from_dict({"blob": text})


def test_a_dataclass_that_reading_changes_is_refused():
    """A `__post_init__` that would change the value again whenever a file is read is found out when it is set."""

    class Config(PreTrainedConfig):
        value: Growing.Doubling | None = None

    with pytest.raises(ConfigError, match=r"Doubling\.__post_init__ would change it again whenever it is read"):
        Config(value=Growing.Doubling(1))


def test_a_dataclass_that_forgets_is_refused():
    """An `InitVar` is not kept by the instance, so no file could give it back."""

    class Config(PreTrainedConfig):
        value: Growing.Forgetting

    with pytest.raises(ConfigError, match="its argument 'seed' is an InitVar, which it does not keep"):
        Config()


# ---- codecs of the caller's own

register_codec(
    Fraction,
    to_json=lambda value: [value.numerator, value.denominator],
    from_json=lambda value: Fraction(*value),
    schema={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
)


class Lossy:
    """A class whose codec forgets the half of it."""

    def __init__(self, a: int, b: int = 0) -> None:
        self.a = a
        self.b = b


class Opaque:
    """A class that JSON cannot carry."""


register_codec(Lossy, to_json=lambda value: [value.a, value.b], from_json=lambda value: Lossy(value[0]))
register_codec(Opaque, to_json=lambda value: {value}, from_json=lambda value: Opaque())  # noqa: ARG005


class Scaled(PreTrainedConfig):
    """Fields of a class that one registration has taught."""

    scale: Fraction = Fraction(1, 2)
    steps: list[Fraction] = []
    either: Fraction | str = "none"
    by_name: dict[str, Fraction | None] = {}


def test_one_registration_teaches_a_class_everywhere():
    """Values of the class come back alone, in containers and in unions."""
    config = Scaled(
        scale=Fraction(2, 3), steps=[Fraction(1, 7)], either=Fraction(5), by_name={"a": Fraction(1), "b": None}
    )
    loaded = reread(config)

    assert loaded == config
    assert (loaded.scale, loaded.steps[0], loaded.either) == (Fraction(2, 3), Fraction(1, 7), Fraction(5))
    assert type(loaded.either) is Fraction
    assert config.to_dict()["scale"] == [2, 3]


def test_a_default_teaches_a_bare_parameter():
    """A parameter without an annotation is restored as the class of its default."""

    class Plain(PreTrainedConfig):
        def __init__(self, scale=Fraction(1, 2), blob=b"a", span=Span(1)):  # noqa: B008
            self.scale = scale
            self.blob = blob
            self.span = span

    loaded = reread(Plain(scale=Fraction(1, 3), blob=b"\xff", span=Span(2)))

    assert (loaded.scale, loaded.blob, loaded.span) == (Fraction(1, 3), b"\xff", Span(2))


@pytest.mark.parametrize("value", [[1, 0], [1, 2, 3], "1/2x", None])
def test_what_a_codec_cannot_read_is_refused(value: Any):
    """Whatever `from_json` raises is one problem that names the field and the reason."""
    with pytest.raises(ConfigError, match=r"Scaled: 1 problem.\n  scale: expected a Fraction, found .*Error: "):
        Scaled.from_dict({"scale": value})


def test_a_codec_that_loses_something_is_found_out():
    """A value that its codec would not give back is refused when it is set, not missed after a load."""

    class Config(PreTrainedConfig):
        value: Lossy | None = None

    assert Config(value=Lossy(1)).value.a == 1  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"The codec of Lossy reads back \[1, 0\] where it wrote \[1, 2\]"):
        Config(value=Lossy(1, 2))


def test_a_codec_that_makes_no_json_is_found_out():
    """What `to_json` returns must be JSON."""

    class Config(PreTrainedConfig):
        value: Opaque | None = None

    with pytest.raises(ConfigError, match="value: expected a value that JSON can carry"):
        Config(value=Opaque())


@pytest.mark.parametrize("kind", [Fraction, list, str])
def test_a_class_has_one_codec(kind: type):
    """A second registration is refused: a file must mean one thing."""
    with pytest.raises(ConfigError, match=f"^{kind.__name__} has a codec already"):
        register_codec(kind, to_json=str, from_json=kind)
