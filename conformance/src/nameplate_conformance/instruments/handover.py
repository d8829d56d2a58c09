"""Classes behind texts: modules that exist for the length of a block, were never imported, and hand over one object.

A law that asks what is imported, and when, needs a module that nobody has imported yet. Those of the architecture
itself have been; and a class that a test defines in a function has none that could be imported at all.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

_numbers = itertools.count()


class Handover(MetaPathFinder, Loader):
    """Finds the modules of one block.

    Attributes:
        imported: The names of the modules that were executed, once for every time.
    """

    def __init__(self, objects: Mapping[str, object]) -> None:
        self._objects = dict(objects)
        self.imported: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is one of ours."""
        del path, target
        return spec_from_loader(fullname, self) if fullname in self._objects else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the object into the module."""
        self.imported.append(module.__name__)
        module.__dict__["Handed"] = self._objects[module.__name__]

    def times(self, text: str) -> int:
        """Return how often the module of a text was executed."""
        return self.imported.count(text.partition(":")[0])


@contextmanager
def unimported(*objects: object) -> Iterator[tuple[Handover, list[str]]]:
    """Provide for each object a text ``"module:Name"`` that stands for it, its module not imported yet."""
    names = [f"conformance_handed_over_{next(_numbers)}" for _ in objects]
    handover = Handover(dict(zip(names, objects, strict=True)))
    sys.meta_path.append(handover)
    try:
        yield handover, [f"{name}:Handed" for name in names]
    finally:
        sys.meta_path.remove(handover)
        for name in names:
            sys.modules.pop(name, None)
