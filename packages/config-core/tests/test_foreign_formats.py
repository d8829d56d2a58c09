"""Config files of other libraries: formats that a class declares, and the values that their converters return.

Into files of the class, and out of them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import (
    ConfigError,
    ConfigFileError,
    ForeignFormat,
    PreTrainedConfig,
    Problem,
    config_from_values,
    migrates,
)


def from_rows(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a format that counts rows, and takes what it is given apart."""
    if values.get("groups", 1) != 1:
        message = "rows have no groups."
        raise ConfigError(message, (Problem("groups", "1", str(values["groups"]), "Merge them"),))
    return {"width": values.pop("rows"), "labels": values.pop("names", {})}


def no_rows(_values: dict[str, Any]) -> dict[str, Any]:
    """Refuse without naming a key."""
    message = "it is from the future"
    raise ConfigError(message)


ROWS = ForeignFormat("rows", lambda values: "rows" in values, from_rows)
FUTURE = ForeignFormat("future", lambda values: "year" in values, no_rows)
FRAIL = ForeignFormat("frail", lambda values: values["kind"] == "frail", lambda values: values)


class Block(PreTrainedConfig):
    """A config that reads two formats of others."""

    model_type = "block"
    foreign_formats = (ROWS, FUTURE)

    width: int = 8
    labels: dict[str, int] = {}


def refused(cls: type[PreTrainedConfig], values: dict[str, Any]) -> ConfigError:
    """Return the error about a dict."""
    with pytest.raises(ConfigError) as caught:
        cls.from_dict(values)
    return caught.value


@pytest.mark.parametrize("model_type", [{}, {"model_type": "other"}, {"model_type": None}])
def test_a_foreign_file_is_converted(model_type: dict[str, Any], tmp_path: Path):
    """A file without the class's own `model_type` that one format matches is read by it, and saved as our own."""
    (tmp_path / "config.json").write_text(json.dumps({**model_type, "rows": 3}))
    config = Block.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "ours")

    assert config == Block(width=3)
    assert config.name_or_path == str(tmp_path)
    assert json.loads((tmp_path / "ours" / "config.json").read_text()) == {
        "labels": {},
        "model_type": "block",
        "width": 3,
    }


def test_a_file_of_the_class_is_never_converted():
    """A file that says the class's own `model_type` keeps its keys, whatever a format would make of them."""
    config = Block.from_dict({"model_type": "block", "rows": 3})

    assert (config.width, config.rows) == (8, 3)


def test_a_file_of_no_format_is_read_as_before():
    """Where no format matches, an absent `model_type` is the class's own and another one is an error."""
    assert Block.from_dict({"width": 5}).width == 5
    assert "model_type: expected 'block', found 'other'" in str(refused(Block, {"model_type": "other", "width": 5}))


def test_other_packages_convert_too():
    """`config_from_values` converts, and overrides change what came of it; keys of the file are none of the config."""
    config, unused = config_from_values(
        Block, {"rows": 3}, where="a.json", overrides={"labels": {"x": 1}, "rows": 4, "names": 5}
    )

    assert config == Block(width=3, labels={"x": 1})
    assert unused == {"rows": 4, "names": 5}


def test_a_converter_cannot_change_what_it_is_given():
    """The converter gets a copy: the caller's dict stays as it is."""
    values = {"rows": 3, "names": {"x": 1}}

    assert Block.from_dict(values).labels == {"x": 1}
    assert values == {"rows": 3, "names": {"x": 1}}


def test_what_a_converter_returns_is_checked_like_a_file():
    """A value that does not fit its field is a problem of that field."""
    with pytest.raises(ConfigFileError, match=r"Block in a\.json: 1 problem\.\n  width: expected an int, found 'many'"):
        config_from_values(Block, {"rows": "many"}, where="a.json", overrides={})


def test_what_a_format_cannot_express_is_said_by_the_keys_of_the_file():
    """The problems that a converter names are those of the error, which says the format and the file."""
    with pytest.raises(ConfigFileError) as caught:
        config_from_values(Block, {"rows": 3, "groups": 2}, where="a.json", overrides={})

    assert str(caught.value) == (
        "Block, by the foreign format 'rows' in a.json: 1 problem.\n  groups: expected 1, found 2. Merge them"
    )
    assert caught.value.code == "failed-conversion"
    assert [each.path for each in caught.value.problems] == ["groups"]


def test_a_refusal_in_words_is_passed_on():
    """A converter that refuses without naming keys is quoted."""
    assert (
        str(refused(Block, {"year": 2999})) == "the foreign format 'future' of Block refuses it: it is from the future."
    )


def test_two_formats_that_match_are_named():
    """Nothing is guessed where several formats match."""
    assert str(refused(Block, {"rows": 3, "year": 2999})) == (
        "2 foreign formats of Block match: 'rows', 'future'.\n"
        "  Put the model_type of Block and its own fields into the file, or mend the predicates."
    )


def test_a_predicate_that_fails_is_named(tmp_path: Path):
    """The error says which format could not judge which file, and why."""

    class Frail(PreTrainedConfig):
        model_type = "frail"
        foreign_formats = (FRAIL,)

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigFileError) as caught:
        Frail.from_pretrained(tmp_path)

    where = tmp_path / "config.json"
    assert str(caught.value) == f"{where}: the predicate of the foreign format 'frail' failed: KeyError: 'kind'."
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_converter_that_fails_is_named():
    """Whatever a converter raises becomes an error of ours that names its format."""
    fails = ForeignFormat("fails", lambda values: "kind" in values, lambda values: values["absent"])

    class Holder(PreTrainedConfig):
        model_type = "holder"
        foreign_formats = (fails,)

    message = "the foreign format 'fails' of Holder failed: KeyError: 'absent'."
    assert str(refused(Holder, {"kind": 1})) == message


def test_converters_lead_to_the_present_version():
    """What a converter returns is of the present version of the class, unless it says another one."""
    formats = (
        ForeignFormat("new", lambda values: "rows" in values, lambda values: {"width": values["rows"]}),
        ForeignFormat(
            "old", lambda values: "size" in values, lambda values: {"config_version": 1, "hidden": values["size"]}
        ),
    )

    class Second(PreTrainedConfig):
        model_type = "second"
        config_version = 2
        foreign_formats = formats
        width: int = 8

        @migrates(1, 2)
        @staticmethod
        def hidden_became_width(values: dict[str, Any]) -> dict[str, Any]:
            return {"width": values.pop("hidden")}

    assert Second.from_dict({"rows": 3}) == Second.from_dict({"size": 3}) == Second(width=3)


def test_a_nested_config_is_converted():
    """The part of a file that holds a config of a foreign format is read by it."""

    class Whole(PreTrainedConfig):
        model_type = "whole"
        block: Block = Block()

    config = Whole.from_dict({"model_type": "whole", "block": {"rows": 3}})

    assert config.block == Block(width=3)
    assert "block.groups: expected 1, found 2" in str(refused(Whole, {"block": {"rows": 3, "groups": 2}}))


def test_a_copy_of_a_converted_config_converts_nothing():
    """Copies and changes are made of the class's own values."""
    assert Block.from_dict({"rows": 3}).copy(labels={"x": 1}) == Block(width=3, labels={"x": 1})


# ---- written


def to_rows(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the format that counts rows, and take what is given apart."""
    if values.pop("labels"):
        message = "rows have no labels"
        raise ConfigError(message, (Problem("labels", "none", "some"), Problem("width", "more", "less")))
    return {"rows": values.pop("width")}


WRITTEN = ForeignFormat("rows", lambda values: "rows" in values, from_rows, to_rows)


def test_a_config_is_exported():
    """What a file of the class holds becomes what the other library's does, and the caller's dict stays as it is."""
    values = Block(width=3).to_dict()

    assert WRITTEN.exported("Block", values) == {"rows": 3}
    assert values == Block(width=3).to_dict()
    assert Block.from_dict(WRITTEN.exported("Block", values)) == Block(width=3)


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (
            to_rows,
            """Block, in the layout 'rows': 2 problems.
  labels: expected none, found some
  width: expected more, found less""",
        ),
        (no_rows, "the layout 'rows' of Block refuses it: it is from the future."),
        (lambda values: values["absent"], "the layout 'rows' of Block failed: KeyError: 'absent'."),
        (lambda _: 3, "the layout 'rows' of Block returned 3 instead of the values."),
        (None, "the layout 'rows' of Block is read and not written. Save without a layout."),
    ],
    ids=["problems", "words", "fails", "no values", "only read"],
)
def test_what_cannot_be_exported_is_said(export: Any, message: str):
    """Whatever an exporter raises or returns becomes an error of ours that names class and layout."""
    format_ = ForeignFormat("rows", lambda values: "rows" in values, from_rows, export)
    with pytest.raises(ConfigError) as caught:
        format_.exported("Block", {"width": 3, "labels": {"x": 1}})

    assert str(caught.value) == message


def test_keys_that_follow_from_the_fields_are_not_kept():
    """In a file of the class, what a format wrote for the other library is neither read nor written back."""

    class Both(PreTrainedConfig):
        model_type = "both"
        foreign_formats = (ForeignFormat("rows", lambda _: False, dict, dict, mirrored=frozenset({"rows", "size"})),)
        width: int = 8
        size: int = 1

    config = Both.from_dict({"model_type": "both", "width": 3, "rows": 9, "size": 2, "note": "kept"})

    assert config.to_dict() == {"model_type": "both", "width": 3, "size": 2, "note": "kept"}
