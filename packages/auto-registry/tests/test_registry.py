"""`Registry`: what is put under a name is found there, whoever asks, and nothing is imported in vain."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nameplate_auto import (
    BrokenPluginError,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    Registration,
    Registry,
    UnknownModelTypeError,
)

WriteModule = Callable[[str], str]


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return an empty registry."""
    return Registry("number")


@pytest.fixture
def announced() -> Registry[str, Any]:
    """Return a registry whose fallback knows one name."""
    known = {"date": Registration("datetime:date", "a plugin")}
    return Registry("kind", fallback=known.get, listing=known.keys)


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
        "  Choose another name, unregister the first one, or pass exist_ok=True to replace it."
    )


def test_a_duplicate_text_names_both_owners(numbers: Registry[str, Any]) -> None:
    """Two lazy texts that compete for a name are both quoted, and neither is imported to say so."""
    numbers.register("number", "no_such_module:One")

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.register("number", "no_such_module:Two")

    assert str(error.value).splitlines()[0] == (
        "number 'number' is already registered by 'no_such_module:One'; 'no_such_module:Two' asks for it."
    )


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


def test_unregister_refuses_what_only_the_fallback_knows(announced: Registry[str, Any]) -> None:
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


def test_clear_keeps_what_the_fallback_knows(announced: Registry[str, Any]) -> None:
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


def test_the_check_runs_on_what_the_fallback_gives() -> None:
    """A value that a plugin announces is judged like any other."""
    known = {"number": Registration("fractions:Fraction", "a plugin")}
    registry: Registry[str, Any] = Registry("number", fallback=known.get, check=refuse_fractions)

    with pytest.raises(InconsistentRegistrationError, match=r"^number is no place for fractions$"):
        registry["number"]


# ---- the fallback


def test_the_fallback_answers_for_names_that_nobody_registered(announced: Registry[str, Any]) -> None:
    """An announced name is read, found, counted and listed like a registered one."""
    facts = ("date" in announced, list(announced), len(announced), announced.find("date").origin)

    assert announced["date"].__module__ == "datetime"
    assert facts == (True, ["date"], 1, "a plugin")


def test_an_explicit_registration_wins_over_the_fallback(announced: Registry[str, Any]) -> None:
    """Whoever registers an announced name gets it, without `exist_ok`, and it is listed once."""
    announced.register("date", Decimal)

    assert announced["date"] is Decimal
    assert announced.names() == ["date"]


def test_unregister_gives_an_announced_name_back(announced: Registry[str, Any]) -> None:
    """When the explicit registration is gone, the fallback answers again."""
    announced.register("date", Decimal)

    announced.unregister("date")

    assert announced["date"].__name__ == "date"


def test_a_listed_name_is_known_without_asking_the_fallback() -> None:
    """Whether a name is known is answered from the listing: only reading its value may load a plugin."""

    def load(name: str) -> Registration | None:
        pytest.fail(f"{name} was loaded")

    registry: Registry[str, Any] = Registry("kind", fallback=load, listing=lambda: ["date"])

    assert "date" in registry


def test_a_fallback_without_a_listing_is_asked() -> None:
    """A name that can be read is contained, even if nothing lists it."""
    known = {"date": Registration("datetime:date", "a plugin")}
    registry: Registry[str, Any] = Registry("kind", fallback=known.get)

    assert "date" in registry
    assert "time" not in registry


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


def test_pop_takes_a_value_out(numbers: Registry[str, Any]) -> None:
    """`pop` removes what it returns, and answers the default where there is nothing."""
    numbers.register("decimal", Decimal)

    answers = numbers.pop("decimal"), numbers.pop("decimal", None)

    assert answers == (Decimal, None)
    assert len(numbers) == 0


def test_setdefault_registers_only_what_is_absent(numbers: Registry[str, Any]) -> None:
    """The first value stays."""
    answers = numbers.setdefault("number", Decimal), numbers.setdefault("number", Fraction)

    assert answers == (Decimal, Decimal)


def test_the_repr_counts_the_registrations(announced: Registry[str, Any]) -> None:
    """A registry shows how many explicit entries it has."""
    announced.register("decimal", Decimal)

    assert repr(announced) == "<Registry of 1 kind entries>"


# ---- threads


def in_threads(count: int, job: Callable[[int], Any]) -> list[Any]:
    """Run a job in threads that all start at once, and return their answers."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        start.wait()
        return job(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.fixture
def impatient_threads() -> Any:
    """Let the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_register_different_names_lose_none(numbers: Registry[str, Any]) -> None:
    """Sixteen threads with a hundred names each end in sixteen hundred names."""

    def register(thread: int) -> None:
        for number in range(100):
            numbers.register(f"{thread}-{number}", Decimal)
            numbers.names()

    in_threads(16, register)

    assert len(numbers) == 1600


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_race_for_a_name_have_one_winner(numbers: Registry[str, Any]) -> None:
    """However often sixteen threads race, one gets the name, all others an error, and the winner keeps it."""
    for race in range(50):
        values = [type("Racer", (), {}) for _ in range(16)]

        def register(thread: int, name: str = f"race-{race}", values: list[type] = values) -> bool:
            try:
                numbers.register(name, values[thread])
            except DuplicateRegistrationError:
                return False
            return True

        won = in_threads(16, register)

        assert won.count(True) == 1
        assert numbers[f"race-{race}"] is values[won.index(True)]


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_read_a_lazy_value_get_the_same_object(write_module: WriteModule) -> None:
    """A module that is slow to import is executed once, and every thread has its class."""
    module = write_module("import time\ntime.sleep(0.05)\nclass Number: pass")
    registry: Registry[str, Any] = Registry("number")
    registry.register("number", f"{module}:Number")

    found = in_threads(8, lambda _: registry["number"])

    assert set(found) == {sys.modules[module].Number}


# ---- against a dict

NAMES = ("a", "b", "known")
VALUES = (Decimal, Fraction, "decimal:Decimal", "fractions:Fraction")
OBJECTS = {"decimal:Decimal": Decimal, "fractions:Fraction": Fraction}
FALLBACK = {"known": "fractions:Fraction"}


class AgainstADict(RuleBasedStateMachine):
    """A registry and a dict that go through the same motions say the same."""

    def __init__(self) -> None:
        super().__init__()
        known = {name: Registration(value, "a plugin") for name, value in FALLBACK.items()}
        self.registry: Registry[str, Any] = Registry("kind", fallback=known.get, listing=known.keys)
        self.given: dict[str, Any] = {}
        """What was registered under each name, as it was given."""
        self.read: set[str] = set()
        """The names whose value was read since."""

    def stands_for(self, name: str) -> Any:
        """Return the value that a read of a name must give, or None."""
        value = self.given.get(name, FALLBACK.get(name))
        return OBJECTS.get(value, value)

    def owns(self, name: str, value: Any) -> bool:
        """Whether registering a value under a name again must do nothing."""
        return self.given.get(name) == value or (name in self.read and self.stands_for(name) is value)

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES), exist_ok=st.booleans())
    def register(self, name: str, value: Any, exist_ok: bool) -> None:
        """A name goes to the first who asks, or with `exist_ok` to the last."""
        if name in self.given and not exist_ok and not self.owns(name, value):
            with pytest.raises(DuplicateRegistrationError):
                self.registry.register(name, value)
        else:
            self.registry.register(name, value, exist_ok=exist_ok)
            if name not in self.given or not self.owns(name, value):
                self.given[name] = value
                self.read.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def unregister(self, name: str) -> None:
        """Only what was registered can be removed."""
        if name in self.given:
            self.registry.unregister(name)
            del self.given[name]
            self.read.discard(name)
        else:
            with pytest.raises(UnknownModelTypeError):
                self.registry.unregister(name)

    @rule(name=st.sampled_from(NAMES))
    def read_value(self, name: str) -> None:
        """A name gives what was registered, else what the fallback knows, else nothing."""
        assert self.registry.get(name) is self.stands_for(name)
        if name in self.given:
            self.read.add(name)

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES), fails=st.booleans())
    def override(self, name: str, value: Any, fails: bool) -> None:
        """A block gives a name another meaning, and leaves no trace however it ends."""
        with suppress(ZeroDivisionError), self.registry.override(name, value):
            assert self.registry[name] is OBJECTS.get(value, value)
            if fails:
                raise ZeroDivisionError

    @rule()
    def clear(self) -> None:
        """Everything that was registered is gone."""
        self.registry.clear()
        self.given.clear()
        self.read.clear()

    @invariant()
    def names_agree(self) -> None:
        """Names, iteration, length and membership agree with the dict."""
        names = sorted(self.given.keys() | FALLBACK.keys())

        assert names == self.registry.names() == list(self.registry)
        assert len(self.registry) == len(names)
        assert [name for name in NAMES if name in self.registry] == names

    @invariant()
    def origins_agree(self) -> None:
        """A value is lazy as long as it is a text that nobody read."""
        for name in self.registry:
            found = self.registry.find(name)

            assert found.lazy == (isinstance(self.given.get(name, "a:text"), str) and name not in self.read)

    @invariant()
    def inverses_agree(self) -> None:
        """A value tells a name that it is registered under, or None if there is none."""
        for value in (Decimal, Fraction):
            owners = [name for name in self.given if self.registry.find(name).value is value]

            assert self.registry.name_of(value) in (owners or [None])


class TestAgainstADict(AgainstADict.TestCase):  # type: ignore[misc]
    """Hypothesis walks the machine."""

    settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
