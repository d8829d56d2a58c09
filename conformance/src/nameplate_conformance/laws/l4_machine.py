"""Level 4, histories: a registry after any sequence of what can be done to it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nameplate_auto import DuplicateRegistrationError, Registry, RegistryError, UnknownModelTypeError
from nameplate_conformance.instruments.handover import unimported
from nameplate_conformance.instruments.naming import Announcing, another_config, another_model, own_name
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, law, require

_HISTORIES, _STEPS = 12, 15
_NAMES = ("first", "second", "third")

names = st.sampled_from(_NAMES)
places = st.integers(0, 2)


@law("Z01", "a registry is what was done to it", level=4, needs=["R02", "R03", "R04", "R07", "R09"], scope=Scope.ONCE)
def registry_is_what_was_done_to_it(case: Case, evidence: Evidence) -> None:
    """After any sequence of registrations, of classes and of texts, with exist_ok and without, of removals, overrides
    that are entered and left, aliases, and announcements that come and go, every name stands for what a plain dict
    with the same history holds, and each class is found under a name that stands for it. What a registry answers must
    not depend on how it got there."""
    values = [case.config_class, *(another_config(case, f"{own_name(case)}_{title}", title) for title in ("B", "C"))]
    if case.head:
        values = [case.model_class, *(another_model(case, each, each.__name__) for each in values[1:])]
    with unimported(*values) as (_, texts):
        body = {"values": tuple(values), "texts": tuple(texts), "evidence": evidence}
        machine: Callable[[], RegistryMachine] = type("Machine", (RegistryMachine,), body)
        run_state_machine_as_test(machine, settings=_settings())  # type: ignore[no-untyped-call]


def _settings() -> settings:
    return settings(
        max_examples=_HISTORIES,
        stateful_step_count=_STEPS,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )


class RegistryMachine(RuleBasedStateMachine):
    """A registry, and beside it the dicts that it must agree with.

    Attributes:
        values: What is registered.
        texts: A text for each value.
        evidence: Counts the steps.
    """

    values: ClassVar[tuple[type, ...]]
    texts: ClassVar[tuple[str, ...]]
    evidence: ClassVar[Evidence]

    def __init__(self) -> None:
        super().__init__()
        self.registry: Registry[str, Any] = Registry("name")
        self.provider = Announcing({})
        self.registry.add_provider(self.provider)
        self.table: dict[str, type | str] = {}
        """What was put under each name: a value, or the name that it is an alias of."""
        self.entered: list[tuple[str, AbstractContextManager[None], type | str | None]] = []
        self.history: list[str] = []

    def expected(self, name: str) -> object:
        """Return what a name should stand for, None if for nothing: an alias goes on to its target."""
        passed: list[str] = []
        while isinstance(target := self.table.get(name), str) and target not in passed:
            passed.append(name)
            name = target
        return self.provider.values.get(name) if target is None or isinstance(target, str) else target

    def put(self, name: str, what: type | str | None) -> None:
        """Put something under a name of the table, or nothing."""
        self.table.pop(name, None)
        if what is not None:
            self.table[name] = what

    def note(self, step: str) -> None:
        """Remember a step, for the message and as evidence."""
        self.history.append(step)
        self.evidence.count("steps")

    def require(self, condition: object, message: str) -> None:
        """Say that the law does not hold unless *condition* is true, and after which steps."""
        require(condition, f"after {', '.join(self.history) or 'nothing'}: {message}")

    @rule(name=names, number=places, lazy=st.booleans(), exist_ok=st.booleans())
    def register(self, name: str, number: int, *, lazy: bool, exist_ok: bool) -> None:
        """Register a value or its text; another owner is refused unless it may be replaced."""
        self.note(f"register({name!r}, {'text ' if lazy else ''}{number}{', exist_ok=True' if exist_ok else ''})")
        value, owner = self.values[number], self.table.get(name)
        try:
            self.registry.register(name, self.texts[number] if lazy else value, exist_ok=exist_ok)
        except DuplicateRegistrationError:
            # A class and its text are one thing once the text was imported, and two before.
            self.require(owner is not None and not exist_ok, "it is refused")
            return
        self.require(owner in {None, value} or exist_ok, "it is not refused")
        self.table[name] = value

    @rule(name=names)
    def unregister(self, name: str) -> None:
        """Remove what was registered; an announcement stays."""
        self.note(f"unregister({name!r})")
        try:
            self.registry.unregister(name)
        except UnknownModelTypeError:
            self.require(name not in self.table, "it is refused")
            return
        self.require(self.table.pop(name, None) is not None, "it is not refused")

    @rule(old=names, new=names)
    def alias(self, old: str, new: str) -> None:
        """Let a name be another spelling of one that is known; a taken one is refused."""
        self.note(f"alias({old!r}, {new!r})")
        known = self.expected(new) is not None and old != new
        free = self.table.get(old) in {None, new} and (old in self.table or old not in self.provider.values)
        try:
            self.registry.alias(old, new)
        except RegistryError:
            self.require(not known or not free, "it is refused")
            return
        self.require(known and free, "it is not refused")
        self.table[old] = new

    @rule()
    def clear(self) -> None:
        """Remove everything that was registered."""
        self.note("clear()")
        self.registry.clear()
        self.table.clear()

    @rule(name=names, number=places)
    def enter(self, name: str, number: int) -> None:
        """Override a name."""
        self.note(f"override({name!r}, {number})")
        block = self.registry.override(name, self.values[number])
        self.entered.append((name, block, self.table.get(name)))
        block.__enter__()
        self.put(name, self.values[number])

    @precondition(lambda self: self.entered)
    @rule()
    def leave(self) -> None:
        """End the innermost override."""
        name, block, before = self.entered.pop()
        self.note(f"end of override({name!r})")
        block.__exit__(None, None, None)
        self.put(name, before)

    @rule(name=names, number=places)
    def announce(self, name: str, number: int) -> None:
        """Let a package be installed that announces a name."""
        self.note(f"announce({name!r}, {number})")
        self.provider.values[name] = self.values[number]

    @rule(name=names)
    def withdraw(self, name: str) -> None:
        """Let a package be uninstalled."""
        self.note(f"withdraw({name!r})")
        self.provider.values.pop(name, None)

    @rule(name=names)
    def resolve(self, name: str) -> None:
        """Ask what a name stands for."""
        self.note(f"resolve({name!r})")
        found = self.registry.get(name)
        self.require(found is self.expected(name), f"{name!r} stands for {found!r}")

    @invariant()
    def knows_its_names(self) -> None:
        """The names are those of the table and the announced ones, without aliases, which are known all the same."""
        taken = {name for name, what in self.table.items() if not isinstance(what, str)}
        listed = sorted(taken | self.provider.values.keys())
        self.require(self.registry.names() == listed, f"the names are {self.registry.names()}")
        self.require(len(self.registry) == len(listed), f"there are {len(self.registry)} names")
        held = [name for name in _NAMES if name in self.registry]
        self.require(held == [name for name in _NAMES if self.expected(name) is not None], f"it holds {held}")

    @invariant()
    def finds_names_by_their_value(self) -> None:
        """A value is found under a name that stands for it, and under none if none does."""
        for value in self.values:
            name = self.registry.name_of(value)
            self.require(name is None or self.expected(name) is value, f"{value!r} is found under {name!r}")
            known = [each for each, what in self.table.items() if what is value]
            loaded = [each for each in known if each in self.registry and self.registry.find(each).value is value]
            self.require(not loaded or name is not None, f"{value!r} is not found under {', '.join(loaded)}")

    def teardown(self) -> None:
        """End the overrides that are still open."""
        while self.entered:
            self.entered.pop()[1].__exit__(None, None, None)
