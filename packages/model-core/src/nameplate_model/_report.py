"""What a load did with every key: the record that is returned, raised and read.

Only the record, its text and the likely causes; who decides what is allowed is `_load`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nameplate_config.wording import nearest, sentences

_LINES = 5

_LOOKED_AT = 1000
"""How many names are searched for a similar one: a hostile file may hold a million."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A tensor whose shape or kind of dtype is not the model's.

    Attributes:
        name: Its key.
        expected: Shape and dtype in the model, as text.
        found: Shape and dtype in the file, as text.
    """

    name: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of each key, before anybody has decided whether that is allowed; fields as in `LoadReport`."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[Mismatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """The verdict on every key of a load. All names are sorted.

    Attributes:
        model: The name of the model class.
        source: How the caller called the checkpoint.
        loaded: Keys whose values come from the file, those of tied tensors included.
        missing: Keys that the file lacks; their tensors have the values that a plain construction gives.
        unexpected: Keys of the file that the model has no place for.
        mismatched: Keys whose shape or kind of dtype differs; treated as missing.
        transferred: The missing and unexpected keys that a declared body ↔ head transfer explains.
        ignored: Keys on one side only of which the class says that they do not matter.
        renamed: The names of tensors that the file has under another name, with that one.
        built_for_real: Why the model could not be built without initialising it first, or None.
    """

    model: str
    source: str
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    transferred: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    built_for_real: str | None = None

    @property
    def exact(self) -> bool:
        """Whether the file and the model have the same keys, shapes and kinds of dtype."""
        return not (self.missing or self.unexpected or self.mismatched)

    def verdict(self, key: str) -> str:
        """Return what became of a key: one of the names of the fields, or ``"unknown"``.

        Example:
            >>> LoadReport(model="Net", source="folder", loaded=("fc.bias",)).verdict("fc.bias")
            'loaded'
        """
        if any(each.name == key for each in self.mismatched):
            return "mismatched"
        fields = {"loaded": self.loaded, "transferred": self.transferred, "missing": self.missing}
        fields |= {"unexpected": self.unexpected, "ignored": self.ignored}
        return next((name for name, keys in fields.items() if key in keys), "unknown")

    def __getitem__(self, key: str) -> Any:
        """Answer Transformers' keys for `output_loading_info`.

        `missing_keys` and `unexpected_keys` are sets of names, `mismatched_keys` a set of
        ``(name, found, expected)`` and `error_msgs` an empty list: an error is raised, never listed.
        """
        return self._as_loading_info()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_loading_info())

    def keys(self) -> Iterator[str]:
        """Return Transformers' keys, so that ``dict(report)`` is its loading info."""
        return iter(self)

    def _as_loading_info(self) -> Mapping[str, Any]:
        return {
            "missing_keys": set(self.missing),
            "unexpected_keys": set(self.unexpected),
            "mismatched_keys": {(each.name, each.found, each.expected) for each in self.mismatched},
            "error_msgs": [],
        }

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        if self.exact:
            head = f"all {total} tensors of {self.model} were loaded from {self.source}."
        else:
            head = f"{len(self.loaded)} of {total} tensors of {self.model} were loaded from {self.source}."
        real = f"It was built for real first: {self.built_for_real}." if self.built_for_real else ""
        return sentences(head, *self.lines(), real)

    def lines(self) -> Iterator[str]:
        """Yield one line for each kind of difference, and the likely cause."""
        yield from _some("missing from the file", self.missing)
        yield from _some("in the file only", self.unexpected)
        mismatched = [f"{each.name} (expected {each.expected}, found {each.found})" for each in self.mismatched]
        yield from _some("different", mismatched)
        yield from causes(self.missing, self.unexpected)


def _some(label: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        rest = f" and {len(names) - _LINES} more" if len(names) > _LINES else ""
        yield f"{label}: {', '.join(names[:_LINES])}{rest}"


def causes(missing: Sequence[str], unexpected: Sequence[str]) -> Iterator[str]:
    """Yield what most likely explains the difference between the keys of a file and those of a model.

    Example:
        >>> list(causes(["fc.bias"], ["module.fc.bias"]))
        ["What is in the file only starts with 'module.', which the model's keys lack."]
    """
    if not missing or not unexpected:
        return
    wanted, found = set(missing), set(unexpected)
    prefix = _prefix_between(found, wanted)
    if prefix:
        yield f"What is in the file only starts with {prefix!r}, which the model's keys lack."
        return
    prefix = _prefix_between(wanted, found)
    if prefix:
        yield f"What is missing starts with {prefix!r}, which the keys in the file lack."
        return
    near = nearest(missing[0], unexpected[:_LOOKED_AT])
    if near:
        yield f"{near!r} in the file may be {missing[0]!r}."


def _prefix_between(longer: set[str], shorter: set[str]) -> str:
    """Return the prefix that, put before some of *shorter*, gives all of *longer*."""
    sample = min(longer, key=len)
    for name in shorter:
        if sample.endswith(f".{name}"):
            prefix = sample[: -len(name)]
            if all(key.startswith(prefix) and key[len(prefix) :] in shorter for key in longer):
                return prefix
    return ""
