"""Which differences between a file and a model are allowed, and the refusal of those that are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from nameplate_config.wording import sentences
from nameplate_model._placement import any_matches
from nameplate_model._report import LoadReport, Verdict
from nameplate_model.errors import MismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which differences between the keys of a file and those of a model are allowed.

    Attributes:
        strict: Whether any difference is an error that the other fields do not allow.
        allow_missing: Patterns, as in a shell, of keys that the file may lack.
        allow_unexpected: Patterns of keys that the file may have on top.
        ignore_mismatched_sizes: Whether a tensor of another shape counts as missing.
        head_prefixes: Beginnings of keys that a body ↔ head transfer may add or drop; empty if this is none.
        body: The attribute that holds the body if another class saved the file; the rest is head.
        ignored_missing: Regular expressions of keys whose absence the class does not care for.
        ignored_unexpected: Regular expressions of keys that the class leaves in the file.
    """

    strict: bool = True
    allow_missing: Sequence[str] = ()
    allow_unexpected: Sequence[str] = ()
    ignore_mismatched_sizes: bool = False
    head_prefixes: Sequence[str] = ()
    body: str = ""
    ignored_missing: Sequence[str] = ()
    ignored_unexpected: Sequence[str] = ()

    def report(self, model: str, source: str, verdict: Verdict, renamed: Sequence[tuple[str, str]] = ()) -> LoadReport:
        """Return the report of what was found, seen by this policy."""
        ignored_missing = {key for key in verdict.missing if any_matches(self.ignored_missing, key)}
        ignored_unexpected = {key for key in verdict.unexpected if any_matches(self.ignored_unexpected, key)}
        missing = sorted(set(verdict.missing) - ignored_missing)
        unexpected = sorted(set(verdict.unexpected) - ignored_unexpected)
        heads = self._heads(verdict)
        return LoadReport(
            model=model,
            source=source,
            loaded=tuple(sorted(verdict.loaded)),
            missing=tuple(missing),
            unexpected=tuple(unexpected),
            mismatched=tuple(sorted(verdict.mismatched, key=lambda each: each.name)),
            transferred=tuple(key for key in sorted([*missing, *unexpected]) if key in heads),
            ignored=tuple(sorted(ignored_missing | ignored_unexpected)),
            renamed=tuple(sorted(renamed)),
        )

    def refuses(self, report: LoadReport) -> bool:
        """Whether the difference that a report describes is an error."""
        if report.mismatched and not self.ignore_mismatched_sizes:
            return True
        if not self.strict:
            return False
        moved = set(report.transferred)
        missing = [key for key in report.missing if key not in moved and not _allowed(key, self.allow_missing)]
        unexpected = [key for key in report.unexpected if key not in moved and not _allowed(key, self.allow_unexpected)]
        return bool(missing or unexpected)

    def _heads(self, verdict: Verdict) -> set[str]:
        """Return the keys on one side only that a body ↔ head transfer explains."""
        one_sided = {*verdict.missing, *verdict.unexpected}
        found = {key for key in one_sided if any(key.startswith(prefix) for prefix in self.head_prefixes)}
        if self.body and verdict.loaded:
            prefix = f"{self.body}."
            if any(key.startswith(prefix) for key in verdict.loaded):  # the model has a head: what is not body is head
                found |= {key for key in verdict.missing if not key.startswith(prefix)}
            else:
                found |= set(verdict.unexpected)
        return found


def refusal(report: LoadReport, where: str) -> MismatchError:
    """Return the error that lists what does not fit, and the ways to allow it."""
    relaxed = {
        "allow_missing=[…]": bool(report.missing),
        "allow_unexpected=[…]": bool(report.unexpected),
        "ignore_mismatched_sizes=True": bool(report.mismatched),
    }
    ways = " and ".join(way for way, needed in relaxed.items() if needed)
    head = f"{where} does not fit {report.model}; no model is returned."
    fitting = f"{len(report.loaded)} tensors fit."
    return MismatchError(sentences(head, *report.lines(), fitting, f"If this is meant, pass {ways}."), report)


def _allowed(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
