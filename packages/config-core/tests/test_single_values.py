"""One value by itself, written and read as a field of its annotation would be."""

import enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import ConfigError, PreTrainedConfig, decode_value, encode_value


class Shade(enum.Enum):
    """An enum of texts."""

    DARK = "dark"


class Leaf(PreTrainedConfig):
    """A config that is a value."""

    model_type = "single_value_leaf"

    widths: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ((1, float("inf")), tuple[float, ...]),
        ({3: Path("a/b")}, dict[int, Path]),
        (Shade.DARK, Shade),
        (Leaf(widths=(4,)), Leaf),
        (None, int | None),
    ],
)
def test_a_value_comes_back_as_it_was(value: Any, annotation: Any):
    """What `encode_value` writes, `decode_value` reads, value and type."""
    back = decode_value(encode_value(value, annotation), annotation)

    assert back == value
    assert type(back) is type(value)


def test_a_value_that_does_not_fit_is_refused():
    """Both ways, the error names the place, what was expected and what was found."""
    said = r"^the value does not fit its annotation\.\n  value\[1\]: expected an int, found 'b'$"

    with pytest.raises(ConfigError, match=said):
        encode_value([1, "b"], list[int])
    with pytest.raises(ConfigError, match=said):
        decode_value([1, "b"], list[int])


def test_an_annotation_that_no_codec_knows_is_refused():
    """The error says how to give a class a codec."""
    with pytest.raises(ConfigError, match=r"^no codec for the annotation .*complex_name.*Give the class one with"):
        encode_value(Fraction(1), type("complex_name", (), {}))
