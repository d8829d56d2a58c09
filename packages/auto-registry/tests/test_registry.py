"""`Registry`: what is put under a name is found there, whoever asks, and nothing is imported in vain."""

import decimal
import fractions
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nameplate_auto import (
    BrokenPluginError,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    Registration,
    Registry,
    RegistryError,
    UnknownModelTypeError,
)

WriteModule = Callable[[str], str]


class Knowing:
    """A provider of lazy texts, which it may keep to itself until it is asked for one."""

    def __init__(self, texts: dict[str, str], *, listed: bool = True) -> None:
        self.texts = texts
        self.listed = listed

    def find(self, name: str) -> Registration | None:
        """Return what is known of a name."""
        return Registration(self.texts[name], "a plugin") if name in self.texts else None

    def names(self) -> list[str]:
        """Return the names that are listed."""
        return list(self.texts) if self.listed else []


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return an empty registry."""
    return Registry("number")


@pytest.fixture
def announced() -> Registry[str, Any]:
    """Return a registry with a provider that knows one name."""
    return Registry("kind", providers=[Knowing({"date": "datetime:date"})])


# ---- registering


def test_a_value_is_found_under_its_name(numbers: Registry[str, Any]) -> None:
    """What was registered is what the name gives."""
    numbers.register("decimal", Decimal)

    assert numbers["decimal"] is Decimal


def test_a_decorated_class_is_registered_and_unchanged(numbers: Registry[str, Any]) -> None:
    """Without a value, `register` returns a decorator that gives back the very class it registered."""

    class Natural:
        pass

    decorated = numbers.register("natural")(Natural)

    assert decorated is Natural
    assert numbers["natural"] is Natural


def test_item_assignment_registers(numbers: Registry[str, Any]) -> None:
    """A registry can be written to as a dict, under the same rules as `register`."""
    numbers["decimal"] = Decimal

    with pytest.raises(DuplicateRegistrationError):
        numbers["decimal"] = Fraction

    assert numbers["decimal"] is Decimal


def test_a_duplicate_names_both_owners(numbers: Registry[str, Any]) -> None:
    """A name that is taken is refused; the error says who has it, who wants it, and the ways out."""
    numbers.register("number", Decimal)

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.register("number", Fraction)

    assert str(error.value) == (
        "number 'number' is already registered by decimal.Decimal; fractions.Fraction asks for it.\n"
        f"  decimal.Decimal is in {decimal.__file__}, of no installed distribution.\n"
        f"  fractions.Fraction is in {fractions.__file__}, of no installed distribution.\n"
        "  Choose another name, unregister the first one, or pass exist_ok=True to replace it."
    )


def test_a_duplicate_text_names_both_owners(numbers: Registry[str, Any]) -> None:
    """Two lazy texts that compete for a name are both quoted, and neither is imported to say so."""
    numbers.register("number", "no_such_module:One")

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.register("number", "no_such_module:Two")

    assert str(error.value).splitlines()[:2] == [
        "number 'number' is already registered by 'no_such_module:One'; 'no_such_module:Two' asks for it.",
        "  'no_such_module:One' is in no file that can be found, of no installed distribution.",
    ]


def test_a_refused_duplicate_changes_nothing(numbers: Registry[str, Any]) -> None:
    """After a refusal the first owner still has the name."""
    numbers.register("number", Decimal)

    with pytest.raises(DuplicateRegistrationError):
        numbers.register("number", Fraction)

    assert dict(numbers) == {"number": Decimal}


def test_a_refused_decorator_changes_nothing(numbers: Registry[str, Any]) -> None:
    """The decorator form refuses a taken name as the call form does."""
    numbers.register("number", Decimal)

    with pytest.raises(DuplicateRegistrationError):
        numbers.register("number")(Fraction)

    assert numbers["number"] is Decimal


@pytest.mark.parametrize("value", [Decimal, "decimal:Decimal"])
def test_the_same_value_twice_is_no_duplicate(numbers: Registry[str, Any], value: object) -> None:
    """Registering the same value again does nothing, so a module may be executed twice."""
    numbers.register("number", value)
    before = numbers.find("number")

    numbers.register("number", value)

    assert numbers.find("number") is before


def test_the_same_text_is_no_duplicate_after_it_was_imported(numbers: Registry[str, Any]) -> None:
    """That somebody read the value meanwhile does not make its own text a competitor."""
    numbers.register("number", "decimal:Decimal")

    assert numbers["number"] is Decimal

    numbers.register("number", "decimal:Decimal")

    assert numbers.find("number") == Registration(Decimal, "'decimal:Decimal'")


def test_exist_ok_replaces_the_owner(numbers: Registry[str, Any]) -> None:
    """With `exist_ok` the new value takes the name."""
    numbers.register("number", Decimal)

    numbers.register("number", Fraction, exist_ok=True)

    assert numbers["number"] is Fraction


def test_a_decorator_can_replace_the_owner(numbers: Registry[str, Any]) -> None:
    """`exist_ok` means the same to the decorator form."""
    numbers.register("number", Decimal)

    numbers.register("number", exist_ok=True)(Fraction)

    assert numbers["number"] is Fraction


# ---- removing


def test_unregister_frees_the_name(numbers: Registry[str, Any]) -> None:
    """After `unregister` the name is unknown and anyone may take it."""
    numbers.register("number", Decimal)

    numbers.unregister("number")

    assert "number" not in numbers
    numbers.register("number", Fraction)


def test_unregister_refuses_an_unknown_name(numbers: Registry[str, Any]) -> None:
    """What nobody registered cannot be removed; the error suggests the nearest name."""
    numbers.register("decimal", Decimal)

    with pytest.raises(UnknownModelTypeError) as error:
        numbers.unregister("decimals")

    assert str(error.value) == "number 'decimals' is not registered.\n  Did you mean 'decimal'?"


def test_unregister_refuses_what_only_a_provider_knows(announced: Registry[str, Any]) -> None:
    """Only explicit registrations can be removed; the error says what to do about an announced one."""
    with pytest.raises(UnknownModelTypeError) as error:
        announced.unregister("date")

    assert str(error.value) == (
        "kind 'date' is announced by an installed package; nobody registered it here.\n"
        "  Register another value under the name, which then wins, or uninstall that package."
    )


def test_item_deletion_unregisters(numbers: Registry[str, Any]) -> None:
    """`del registry[name]` is `unregister`."""
    numbers.register("number", Decimal)

    del numbers["number"]

    assert list(numbers) == []


def test_clear_keeps_what_a_provider_knows(announced: Registry[str, Any]) -> None:
    """Clearing removes every explicit registration and nothing else, and imports nothing."""
    announced.register("aa", "no_such_module:One")
    announced.register("zz", "no_such_module:Two")

    announced.clear()

    assert announced.names() == ["date"]


# ---- overriding


def test_override_holds_inside_the_block(numbers: Registry[str, Any]) -> None:
    """Inside the block the name stands for the other value."""
    numbers.register("number", Decimal)

    with numbers.override("number", Fraction):
        inside = numbers["number"]

    assert inside is Fraction


def test_override_restores_what_was_there(numbers: Registry[str, Any]) -> None:
    """After the block the name stands for what it stood for before, with its origin."""
    numbers.register("number", Decimal)
    before = numbers.find("number")

    with numbers.override("number", Fraction):
        pass

    assert numbers.find("number") is before


def test_override_leaves_no_name_behind(numbers: Registry[str, Any]) -> None:
    """A name that was unknown before the block is unknown after it."""
    with numbers.override("number", Fraction):
        assert "number" in numbers

    assert "number" not in numbers


def test_override_gives_an_announced_name_back(announced: Registry[str, Any]) -> None:
    """After the block the fallback answers again."""
    with announced.override("date", Decimal):
        assert announced["date"] is Decimal

    assert announced["date"].__name__ == "date"


def test_override_restores_after_an_exception(numbers: Registry[str, Any]) -> None:
    """An exception in the block passes through and changes nothing."""
    numbers.register("number", Decimal)

    with pytest.raises(KeyboardInterrupt), numbers.override("number", Fraction):
        raise KeyboardInterrupt

    assert numbers["number"] is Decimal


def test_override_restores_although_the_name_was_removed_inside(numbers: Registry[str, Any]) -> None:
    """Whatever happens to the name inside the block, the outside has it back."""
    numbers.register("number", Decimal)

    with numbers.override("number", Fraction):
        numbers.unregister("number")

    assert numbers["number"] is Decimal


def test_overrides_nest(numbers: Registry[str, Any]) -> None:
    """Each block restores what the block around it had put there."""
    seen = []
    with numbers.override("number", Decimal):
        with numbers.override("number", Fraction):
            seen.append(numbers["number"])
        seen.append(numbers["number"])

    assert seen == [Fraction, Decimal]
    assert "number" not in numbers


def test_a_refused_override_changes_nothing() -> None:
    """A value that the check refuses never enters the block."""
    registry: Registry[str, Any] = Registry("number", check=refuse_fractions)
    registry.register("number", Decimal)

    with pytest.raises(InconsistentRegistrationError), registry.override("number", Fraction):
        pytest.fail("the block must not run")

    assert registry["number"] is Decimal


# ---- lazy values


def test_reading_imports_a_lazy_value(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """A text ``module:Name`` gives the object of that name."""
    module = write_module("class Number: pass")
    numbers.register("number", f"{module}:Number")

    assert numbers["number"] is sys.modules[module].Number


def test_only_reading_a_value_imports_it(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """Registering, asking whether, listing, counting, finding and reading another value import nothing."""
    module = write_module("class Number: pass")
    numbers.register("lazy", f"{module}:Number")
    numbers.register("other", "decimal:Decimal")

    answers = ("lazy" in numbers, numbers.names(), len(numbers), numbers.find("lazy").lazy, numbers["other"])

    assert answers == (True, ["lazy", "other"], 2, True, Decimal)
    assert module not in sys.modules


def test_a_lazy_value_is_imported_once(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """After the first read the object itself is registered, and its origin is still the text."""
    module = write_module("class Number: pass")
    numbers.register("number", f"{module}:Number")

    first = numbers["number"]

    assert numbers.find("number") == Registration(first, f"'{module}:Number'")
    assert numbers["number"] is first


def test_a_lazy_value_whose_module_is_absent_fails_when_read(numbers: Registry[str, Any]) -> None:
    """The error quotes the text, who registered it, and the cause."""
    numbers.register("number", "no_such_module:Number")

    with pytest.raises(BrokenPluginError) as error:
        numbers["number"]

    assert str(error.value) == (
        "'no_such_module:Number', registered by 'no_such_module:Number', cannot be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module'.\n"
        "  Repair or uninstall that package; everything else keeps working."
    )
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_a_lazy_value_whose_module_exits_fails_when_read(
    numbers: Registry[str, Any], write_module: WriteModule
) -> None:
    """A module that ends the program when it is imported is one that cannot be loaded."""
    numbers.register("lazy", f"{write_module('raise SystemExit(3)')}:Lazy")

    with pytest.raises(BrokenPluginError, match="cannot be loaded: SystemExit: 3"):
        numbers["lazy"]


def test_a_lazy_value_that_its_module_lacks_fails_when_read(numbers: Registry[str, Any]) -> None:
    """A module without the named object is named, with the object."""
    numbers.register("number", "decimal:Decimalls")

    with pytest.raises(BrokenPluginError, match="module 'decimal' has no attribute 'Decimalls'"):
        numbers["number"]


def test_a_failed_import_can_be_repaired(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """A failure is not remembered: once the module can be imported, the value is there."""
    module = write_module("raise RuntimeError('not yet')")
    numbers.register("number", f"{module}:Number")
    with pytest.raises(BrokenPluginError, match="RuntimeError: not yet"):
        numbers["number"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, type(sys)(module))
        sys.modules[module].Number = Decimal
        repaired = numbers["number"]

    assert repaired is Decimal


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("kites.models.Kite", "Did you mean 'kites.models:Kite'?"),
        ("Kite", "Expected a text such as 'package.module:Name'."),
        ("kites:models:Kite", "Expected a text such as 'package.module:Name'."),
        ("kites/models:Kite", "Expected a text such as 'package.module:Name'."),
        ("kites.:Kite", "Expected a text such as 'package.module:Name'."),
        (".kites:Kite", "Expected a text such as 'package.module:Name'."),
        ("kites:", "Expected a text such as 'package.module:Name'."),
        (" kites:Kite", "Expected a text such as 'package.module:Name'."),
        ("", "Expected a text such as 'package.module:Name'."),
    ],
)
def test_a_text_that_names_no_object_is_refused(numbers: Registry[str, Any], text: str, advice: str) -> None:
    """What could never be imported is refused at once, not when somebody reads it."""
    with pytest.raises(RegistryError) as error:
        numbers.register("kite", text)

    assert str(error.value) == (
        f"number 'kite' is to stand for {text!r}, which names nothing that could be imported.\n  {advice}"
    )
    assert "kite" not in numbers


def test_a_text_among_several_is_judged_alike(numbers: Registry[str, Any]) -> None:
    """Where several objects stand under one name, each text must name one."""
    with pytest.raises(RegistryError, match=r"is to stand for 'decimal', which names nothing"):
        numbers.register("several", (Decimal, "decimal"))


def test_a_lazy_value_may_be_inside_a_class(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """What follows the colon may be dotted."""
    module = write_module("class Outer:\n    class Inner: pass")
    numbers.register("inner", f"{module}:Outer.Inner")

    assert numbers["inner"] is sys.modules[module].Outer.Inner


def test_a_registry_may_hold_plain_texts() -> None:
    """With `lazy=False` a text is a value like any other: never imported, and found again by what it says."""
    letters: Registry[str, str] = Registry("letter", lazy=False)
    letters.register("a", "alpha")
    letters.register("a", str(b"alpha", "ascii"))

    assert (letters["a"], letters.find("a").lazy, letters.name_of("alpha")) == ("alpha", False, "a")
    with pytest.raises(DuplicateRegistrationError):
        letters.register("a", "aleph")


def test_a_class_is_no_duplicate_of_its_own_text(numbers: Registry[str, Any]) -> None:
    """A package may be registered lazily and register its classes itself when it is imported."""
    numbers.register("decimal", "decimal:Decimal")

    numbers.register("decimal", Decimal)

    assert numbers.find("decimal") == Registration(Decimal, "'decimal:Decimal'")


def test_a_decorator_in_the_module_itself_is_no_duplicate(
    numbers: Registry[str, Any], write_module: WriteModule
) -> None:
    """While the module is imported that a text names, its class registers itself under the same name."""
    module = write_module("import builtins\n@builtins.registry_of_a_test.register('number')\nclass Number: pass")
    numbers.register("number", f"{module}:Number")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.registry_of_a_test", numbers, raising=False)
        found = numbers["number"]

    assert found is sys.modules[module].Number
    assert numbers.name_of(found) == "number"


def test_a_namesake_is_a_duplicate(numbers: Registry[str, Any]) -> None:
    """A class with the dotted name of a registered text is another one, if its module holds another one."""
    numbers.register("number", "decimal:Decimal")

    with pytest.raises(DuplicateRegistrationError):
        numbers.register("number", type("Decimal", (), {"__module__": "decimal"}))


# ---- the check


def refuse_fractions(name: str, value: object) -> None:
    """Accept every value but one."""
    if value is Fraction:
        message = f"{name} is no place for fractions"
        raise InconsistentRegistrationError(message)


def test_the_check_runs_before_a_value_is_registered() -> None:
    """A value that contradicts its name is refused, and the name stays free."""
    registry: Registry[str, Any] = Registry("number", check=refuse_fractions)

    with pytest.raises(InconsistentRegistrationError, match=r"^number is no place for fractions$"):
        registry.register("number", Fraction)

    assert "number" not in registry


def test_the_check_runs_before_a_value_is_replaced() -> None:
    """`exist_ok` allows another owner, not a wrong one."""
    registry: Registry[str, Any] = Registry("number", check=refuse_fractions)
    registry.register("number", Decimal)

    with pytest.raises(InconsistentRegistrationError):
        registry.register("number", Fraction, exist_ok=True)

    assert registry["number"] is Decimal


def test_the_check_runs_after_a_lazy_value_was_imported() -> None:
    """A text can only be checked once it is imported, and then it is, on every read until it is right."""
    registry: Registry[str, Any] = Registry("number", check=refuse_fractions)
    registry.register("number", "fractions:Fraction")

    for _ in range(2):
        with pytest.raises(InconsistentRegistrationError, match=r"^number is no place for fractions$"):
            registry["number"]

    assert registry.find("number").lazy


def test_the_check_runs_on_what_a_provider_gives() -> None:
    """A value that a plugin announces is judged like any other."""
    provider = Knowing({"number": "fractions:Fraction"})
    registry: Registry[str, Any] = Registry("number", providers=[provider], check=refuse_fractions)

    with pytest.raises(InconsistentRegistrationError, match=r"^number is no place for fractions$"):
        registry["number"]


def test_the_check_of_names_runs_before_anything_is_imported() -> None:
    """A name that can be none is refused with a lazy value as well, and as an alias."""

    def refuse_numbers(name: object) -> None:
        if not isinstance(name, str):
            message = f"{name} is no name"
            raise InconsistentRegistrationError(message)

    registry: Registry[Any, Any] = Registry("number", check_name=refuse_numbers)
    registry.register("one", "no_such_module:One")

    with pytest.raises(InconsistentRegistrationError, match=r"^1 is no name$"):
        registry.register(1, "no_such_module:One")
    with pytest.raises(InconsistentRegistrationError, match=r"^1 is no name$"):
        registry.alias(1, "one")

    assert registry.names() == ["one"]


# ---- reading


def test_find_says_where_a_value_came_from(numbers: Registry[str, Any]) -> None:
    """The registration holds the value and the dotted name of its class, for people."""
    numbers.register("number", Decimal)

    assert numbers.find("number") == Registration(Decimal, "decimal.Decimal")


def test_an_instance_is_found_with_its_class_as_origin() -> None:
    """A value that is no class is described by the class it is of."""
    registry: Registry[str, Any] = Registry("number")
    registry.register("half", Fraction(1, 2))

    assert registry.find("half").origin == "fractions.Fraction"


def test_names_are_sorted(numbers: Registry[str, Any]) -> None:
    """Names come in the order of the alphabet, not of registration."""
    for name in "bca":
        numbers.register(name, Decimal)

    assert numbers.names() == ["a", "b", "c"]


def test_name_of_is_the_inverse_of_reading(numbers: Registry[str, Any]) -> None:
    """A value tells the name it was registered under; one that was not registered has none."""
    numbers.register("number", Decimal)

    assert numbers.name_of(Decimal) == "number"
    assert numbers.name_of(Fraction) is None


def test_name_of_goes_by_identity(numbers: Registry[str, Any]) -> None:
    """An equal value is not the value."""
    numbers.register("half", Fraction(1, 2))

    assert numbers.name_of(Fraction(1, 2)) is None


def test_name_of_follows_every_change(numbers: Registry[str, Any]) -> None:
    """Replacing, overriding, removing and reading move the inverse with the names."""
    said = []
    numbers.register("number", "decimal:Decimal")
    said.append(numbers.name_of(Decimal))  # its module is imported: by whom does not matter
    numbers.register("number", Fraction, exist_ok=True)
    said += [numbers.name_of(Decimal), numbers.name_of(Fraction)]
    with numbers.override("number", Decimal):
        said += [numbers.name_of(Decimal), numbers.name_of(Fraction)]
    said.append(numbers.name_of(Fraction))
    numbers.unregister("number")
    said.append(numbers.name_of(Fraction))

    assert said == ["number", None, "number", "number", None, "number", None]


def test_name_of_several_names_is_the_first_in_the_alphabet(numbers: Registry[str, Any]) -> None:
    """In whatever order they were registered; when it goes, the next one answers."""
    for name in "bca":
        numbers.register(name, Decimal)
    first = numbers.name_of(Decimal)
    numbers.unregister("a")

    assert (first, numbers.name_of(Decimal)) == ("a", "b")


def test_names_are_selected_by_a_pattern(numbers: Registry[str, Any]) -> None:
    """A pattern selects as it does among files, and case matters."""
    for name in ("kite_small", "kite_large", "Kite", "dragon"):
        numbers.register(name, Decimal)

    assert numbers.names("kite_*") == ["kite_large", "kite_small"]
    assert numbers.names("[dK]*") == ["Kite", "dragon"]
    assert numbers.names("swan") == []


def test_names_that_are_classes_are_selected_by_their_own(numbers: Registry[Any, Any]) -> None:
    """A pattern is compared with what the class is called."""
    numbers.register(Decimal, "no_such_module:One")
    numbers.register(Fraction, "no_such_module:Two")

    assert numbers.names("Dec*") == [Decimal]


def test_the_nearest_of_many_names_is_suggested(numbers: Registry[str, Any]) -> None:
    """A misspelt name is found among thousands, wherever the mistake is."""
    for number in range(2000):
        numbers.register(f"mitten_{number}", Decimal)

    for wrong in ("kitten_1417", "mittn_1417", "mitten_1417_"):
        with pytest.raises(UnknownModelTypeError, match=r"Did you mean 'mitten_1417'\?$"):
            numbers[wrong]


@pytest.mark.parametrize(
    ("name", "advice"),
    [("decimals", "Did you mean 'decimal'?"), ("matrix", "Registered: decimal, fraction.")],
)
def test_an_unknown_name_says_what_there_is(numbers: Registry[str, Any], name: str, advice: str) -> None:
    """The error suggests the nearest name, or else lists the known ones."""
    numbers.register("decimal", Decimal)
    numbers.register("fraction", Fraction)

    with pytest.raises(UnknownModelTypeError) as error:
        numbers[name]

    assert str(error.value) == f"number {name!r} is not registered.\n  {advice}"


def test_an_empty_registry_says_so(numbers: Registry[str, Any]) -> None:
    """Where nothing is registered, the error says that."""
    with pytest.raises(UnknownModelTypeError) as error:
        numbers["decimal"]

    assert str(error.value) == "number 'decimal' is not registered.\n  Registered: none."


def test_an_unknown_class_is_named_plainly() -> None:
    """Where names are classes, messages show their names and not the repr of a type."""
    registry: Registry[type, Any] = Registry("model for")
    registry.register(Fraction, "no_such_module:One")

    with pytest.raises(UnknownModelTypeError) as error:
        registry[Decimal]

    assert str(error.value) == "model for Decimal is not registered.\n  Registered: Fraction."


@pytest.mark.parametrize("kind", [KeyError, LookupError, ValueError])
def test_an_unknown_name_is_the_builtin_error_too(numbers: Registry[str, Any], kind: type[Exception]) -> None:
    """`except` clauses written for a dict, or for Transformers, catch it."""
    with pytest.raises(kind):
        numbers["decimal"]


def test_get_answers_the_default(numbers: Registry[str, Any]) -> None:
    """`get` gives the value, else the default, as a dict's does."""
    numbers.register("decimal", Decimal)

    answers = numbers.get("decimal"), numbers.get("matrix"), numbers.get("matrix", 0)

    assert answers == (Decimal, None, 0)


def test_the_repr_counts_the_registrations(announced: Registry[str, Any]) -> None:
    """A registry shows how many explicit entries it has."""
    announced.register("decimal", Decimal)

    assert repr(announced) == "<Registry of 1 kind entries>"
