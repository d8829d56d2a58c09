"""The record of a run, written while it goes on: one line of JSON for each verdict, read back exactly.

The first line says under which circumstances, the last one that the run came to its end: a journal without it is of a
run that was cut short. Imports neither torch nor hypothesis, so that a journal can be read anywhere.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from nameplate_config import ConfigError
from nameplate_config.files import read_file, replace_file
from nameplate_config.strict_json import parse_object
from nameplate_config.wording import as_code, brief, sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.records.apart import Apart
from nameplate_conformance.records.circumstances import Circumstances, Subject
from nameplate_conformance.records.encoded import decoded, encoded
from nameplate_conformance.result import Report, Result, Status

LARGEST = 1 << 28
"""A file of records has at most this many bytes."""

SCHEMA = "report-2026.12.json"
"""The name of the published schema, of JSON Schema's draft 2020-12, that records and summaries keep to."""

FORMAT = 1
"""What the first line of a journal says; another number is another format."""


class RecordError(ConformanceError):
    """A file of records that cannot be read; the message names file and line."""


RecordError.__module__ = "nameplate_conformance"


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal holds.

    Attributes:
        circumstances: What its first line says.
        report: The verdicts.
        complete: Whether the run came to its end.
    """

    circumstances: Circumstances
    report: Report
    complete: bool


# ---- one result


def result_to_json(result: Result) -> dict[str, Any]:
    """Return a result as JSON that `result_from_json` reads exactly, with the counterexample as people read it.

    Example:
        >>> result = Result(law="S01", architecture="mlp", device="cpu", status=Status.FAIL, kwargs={"layers": (1,)})
        >>> result_to_json(result)["kwargs"], result_to_json(result)["call"]
        ({'layers': {'__tuple__': [1]}}, '(layers=(1,))')
    """
    written = {each.name: getattr(result, each.name) for each in fields(Result)}
    return {
        **written,
        "id": result.id,
        "status": result.status.value,
        "evidence": dict(result.evidence),
        "kwargs": None if result.kwargs is None else {name: encoded(value) for name, value in result.kwargs.items()},
        "call": call_of(result),
        "blocked_by": list(result.blocked_by),
        "apart": [_apart_to_json(each) for each in result.apart],
    }


def result_from_json(value: Mapping[str, Any]) -> Result:
    """Return the result that `result_to_json` wrote.

    Nothing is imported: an argument whose class has not been imported yet stays `encoded.Unread`.

    Raises:
        RecordError: If it is no such JSON.
    """
    require_schema(value, "result")
    kwargs = value["kwargs"]
    read: dict[str, Any] = {each.name: value[each.name] for each in fields(Result)}
    try:
        read["kwargs"] = None if kwargs is None else {name: decoded(item) for name, item in kwargs.items()}
    except ConfigError as error:
        message = f"the result of {value['law']} has an argument that cannot be read: {brief(error)}"
        raise RecordError(message) from error
    read["status"] = Status(value["status"])
    read["blocked_by"] = tuple(value["blocked_by"])
    read["apart"] = tuple(map(_apart_from_json, value["apart"]))
    return Result(**read)


def call_of(result: Result) -> str:
    """Return the call that makes the config of the counterexample, as Python source; empty if there is none."""
    if result.kwargs is None:
        return ""
    given = (f"{name}={as_code(value)}" for name, value in result.kwargs.items())
    return f"{result.head}({', '.join(given)})"


def _apart_to_json(apart: Apart) -> dict[str, Any]:
    written = {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(apart).items()}
    return {**written, "before": _numbers(apart.before), "after": _numbers(apart.after)}


def _apart_from_json(value: Mapping[str, Any]) -> Apart:
    numbers = {name: tuple(map(_number, value[name])) for name in ("before", "after")}
    places = {name: tuple(value[name]) for name in ("shape", "at")}
    read: dict[str, Any] = {**value, **numbers, **places}
    return Apart(**read)


def _numbers(values: Iterable[float]) -> list[float | str]:
    return [value if abs(value) < float("inf") else str(value) for value in values]


def _number(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value


# ---- circumstances


def circumstances_to_json(circumstances: Circumstances) -> dict[str, Any]:
    """Return circumstances as JSON."""
    written = asdict(circumstances)
    return {**written, **{name: list(written[name]) for name in ("devices", "present", "subjects")}}


def circumstances_from_json(value: Mapping[str, Any]) -> Circumstances:
    """Return the circumstances that `circumstances_to_json` wrote.

    Raises:
        RecordError: If it is no such JSON.
    """
    require_schema(value, "circumstances")
    subjects = tuple(Subject(**each) for each in value["subjects"])
    devices = {name: tuple(value[name]) for name in ("devices", "present")}
    read: dict[str, Any] = {**value, **devices, "subjects": subjects}
    return Circumstances(**read)


def report_under(circumstances: Circumstances, results: Iterable[Result]) -> Report:
    """Return the report of results that were found under circumstances."""
    return Report(
        spec=circumstances.spec,
        profile=circumstances.profile,
        versions=circumstances.versions,
        results=list(results),
        seed=circumstances.seed,
        started=circumstances.started,
    )


# ---- writing


class JournalWriter:
    """Writes the journal of a run as its verdicts arrive.

    As a context manager it is closed in the end; if the block fails, the journal stays that of a run cut short.

    Args:
        path: The file, replaced if it is there.
        circumstances: What is known of the run before it begins.
        kept: Results of a run that this one goes on with. They are in the new file before the old one is gone.
    """

    def __init__(self, path: Path, circumstances: Circumstances, kept: Iterable[Result] = ()) -> None:
        self._counts: Counter[str] = Counter()
        replace_file(path, [_header_line(circumstances), *map(self._counted, kept)])
        self._file: IO[bytes] = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()

    def add(self, result: Result) -> None:
        """Write one result; it is in the file when this returns."""
        self._write(self._counted(result))

    def close(self) -> None:
        """Write that the run came to its end. Closing again does nothing."""
        if not self._file.closed:
            self._write(_footer_line(self._counts))
            self._file.close()

    def _counted(self, result: Result) -> bytes:
        self._counts[result.status.value] += 1
        return _result_line(result)

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()


def journal_lines(report: Report, circumstances: Circumstances) -> Iterator[bytes]:
    """Yield the lines of the journal of a run that came to its end."""
    yield _header_line(circumstances)
    yield from map(_result_line, report.results)
    yield _footer_line(Counter(result.status.value for result in report.results))


def _header_line(circumstances: Circumstances) -> bytes:
    return _line({"kind": "header", "format": FORMAT, **circumstances_to_json(circumstances)})


def _result_line(result: Result) -> bytes:
    return _line({"kind": "result", **result_to_json(result)})


def _footer_line(counts: Mapping[str, int]) -> bytes:
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return _line({"kind": "footer", "results": sum(counts.values()), "counts": dict(counts), "finished": finished})


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


# ---- reading


def read_journal(path: Path) -> Journal:
    """Read a journal, also one whose last line was torn when the run was cut short.

    Raises:
        RecordError: If the file is no journal; names the line.
    """
    lines = read_records(path).split(b"\n")
    if not lines[-1]:
        lines.pop()
    reader = _Reader(path.name)
    for number, line in enumerate(lines, start=1):
        reader.take(number, line, last=number == len(lines))
    return reader.journal()


def read_records(path: Path) -> bytes:
    """Return the bytes of a file of records.

    Raises:
        RecordError: If there is no such file, or it is too large.
    """
    try:
        return read_file(path, limit=LARGEST, too_large=RecordError)
    except OSError as error:
        message = f"{path} cannot be read: {brief(error)}"
        raise RecordError(message) from error


class _Reader:
    """Takes the lines of a journal one by one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._circumstances: Circumstances | None = None
        self._results: list[Result] = []
        self._complete = False

    def take(self, number: int, line: bytes, *, last: bool) -> None:
        """Take one line; only the last may be torn."""
        where = f"{self._name}, line {number},"
        try:
            record = parse_object(line, where=where, error=RecordError)
        except RecordError:
            if last and self._circumstances is not None and not self._complete:
                return
            raise
        try:
            self._add(record.pop("kind", None), record)
        except RecordError as error:
            message = f"{where} {error}"
            raise RecordError(message) from error

    def _add(self, kind: object, record: dict[str, Any]) -> None:
        if self._complete:
            message = "follows the line that ends the journal; a file holds one run."
            raise RecordError(message)
        if (self._circumstances is None) != (kind == "header"):
            message = "is not the header that a journal begins with." if kind != "header" else "is a second header."
            raise RecordError(message)
        if kind == "header":
            self._circumstances = _header(record)
        elif kind == "result":
            self._results.append(result_from_json(record))
        else:
            require_schema({"kind": kind, **record}, "footer")
            self._finish(record["results"])

    def _finish(self, written: int) -> None:
        if written != len(self._results):
            message = f"says that there are {written} results before it, found {len(self._results)}."
            raise RecordError(message)
        self._complete = True

    def journal(self) -> Journal:
        """Return what was read."""
        if self._circumstances is None:
            message = f"{self._name} is empty, so it is no journal."
            raise RecordError(message)
        return Journal(self._circumstances, report_under(self._circumstances, self._results), self._complete)


def _header(record: dict[str, Any]) -> Circumstances:
    number = record.pop("format", None)
    if number != FORMAT:
        message = sentences(
            f"says that the journal has format {number!r}, expected {FORMAT}.",
            "Read it with the version of nameplate-conformance that wrote it.",
        )
        raise RecordError(message)
    return circumstances_from_json(record)


# ---- the schema


def schema() -> dict[str, Any]:
    """Return the published JSON Schema of summaries; its definitions are those of the records of a journal."""
    text = files("nameplate_conformance").joinpath("schema", SCHEMA).read_bytes()
    return parse_object(text, where=SCHEMA)


def require_schema(value: Mapping[str, Any], definition: str) -> None:
    """Make sure that JSON keeps to a definition of the published schema.

    Raises:
        RecordError: If it does not; names the place.
    """
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - only who reads a file needs it

    problem = best_match(_validator(definition).iter_errors(value))
    if problem is not None:
        place = f"at {problem.json_path.removeprefix('$.')}: " if problem.path else ""
        message = f"is no {definition} of a run: {place}{brief(ValueError(problem.message))}."
        raise RecordError(message)


@lru_cache(maxsize=8)
def _validator(definition: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - as above

    whole = schema()
    return Draft202012Validator({"$defs": whole["$defs"], "$ref": f"#/$defs/{definition}"})
