"""The size of a stack: a list of equal linear layers without a bias, the same model in each library.

No torch here: what starts programs stays small, or they would begin with its memory as their peak.
"""

from dataclasses import dataclass
from typing import Any

_FLOAT = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a stack of float32.

    Attributes:
        tensors: How many; a power of two.
        size: Bytes of all of them together; a power of two.
    """

    tensors: int
    size: int

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of its config in either library."""
        elements = self.size // _FLOAT // self.tensors
        rows = 1 << (elements.bit_length() // 2)
        return {"tensors": self.tensors, "rows": rows, "columns": elements // rows}
