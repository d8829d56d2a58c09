"""`Registry` against a dict: whatever is registered, aliased, installed and read, both say the same."""

import importlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nameplate_auto import DuplicateRegistrationError, Registry, UnknownModelTypeError
from nameplate_auto._plugins import InstalledPackages

NAMES = ("a", "b", "c")
PACKAGES = ("machine-one", "machine-two")
VALUES = (Decimal, Fraction, "decimal:Decimal", "fractions:Fraction")
OBJECTS = {"decimal:Decimal": Decimal, "fractions:Fraction": Fraction}

AMBIGUOUS = object()
"""What the model says of a name that two packages announce."""

MODULE = """
ARCHITECTURE = {{"AutoConfig": "{module}:Config"}}
class Config: pass
"""


def module_of(package: str, name: str) -> str:
    """Return the module in which a package defines what it announces under a name."""
    return f"{package.replace('-', '_')}_{name}"


class AgainstADict(RuleBasedStateMachine):
    """A registry with two packages, and dicts that go through the same motions."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.syspath_prepend(self.folder)
        self.patch.setenv("NAMEPLATE_PLUGINS", ",".join(PACKAGES))
        for package in PACKAGES:
            for name in NAMES:
                module = module_of(package, name)
                (self.folder / f"{module}.py").write_text(MODULE.format(module=module), encoding="utf-8")
        self.registry: Registry[str, Any] = Registry("kind", providers=[InstalledPackages()])
        self.registry.refresh()
        self.given: dict[str, Any] = {}
        """The object that was registered under each name."""
        self.unread: set[str] = set()
        """The names whose value is a text as yet."""
        self.aliases: dict[str, str] = {}
        self.installed: dict[str, tuple[str, ...]] = {}

    def teardown(self) -> None:
        """Leave nothing on the search path, on disk or among the modules."""
        self.patch.undo()
        shutil.rmtree(self.folder)
        for package in PACKAGES:
            for name in NAMES:
                sys.modules.pop(module_of(package, name), None)
        self.registry.refresh()

    # ---- the model

    def target(self, name: str) -> str:
        """Return the name at the end of the aliases."""
        seen: set[str] = set()
        while name in self.aliases and name not in seen:
            seen.add(name)
            name = self.aliases[name]
        return name

    def owners(self, name: str) -> list[str]:
        """Return the packages that announce a name."""
        return [package for package, names in self.installed.items() if name in names]

    def announced(self, package: str, name: str) -> Any:
        """Return what a package announces under a name."""
        return importlib.import_module(module_of(package, name)).Config

    def stands_for(self, name: str) -> Any:
        """Return what a read of a name must give, or None."""
        end = self.target(name)
        if end in self.given:
            return self.given[end]
        owners = [] if end in self.aliases else self.owners(end)
        if len(owners) > 1:
            return AMBIGUOUS
        return self.announced(owners[0], end) if owners else None

    def forget(self, name: str) -> None:
        """Forget what was put under a name."""
        self.given.pop(name, None)
        self.aliases.pop(name, None)
        self.unread.discard(name)

    @contextmanager
    def warned(self, expected: bool) -> Iterator[None]:
        """Require that a block warns, or that it does not."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield
        assert len(told) == expected

    # ---- what may happen

    @rule(package=st.sampled_from(PACKAGES), names=st.sets(st.sampled_from(NAMES)).map(sorted))
    def install(self, package: str, names: list[str]) -> None:
        """A package announces other names from now on."""
        metadata = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{name} = {module_of(package, name)}:ARCHITECTURE\n" for name in names]
        text = "".join(["[nameplate.architectures]\n", *lines])
        (metadata / "entry_points.txt").write_text(text, encoding="utf-8")
        self.installed[package] = tuple(names)
        self.registry.refresh()

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES), exist_ok=st.booleans())
    def register(self, name: str, value: Any, exist_ok: bool) -> None:
        """A name goes to the first who asks, or with `exist_ok` to the last; who hides a package is warned."""
        stored = OBJECTS.get(value, value)
        if self.given.get(name) is stored:
            self.registry.register(name, value)  # a class and its text are one, so nothing happens
            if not isinstance(value, str):
                self.unread.discard(name)
            return
        if (name in self.given or name in self.aliases) and not exist_ok:
            with pytest.raises(DuplicateRegistrationError):
                self.registry.register(name, value)
            return
        with self.warned(bool(self.owners(name)) and not exist_ok):
            self.registry.register(name, value, exist_ok=exist_ok)
        self.forget(name)
        self.given[name] = stored
        if isinstance(value, str):
            self.unread.add(name)

    @rule(name=st.sampled_from(NAMES))
    def unregister(self, name: str) -> None:
        """Only what was put there by hand can be removed."""
        if name in self.given or name in self.aliases:
            self.registry.unregister(name)
            self.forget(name)
        else:
            with pytest.raises(UnknownModelTypeError):
                self.registry.unregister(name)

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def alias(self, old: str, new: str) -> None:
        """A free name may become another spelling of a known one."""
        same = self.aliases.get(old) == new
        taken = old in self.given or old in self.aliases or self.owners(old)
        if old != new and self.stands_for(new) is None:
            with pytest.raises(UnknownModelTypeError):
                self.registry.alias(old, new)
        elif old == new or (taken and not same):
            with pytest.raises(DuplicateRegistrationError):
                self.registry.alias(old, new)
        else:
            self.registry.alias(old, new)
            self.aliases[old] = new

    @rule(name=st.sampled_from(NAMES))
    def read(self, name: str) -> None:
        """A name gives what was registered, else what one package announces; its value gives a name back."""
        expected = self.stands_for(name)
        if expected is AMBIGUOUS:
            with pytest.raises(DuplicateRegistrationError):
                self.registry[name]
            return
        assert self.registry.get(name) is expected
        self.unread.discard(self.target(name))
        if expected is not None:
            first = self.registry.name_of(expected)
            assert self.registry[first] is expected
            self.unread.discard(first)

    @rule(package=st.sampled_from(PACKAGES), name=st.sampled_from(NAMES))
    def read_of_a_package(self, package: str, name: str) -> None:
        """With the package in front, a name gives what that package announces, whoever else does."""
        key = f"{package}/{name}"
        known = package in self.owners(name)

        assert (key in self.registry) == known
        if known:
            assert self.registry[key] is self.announced(package, name)
            assert self.registry[self.registry.name_of(self.registry[key])] is self.registry[key]

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES), fails=st.booleans())
    def override(self, name: str, value: Any, fails: bool) -> None:
        """A block gives a name another meaning, and leaves no trace however it ends."""
        with suppress(ZeroDivisionError), self.registry.override(name, value):
            assert self.registry[name] is OBJECTS.get(value, value)
            if fails:
                raise ZeroDivisionError

    @rule(name=st.sampled_from(NAMES))
    def pop(self, name: str) -> None:
        """Taking out gives the value and frees the name, an alias included."""
        expected = self.stands_for(name)
        if expected is AMBIGUOUS or (expected is None and name in self.aliases):
            return
        if name in self.given or name in self.aliases:
            assert self.registry.pop(name) is expected
            self.unread.discard(self.target(name))
            self.forget(name)
        elif expected is None:
            assert self.registry.pop(name, 0) == 0

    @rule()
    def pop_any(self) -> None:
        """An entry is taken out as long as there is one, never what is announced."""
        if not self.given:
            with pytest.raises(UnknownModelTypeError):
                self.registry.popitem()
            return
        name, value = self.registry.popitem()

        assert self.given[name] is value
        self.forget(name)

    @rule()
    def clear(self) -> None:
        """Everything that was put there by hand is gone."""
        self.registry.clear()
        for name in NAMES:
            self.forget(name)

    @rule()
    def copy(self) -> None:
        """From here on a copy takes the place of the registry."""
        self.registry = self.registry.copy()

    # ---- what must hold

    @invariant()
    def names_agree(self) -> None:
        """Names, iteration, length, keys and membership agree with the dicts."""
        announced = {name for names in self.installed.values() for name in names}
        names = sorted(self.given.keys() | announced)

        assert names == self.registry.names() == list(self.registry) == list(self.registry.keys())
        assert len(self.registry) == len(names)
        assert self.registry.aliases() == self.aliases
        assert {name for name in NAMES if name in self.registry} == {
            name for name in NAMES if self.stands_for(name) is not None
        }

    @invariant()
    def laziness_agrees(self) -> None:
        """A registered value is a text as long as nobody read it."""
        lazy = {name for name, found in self.registry.registered().items() if found.lazy}

        assert lazy == self.unread

    @invariant()
    def inverses_agree(self) -> None:
        """A value tells the first name that it is registered under, or None if there is none."""
        for value in (Decimal, Fraction):
            names = [name for name, given in self.given.items() if given is value]

            assert self.registry.name_of(value) == min(names, default=None)


AgainstADict.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstADict = AgainstADict.TestCase
