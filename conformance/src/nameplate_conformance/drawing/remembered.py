"""What is computed once for each architecture, and forgotten with it."""

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from nameplate_conformance.architecture import Architecture

P = ParamSpec("P")
T = TypeVar("T")


def once_per_architecture(
    compute: Callable[Concatenate[Architecture, P], T],
) -> Callable[Concatenate[Architecture, P], T]:
    """Make a function of an architecture, and of arguments that can be keys, remember its answers.

    An architecture is known by its identity: it holds dicts and strategies, which have no hash.

    Args:
        compute: The function.

    Returns:
        The function with a memory; an exception is not remembered.
    """
    known: dict[int, dict[Any, T]] = {}

    @wraps(compute)
    def remembering(architecture: Architecture, *args: P.args, **kwargs: P.kwargs) -> T:
        key = id(architecture)
        if key not in known:
            known[key] = {}
            weakref.finalize(architecture, known.pop, key, None)
        answers, asked = known[key], (args, *sorted(kwargs.items()))
        if asked not in answers:
            answers[asked] = compute(architecture, *args, **kwargs)
        return answers[asked]

    return remembering
