"""What the source of a module says about others, without running it: its imports, and the data files it names.

Reading is bounded: a hostile file costs a fraction of a second and of 64 MiB, then it is refused.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nameplate_auto.errors import RemoteCodeError
from nameplate_config.code import MOST_UNITS_OF_ONE, data_names, units
from nameplate_config.wording import sentences

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_UTF_8 = frozenset({b"utf-8", b"utf8", b"utf_8"})


@dataclass(frozen=True, slots=True)
class RelativeImport:
    """One relative import.

    Attributes:
        level: The number of its dots.
        module: The parts of what follows them.
        names: What is imported from there.
        line: Where it stands.
        guarded: Whether the module may be imported without it: it stands in a function, a condition or a `try`.
    """

    level: int
    module: tuple[str, ...]
    names: tuple[str, ...]
    line: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What a module's source says.

    Attributes:
        relative: Its relative imports, in the order of its lines.
        absolute: The top-level packages that it cannot be imported without, with their first lines.
        data: The names of files that it may read beside itself.
        exports: The texts in its `__all__`.
        bound: The names that it may bind, other than to whole packages by ``import package``; ``"*"`` is among them if
            it imports all names of another module.
    """

    relative: tuple[RelativeImport, ...]
    absolute: tuple[tuple[str, int], ...]
    data: tuple[str, ...]
    exports: tuple[str, ...]
    bound: frozenset[str]


def decoded(data: bytes, where: str) -> str:
    """Return the text of a source.

    Raises:
        RemoteCodeError: If it is not UTF-8, or says that it is not: another codec would have to be imported for it.
    """
    for line in data.split(b"\n", 2)[:2]:
        cookie = _COOKIE.match(line)
        if cookie and cookie[1].lower() not in _UTF_8:
            message = f"{where} declares another encoding than UTF-8. Only UTF-8 is read."
            raise RemoteCodeError(message)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{where} is not UTF-8 at byte {error.start}. Only UTF-8 is read."
        raise RemoteCodeError(message) from error


_MOST_KEPT = 1_000

_kept: dict[bytes, Facts] = {}
"""What sources say that were read before, by their sha256: parsing is most of what a second load would cost."""


def read_facts(data: bytes, where: str) -> Facts:
    """Return what a source says; one that was read before is not parsed again.

    Raises:
        RemoteCodeError: If it is too large, or is no Python.
    """
    key = hashlib.sha256(data).digest()
    facts = _kept.get(key)
    if facts is None:
        facts = _parsed(data, where)
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key] = facts
    return facts


def _parsed(data: bytes, where: str) -> Facts:
    if units(data) > MOST_UNITS_OF_ONE:
        message = sentences(
            f"{where} is larger than what is read as code, or denser: {units(data):,} words and marks.",
            f"At most {MOST_UNITS_OF_ONE:,} are read. Publish it as a package that is installed.",
        )
        raise RemoteCodeError(message)
    text = decoded(data, where)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        message = f"{where}:{error.lineno or 1} is no Python that this interpreter understands."
        raise RemoteCodeError(message) from error
    except (ValueError, RecursionError, MemoryError) as error:
        message = f"{where} cannot be parsed: it holds a NUL, or is nested too deeply."
        raise RemoteCodeError(message) from error
    imports = list(_imports(tree))
    return Facts(
        relative=tuple(_relative(node, guarded=guarded) for node, guarded in imports if _is_relative(node)),
        absolute=tuple(_absolute(imports)),
        data=tuple(data_names(tree)),
        exports=tuple(_exports(tree)),
        bound=frozenset(_bound(tree)),
    )


_Import = ast.Import | ast.ImportFrom


def _imports(tree: ast.Module) -> Iterator[tuple[_Import, bool]]:
    """Yield every import, and whether the module may do without it."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    found = []
    while waiting:
        node, guarded = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append((node, guarded))
        inside = guarded or not isinstance(node, (ast.Module, ast.ClassDef, ast.With))
        waiting.extend((child, inside) for child in ast.iter_child_nodes(node) if isinstance(child, _MAY_HOLD))
    yield from sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))


_MAY_HOLD = (ast.stmt, ast.excepthandler, ast.match_case)
"""The nodes that an import can stand in."""


def _is_relative(node: _Import) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


def _relative(node: _Import, *, guarded: bool) -> RelativeImport:
    assert isinstance(node, ast.ImportFrom)
    module = tuple(node.module.split(".")) if node.module else ()
    return RelativeImport(node.level, module, tuple(each.name for each in node.names), node.lineno, guarded)


def _absolute(imports: list[tuple[_Import, bool]]) -> Iterator[tuple[str, int]]:
    seen = set()
    for node, guarded in imports:
        if guarded or _is_relative(node):
            continue
        dotted = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for top in (name.partition(".")[0] for name in dotted):
            if top not in seen:
                seen.add(top)
                yield top, node.lineno


def _exports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(each, ast.Name) and each.id == "__all__" for each in targets):
            yield from (
                each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def _bound(tree: ast.Module) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _SCOPES):  # what it binds inside is its own, unless it says otherwise
            yield node.name
            yield from (name for each in ast.walk(node) if isinstance(each, ast.Global) for name in each.names)
            continue
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        waiting.extend(ast.iter_child_nodes(node))


_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
