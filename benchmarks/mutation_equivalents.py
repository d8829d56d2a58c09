"""Changes that nobody should notice, found by reading the changes that nobody noticed: each with its reason."""

from benchmarks.mutation_sites import Mutation

_SAME = "the meaning is the same"
_WORDS = "only the words of an error or a hint change"
_LIMIT = "a limit against abuse is a little more generous"

_REASONS: dict[tuple[str, str], str] = {
    # One name that must be there is `required`, or the only one of `anyOf`.
    ("nameplate_config._json_schema", "if each.required and len(names) != 1:"): _SAME,
    # A key that is absent is not None, whatever stands in its place.
    ("nameplate_model._construct", 'kwargs.get("device", 1) is None'): _SAME,
    ("nameplate_auto._heads", "for each in heads if each is not head or candidates_for("): _WORDS,
    ("nameplate_config._unions", "offset * steps[0] for offset in (-1, 0, 2, 2)"): _WORDS,
    ("nameplate_model._index", "_BUDGET = Budget(keys= 3 * MOST_TENSORS"): _LIMIT,
}
"""Why, by the module and a part of what was added."""


def reason(mutation: Mutation) -> str:
    """Return why a change is set aside; empty if it is not."""
    found = (why for (module, part), why in _REASONS.items() if module == mutation.module and part in mutation.added)
    return next(found, "")
