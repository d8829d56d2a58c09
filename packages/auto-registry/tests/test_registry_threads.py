"""`Registry` under threads: nothing is lost, a name has one owner, and all agree on who it is."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from nameplate_auto import DuplicateRegistrationError, Registry, UnknownModelTypeError

WriteModule = Callable[[str], str]


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return an empty registry."""
    return Registry("number")


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


@pytest.mark.usefixtures("impatient_threads")
def test_eight_threads_take_and_free_names_in_turn(numbers: Registry[str, Any]) -> None:
    """Whoever is told that a name was taken or freed did it: what was done and what is left add up for every name."""

    def work(thread: int) -> dict[str, int]:
        chance, balance = random.Random(thread), dict.fromkeys("abc", 0)  # noqa: S311 - no secret is drawn
        for _ in range(2000):
            name = chance.choice("abc")
            with suppress(DuplicateRegistrationError, UnknownModelTypeError):
                if chance.random() < 0.5:
                    numbers.register(name, object())
                    balance[name] += 1
                else:
                    numbers.unregister(name)
                    balance[name] -= 1
        return balance

    balances = in_threads(8, work)

    left = {name: sum(balance[name] for balance in balances) for name in "abc"}
    assert left == {name: int(name in numbers) for name in "abc"}
    assert all(numbers.name_of(numbers[name]) == name for name in numbers)


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_take_everything_out_share_it(numbers: Registry[str, Any]) -> None:
    """What eight threads pop together is what was there, and nothing twice."""
    for number in range(400):
        numbers.register(f"{number}", number)

    def take(_thread: int) -> list[str]:
        taken = []
        with suppress(UnknownModelTypeError):
            while True:
                taken.append(numbers.popitem()[0])
        return taken

    taken = [name for each in in_threads(8, take) for name in each]

    assert sorted(taken) == sorted(map(str, range(400)))


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_set_a_default_agree_on_it(numbers: Registry[str, Any]) -> None:
    """However many race, all are given the value of the one that was first."""
    for race in range(50):
        given = in_threads(8, lambda _, name=f"race-{race}": numbers.setdefault(name, object()))

        assert set(given) == {numbers[f"race-{race}"]}


@pytest.mark.usefixtures("impatient_threads")
def test_threads_share_one_warning_of_an_alias(numbers: Registry[str, Any]) -> None:
    """Of eight threads that read a deprecated name at once, one is told."""
    numbers.register("decimal", Decimal)
    numbers.alias("dec", "decimal", deprecated="It was too short.")

    with pytest.warns(FutureWarning) as told:
        in_threads(8, lambda _: numbers["dec"])

    assert len(told) == 1


LAZY = """
import sys, threading, types
from nameplate_auto import Registry

numbers = Registry("number")
asked, answered = threading.Event(), threading.Event()

class Lazy(types.ModuleType):
    def __getattr__(self, name):  # as one that imports a module, which another thread is importing
        asked.set()
        assert answered.wait(20)
        raise AttributeError(name)

sys.modules["lazy"] = Lazy("lazy")
numbers.register("a", "lazy:A")
thread = threading.Thread(target=numbers.register, args=("a", 1), kwargs={"exist_ok": True})
thread.start()
assert asked.wait(20)
other = threading.Thread(target=numbers.register, args=("b", 2), daemon=True)  # at the top of that module
other.start()
other.join(10)
answer = "b" in numbers
answered.set()
thread.join(20)
print(answer, dict(numbers))
"""


def test_nobody_waits_for_a_module_that_another_thread_imports() -> None:
    """What a module does when it is asked for a lazy name keeps nobody from registering."""
    done = subprocess.run([sys.executable, "-c", LAZY], check=True, capture_output=True, text=True, timeout=90)

    assert done.stdout == "True {'a': 1, 'b': 2}\n"


FORKS = """
import os, signal, threading
from nameplate_auto import CONFIG_MAPPING, Registry

numbers = Registry("number")

def write():
    while True:
        numbers.register("a", 1, exist_ok=True)
        numbers.unregister("a")
        CONFIG_MAPPING.refresh()
        CONFIG_MAPPING.names()

threading.Thread(target=write, daemon=True).start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        numbers.register("b", 2)
        os._exit(0 if "b" in numbers.names() and CONFIG_MAPPING.names() else 1)
    if os.waitpid(child, 0)[1] != 0:
        os._exit(1)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_child_that_is_forked_while_others_write_can_write() -> None:
    """No lock is left behind in a child whose parent had another thread in the middle of a change."""
    command = [sys.executable, "-I", "-W", "ignore", "-c", FORKS]

    assert subprocess.run(command, check=False, timeout=120).returncode == 0
