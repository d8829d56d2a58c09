"""What a terminal shows while a run goes on, and what lies on the disk by then."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nameplate_conformance.judging.session import Audience, Plan, conduct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nameplate_conformance.judging.cell import Cell
    from nameplate_conformance.records.circumstances import Circumstances
    from nameplate_conformance.records.journal import JournalWriter
    from nameplate_conformance.result import Report, Result


class Watch(Audience):
    """Draws a bar on a terminal, nothing elsewhere, and writes journals as results arrive.

    Attributes:
        known: How many results there are.
        total: How many there will be.
        trouble: Why a journal could not be written to its end; empty if it could.
    """

    def __init__(
        self, journals: "Sequence[Path]" = (), *, resume: Path | None = None, later: "Sequence[Path]" = ()
    ) -> None:
        self._later = later
        self._journals = list(dict.fromkeys([*journals, *([resume] if resume is not None else [])]))
        self._resume = resume
        self._writers: dict[Path, JournalWriter] = {}
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self._console.is_terminal
        self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True, disable=hidden)
        self.known = self.total = 0
        self.trouble = ""

    @property
    def written(self) -> "list[Path]":
        """The journals that hold every result so far."""
        return list(self._writers)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        self._task = self._bar.add_task("loading", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away, and leave the journals of a run that was cut short as they are."""
        self._bar.__exit__(kind, error, trace)
        for path, writer in list(self._writers.items()):
            try:
                writer.__exit__(kind, error, trace)
            except OSError as full:
                self._give_up(path, full)

    def begins(self) -> None:
        """Refuse at once what could not be written after the work of an hour."""
        from nameplate_conformance.report import check_report_name  # noqa: PLC0415 - torch takes seconds

        for path in (*self._journals, *self._later):
            check_report_name(path)

    def ready(self, circumstances: "Circumstances", wanted: "list[Cell]") -> "Iterable[Result]":
        """Read the journal to go on with, and begin those that are asked for."""
        from nameplate_conformance.records.journal import JournalWriter  # noqa: PLC0415 - only a run needs it
        from nameplate_conformance.records.resumption import resumed  # noqa: PLC0415

        kept = [] if self._resume is None else resumed(self._resume, circumstances, wanted)
        for path in self._journals:
            self._writers[path] = JournalWriter(path, circumstances, kept)
        self.known, self.total = len(kept), len(wanted)
        self._bar.update(self._task, total=self.total, completed=self.known)
        return kept

    def noted(self, note: str) -> None:
        """Print a note."""
        self._console.print(note, style="yellow", markup=False, highlight=False)

    def begun(self, cell: "Cell") -> None:
        """Show what is being judged."""
        self._bar.update(self._task, description=f"{cell.architecture.label} {cell.law.id}")

    def found(self, result: "Result") -> None:
        """Move the bar and write the result down. A full disk costs the journal, not the run."""
        self.known += 1
        self._bar.update(self._task, completed=self.known)
        for path, writer in list(self._writers.items()):
            try:
                writer.add(result)
            except OSError as error:
                self._give_up(path, error)

    def _give_up(self, path: Path, error: OSError) -> None:
        """Leave a journal as one that was cut short."""
        self._writers.pop(path).__exit__(type(error), error, None)
        self.trouble = f"{path} was not written to its end: {error}."


def judge_with_progress(texts: "Iterable[str]", *, profile: str = "dev") -> "Report":
    """Judge architectures by what names them, with a bar on a terminal and silently elsewhere."""
    from nameplate_conformance.judging.bench import Terms  # noqa: PLC0415

    with Watch() as watch:
        return conduct(Plan(texts=tuple(texts), terms=Terms(profile=profile)), watch)[0]
