"""Which cell may be judged next: one whose needs are settled, and each accelerator by one worker at a time.

Knows neither processes nor examples: who judges, and how, is told by whoever asks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nameplate_conformance.result import Result, Status
from nameplate_conformance.runner import HOST, Cell, Key, needs_of, present_devices, settled


@dataclass
class Schedule:
    """The cells of a run, those that somebody wants to know and those that they need.

    Attributes:
        wanted: What the report is about, in its order.
        found: Called with each wanted result as soon as it is known, those of an earlier run not included.
        results: What is known, by the cells' keys.
    """

    wanted: list[Cell]
    found: Callable[[Result], None] = lambda _: None
    results: dict[Key, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put what cells need before them."""
        self._asked = {cell.key for cell in self.wanted}
        self._waiting: dict[Key, Cell] = {}
        for cell in self.wanted:
            self._place(cell)
        self._busy: set[str] = set()

    def _place(self, cell: Cell) -> None:
        if cell.key in self.results or cell.key in self._waiting:
            return
        for need in needs_of(cell):
            self._place(need)
        self._waiting[cell.key] = cell

    @property
    def total(self) -> int:
        """How many cells there are to know."""
        return len(self.wanted)

    @property
    def known(self) -> int:
        """How many of them are known."""
        return sum(key in self.results for key in self._asked)

    def take(self) -> Cell | None:
        """Return a cell that may be judged now, and is handed to whoever asks; None if none may before another ends.

        Cells that need not be judged are settled on the way.
        """
        for key, cell in list(self._waiting.items()):
            if any(need.key not in self.results for need in needs_of(cell)):
                continue
            verdict = settled(cell, self.results)
            if verdict is not None:
                del self._waiting[key]
                self._note(key, verdict)
            elif cell.device not in self._busy:
                del self._waiting[key]
                self._busy |= {cell.device} - {HOST}
                return cell
        return None

    def finish(self, cell: Cell, result: Result) -> None:
        """Note the result of a cell that was taken."""
        self._busy.discard(cell.device)
        self._note(cell.key, result)

    def _note(self, key: Key, result: Result) -> None:
        self.results[key] = result
        if key in self._asked:
            self.found(result)

    def report(self) -> list[Result]:
        """Return the results that are known of what is wanted, in its order."""
        return [self.results[cell.key] for cell in self.wanted if cell.key in self.results]


def broken(cells: Iterable[Cell], failures: Mapping[str, str]) -> dict[Key, Result]:
    """Return the verdicts on architectures that cannot be loaded.

    The first law of each is an error, which blocks all others.

    Args:
        cells: What would be judged.
        failures: Why not, by the architectures' labels.
    """
    first: dict[str, str] = {}
    results: dict[Key, Result] = {}
    for cell in cells:
        label, law_id, device = cell.key
        if label not in failures:
            continue
        if device not in present_devices():
            results[cell.key] = cell.result(Status.NOT_RUN, message=f"there is no {device} device on this machine")
            continue
        root = first.setdefault(label, law_id)
        if root == law_id:
            results[cell.key] = cell.result(Status.ERROR, message=f"it cannot be loaded: {failures[label]}")
        else:
            results[cell.key] = cell.result(Status.BLOCKED, message=f"blocked by {root}", blocked_by=(root,))
    return results
