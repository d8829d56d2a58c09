"""`Apart`: two tensors that should be equal and are not, small enough to keep in a report and to draw.

Only the record and what can be read off it; tensors become records in `grid`, and pictures in the package `report`.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

MOST_VALUES = 1024
"""How many values of a tensor a record keeps at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A tensor before and after, one of which should have been the other.

    Of a tensor with more than `MOST_VALUES` values, each value that is kept stands for a block of its neighbours, and
    is the one of them that differs most: what is lost to the grid are values that agree better than those beside them.

    Attributes:
        name: The name of the tensor.
        dtype: Its dtype, without ``torch.``; ``float32 → float16`` if it changed.
        shape: Its shape.
        columns: How many values stand in a row of the grid.
        before: The values that are kept, row by row.
        after: The values in the same places.
        at: The places of the values in the flattened tensor; empty if all are kept.
        differing: How many values of the whole tensor have other bits.

    Example:
        >>> apart = Apart(
        ...     name="bias", dtype="float32", shape=(3,), columns=3, before=(1, 2, 3), after=(1, 2, 3.5), differing=1
        ... )
        >>> apart.largest_difference, apart.index(2)
        (0.5, (2,))
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    columns: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    at: tuple[int, ...] = ()
    differing: int = 0

    @property
    def total(self) -> int:
        """How many values the whole tensor has."""
        return math.prod(self.shape)

    @property
    def differences(self) -> tuple[float, ...]:
        """After minus before; 0 where both are the same, and NaN where only one can be subtracted from."""
        return tuple(map(difference, self.before, self.after))

    @property
    def largest_difference(self) -> float:
        """The largest size of a difference that is finite; 0 if there is none."""
        return max((abs(each) for each in self.differences if math.isfinite(each)), default=0.0)

    def index(self, position: int) -> tuple[int, ...]:
        """Return where in the tensor the value at a position of the grid stands."""
        flat = self.at[position] if self.at else position
        steps = [math.prod(self.shape[axis:]) for axis in range(len(self.shape) + 1)]
        return tuple(flat % outer // inner for outer, inner in pairwise(steps))


def difference(before: float, after: float) -> float:
    """Return after minus before; 0 for what is the same, infinities and NaN included.

    Example:
        >>> difference(math.inf, math.inf), difference(math.nan, math.nan), difference(1.0, math.nan)
        (0.0, 0.0, nan)
    """
    if before == after or (math.isnan(before) and math.isnan(after)):
        return 0.0
    return after - before
