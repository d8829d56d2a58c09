"""The three ways to run under pytest, and what becomes of verdicts there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import nameplate_conformance.report

# Runs inside the run forget the modules that they import: what must not be imported twice is imported here.
import nameplate_conformance.under_pytest.items
from nameplate_auto import CONFIG_MAPPING, AutoModel
from nameplate_conformance import Status, check, conformance_tests
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.verdicts import Verdicts
from nameplate_conformance.law import all_laws
from nameplate_conformance.records.journal import read_journal
from nameplate_conformance.zoo import MUTANTS, reference
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel

all_laws()

pytest_plugins = ["pytester"]

THREE_LINES = """
from nameplate_conformance import conformance_tests
from nameplate_conformance.zoo import reference
test_conformance = conformance_tests(reference())
"""

BROKEN = """
from dataclasses import replace
from functools import partial
from nameplate_conformance import Known, conformance_tests
from nameplate_conformance.zoo import MUTANTS, reference
BROKEN = next(mutant for mutant in MUTANTS if mutant.name == "ForgetsAField").breed()
ADMITTED = {"C01": Known("it is old", "https://example.org/1")}
"""

DEADLY = """
import os
from nameplate_conformance import conformance_tests
from nameplate_conformance.zoo.reference import ZooModel, of, reference

class Deadly(ZooModel):
    def forward(self, **inputs):
        os._exit(7)

test_conformance = conformance_tests(of(Deadly), reference())
"""

REGISTERED = ("--pyargs", "nameplate_conformance", "--noconftest")  # that of this checkout collects examples too


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Run pytest in this process, quickly, on the host alone."""

    def running(*arguments: str) -> pytest.RunResult:
        quick = ("-W", "error", "--conformance-profile", "glance", "--conformance-device", "cpu")
        return pytester.runpytest_inprocess(*quick, *arguments)

    return running


def ids_of(listing: pytest.RunResult) -> list[str]:
    return [line for line in listing.outlines if line.endswith("]") and "::" in line]


def test_three_lines_judge_an_architecture(pytester: pytest.Pytester, run):
    """A test file of three lines gives one test for each law and device, whose names hold no path of the machine."""
    pytester.makepyfile(test_it=THREE_LINES)

    listed = ids_of(run("--collect-only", "-q"))

    assert listed == [f"test_it.py::test_conformance::zoo-reference::{law}[cpu]" for law in all_laws()]


def test_a_profile_and_a_level_decide_which_laws_are_judged(pytester: pytest.Pytester, run):
    """Without a level the profile's own holds; a law by its name overrules both."""
    pytester.makepyfile(test_it=THREE_LINES)
    levels = [law.level for law in all_laws().values()]

    smoke = run("--collect-only", "-q", "--conformance-profile", "smoke")
    first = run("--collect-only", "-q", "--level", "1")
    one = run("--collect-only", "-q", "--conformance-profile", "smoke", "--law", "T01")

    assert len(ids_of(smoke)) == sum(level <= PROFILES["smoke"].level for level in levels)
    assert len(ids_of(first)) == sum(level <= 1 for level in levels)
    assert len(ids_of(one)) == 1


def test_laws_that_hold_pass(pytester: pytest.Pytester, run):
    """A law that holds is a test that passes, one that speaks of nothing or of an absent device is skipped."""
    pytester.makepyfile(test_it=THREE_LINES)

    done = run("--law", "C01,C11,M01", "--device", "xpu", "-rs")

    done.assert_outcomes(passed=2, skipped=2)
    done.stdout.fnmatch_lines(["*n/a: no field has another name*", "*not run: there is no xpu device on this machine*"])


def test_a_broken_law_fails_its_own_test(pytester: pytest.Pytester, run):
    """It says what is wrong, with which example and how to see it again; what it blocks says by what, and no more."""
    pytester.makepyfile(test_it=BROKEN + "test_conformance = conformance_tests(BROKEN)")

    done = run("--law", "C01", "--law", "C02")

    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["C01 *: fail", "smallest: *", "reproduce: nameplate-conformance replay ??????"])
    done.stdout.fnmatch_lines(["*test_it.py::test_conformance::*::C02?cpu? - Failed: blocked by C01"])


def test_a_failure_is_kept_where_it_can_be_replayed(pytester: pytest.Pytester, run):
    """The root of the run gets a folder with the failure, and where its architecture is found."""
    pytester.makepyfile(test_it=BROKEN + "test_conformance = conformance_tests(BROKEN)")

    run("--law", "C01")

    (kept,) = (pytester.path / ".conformance" / "failures").glob("*.json")
    assert json.loads(kept.read_text())["reference"] == "test_it:BROKEN"


def test_an_admitted_failure_is_expected(pytester: pytest.Pytester, run):
    """It is an xfail that gives the reason; one that does not fail any more is a failure."""
    pytester.makepyfile(
        test_it=BROKEN
        + "test_known = conformance_tests(replace(BROKEN, name='old', known=ADMITTED))\n"
        + "test_stale = conformance_tests(replace(reference(), name='new', known=ADMITTED))\n"
    )

    done = run("--law", "C01", "-rx")

    done.assert_outcomes(xfailed=1, failed=1)
    done.stdout.fnmatch_lines(["*XFAIL*known: it is old (https://example.org/1)"])
    done.stdout.fnmatch_lines(["C01 *: stale"])


def test_a_tentative_law_fails_no_run(pytester: pytest.Pytester, run, monkeypatch: pytest.MonkeyPatch):
    """A law that is not binding yet is reported as an expected failure."""
    tentative = replace(all_laws()["C01"], tentative=True)
    monkeypatch.setitem(nameplate_conformance.law._laws, "C01", tentative)
    pytester.makepyfile(test_it=BROKEN + "test_conformance = conformance_tests(BROKEN)")

    run("--law", "C01").assert_outcomes(xfailed=1)


def test_registered_architectures_are_judged_without_a_line(run):
    """`pytest --pyargs nameplate_conformance --arch …` judges a registered architecture under its own name."""
    with CONFIG_MAPPING.override("zoo", ZooConfig), AutoModel.model_mapping.override(ZooConfig, ZooModel):
        done = run(*REGISTERED, "--arch", "zoo", "--law", "C01", "-v")

    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["zoo::C01?cpu? PASSED*"])


def test_an_architecture_that_cannot_be_judged_is_one_error(pytester: pytest.Pytester, run):
    """An unknown name and a module that raises are errors that name them, and stand in the report; others go on."""
    pytester.makepyfile(raises_here="raise RuntimeError('no luck')", is_here=THREE_LINES + "ARCH = reference()")
    pytester.syspathinsert()
    names = ("--arch", "nameplate_resnt,raises_here:ARCH", "--arch", "is_here:ARCH")

    done = run(*REGISTERED, *names, "--law", "C01", "--conformance-report", "out.ndjson")

    done.assert_outcomes(passed=1, errors=2)
    done.stdout.fnmatch_lines(["*Did you mean 'nameplate_resnet'?*", "*cannot be imported: RuntimeError: no luck*"])
    report = read_journal(pytester.path / "out.ndjson").report
    assert [(each.architecture, each.status) for each in report.results if each.status.is_bad] == [
        ("nameplate_resnt", Status.ERROR),
        ("raises_here:ARCH", Status.ERROR),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--law", "Z99"), "there is no law 'Z99'"),
        (("--conformance-profile", "hasty"), "there is no profile 'hasty'"),
        (("--spec", "1999.1"), "there is no version '1999.1' of the specification"),
        (("--conformance-report", "out.docx"), "'out.docx' does not say which kind of report it is to be"),
        (("--conformance-report", "absent/out.md"), "absent/out.md cannot be written: there is no folder absent"),
    ],
)
def test_what_does_not_exist_is_refused(pytester: pytest.Pytester, run, arguments: tuple[str, str], said: str):
    """A law, a profile, a specification or a kind of report that does not exist is an error, not an empty run."""
    pytester.makepyfile(test_it=THREE_LINES)

    done = run(*arguments)

    assert done.ret != 0
    assert said in done.stdout.str() + done.stderr.str()
    done.stdout.no_fnmatch_line("*Error*: *")  # a traceback of ours would help nobody


def test_a_project_keeps_its_own_options(pytester: pytest.Pytester, run):
    """A conftest.py that has a `--device` of its own works as before; the long names of ours are left."""
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--device', default='theirs')")
    pytester.makepyfile(test_it="def test_theirs(request): assert request.config.getoption('--device') == 'mine'")

    run("--device", "mine", "--level", "2").assert_outcomes(passed=1)


def test_other_tests_are_left_alone(pytester: pytest.Pytester, run):
    """A run without conformance tests says nothing of conformance and writes nothing."""
    pytester.makepyfile("def test_theirs(): pass")

    done = run()

    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*conformance =*")
    assert not (pytester.path / ".conformance").exists()


def test_failed_tests_run_again_with_their_options(pytester: pytest.Pytester):
    """`--lf` without options judges what failed as it was judged."""
    pytester.makepyfile(test_it=BROKEN + "test_conformance = conformance_tests(BROKEN)")
    given = ("--conformance-profile", "glance", "--device", "cpu", "--law", "C01,A01")
    pytester.runpytest_inprocess(*given).assert_outcomes(failed=1, passed=1)

    again = pytester.runpytest_inprocess("--lf", "-v")

    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*collected 2 items / 1 deselected*", "*::C01?cpu? FAILED*"])


def test_the_matrix_ends_the_run(pytester: pytest.Pytester, run):
    """The summary shows levels and devices; a quiet run says one sentence; reports are written."""
    pytester.makepyfile(test_it=THREE_LINES)

    loud = run("--law", "C01", "--conformance-report", "out.json", "--conformance-report", "out.html")
    quiet = run("--law", "C01", "-q")

    loud.stdout.fnmatch_lines(
        ["*= conformance =*", "zoo-reference*", "*L1 config*1*", "wrote out.json", "wrote out.html"]
    )
    assert "L1 config" not in quiet.stdout.str()
    assert "1 of 1 laws hold" in quiet.stdout.str()
    assert json.loads((pytester.path / "out.json").read_text())


def test_a_report_that_cannot_be_written_fails_the_run(pytester: pytest.Pytester, run):
    """What was found is shown all the same, and why it is in no file."""
    pytester.makepyfile(test_it=THREE_LINES)
    pytester.mkdir("out.json")

    done = run("--law", "C01", "--conformance-report", "out.json")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*1 of 1 laws hold*", "*out.json cannot be written: *"])


def test_marks_of_the_function_are_those_of_its_tests(pytester: pytest.Pytester, run):
    """Conformance tests can be chosen or left out by a mark, as any others."""
    pytester.makeini("[pytest]\nmarkers = slow")
    marked = "import pytest\ntest_conformance = pytest.mark.slow(conformance_tests(reference()))"
    pytester.makepyfile(test_it=BROKEN + marked)

    run("--law", "C01", "-m", "not slow").assert_outcomes(deselected=1)


def test_without_the_plugin_one_test_judges_everything(monkeypatch: pytest.MonkeyPatch):
    """Called as a plain function it fails with the message of every broken law."""
    quick = partial(check, laws=["C01"], profile="glance")
    monkeypatch.setattr("nameplate_conformance.judging.runner.check", quick)
    broken = next(mutant for mutant in MUTANTS if mutant.name == "ForgetsAField").breed()

    conformance_tests(reference())()
    with pytest.raises(AssertionError, match=r"C01 of .*"):
        conformance_tests(broken)()


def test_workers_share_what_they_have_judged(tmp_path: Path):
    """A cell that another process has judged is not judged again."""
    cell = Cell(reference(), all_laws()["C01"], "cpu")
    asked: list[Cell] = []

    def attempt(cell: Cell):
        asked.append(cell)
        return cell.result(Status.PASS, evidence={"configs": 3})

    one, other = (Verdicts(tmp_path).judge(cell, attempt) for _ in range(2))

    assert one == other
    assert len(asked) == 1


def test_what_ended_a_process_is_not_attempted_again(tmp_path: Path):
    """A cell whose attempt did not come back is an error, and the process that asks for it lives on."""
    cell = Cell(reference(), all_laws()["C01"], "cpu")

    def attempt(_cell: Cell):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Verdicts(tmp_path).judge(cell, attempt)

    result = Verdicts(tmp_path).judge(cell, attempt)

    assert result.status is Status.ERROR
    assert result.message.startswith("the process that judged it died")


def test_workers_report_to_one_matrix(pytester: pytest.Pytester, run):
    """With pytest-xdist the results of every worker, also of one that died, make one report."""
    pytester.makepyfile(test_it=DEADLY)

    done = run("-n", "1", "--law", "C01,A02,M01", "--conformance-report", "out.ndjson")

    assert done.stdout.str().count("= conformance =") == 1
    results = read_journal(pytester.path / "out.ndjson").report.results
    assert {(each.architecture, each.law): each.status for each in results} == {
        ("Deadly", "A02"): Status.ERROR,
        ("Deadly", "M01"): Status.BLOCKED,
        ("Deadly", "C01"): Status.PASS,
        ("zoo-reference", "A02"): Status.PASS,
        ("zoo-reference", "M01"): Status.PASS,
        ("zoo-reference", "C01"): Status.PASS,
    }


def test_cuda_is_told_to_compute_alike_twice():
    """The setting that makes CUDA's sums the same each time is made before anything uses CUDA."""
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


def test_plugin_imports_nothing_heavy():
    """Loading the plugin, which every pytest run of the environment does, imports only the standard library."""
    probe = "import sys, nameplate_conformance.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"torch", "hypothesis", "nameplate_config", "nameplate_auto", "rich", "click", "pytest"})
