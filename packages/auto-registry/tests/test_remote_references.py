"""What `auto_map` may say: a class in a module of plain names, perhaps of another repository, and nothing else."""

import keyword
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nameplate_auto import RemoteCodeError
from nameplate_auto._remote.references import Reference, at_home, chosen_reference, read_references

PARTS = st.sampled_from(
    ["conf", "C", "", ".", "..", "/", "\\", "--", "-", "org/name", "~", "C:", "con", "NUL", "__init__", "class", "a b",
     "\0", "\n", "\u0441", "\uff0e", "1", "_x", "lpt1", "x" * 101]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=6).flatmap(lambda parts: st.sampled_from(["", "."]).map(lambda dot: dot.join(parts)))
IDENTIFIERS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and not PureWindowsPath(name).is_reserved()
)


def read(text: object) -> Reference:
    """Return what a text stands for."""
    return chosen_reference(read_references({"auto_map": {"AutoConfig": text}}, "x/config.json"), "AutoConfig", "x")


@given(TEXTS | st.text(max_size=30))
@example("org/name--conf.C")
def test_what_is_accepted_stays_inside(text: str):
    """Whatever is accepted is a path of plain names below the folder, on every system, and is written as it was."""
    try:
        found = read(text)
    except RemoteCodeError:
        return

    assert str(found) == text
    path = "/".join(found.module) + ".py"
    assert path.isascii()
    assert not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).drive
    for part in (*found.module, found.name):
        assert part.isidentifier()
        assert not keyword.iskeyword(part)
        assert not PureWindowsPath(part).is_reserved()
    if found.repository is not None:
        assert found.repository.count("/") == 1
        assert ".." not in found.repository.split("/")


@given(st.lists(IDENTIFIERS, min_size=2, max_size=5), st.sampled_from([None, "org/name", "a-b.c/d_e-f.v1.0"]))
def test_every_plain_name_is_accepted(names: list[str], repository: str | None):
    """Modules, modules in packages and those of other repositories are found by the text that they are written as."""
    reference = Reference(tuple(names[:-1]), names[-1], repository)

    assert read(str(reference)) == reference


@given(IDENTIFIERS)
def test_a_repository_that_is_its_own_is_left_out(name: str):
    """The repository of the checkpoint itself is no other one; every other one stays."""
    own, other = Reference(("conf",), name, "org/name"), Reference(("conf",), name, "org/other")

    assert at_home({"a": own, "b": other}, "org/name") == {"a": Reference(("conf",), name), "b": other}
    assert at_home({"a": own, "b": other}, None) == {"a": own, "b": other}


def test_a_wrong_text_is_shown_with_its_key():
    """The error names the entry, shows what it says and what could stand there."""
    with pytest.raises(RemoteCodeError, match=r"Expected 'module\.Class'") as caught:
        read("../evil.C")

    assert "auto_map['AutoConfig'] in x/config.json is '../evil.C'" in str(caught.value)


def test_an_entry_that_is_missing_is_named_with_its_neighbour():
    """Another Auto class than those in `auto_map` is refused, with the nearest of them."""
    references = read_references({"auto_map": {"AutoModel": "model.M"}}, "x/config.json")

    with pytest.raises(RemoteCodeError, match="names no class for AutoModels") as caught:
        chosen_reference(references, "AutoModels", "x/config.json")

    assert "Did you mean 'AutoModel'?" in str(caught.value)
