"""Which packages take part in a run, and in which versions. Imports none of them."""

from functools import cache
from importlib.metadata import version

PACKAGES = ("nameplate-config", "nameplate-model", "nameplate-auto", "nameplate-conformance", "torch", "hypothesis")
"""The distributions whose versions a verdict depends on, beside the architecture's own."""


@cache
def _noted() -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in PACKAGES)


def versions() -> dict[str, str]:
    """Return the version of every package that takes part.

    Example:
        >>> "torch" in versions()
        True
    """
    return dict(_noted())
