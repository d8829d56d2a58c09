"""Several save into one folder at once, each in a process of its own, while this process loads.

`contend` needs what `sweep` needs: nothing is known of the savers but what they do and what a load then says.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.faults.forks import Ending, Fork

_LEAST = 4  # loads, however soon the savers have done


@dataclass(frozen=True, slots=True)
class Contention:
    """What savers and loads at the same time made of a folder.

    Attributes:
        loads: How often each state was seen, as the judge names it.
        failed: What loads raised, a sentence each.
        savers: What became of each saver that did not come to its end, a sentence each.
        last: What the judge said when all had done.
    """

    loads: Counter[str]
    failed: tuple[str, ...]
    savers: tuple[str, ...]
    last: str

    def problems(self, states: Sequence[str]) -> list[str]:
        """Return what must not be, if these states are all that was ever saved."""
        others = sorted(self.loads.keys() - {*states})
        return [
            *(f"a saver failed: {each}" for each in self.savers),
            *(f"a load failed: {each}" for each in self.failed),
            *(f"a load saw what nobody has saved: {each}" for each in others),
        ]


def contend(
    prepare: Callable[[Path], object],
    savers: Sequence[Callable[[Path], object]],
    judge: Callable[[Path], str],
    *,
    rounds: int = 3,
    base: Path | None = None,
) -> Contention:
    """Let savers save into one folder, each *rounds* times, and load without a pause until all have done.

    Args:
        prepare: Puts a first state into a folder, which is empty.
        savers: Each saves over whatever the folder holds; runs in a process of its own, forked from this one.
        judge: Returns a text that names the state in the folder; raises if there is none.
        rounds: How often each saver saves.
        base: Where the folder is made; where temporary files are if None.

    Raises:
        ConformanceError: If processes cannot be forked here.

    Example:
        >>> def save(folder):
        ...     _ = folder.joinpath("draft").write_text("new")
        ...     folder.joinpath("draft").rename(folder / "a")
        >>> found = contend(
        ...     lambda folder: folder.joinpath("a").write_text("old"),
        ...     [save],
        ...     lambda folder: folder.joinpath("a").read_text(),
        ... )
        >>> found.problems(["old", "new"]), found.last
        ([], 'new')
    """
    if not hasattr(os, "fork"):
        message = "savers of their own need os.fork, which this system lacks: unsupported."
        raise ConformanceError(message)
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        prepare(folder)
        seen: Counter[str] = Counter()
        failed: list[str] = []
        with _Race([_repeated(saver, folder, rounds) for saver in savers]) as race:
            while race.is_on() or seen.total() + len(failed) < _LEAST:
                try:
                    seen[judge(folder)] += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
                    failed.append(f"{type(error).__name__}: {error}")
            endings = race.endings
        last = judge(folder)
        seen[last] += 1
    return Contention(seen, tuple(failed), tuple(each.sentence for each in endings if each.answer is None), last)


def _repeated(saver: Callable[[Path], object], folder: Path, rounds: int) -> Callable[[], str]:
    def work() -> str:
        for _ in range(rounds):
            saver(folder)
        return "done"

    return work


class _Race:
    """Processes that start at the same moment. Use it as a context manager.

    Args:
        works: What each does.
    """

    def __init__(self, works: Sequence[Callable[[], str]]) -> None:
        self._works = works
        self._running: list[Fork] = []
        self.endings: list[Ending] = []

    def __enter__(self) -> "_Race":
        waiting, start = os.pipe()
        for work in self._works:
            self._running.append(Fork(work, first=lambda: (os.close(start), os.read(waiting, 1))))
        os.close(waiting)
        os.close(start)  # nobody can write any more, so all reads come to their end
        return self

    def __exit__(self, *_: object) -> None:
        self._collect(0)

    def is_on(self) -> bool:
        """Whether one of them is still at work."""
        self._collect(os.WNOHANG)
        return bool(self._running)

    def _collect(self, option: int) -> None:
        for fork in list(self._running):
            process, status = os.waitpid(fork.process, option)
            if process:
                self._running.remove(fork)
                self.endings.append(fork.ending(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
