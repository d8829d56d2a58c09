"""Tables of figures, for a terminal and for Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Section:
    """A table.

    Attributes:
        title: What it is about.
        columns: The headings; the first column is text, the others are figures.
        rows: The cells.
        notes: What a reader must know, a sentence each.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def table(self) -> Table:
        """Return it for a terminal."""
        table = Table(title=self.title, title_justify="left", caption=" ".join(self.notes), caption_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> Iterator[str]:
        """Yield its lines in Markdown."""
        yield f"## {self.title}"
        yield ""
        yield f"| {' | '.join(self.columns)} |"
        yield f"|---|{'--:|' * (len(self.columns) - 1)}"
        for row in self.rows:
            yield f"| {' | '.join(row)} |"
        if self.notes:
            yield ""
            yield " ".join(self.notes)


def duration(milliseconds: float) -> str:
    """Return a time in the unit that suits it, to three digits."""
    unit, value = ("ms", milliseconds) if milliseconds >= 1 else ("µs", 1000 * milliseconds)
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def noise(spread: float) -> str:
    """Return a spread as a percentage."""
    return f"{spread:.0%}"


def at_least(found: float, bar: float, unit: str = "x") -> str:
    """Return a goal that figures must reach, and whether this one does."""
    return f"≥ {bar:g}{unit}{'' if found >= bar else ', missed'}"


def at_most(found: float, bar: float, unit: str = "x") -> str:
    """Return a goal that figures must not exceed, and whether this one does."""
    return f"≤ {bar:g}{unit}{'' if found <= bar else ', missed'}"
