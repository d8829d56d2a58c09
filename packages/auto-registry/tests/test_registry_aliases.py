"""Aliases: another spelling of a name is read as the name is, and never hides anything."""

import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nameplate_auto import DuplicateRegistrationError, Registration, Registry, UnknownModelTypeError


class Dates:
    """A provider of one name."""

    def find(self, name: str) -> Registration | None:
        """Return what is known of the name."""
        return Registration("datetime:date", "a calendar") if name == "date" else None

    def names(self) -> list[str]:
        """Return the name."""
        return ["date"]


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return a registry of a registered and a provided name."""
    registry: Registry[str, Any] = Registry("number", providers=[Dates()])
    registry.register("decimal", Decimal)
    return registry


def test_an_alias_reads_as_its_name(numbers: Registry[str, Any]) -> None:
    """The value, its whereabouts and membership are those of the name that it stands for."""
    numbers.alias("dec", "decimal")

    assert numbers["dec"] is Decimal
    assert numbers.find("dec") is numbers.find("decimal")
    assert "dec" in numbers
    assert numbers.aliases() == {"dec": "decimal"}


def test_an_alias_is_listed_nowhere(numbers: Registry[str, Any]) -> None:
    """A value is listed and counted once, under the name that it was registered under, which it also tells."""
    numbers.alias("dec", "decimal")

    assert (numbers.names(), len(numbers), list(numbers.registered())) == (["date", "decimal"], 2, ["decimal"])
    assert numbers.name_of(Decimal) == "decimal"


def test_an_alias_may_stand_for_a_provided_name_or_an_alias(numbers: Registry[str, Any]) -> None:
    """Whatever can be read can have another spelling."""
    numbers.alias("day", "date")
    numbers.alias("today", "day")

    assert numbers["today"].__name__ == "date"


def test_an_alias_follows_its_name(numbers: Registry[str, Any]) -> None:
    """It stands for the name, not for the value that the name had; without the name it is unknown."""
    numbers.alias("dec", "decimal")
    numbers.unregister("decimal")

    assert "dec" not in numbers
    with pytest.raises(UnknownModelTypeError, match=r"^number 'dec' is not registered"):
        numbers["dec"]
    numbers.register("decimal", Fraction)
    assert numbers["dec"] is Fraction


def test_an_alias_of_nothing_is_refused(numbers: Registry[str, Any]) -> None:
    """The error is that of the unknown name."""
    with pytest.raises(UnknownModelTypeError) as error:
        numbers.alias("dec", "decimals")

    assert str(error.value) == "number 'decimals' is not registered.\n  Did you mean 'decimal'?"


@pytest.mark.parametrize(
    ("old", "why"),
    [
        ("decimal", "it stands for decimal.Decimal already"),
        ("date", "it stands for what an installed package announces already"),
        ("taken", "it stands for 'date' already"),
        ("fraction", "it is the same name"),
    ],
)
def test_an_alias_of_a_name_that_is_taken_is_refused(numbers: Registry[str, Any], old: str, why: str) -> None:
    """What can be read already keeps its meaning, and nothing is an alias of itself."""
    numbers.register("fraction", Fraction)
    numbers.alias("taken", "date")
    before = numbers[old]

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.alias(old, "fraction")

    assert str(error.value) == f"number {old!r} cannot become an alias of 'fraction': {why}.\n  Choose another name."
    assert numbers[old] is before


def test_a_circle_of_aliases_is_refused(numbers: Registry[str, Any]) -> None:
    """An alias whose name went is unknown, so it cannot become the end of a circle."""
    numbers.alias("dec", "decimal")
    numbers.unregister("decimal")

    with pytest.raises(UnknownModelTypeError, match=r"^number 'dec' is not registered"):
        numbers.alias("decimal", "dec")


def test_a_circle_that_blocks_leave_behind_is_unknown(numbers: Registry[str, Any]) -> None:
    """Even where ends of blocks tie aliases into a circle, reading comes to an end."""
    numbers.alias("dec", "decimal")
    with numbers.override("dec", Fraction):
        numbers.unregister("decimal")
        numbers.alias("decimal", "dec")

    assert "dec" not in numbers
    with pytest.raises(UnknownModelTypeError, match=r"^number 'decimal' is not registered"):
        numbers["decimal"]


def test_the_same_alias_twice_is_no_duplicate(numbers: Registry[str, Any]) -> None:
    """A module may be executed twice."""
    numbers.alias("dec", "decimal")

    numbers.alias("dec", "decimal")

    assert numbers.aliases() == {"dec": "decimal"}


def test_registering_an_alias_is_refused(numbers: Registry[str, Any]) -> None:
    """An alias is taken like any name; `exist_ok` replaces it, and leaves its name alone."""
    numbers.alias("dec", "decimal")

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.register("dec", Fraction)
    numbers.register("dec", Fraction, exist_ok=True)

    assert str(error.value) == (
        "number 'dec' is an alias of 'decimal'; fractions.Fraction asks for it.\n"
        "  Choose another name, unregister the alias, or pass exist_ok=True to replace it."
    )
    assert (numbers["dec"], numbers["decimal"], numbers.aliases()) == (Fraction, Decimal, {})


def test_unregistering_an_alias_keeps_its_name(numbers: Registry[str, Any]) -> None:
    """Only the spelling goes."""
    numbers.alias("dec", "decimal")

    numbers.unregister("dec")

    assert ("dec" in numbers, numbers["decimal"]) == (False, Decimal)


def test_an_override_gives_an_alias_back(numbers: Registry[str, Any]) -> None:
    """Inside the block the alias stands for itself, after it for its name again."""
    numbers.alias("dec", "decimal")

    with numbers.override("dec", Fraction):
        assert (numbers["dec"], numbers["decimal"]) == (Fraction, Decimal)

    assert numbers["dec"] is Decimal


def test_a_deprecated_alias_warns_once(numbers: Registry[str, Any]) -> None:
    """The first read names both spellings and says why; looking and listing warn nobody."""
    numbers.alias("dec", "decimal", deprecated="It will go in version 2.")
    assert ("dec" in numbers, numbers.find("dec").value) == (True, Decimal)

    with pytest.warns(FutureWarning) as told:
        found = [numbers["dec"], numbers["dec"], numbers.get("dec")]

    assert found == [Decimal] * 3
    assert [str(each.message) for each in told] == [
        "number 'dec' is deprecated; use 'decimal'.\n  It will go in version 2."
    ]
    assert told[0].filename == __file__


def test_where_warnings_are_errors_a_deprecated_alias_always_is_one(numbers: Registry[str, Any]) -> None:
    """An error that was raised once was not a warning that somebody has read."""
    numbers.alias("dec", "decimal", deprecated="It will go.")

    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(FutureWarning):
                numbers["dec"]
