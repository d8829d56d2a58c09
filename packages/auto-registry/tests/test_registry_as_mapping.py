"""`Registry` as a mutable mapping: what a dict offers is here as well, and touches only what was registered."""

import copy
import pickle
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    DuplicateRegistrationError,
    Registration,
    Registry,
    RegistryError,
    UnknownModelTypeError,
)

WriteModule = Callable[[str], str]


class Dates:
    """A provider of one name."""

    def find(self, name: str) -> Registration | None:
        """Return what is known of the name."""
        return Registration("no_such_module:Date", "a calendar") if name == "date" else None

    def names(self) -> list[str]:
        """Return the name."""
        return ["date"]


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return an empty registry."""
    return Registry("number")


@pytest.fixture
def announced() -> Registry[str, Any]:
    """Return a registry with a provider of a name that cannot be imported."""
    return Registry("kind", providers=[Dates()])


# ---- taking out


def test_pop_takes_a_value_out(numbers: Registry[str, Any]) -> None:
    """`pop` removes what it returns, and answers the default where there is nothing."""
    numbers.register("decimal", Decimal)

    answers = numbers.pop("decimal"), numbers.pop("decimal", None)

    assert answers == (Decimal, None)
    assert len(numbers) == 0
    with pytest.raises(UnknownModelTypeError, match=r"^number 'decimal' is not registered"):
        numbers.pop("decimal")


def test_pop_keeps_what_it_cannot_import(numbers: Registry[str, Any]) -> None:
    """A value that cannot be returned is not lost."""
    numbers.register("number", "no_such_module:Number")

    with pytest.raises(RegistryError):
        numbers.pop("number")

    assert "number" in numbers


@pytest.mark.parametrize("default", [(), (None,)])
def test_pop_refuses_what_nobody_registered(announced: Registry[str, Any], default: tuple[object, ...]) -> None:
    """A name that stays known was not taken out, whatever the default."""
    with pytest.raises(UnknownModelTypeError, match=r"^kind 'date' is announced by an installed package"):
        announced.pop("date", *default)


def test_popitem_takes_the_last_registration(announced: Registry[str, Any]) -> None:
    """Entries leave in the reverse order of their coming; what is announced never does."""
    announced.register("zz", Decimal)
    announced.register("aa", Fraction)

    taken = announced.popitem(), announced.popitem()

    assert taken == (("aa", Fraction), ("zz", Decimal))
    assert announced.names() == ["date"]
    with pytest.raises(UnknownModelTypeError, match=r"^no kind is registered here, so there is none to take out\.$"):
        announced.popitem()


def test_clear_takes_aliases_too(numbers: Registry[str, Any]) -> None:
    """Nothing that was put there by hand is left."""
    numbers.register("decimal", Decimal)
    numbers.alias("dec", "decimal")

    numbers.clear()

    assert (numbers.names(), numbers.aliases(), numbers.name_of(Decimal)) == ([], {}, None)


# ---- putting in


def test_setdefault_registers_only_what_is_absent(numbers: Registry[str, Any]) -> None:
    """The first value stays; without a default the name must be known."""
    answers = numbers.setdefault("number", Decimal), numbers.setdefault("number", Fraction)

    assert answers == (Decimal, Decimal)
    with pytest.raises(UnknownModelTypeError):
        numbers.setdefault("decimal")


def test_update_registers_every_entry(numbers: Registry[str, Any]) -> None:
    """A mapping, pairs and keywords are taken, under the rules of `register`."""
    numbers.update({"a": Decimal})
    numbers.update([("b", Fraction)], c=int)

    assert dict(numbers) == {"a": Decimal, "b": Fraction, "c": int}
    with pytest.raises(DuplicateRegistrationError):
        numbers.update({"a": Fraction})


def test_update_from_a_registry_imports_nothing(numbers: Registry[str, Any], announced: Registry[str, Any]) -> None:
    """What was registered there is registered here, lazy as it is; what is announced there stays there."""
    announced.register("lazy", "no_such_module:Lazy")

    numbers.update(announced)

    assert (numbers.names(), numbers.find("lazy").lazy) == (["lazy"], True)


def test_or_makes_a_registry_of_both(numbers: Registry[str, Any]) -> None:
    """`|` leaves both sides as they are, and two owners of a name are an error as everywhere."""
    numbers.register("a", Decimal)

    both = numbers | {"b": Fraction}

    assert (dict(both), numbers.names()) == ({"a": Decimal, "b": Fraction}, ["a"])
    with pytest.raises(DuplicateRegistrationError):
        numbers | {"a": Fraction}


def test_or_in_place_registers(numbers: Registry[str, Any]) -> None:
    """`|=` is `update`."""
    same = numbers
    same |= {"a": Decimal}

    assert same is numbers
    assert numbers["a"] is Decimal


# ---- views


def test_keys_values_and_items_are_those_of_a_dict(numbers: Registry[str, Any]) -> None:
    """The views agree with the names and with each other."""
    numbers.register("b", Decimal)
    numbers.register("a", "fractions:Fraction")

    assert (list(numbers.keys()), list(numbers.values())) == (["a", "b"], [Fraction, Decimal])
    assert list(numbers.items()) == [("a", Fraction), ("b", Decimal)]
    assert numbers == {"a": Fraction, "b": Decimal}
    assert "a" in numbers.keys()  # noqa: SIM118 - the view itself is asked


def test_looking_imports_nothing(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """Membership, keys, names, patterns, length, representation and inverse look at names only."""
    module = write_module("class Number: pass")
    numbers.register("number", f"{module}:Number")
    numbers.alias("nr", "number")

    seen = ("nr" in numbers, [*numbers.keys()], numbers.names("n*"), len(numbers), repr(numbers), numbers.name_of(int))

    assert seen == (True, ["number"], ["number"], 1, "<Registry of 1 number entries>", None)
    assert module not in sys.modules


# ---- copies


@pytest.mark.parametrize("make", [Registry.copy, copy.copy, copy.deepcopy])
def test_a_copy_is_a_registry_of_its_own(announced: Registry[str, Any], make: Callable[[Any], Any]) -> None:
    """It has the same entries, aliases, providers and rules; the values are shared, later changes are not."""
    announced.register("decimal", Decimal)
    announced.register("lazy", "no_such_module:Lazy")
    announced.alias("dec", "decimal")

    made = make(announced)
    announced.unregister("decimal")

    assert (made["dec"], made.names(), made.find("lazy").lazy) == (Decimal, ["date", "decimal", "lazy"], True)
    assert announced.names() == ["date", "lazy"]


def test_a_registry_without_a_home_cannot_be_pickled(numbers: Registry[str, Any]) -> None:
    """A copy in another process would go its own way; the error says what to do instead."""
    with pytest.raises(RegistryError) as error:
        pickle.dumps(numbers)

    assert str(error.value) == (
        "the registry of number entries belongs to this process and has no name that another one could find it by.\n"
        '  Pass home="package.module:NAME" where it is made, or send names and values instead.'
    )


def test_a_registry_with_a_home_is_found_there() -> None:
    """A pickle holds the place, so every process has its own entries; a deep copy is the registry itself."""
    assert pickle.loads(pickle.dumps(CONFIG_MAPPING)) is CONFIG_MAPPING
    assert copy.deepcopy({"mapping": CONFIG_MAPPING})["mapping"] is CONFIG_MAPPING
    assert CONFIG_MAPPING.copy() is not CONFIG_MAPPING
