"""The examples of the documentation run as tests: code blocks on pages, doctests in docstrings."""

import contextlib
import sys
import tempfile
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser

_LEAVE = "__leave__"


class Script(Document):
    """A page whose code blocks are one script, run as a module of its own."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        # What a class defined on the page needs to resolve its annotations or to be pickled.
        place = Path(path)
        module = ModuleType(f"{place.stem.lower()}_in_{place.parent.name.replace('-', '_')}")
        sys.modules[module.__name__] = module
        self.namespace = module.__dict__
        self.ran: set[int] = set()

    def run_until(self, start: int) -> None:
        """Run the code blocks before a place in the text that have not run, and count the one there as run."""
        for example in self.examples():
            if example.start < start and example.start not in self.ran:
                example.evaluate()
                self.ran.add(example.start)
        self.ran.add(start)


def enter_folder(namespace: dict[str, Any]) -> None:
    """Run what follows in a folder of its own: examples save to relative paths."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(folder))
        namespace[_LEAVE] = stack.pop_all().close


def leave_folder(namespace: dict[str, Any]) -> None:
    """Go back to where the tests run, and remove the folder."""
    namespace.pop(_LEAVE)()


PAGES = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "SCALE.md"],
    document_types={".md": Script},
    setup=enter_folder,
    teardown=leave_folder,
)

# Sybil imports the module that holds a docstring by its installed name, so its examples see the module's own
# names and there is no second copy of it.
DOCSTRINGS = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)],
    patterns=["src/*/*.py", "src/*/*/*.py"],
    setup=enter_folder,
    teardown=leave_folder,
)

pytest_collect_file = (PAGES + DOCSTRINGS).pytest()


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the beginning of a page before a later code block of it: another worker may have taken that part."""
    example = getattr(item, "example", None)
    if isinstance(getattr(example, "document", None), Script):
        example.document.run_until(example.start)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Walk our packages as plain folders.

    A package would be imported by pytest before its first example, where Sybil cannot report what went wrong.
    """
    if "src" in path.parts and (path / "__init__.py").is_file():
        return pytest.Dir.from_parent(parent, path=path)
    return None
