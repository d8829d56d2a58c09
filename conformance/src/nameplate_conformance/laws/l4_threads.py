"""Level 4, many hands: a registry that threads and processes use at the same time."""

import os
import selectors
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from nameplate_auto import CONFIG_MAPPING, DuplicateRegistrationError, UnknownModelTypeError
from nameplate_conformance.instruments.handover import unimported
from nameplate_conformance.instruments.naming import (
    another_config,
    free_name,
    is_first_head,
    require_standing,
    standing,
)
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, law, require

T = TypeVar("T")

_THREADS, _ROUNDS, _BUSY = 8, 3, 2
_PATIENCE = 20.0  # seconds; a process that waits for a lock that nobody holds waits for ever


@law("R10", "many hands keep a registry whole", level=4, needs=["R02", "R03"], scope=Scope.ONCE)
def many_hands_keep_a_registry_whole(case: Case, evidence: Evidence) -> None:
    """Of threads that register different classes under one name at the same time one succeeds and all read its class;
    names registered side by side are all there afterwards, and none is left once they are removed; a text is imported
    once; and a forked process goes on registering, whatever other threads did when it was forked. Servers load models
    from many threads."""
    if not is_first_head(case):
        return  # the names are those of the configs, which all heads share
    before = standing(CONFIG_MAPPING)
    for _ in range(_ROUNDS):
        _require_one_winner(case, evidence)
        _require_nothing_lost(case, evidence)
        _require_one_import(case, evidence)
    require_standing(before, CONFIG_MAPPING, "everything was unregistered")
    if hasattr(os, "fork"):
        _require_forked_goes_on(case, evidence)


def _together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run each in a thread of its own, all starting at once; return the results in order."""
    barrier = threading.Barrier(len(works))
    results: dict[int, T] = {}

    def start(number: int) -> None:
        barrier.wait()
        results[number] = works[number]()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(works))]


def _require_one_winner(case: Case, evidence: Evidence) -> None:
    name = free_name(case, "contested")
    rivals = [another_config(case, name, f"Rival{number}") for number in range(_THREADS)]

    def compete(rival: type[Any]) -> tuple[bool, object]:
        won = False
        with suppress(DuplicateRegistrationError):
            CONFIG_MAPPING.register(name, rival)
            won = True
        return won, CONFIG_MAPPING[name]

    with _removing([name]):
        results = _together([lambda rival=rival: compete(rival) for rival in rivals])
    winners = [rival for rival, (won, _) in zip(rivals, results, strict=True) if won]
    require(len(winners) == 1, f"of {len(rivals)} threads, {len(winners)} registered a class under one name")
    others = [found for _, found in results if found is not winners[0]]
    require(not others, f"{winners[0].__name__} was registered, and {len(others)} threads read {others[:1]}")
    evidence.count("rivals", len(rivals))


def _require_nothing_lost(case: Case, evidence: Evidence) -> None:
    free = free_name(case, "side")
    configs = [another_config(case, f"{free}_{number}") for number in range(_THREADS)]
    names = [each.model_type for each in configs]

    def come_and_go(config: type[Any]) -> tuple[object, bool]:
        CONFIG_MAPPING.register(config.model_type, config)
        found = CONFIG_MAPPING[config.model_type]
        CONFIG_MAPPING.unregister(config.model_type)
        gone = config.model_type not in CONFIG_MAPPING
        CONFIG_MAPPING.register(config.model_type, config)
        return found, gone

    with _removing(names):
        results = _together([lambda config=config: come_and_go(config) for config in configs])
        require(results == [(config, True) for config in configs], f"threads side by side read {results}")
        lost = [each.model_type for each in configs if CONFIG_MAPPING.get(each.model_type) is not each]
        require(not lost, f"registered by threads side by side, {', '.join(lost)} is lost")
    evidence.count("names", len(names))


def _require_one_import(case: Case, evidence: Evidence) -> None:
    config = another_config(case, free_name(case, "text"))
    with unimported(config) as (handover, (text,)), CONFIG_MAPPING.override(config.model_type, text):
        found = _together([lambda: CONFIG_MAPPING[config.model_type]] * _THREADS)
        require(all(each is config for each in found), f"threads that ask for one text read {found}")
        require(len(handover.imported) == 1, f"one text is imported {len(handover.imported)} times")
    evidence.count("imports", len(found))


def _removing(names: Sequence[str]) -> ExitStack:
    """Return a block at whose end names are removed."""
    stack = ExitStack()
    for name in names:
        stack.callback(_remove, name)
    return stack


def _remove(name: str) -> None:
    with suppress(UnknownModelTypeError):
        CONFIG_MAPPING.unregister(name)


def _require_forked_goes_on(case: Case, evidence: Evidence) -> None:
    """Fork while other threads register and remove, and require each child to register and read something."""
    configs = [another_config(case, f"{free_name(case, 'busy')}_{number}") for number in range(_BUSY)]
    done = threading.Event()

    def keep_busy(config: type[Any]) -> None:
        while not done.is_set():
            CONFIG_MAPPING.register(config.model_type, config)
            CONFIG_MAPPING.unregister(config.model_type)

    threads = [threading.Thread(target=keep_busy, args=(config,)) for config in configs]
    child = another_config(case, free_name(case, "child"))
    with _removing([each.model_type for each in configs]):
        for thread in threads:
            thread.start()
        try:
            answers = [_in_a_child(child) for _ in range(_ROUNDS)]
        finally:
            done.set()
            for thread in threads:
                thread.join()
    require(set(answers) == {b"1"}, f"of {len(answers)} forked processes, {answers.count(b'1')} can use the registry")
    evidence.count("processes", len(answers))


def _in_a_child(config: type[Any]) -> bytes:
    """Fork; return what the child says: 1 if it could register and read a config class, nothing if it got stuck."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:  # nothing of the parent may run here, least of all its exit handlers
        with suppress(BaseException):
            CONFIG_MAPPING.register(config.model_type, config)
            os.write(writing, b"1" if CONFIG_MAPPING[config.model_type] is config else b"0")
        os._exit(0)
    os.close(writing)
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(reading, selectors.EVENT_READ)
            return os.read(reading, 1) if waiting.select(_PATIENCE) else b""
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(process, 9)
        os.waitpid(process, 0)
