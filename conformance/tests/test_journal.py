"""A run as lines of JSON: exact, readable without the architecture, honest about a run that was cut short."""

import dataclasses
import enum
import json
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_config import ConfigError
from nameplate_config.wording import as_code
from nameplate_conformance import Report, Result, Status
from nameplate_conformance.records.apart import Apart
from nameplate_conformance.records.circumstances import circumstances_of, distribution_of, subject_of
from nameplate_conformance.records.encoded import Unread, decoded, encoded
from nameplate_conformance.records.journal import (
    JournalWriter,
    RecordError,
    call_of,
    circumstances_from_json,
    circumstances_to_json,
    read_journal,
    result_from_json,
    result_to_json,
)
from nameplate_conformance.samples.reports import failing
from nameplate_conformance.zoo import reference
from nameplate_resnet import ResnetConfig


class Mode(enum.Enum):
    """An enum that is the value of a field."""

    FAST = "fast"


@dataclasses.dataclass(frozen=True)
class Span:
    """A record that is the value of a field."""

    low: int = 0
    mode: Mode = Mode.FAST


@dataclasses.dataclass
class Lost:
    """A record that no codec knows, since nothing can be said of its field."""

    value: object = dataclasses.field(default_factory=lambda: print)


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**19), 10**19),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.sampled_from([Mode.FAST, Span(3), PurePosixPath("a/b"), torch.bfloat16]),
)
KEYS = st.one_of(st.text(), st.integers(-99, 99), st.booleans())
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(KEYS, max_size=3),
        st.sets(KEYS, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=6,
)
NUMBERS = st.lists(st.floats(), max_size=4).map(tuple)
APARTS = st.builds(
    Apart,
    name=st.text(),
    dtype=st.just("float32"),
    shape=st.just((2, 2)),
    columns=st.just(2),
    before=NUMBERS,
    after=NUMBERS,
    at=st.just((0, 3)),
    differing=st.integers(0, 4),
)
RESULTS = st.builds(
    Result,
    law=st.just("S01"),
    architecture=st.text(min_size=1),
    device=st.sampled_from(["cpu", "cuda"]),
    status=st.sampled_from(Status),
    evidence=st.dictionaries(st.text(), st.integers(0, 10**9), max_size=3),
    examples=st.integers(0, 300),
    seconds=st.floats(0, 1e6),
    message=st.text(),
    kwargs=st.none() | st.dictionaries(st.text(), VALUES, max_size=3),
    head=st.text(),
    seed=st.integers(0, 3),
    blocked_by=st.lists(st.just("C01"), max_size=2).map(tuple),
    tentative=st.booleans(),
    apart=st.lists(APARTS, max_size=2).map(tuple),
)


def typed(value: Any) -> str:
    """Return a text that tells any two values apart that are of other types or bits, in whatever order sets stand."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value)}{sorted(map(typed, value))}"
    if isinstance(value, dict):
        return f"{type(value)}{[(typed(key), typed(item)) for key, item in value.items()]}"
    if isinstance(value, (list, tuple)):
        return f"{type(value)}{[typed(item) for item in value]}"
    return f"{type(value)}{value!r}"


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


@settings(deadline=None, max_examples=100)
@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any):
    """Whatever a field may hold survives JSON, with its type and the types inside."""
    assert typed(decoded(through_json(encoded(value)))) == typed(value)


@settings(deadline=None, max_examples=50)
@given(RESULTS)
def test_a_result_comes_back_as_it_was(result: Result):
    """Every attribute of a result survives JSON, and its id with them."""
    back = result_from_json(through_json(result_to_json(result)))

    for each in dataclasses.fields(Result):
        assert typed(getattr(back, each.name)) == typed(getattr(result, each.name)), each.name
    assert set(back.apart) == set(result.apart) or "nan" in repr(result.apart)


def failed(**kwargs: Any) -> Result:
    return Result(law="S01", architecture="mlp", device="cpu", status=Status.FAIL, head="AutoModel", kwargs=kwargs)


def test_a_config_inside_the_arguments_comes_back():
    """A nested config is read as a config, and its call can be pasted."""
    result = failed(backbone=ResnetConfig(layers=(1, 1, 1, 1)))

    written = through_json(result_to_json(result))

    assert result_from_json(written) == result
    assert written["call"] == "AutoModel(backbone=ResnetConfig(layers=(1, 1, 1, 1)))"


def test_a_class_that_is_not_imported_stays_unread():
    """Reading imports nothing: the value shows as it did, keeps the id of its result and is written as it was."""
    written = through_json(result_to_json(failed(modes=[Mode.FAST])))
    (mode,) = written["kwargs"]["modes"]
    mode["__object__"]["class"] = "not_imported:Mode"

    back = result_from_json(written)

    (unread,) = back.kwargs["modes"]  # type: ignore[index]
    assert isinstance(unread, Unread)
    assert repr(unread) == as_code(Mode.FAST)
    assert call_of(back) == f"AutoModel(modes=[{as_code(Mode.FAST)}])"
    assert back.id == written["id"]
    assert through_json(result_to_json(back))["kwargs"] == written["kwargs"]


@pytest.mark.parametrize(("name", "value"), [("os:system", "x"), ("pathlib:Path.unlink", "x"), ("builtins:list", [])])
def test_a_name_that_is_no_class_of_values_stays_unread(name: str, value: Any):
    """A file cannot make a reader call something by naming it."""
    assert isinstance(decoded({"__object__": {"class": name, "text": "t", "value": value}}), (Unread, list))


def test_a_value_without_a_codec_is_kept_as_its_text():
    """What no codec knows is lost, but not silently: its text stays."""
    value = object()

    assert repr(decoded(encoded(value))) == repr(value)


@pytest.mark.parametrize("value", [{"__other__": 1}, {"__tuple__": 1}, {"__dict__": [1]}, {"__bytes__": "*"}])
def test_json_that_no_run_writes_is_refused(value: Any):
    """A tag that does not exist, or holds something else, is an error that shows it."""
    with pytest.raises(ConfigError, match=r"is no value that a run writes\."):
        decoded(value)


@pytest.fixture
def report() -> Report:
    """Return a report with a counterexample and a device that is absent."""
    return failing()


def written(report: Report, folder: Path, **options: Any) -> Path:
    path = folder / "run.ndjson"
    with JournalWriter(path, circumstances_of(report), **options) as journal:
        for result in report.results:
            journal.add(result)
    return path


def test_a_journal_gives_its_report_back(report: Report, tmp_path: Path):
    """A closed journal is complete and holds exactly the report."""
    journal = read_journal(written(report, tmp_path))

    assert journal.complete
    assert journal.report == report
    assert journal.circumstances.devices == ("cpu", "cuda")
    assert journal.circumstances.present == ("cpu",)


def test_circumstances_come_back(report: Report):
    """What is known of a run survives JSON, its architectures included."""
    before = circumstances_of(report, subjects=[subject_of(reference())])

    assert circumstances_from_json(through_json(circumstances_to_json(before))) == before
    assert before.subject("zoo-reference").distribution == "nameplate-conformance"
    assert before.subject("another").distribution == ""


def test_a_journal_without_its_last_line_is_incomplete(report: Report, tmp_path: Path):
    """A run that fails leaves all that it has found, and the journal says that there is more."""

    class CutError(Exception):
        pass

    def fail() -> None:
        with JournalWriter(tmp_path / "run.ndjson", circumstances_of(report)) as journal:
            journal.add(report.results[0])
            raise CutError

    with pytest.raises(CutError):
        fail()

    journal = read_journal(tmp_path / "run.ndjson")
    assert not journal.complete
    assert journal.report.results == [report.results[0]]


def test_a_journal_may_be_torn_anywhere_after_its_first_line(report: Report, tmp_path: Path):
    """Cut at any byte, a journal gives the results whose lines are whole."""
    path = written(report, tmp_path)
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1

    for cut in range(header, len(whole) - 1, 97):
        path.write_bytes(whole[:cut])
        journal = read_journal(path)
        assert not journal.complete
        assert len(journal.report.results) in {whole[:cut].count(b"\n") - 1, whole[:cut].count(b"\n")}


def test_a_run_goes_on_with_what_another_found(report: Report, tmp_path: Path):
    """Kept results stand in the new journal from the beginning, and its last line counts them."""
    path = tmp_path / "run.ndjson"
    first, *others = report.results

    with JournalWriter(path, circumstances_of(report), kept=[first]) as journal:
        begun = read_journal(path)
        for result in others:
            journal.add(result)

    assert begun.report.results == [first]
    assert read_journal(path).report == report


def broken(lines: list[bytes], number: int, line: bytes) -> list[bytes]:
    return [*lines[:number], line, *lines[number + 1 :]]


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (0, b"{}", r"^run\.ndjson, line 1, is not the header that a journal begins with\.$"),
        (0, b'{"kind": "header", "format": 9}', r"line 1, says that the journal has format 9, expected 1\.\n  Read it"),
        (1, b'{"kind": "header", "format": 1}', r"line 2, is a second header\."),
        (1, b"no JSON", r"^run\.ndjson, line 2, is not valid JSON: Expecting value"),
        (1, b'{"kind": "result"}', r"line 2, is no result of a run: 'id' is a required property\."),
        (1, b'{"kind": "weather"}', r"line 2, is no footer of a run: "),
        (
            2,
            b'{"kind": "footer", "results": 7, "counts": {}, "finished": ""}',
            r"line 3, says that there are 7 results",
        ),
    ],
)
def test_a_broken_line_is_named(report: Report, tmp_path: Path, number: int, line: bytes, said: str):
    """What is broken before the last line is an error that names file and line."""
    path = written(report, tmp_path)
    path.write_bytes(b"\n".join(broken(path.read_bytes().split(b"\n"), number, line)))

    with pytest.raises(RecordError, match=said):
        read_journal(path)


def test_lines_after_the_end_are_refused(report: Report, tmp_path: Path):
    """Two journals in one file are not taken for one run."""
    path = written(report, tmp_path)
    path.write_bytes(path.read_bytes() * 2)

    with pytest.raises(RecordError, match="follows the line that ends the journal; a file holds one run"):
        read_journal(path)


def test_a_result_with_a_wrong_value_is_named(report: Report):
    """The error names the key, what was found and what was expected."""
    value = result_to_json(report.results[0]) | {"status": "splendid"}

    with pytest.raises(RecordError, match=r"is no result of a run: at status: 'splendid' is not one of \['pass'"):
        result_from_json(value)


def test_an_absent_or_empty_journal_is_refused(tmp_path: Path):
    """The error names the file."""
    (tmp_path / "empty.ndjson").touch()

    with pytest.raises(RecordError, match=r"empty\.ndjson is empty, so it is no journal\."):
        read_journal(tmp_path / "empty.ndjson")
    with pytest.raises(RecordError, match=r"absent\.ndjson cannot be read: there is no 'absent\.ndjson' in"):
        read_journal(tmp_path / "absent.ndjson")


@pytest.mark.parametrize(
    ("module", "name"),
    [("nameplate_resnet.configuration_resnet", "nameplate-resnet"), ("_pytest.config", "pytest"), ("json", "")],
)
def test_a_module_belongs_to_a_distribution(module: str, name: str):
    """It is found through what the distribution announces, by its name or by its files; or there is none."""
    assert distribution_of(module) == name
