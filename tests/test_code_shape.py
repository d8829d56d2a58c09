"""The shape of our code is a law, not an opinion voiced in reviews.

Only what ruff cannot measure stands here: lines of code in functions and files, and names that say nothing.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import ROOT, members

LONGEST_FILE = 500
LONGEST_FUNCTION = 50
"""In lines of code: the signature counts; docstrings, comments and blank lines do not."""

MOST_PARAMETERS = 8
"""Besides `self` and `cls`, `*args` and `**kwargs`; ruff counts alike."""

SAYS_NOTHING = re.compile(r"_*(util|helper|common|manager)s?")
LEFT_OPEN = re.compile(r"\b(TODO|FIXME)\b")

FOLDERS = [
    *(member.folder / "src" for member in members()),
    *(ROOT / name for name in ("examples", "scripts")),
]
FOLDERS.append(ROOT / "benchmarks")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def blemishes(source: str, stem: str) -> Iterator[str]:
    """Yield what is out of shape in the text of a module called *stem*."""
    lines = source.splitlines()
    if SAYS_NOTHING.fullmatch(stem):
        yield f"the name {stem!r} does not say what belongs here"
    if len(lines) > LONGEST_FILE:
        yield f"{len(lines)} lines"
    for number, line in enumerate(lines, start=1):
        if LEFT_OPEN.search(line):
            yield f"line {number} leaves something open"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            yield from _function_blemishes(node, lines)


def _function_blemishes(function: Function, lines: list[str]) -> Iterator[str]:
    length = code_lines(function, lines)
    if length > LONGEST_FUNCTION:
        yield f"{function.name} has {length} lines of code"
    parameters = parameter_count(function)
    if parameters > MOST_PARAMETERS:
        yield f"{function.name} has {parameters} parameters"


def code_lines(function: Function, lines: list[str]) -> int:
    """Count the lines of a function that hold code."""
    body = lines[function.lineno - 1 : function.end_lineno]
    code = [line for line in body if line.strip() and not line.lstrip().startswith("#")]
    docstring = ast.get_docstring(function, clean=False) or ""
    quoted = [line for line in docstring.splitlines() if line.strip()]
    # The closing quotes of a docstring of several lines stand on a line of their own.
    return len(code) - len(quoted) - (docstring.count("\n") > 0)


def parameter_count(function: Function) -> int:
    """Count the parameters that a caller can name or place."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([each for each in named if each.arg not in {"self", "cls"}])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_code_keeps_its_shape(folder: Path) -> None:
    """No file or function is too long, no signature too wide, no name empty and nothing is left open."""
    found = [
        f"{file.relative_to(ROOT)}: {blemish}"
        for file in sorted(folder.rglob("*.py"))
        for blemish in blemishes(file.read_text(encoding="utf-8"), file.stem)
    ]

    assert found == []


def test_there_is_code_to_look_at() -> None:
    """Every source folder holds a module, so that the law above looks at something."""
    assert [folder for folder in FOLDERS if not any(folder.rglob("*.py"))] == []


def function(body: int, docstring: str = "") -> str:
    """Return a function with *body* lines of code after its signature."""
    lines = ["def f():", *([f'    """{docstring}"""'] if docstring else []), "    # why", ""]
    return "\n".join([*lines, *(["    pass"] * body)])


def test_a_long_function_is_reported() -> None:
    """A function of fifty-one lines is too long by one."""
    assert list(blemishes(function(50), "a")) == ["f has 51 lines of code"]


@pytest.mark.parametrize("docstring", ["", "One line.", "Several.\n\n    And more.\n    "])
def test_words_are_free(docstring: str) -> None:
    """Docstrings, comments and blank lines do not count as code."""
    assert list(blemishes(function(49, docstring), "a")) == []
    assert list(blemishes(function(50, docstring), "a")) == ["f has 51 lines of code"]


def test_a_long_file_is_reported() -> None:
    """A file of five hundred and one lines is too long by one."""
    assert list(blemishes("\n" * LONGEST_FILE, "a")) == []
    assert list(blemishes("\n" * (LONGEST_FILE + 1), "a")) == ["501 lines"]


def test_a_wide_signature_is_reported() -> None:
    """Nine parameters are too many, whether placed or named; `self` and the starred ones are free."""
    eight = "class A:\n    def f(self, a, b, /, c, d, *args, e, f, g, h{}, **kwargs): pass"

    assert list(blemishes(eight.format(""), "a")) == []
    assert list(blemishes(eight.format(", i"), "a")) == ["f has 9 parameters"]


@pytest.mark.parametrize("stem", ["utils", "_utils", "helpers", "helper", "common", "manager"])
def test_an_empty_name_is_reported(stem: str) -> None:
    """A module must be named after what it holds."""
    assert list(blemishes("", stem)) == [f"the name {stem!r} does not say what belongs here"]


@pytest.mark.parametrize("mark", ["TODO", "FIXME"])
def test_an_open_end_is_reported(mark: str) -> None:
    """What is not done is an issue, not a comment."""
    assert list(blemishes(f"X = 1  # {mark}: more", "a")) == ["line 1 leaves something open"]
