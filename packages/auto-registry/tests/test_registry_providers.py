"""Providers: who is asked for names that nobody registered, in which order, and what a registration does to that."""

import sys
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nameplate_auto import BrokenPluginError, Registration, Registry

WriteModule = Callable[[str], str]


class Announcing:
    """A provider of lazy texts."""

    def __init__(self, texts: dict[str, str], *, origin: str = "a plugin", listed: bool = True) -> None:
        self.texts = texts
        self.origin = origin
        self.listed = listed

    def find(self, name: str) -> Registration | None:
        """Return what is announced under a name."""
        return Registration(self.texts[name], self.origin) if name in self.texts else None

    def names(self) -> list[str]:
        """Return the names that are listed."""
        return list(self.texts) if self.listed else []


@pytest.fixture
def kinds() -> Registry[str, Any]:
    """Return a registry of an announced date."""
    return Registry("kind", providers=[Announcing({"date": "datetime:date"})])


# ---- asking


def test_a_provider_answers_for_names_that_nobody_registered(kinds: Registry[str, Any]) -> None:
    """An announced name is read, found, counted and listed like a registered one."""
    facts = ("date" in kinds, list(kinds), len(kinds), kinds.find("date").origin)

    assert kinds["date"].__module__ == "datetime"
    assert facts == (True, ["date"], 1, "a plugin")


def test_the_first_provider_that_knows_a_name_answers(kinds: Registry[str, Any]) -> None:
    """Providers are asked in the order in which they came."""
    kinds.add_provider(Announcing({"date": "decimal:Decimal", "time": "datetime:time"}))

    assert (kinds["date"].__name__, kinds["time"].__name__, kinds.names()) == ("date", "time", ["date", "time"])


def test_a_provider_that_is_removed_is_asked_no_more(kinds: Registry[str, Any]) -> None:
    """Its names go with it; to remove it again does nothing."""
    times = Announcing({"time": "datetime:time"})
    kinds.add_provider(times)
    kinds.add_provider(times)
    found = kinds["time"]

    kinds.remove_provider(times)
    kinds.remove_provider(times)

    assert ("time" in kinds, kinds.names(), kinds.name_of(found)) == (False, ["date"], None)


def test_a_listed_name_is_known_without_finding_it() -> None:
    """Whether a name is known is answered from the list: only reading its value may load a plugin."""

    class Untouched(Announcing):
        def find(self, name: str) -> Registration | None:
            pytest.fail(f"{name} was loaded")

    registry: Registry[str, Any] = Registry("kind", providers=[Untouched({"date": ""})])

    assert "date" in registry


def test_a_provider_that_does_not_list_a_name_is_asked() -> None:
    """A name that can be read is contained, even if nothing lists it."""
    registry: Registry[str, Any] = Registry("kind", providers=[Announcing({"date": "datetime:date"}, listed=False)])

    assert ("date" in registry, "time" in registry, registry.names()) == (True, False, [])
    assert registry.name_of(registry["date"]) == "date"


# ---- the inverse


def test_a_value_that_a_provider_gave_tells_its_name(kinds: Registry[str, Any]) -> None:
    """Once it was read here, an announced value is known by identity."""
    date = kinds["date"]

    assert (kinds.name_of(date), kinds.name_of(Decimal)) == ("date", None)


def test_a_value_whose_name_somebody_took_tells_none(kinds: Registry[str, Any]) -> None:
    """A name is only told as long as reading it gives the value."""
    date = kinds["date"]

    with kinds.override("date", Decimal):
        taken = kinds.name_of(date)

    assert (taken, kinds.name_of(date)) == (None, "date")


def test_a_value_that_an_earlier_provider_hides_tells_no_name() -> None:
    """What an earlier provider has learnt since goes first."""
    first = Announcing({})
    registry: Registry[str, Any] = Registry("kind", providers=[first, Announcing({"date": "datetime:date"})])
    date = registry["date"]

    first.texts["date"] = "decimal:Decimal"

    assert registry.name_of(date) is None


# ---- registering what is announced


def test_an_explicit_registration_wins_with_one_warning(kinds: Registry[str, Any]) -> None:
    """Whoever registers an announced name gets it; the warning names both, and points at the caller."""
    with pytest.warns(UserWarning, match="date") as told:
        kinds.register("date", Decimal)
    kinds.register("date", Decimal)

    assert len(told) == 1
    assert str(told[0].message) == (
        "kind 'date' stands for decimal.Decimal now, not for what a plugin announces.\n"
        "  Pass exist_ok=True if that is meant."
    )
    assert told[0].filename == __file__
    assert (kinds["date"], kinds.names()) == (Decimal, ["date"])


def test_where_warnings_are_errors_the_registration_is_refused(kinds: Registry[str, Any]) -> None:
    """A registration that fails changes nothing, also if what fails is the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="date"):
            kinds.register("date", Decimal)

    assert kinds["date"].__name__ == "date"
    assert kinds.name_of(Decimal) is None


@pytest.mark.parametrize("announced", ["datetime:date", sys.modules["datetime"].date])
def test_what_is_announced_may_be_registered(kinds: Registry[str, Any], announced: Any) -> None:
    """The same value, or its text, hides nothing, so nobody is warned."""
    kinds.register("date", announced)

    assert kinds["date"] is sys.modules["datetime"].date


def test_who_means_it_is_not_warned(kinds: Registry[str, Any]) -> None:
    """`exist_ok` and a block say that an announced name is to be hidden."""
    kinds.register("date", Decimal, exist_ok=True)
    with kinds.override("date", Fraction):
        assert kinds["date"] is Fraction

    assert kinds["date"] is Decimal


def test_unregister_gives_an_announced_name_back(kinds: Registry[str, Any]) -> None:
    """When the explicit registration is gone, the provider answers again."""
    kinds.register("date", Decimal, exist_ok=True)

    kinds.unregister("date")

    assert kinds["date"].__name__ == "date"


def test_a_provider_that_fails_does_not_keep_its_name_from_being_registered() -> None:
    """The name of a broken plugin can be taken; the warning says that the plugin is broken."""

    class Broken(Announcing):
        def find(self, name: str) -> Registration | None:
            message = f"{name} is broken"
            raise BrokenPluginError(message)

    registry: Registry[str, Any] = Registry("kind", providers=[Broken({"date": ""})])

    with pytest.warns(UserWarning, match="not for what a package that cannot be loaded announces"):
        registry.register("date", Decimal)

    assert registry["date"] is Decimal
