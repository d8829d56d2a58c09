"""Which cell may be judged next: one whose needs are settled, and each accelerator by one worker at a time.

Knows neither processes nor examples: who judges, and how, is told by whoever asks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nameplate_conformance.judging.cell import Cell, Key
from nameplate_conformance.judging.runner import HOST, needs_of, present_devices, settled
from nameplate_conformance.result import Result, Status


@dataclass
class Schedule:
    """The cells of a run, those that somebody wants to know and those that they need.

    Attributes:
        wanted: What the report is about, in its order.
        found: Called with each result of the report as soon as it is known, those that were known before excepted.
        results: What is known, by the cells' keys.
    """

    wanted: list[Cell]
    found: Callable[[Result], None] = lambda _: None
    results: dict[Key, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put what cells need before them, and leave out what is known."""
        self._asked = {cell.key for cell in self.wanted}
        unknown = [cell for cell in self.wanted if cell.key not in self.results]
        self._waiting = {key: cell for key, cell in with_needs(unknown).items() if key not in self.results}
        self._busy: set[str] = set()

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
        if key in self._asked or result.is_root:
            self.found(result)

    def report(self) -> list[Result]:
        """Return the results of what is wanted, in its order; before them those of needs that are why it is blocked."""
        causes = [each for key, each in self.results.items() if key not in self._asked and each.is_root]
        return causes + [self.results[cell.key] for cell in self.wanted if cell.key in self.results]


def with_needs(cells: Iterable[Cell]) -> dict[Key, Cell]:
    """Return cells and whatever they need, by their keys; each comes after its needs."""
    placed: dict[Key, Cell] = {}

    def place(cell: Cell) -> None:
        if cell.key not in placed:
            for need in needs_of(cell):
                place(need)
            placed[cell.key] = cell

    for cell in cells:
        place(cell)
    return placed


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
