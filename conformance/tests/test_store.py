"""The folder in which failures are kept: what lies there, and what becomes of it when something is wrong with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nameplate_conformance import ConformanceError, Result, Status, Store, check
from nameplate_conformance.zoo import MUTANTS, reference

ARCHITECTURE = replace(reference(), reference="somewhere:ARCHITECTURE")
FAILED = Result(law="C01", architecture="zoo", device="cpu", status=Status.FAIL, kwargs={"depths": (1,)}, message="no")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".conformance")


def test_a_failure_comes_back(store: Store):
    """What was kept holds the result, where its architecture is found, and under which versions it failed."""
    assert store.keep(FAILED, ARCHITECTURE)

    failure = store.failure(FAILED.id)

    assert failure.result == FAILED
    assert failure.reference == "somewhere:ARCHITECTURE"
    assert failure.versions["torch"]
    assert failure.title == f"{FAILED.id} (C01 of zoo)"


@pytest.mark.parametrize(
    "result",
    [
        replace(FAILED, status=Status.PASS, message=""),
        replace(FAILED, status=Status.BLOCKED, kwargs=None, blocked_by=("A01",)),
        replace(FAILED, status=Status.STALE, kwargs=None),
    ],
)
def test_what_has_nothing_to_judge_again_is_not_kept(store: Store, result: Result):
    """A verdict that is good or has no example leaves no file, not even a folder."""
    assert not store.keep(result, ARCHITECTURE)
    assert not store.folder.exists()


def test_a_failure_is_forgotten(store: Store):
    """What is forgotten is gone, and forgetting it again is no mistake."""
    store.keep(FAILED, ARCHITECTURE)
    store.forget(FAILED.id)
    store.forget(FAILED.id)

    assert store.failures() == []


def test_the_folder_is_nobodys_source(store: Store):
    """Git is told to ignore everything in it."""
    store.keep(FAILED, ARCHITECTURE)

    assert (store.folder / ".gitignore").read_text().splitlines()[-1] == "*"


def test_a_run_keeps_what_fails(store: Store):
    """The root of a run with a store is kept once, under the id that the result has."""
    broken = next(mutant for mutant in MUTANTS if mutant.name == "ForgetsAField").breed()

    report = check(broken, laws=["C01", "C02"], profile="glance", store=store)

    assert [failure.id for failure in store.failures()] == [report.results[0].id]


def test_a_run_without_a_store_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`check` leaves nothing in the current folder."""
    monkeypatch.chdir(tmp_path)
    broken = next(mutant for mutant in MUTANTS if mutant.name == "ForgetsAField").breed()

    check(broken, laws=["C01"], profile="glance")

    assert list(tmp_path.iterdir()) == []


def test_an_unknown_failure_is_refused(store: Store):
    """The nearest one that is kept is named, and what it is of."""
    store.keep(FAILED, ARCHITECTURE)
    store.keep(replace(FAILED, law="C02"), ARCHITECTURE)
    other = replace(FAILED, law="C02").id
    wrong = FAILED.id[:-1] + ("0" if FAILED.id[-1] != "0" else "1")

    with pytest.raises(ConformanceError, match=rf"Did you mean {FAILED.id} \(C01 of zoo\)\?\n  Others: {other} "):
        store.failure(wrong)


def test_an_empty_store_says_how_to_fill_it(store: Store):
    """An id is refused with where it was looked for and what to do; it is no path."""
    with pytest.raises(ConformanceError, match=r"is kept in .*failures\.\n  A run keeps every failure there"):
        store.failure("../../x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is not valid JSON"),
        ("[]", "it must hold a JSON object"),
        ("{}", "'format' is a required property"),
        (
            '{"format": 1, "id": "abcdef", "reference": "", "spec": "1", "versions": {}, "result": {}}',
            "at result: 'id' is",
        ),
    ],
)
def test_a_file_that_is_no_failure_is_refused(store: Store, text: str, said: str):
    """A file that somebody else wrote is an error that names it, what is wrong with it, and the way out."""
    store.keep(FAILED, ARCHITECTURE)
    (path,) = (store.folder / "failures").glob("*.json")
    path.write_text(text)

    with pytest.raises(
        ConformanceError, match=rf"{path.name} is no failure that a run has kept: {said}.*\n  Remove the file"
    ):
        store.failure(FAILED.id)


def test_a_torn_write_leaves_the_old_file(store: Store, monkeypatch: pytest.MonkeyPatch):
    """A disk that is full keeps what was there, ends no run and is remembered."""
    store.keep(FAILED, ARCHITECTURE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nameplate_conformance.records.store.replace_file", full)

    assert not store.keep(FAILED, ARCHITECTURE)
    assert "No space left on device" in store.trouble
    assert store.failure(FAILED.id).result == FAILED


def test_tensors_stay_out_of_the_file(store: Store):
    """The file is small and says in JSON what to judge again."""
    store.keep(FAILED, ARCHITECTURE)
    (path,) = (store.folder / "failures").glob("*.json")

    kept = json.loads(path.read_text())

    assert kept["result"]["kwargs"] == {"depths": {"__tuple__": [1]}}
    assert kept["result"]["apart"] == []
