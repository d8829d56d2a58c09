"""How closely a run looks: a few named profiles of how many examples a law gets and how long it may take."""

from dataclasses import dataclass

from nameplate_conformance.law import LEVELS, Cost

TOP = len(LEVELS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How closely a run looks.

    Attributes:
        name: What it is called.
        examples: How many examples a law is judged on, covering rows and drawn ones together.
        rows: How many of them, at most, are covering rows (`coverage`), which are judged first.
        costly: How many examples a law gets that compiles or starts processes.
        level: The highest level that is judged if nobody asks for laws or levels.
        budget: Seconds after which a law draws no more examples; None lets it draw all, so that runs are comparable.
        patience: Seconds after which one example is given up and the law fails.
    """

    name: str
    examples: int
    rows: int
    costly: int = 1
    level: int = TOP
    budget: float | None = None
    patience: float = 120.0

    def examples_for(self, cost: Cost) -> int:
        """Return how many examples a law of some cost gets."""
        return self.examples if cost is Cost.CHEAP else min(self.costly, self.examples)


PROFILES = {
    each.name: each
    for each in (
        Profile(name="glance", examples=2, rows=2),
        Profile(name="smoke", examples=8, rows=8, level=LEVELS.index("persistence"), patience=60.0),
        Profile(name="dev", examples=15, rows=6, costly=2, budget=5.0),
        Profile(name="ci", examples=30, rows=12, costly=3),
        Profile(name="nightly", examples=300, rows=40, costly=10, patience=600.0),
        Profile(name="release", examples=30, rows=40, costly=3, patience=600.0),
    )
}
"""Every profile by its name, from the quickest to the closest; `release` is what a certificate is made from."""
