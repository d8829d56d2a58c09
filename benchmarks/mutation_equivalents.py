"""Changes that nobody should notice, found by reading the changes that nobody noticed: each with its reason."""

from benchmarks.mutation_sites import Mutation

_REASONS: dict[tuple[str, str, str], str] = {}
"""Why, by the module, the line that was removed and the one that was added."""


def reason(mutation: Mutation) -> str:
    """Return why a change is set aside; empty if it is not."""
    return _REASONS.get((mutation.module, mutation.removed, mutation.added), "")
