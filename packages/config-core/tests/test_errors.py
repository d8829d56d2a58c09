"""The tree of errors, and how they are worded."""

import copy
import pickle

import pytest

import nameplate_config
from nameplate_config import (
    ConfigError,
    ConfigFileError,
    HubError,
    NameplateError,
    Problem,
    SourceNotFoundError,
    UnknownOptionError,
    UnsafePathError,
)
from nameplate_config.wording import NAMES_LISTED, as_code, did_you_mean, listed, nearest, sentences, shown


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (SourceNotFoundError, FileNotFoundError),
        (HubError, OSError),
        (UnsafePathError, ValueError),
        (UnknownOptionError, TypeError),
        (ConfigError, ValueError),
        (ConfigFileError, ConfigError),
    ],
)
def test_every_error_is_also_a_builtin(error: type[Exception], builtin: type[Exception]):
    """Every error has one root and is the builtin that Transformers raises in its place."""
    assert issubclass(error, NameplateError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize("name", [name for name in nameplate_config.__all__ if name.endswith("Error")])
def test_tracebacks_show_the_public_name(name: str):
    """An error is shown under the name that users import."""
    assert getattr(nameplate_config, name).__module__ == "nameplate_config"


@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_cross_processes(duplicate):
    """A copied or pickled error keeps its text and its problems."""
    error = duplicate(ConfigError("text", (Problem("a", "b"),)))

    assert (str(error), error.problems) == ("text", (Problem("a", "b"),))


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a", "an int"), "a: expected an int"),
        (Problem("a", "an int", "'x'"), "a: expected an int, found 'x'"),
        (Problem("a", "an int", "'x'", "Do this."), "a: expected an int, found 'x'. Do this."),
        (Problem("a", "an int", "", "Do this."), "a: expected an int. Do this."),
        (Problem("a", "", "", "it is wrong"), "a: it is wrong"),
    ],
)
def test_a_problem_reads_as_a_sentence(problem: Problem, text: str):
    """A problem tells place, expectation, finding and way out, leaving out what it does not know."""
    assert str(problem) == text


def test_the_version_is_that_of_the_distribution():
    """`__version__` is read from the installed metadata; no other name is invented."""
    assert nameplate_config.__version__.count(".") == 2
    with pytest.raises(AttributeError) as caught:
        _ = nameplate_config.nothing

    assert str(caught.value) == "module 'nameplate_config' has no attribute 'nothing'"


# ---- wording


def test_values_are_shown_on_one_short_line():
    """A value is shown in at most eighty characters, without line breaks."""
    assert shown("a\nb") == "'a\\nb'"
    assert (len(shown("x" * 1000)), shown("x" * 1000)[-1]) == (80, "…")


def test_a_broken_repr_hides_no_error():
    """A value whose `repr` fails is shown by its type."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Broken()) == "<Broken>"
    assert shown(10**5000) == "<int>"


def test_at_most_five_names_are_listed():
    """A list in a message has five names and counts the rest; an empty one says so."""
    assert NAMES_LISTED == 5
    assert [listed([]), listed("ab"), listed("abcdefg")] == ["none", "a, b", "a, b, c, d, e and 2 more"]


def test_near_names_are_suggested():
    """A name is suggested only if it is close."""
    assert (nearest("widht", ["width", "depth"]), nearest("zzz", ["width"])) == ("width", None)
    assert (did_you_mean("widht", ["width"]), did_you_mean("zzz", ["width"])) == ("Did you mean 'width'?", "")


def test_sentences_are_indented():
    """The first part of a message stands alone, the others below it; empty ones are left out."""
    assert sentences("a", "", "b", "c") == "a\n  b\n  c"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((), "()"),
        ((1,), "(1,)"),
        ([(float("inf"),), None], "[(float('inf'),), None]"),
        ({"a": float("nan")}, "{'a': float('nan')}"),
        (set(), "set()"),
        ({"b", "a"}, "{'a', 'b'}"),
        (frozenset({1}), "frozenset({1})"),
        (frozenset(), "frozenset()"),
    ],
)
def test_values_are_written_as_code(value: object, text: str):
    """A value is written as the expression that gives it, sets in one order."""
    assert as_code(value) == text
