"""Where a module can be changed, and the changed modules: the operators are those of cosmic-ray.

Left out is what no behaviour hangs on: annotations, assertions, decorators for the type checker or for speed, options
of decorators, and the words of errors. Of the operators that put any other one in the place of `<`, only the nearest
are used: most of the others raise at once, and would only make the rate look better.
"""

import ast
import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

_OPERATORS = (
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer", "NumberReplacer", "RemoveDecorator"),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_USub"),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Add", "FloorDiv_Mul", "Div_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Mod_Add", "BitOr_BitAnd", "BitAnd_BitOr", "Pow_Mul")),
)
_PASSIVE_DECORATORS = ("override", "overload", "final", "lru_cache", "cache", "cached_property", "no_type_check")
_WORDING = ("sentences", "shown", "listed", "did_you_mean")
_HEADERS = ("if_stmt", "while_stmt", "for_stmt", "with_stmt", "try_stmt", "funcdef", "classdef", "decorated", "suite")

Node = Any
"""A node of the tree that the operators work on, which is parso's."""

Span = tuple[int, int]
"""The first and the last line."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A module with one change.

    Attributes:
        module: Its full name.
        operator: What was done.
        lines: Those of the statement that was changed.
        removed: What stood there.
        added: What stands there now.
        source: The whole changed module.
    """

    module: str
    operator: str
    lines: Span
    removed: str
    added: str
    source: str


@dataclass(frozen=True, slots=True)
class _Site:
    operator: str
    occurrence: int
    line: int
    lines: Span


def sampled(module: str, path: Path, *, most: int, seed: int) -> list[Mutation]:
    """Return some mutations of a module, at most one a line, always the same for the same seed.

    Args:
        module: Its full name.
        path: Its file.
        most: How many.
        seed: Decides which.
    """
    source = path.read_text(encoding="utf-8")
    sites = [site for operator in _OPERATORS for site in _sites(source, operator)]
    random.Random(f"{seed} {module}").shuffle(sites)  # noqa: S311 - nothing secret
    found: list[Mutation] = []
    taken: set[int] = set()
    for site in sites:
        if len(found) == most:
            break
        mutation = None if site.line in taken else _mutation(module, source, site)
        if mutation is not None:
            found.append(mutation)
            taken.add(site.line)
    return found


def _sites(source: str, name: str) -> Iterator[_Site]:
    """Yield the places where an operator applies, numbered as `mutate_code` numbers them."""
    operator = get_operator(f"core/{name}")()
    occurrence = -1
    for node in ast_nodes(get_ast(source)):
        for start, _stop in operator.mutation_positions(node):
            occurrence += 1
            if not _is_passive(node, name):
                yield _Site(name, occurrence, start[0], _statement(node, start[0]))


def _mutation(module: str, source: str, site: _Site) -> Mutation | None:
    mutated = mutate_code(source, get_operator(f"core/{site.operator}")(), site.occurrence)
    try:
        if mutated is None or ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    changes = [line for line in difflib.ndiff(source.splitlines(), mutated.splitlines()) if line[:2] in {"- ", "+ "}]
    removed, added = ("\n".join(line[2:].strip() for line in changes if line[0] == sign) for sign in "-+")
    return Mutation(module, site.operator, site.lines, removed, added, mutated)


def _is_passive(node: Node, operator: str) -> bool:
    """Whether no behaviour, or only the words of an error, hang on a node."""
    below, above = node, node.parent
    if node.type == "decorator" and any(name in node.get_code() for name in _PASSIVE_DECORATORS):
        return True
    if operator == "ReplaceBinaryOperator_BitOr_BitAnd" and _is_outside_functions(node):
        return True  # a union of types
    if node.type == "assert_stmt" or _is_for_types(node):
        return True
    while above is not None:
        if _is_annotation(below, above) or _is_words(above) or _is_safety(above) or _is_for_types(above):
            return True
        below, above = above, above.parent
    return False


def _is_annotation(below: Node, above: Node) -> bool:
    if above.type == "tfpdef":
        return below is above.children[2]
    if above.type == "annassign":
        return below is above.children[1]
    return above.type == "funcdef" and below is getattr(above, "annotation", None)


def _is_words(above: Node) -> bool:
    if above.type in {"raise_stmt", "fstring"}:
        return True
    if above.type not in {"expr_stmt", "atom_expr", "power"}:
        return False
    return above.get_first_leaf().value in ({"message"} if above.type == "expr_stmt" else _WORDING)


def _is_safety(above: Node) -> bool:
    """Whether a node guards against our own mistakes, or says how a decorator works: `frozen=True`, `maxsize=1`."""
    if above.type == "argument":
        return above.children[0].get_code(include_prefix=False) == "strict"
    return above.type in {"assert_stmt", "decorator"}


def _is_for_types(node: Node) -> bool:
    """Whether nothing but a type checker reads what is below a node."""
    if node.type == "if_stmt":
        return node.children[1].get_code(include_prefix=False) == "TYPE_CHECKING"
    return node.type == "decorated" and "@overload" in node.children[0].get_code()


def _is_outside_functions(node: Node) -> bool:
    while node is not None and node.type not in {"funcdef", "lambdef"}:
        node = node.parent
    return node is None


def _statement(node: Node, line: int) -> Span:
    """Return the lines of the smallest statement, or header of one, around a node."""
    if node.type in _HEADERS:
        return line, line
    while node.parent is not None and node.parent.type not in {*_HEADERS, "file_input"}:
        node = node.parent
    return node.start_pos[0], max(node.get_last_leaf().start_pos[0], line)
