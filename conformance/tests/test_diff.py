"""What changed between two runs, and which of it is a loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nameplate_conformance import Result, Status
from nameplate_conformance.cli.diff import diff
from nameplate_conformance.records.diff import changes
from nameplate_conformance.records.journal import Journal
from nameplate_conformance.report import write_report
from nameplate_conformance.samples.reports import circumstances, failing, made, result


def run(*results: Result, complete: bool = True) -> Journal:
    report = made(*results)
    return Journal(circumstances(report), report, complete)


def told(old: Journal, new: Journal) -> list[tuple[str, bool]]:
    return [(str(change), change.is_loss) for change in changes(old, new)]


def broken(**kwargs: Any) -> Result:
    return result("S01", Status.FAIL, head="AutoModel", kwargs=kwargs, message="lost a\ntensor")


def test_the_same_run_has_no_changes():
    """Nothing is told of what stayed as it was, times that vary a little included."""
    old = run(result("S01", seconds=2.0), broken(width=1))

    assert told(old, run(result("S01", seconds=3.9), broken(width=1))) == []


@pytest.mark.parametrize(
    ("was", "now", "said", "loss"),
    [
        (Status.PASS, Status.FAIL, "no longer holds: mlp::S01[cpu]  was pass, is fail: it broke", True),
        (Status.PASS, Status.NOT_RUN, "no longer holds: mlp::S01[cpu]  was pass, is not run: it broke", True),
        (Status.PASS, Status.NOT_APPLICABLE, "no longer holds: mlp::S01[cpu]  was pass, is n/a: it broke", True),
        (Status.FAIL, Status.PASS, "now holds: mlp::S01[cpu]  was fail, is pass: it broke", False),
        (Status.FAIL, Status.KNOWN, "other verdict: mlp::S01[cpu]  was fail, is known: it broke", False),
    ],
)
def test_another_verdict_is_told(was: Status, now: Status, said: str, loss: bool):
    """What held and is not shown to hold any more is a loss, whatever it is now."""
    assert told(run(result("S01", was)), run(result("S01", now, message="it broke\nbadly"))) == [(said, loss)]


def test_laws_come_and_go():
    """A new law is told; one that is gone is a loss if it held."""
    old, new = run(result("S01"), result("S02", Status.FAIL)), run(result("S03"))

    assert told(old, new) == [
        ("no longer holds: mlp::S01[cpu]  was pass, is not there any more", True),
        ("gone: mlp::S02[cpu]  was fail, is not there any more", False),
        ("new: mlp::S03[cpu]  is pass", False),
    ]


def test_a_tentative_law_is_no_loss():
    """It decides nothing yet."""
    old, new = result("S01", tentative=True), result("S01", Status.FAIL, tentative=True)

    assert told(run(old), run(new)) == [("other verdict: mlp::S01[cpu]  was pass, is fail", False)]


def test_another_counterexample_is_told():
    """A law that fails for another config may fail for another reason."""
    assert told(run(broken(width=1)), run(broken(width=2))) == [
        ("other counterexample: mlp::S01[cpu]  was AutoModel(width=1), is AutoModel(width=2)", False)
    ]


def test_laws_that_take_much_longer_are_told():
    """Both ways, if it is more than twice as long and long enough to notice."""
    old = run(result("S01", seconds=1.0), result("S02", seconds=1.0), result("S03", seconds=0.01))
    new = run(result("S01", seconds=2.5), result("S02", seconds=0.4), result("S03", seconds=0.1))

    assert told(old, new) == [
        ("slower: mlp::S01[cpu]  was 1.0 s, is 2.5 s", False),
        ("quicker: mlp::S02[cpu]  was 1.0 s, is 0.4 s", False),
    ]


def test_a_run_that_was_cut_short_is_a_loss():
    """What it would have found is not known."""
    old, new = run(result("S01")), run(result("S01"), complete=False)

    assert told(old, new) == [("truncated: the new run  was cut short; the old one was not", True)]
    assert told(new, old) == []


def test_the_command_compares_files(tmp_path: Path):
    """It reads journals and summaries, tells losses first, and exits with 1 if there are any."""
    old, new = tmp_path / "old.ndjson", tmp_path / "new.json"
    write_report(made(result("A02", Status.FAIL), result("C01")), old)
    write_report(failing(), new)

    worse = CliRunner().invoke(diff, [str(old), str(new)])
    same = CliRunner().invoke(diff, [str(new), str(new)])

    assert worse.exit_code == 1, worse.output
    assert worse.output.startswith("no longer holds: mlp::C01[cpu]  was pass, is fail: layers came back as a list\nnow")
    assert worse.output.endswith("1 no longer holds, 1 now holds, 4 new\n")
    assert (same.exit_code, same.output) == (0, "nothing changed\n")


def test_the_command_refuses_what_is_no_report(tmp_path: Path):
    """A file that cannot be read makes no sense: exit code 2, and the name of the file."""
    outcome = CliRunner().invoke(diff, [str(tmp_path / "a.json"), str(tmp_path / "b.json")])

    assert outcome.exit_code == 2
    assert "a.json cannot be read: there is no 'a.json'" in outcome.output


def test_runs_of_different_architectures_are_not_compared(tmp_path: Path):
    """Everything would be a loss; the error says what each run is about."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_report(made(result("S01")), old)
    write_report(made(replace(result("S01"), architecture="cnn")), new)

    outcome = CliRunner().invoke(diff, [str(old), str(new)])

    assert outcome.exit_code == 2
    assert "nothing to compare: the old run is about mlp, the new one about cnn." in outcome.output


def test_another_architecture_is_another_key():
    """The same law of two architectures is compared by itself."""
    one, other = result("S01"), replace(result("S01", Status.FAIL), architecture="cnn")

    assert told(run(one, other), run(one, other)) == []
