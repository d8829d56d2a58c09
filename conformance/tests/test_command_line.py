"""The command line: what is judged, what is shown and written, and with which exit code it ends.

Nearly all of it is judged in this process (``-j 0``); what happens in workers is in `test_workers`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nameplate_conformance.cli import main
from nameplate_conformance.cli.selftest import line_of
from nameplate_conformance.law import all_laws
from nameplate_conformance.records.journal import JournalWriter, read_journal
from nameplate_conformance.selftest import Verdict
from nameplate_conformance.zoo import MUTANTS

MODULE = """
import os, time
from nameplate_conformance import Architecture
from nameplate_conformance.zoo import MUTANTS
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel


class Slow(ZooModel):
    def __init__(self, config):
        super().__init__(config)
        time.sleep(0.2)


GOOD = GOOD2 = Architecture(config=ZooConfig, models={"AutoModel": ZooModel}, name="good")
SLOW = Architecture(config=ZooConfig, models={"AutoModel": Slow}, name="slow")
BAD = next(each for each in MUTANTS if each.name == "PlainTensor").breed()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a module that declares architectures, in which commands run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "declared.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.chdir(folder)
        yield folder
    sys.modules.pop("declared", None)


def run(*arguments: str) -> Result:
    """Judge by one cheap law in this process, unless the arguments say otherwise."""
    return CliRunner().invoke(main, ["run", "-j", "0", "--profile", "glance", *arguments])


# ---- run


def test_run_succeeds_where_everything_holds(home: Path):
    """`run` on an architecture that conforms exits with 0, and keeps nothing."""
    outcome = run("declared:GOOD", "--law", "C01")

    assert outcome.exit_code == 0, outcome.output
    assert "1 of 1 laws hold" in outcome.output
    assert not (home / ".conformance").exists()


def test_run_fails_where_something_does_not(home: Path):
    """`run` on one that does not exits with 1, says why, and keeps the failure to be replayed."""
    outcome = run("declared:BAD", "--law", "M06")

    assert outcome.exit_code == 1
    assert "anchors is a tensor" in outcome.output
    assert [path.suffix for path in (home / ".conformance" / "failures").iterdir()] == [".json"]


def test_run_keeps_nothing_if_told_so(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With `--no-store` a failure leaves no trace."""
    monkeypatch.syspath_prepend(home)
    monkeypatch.chdir(tmp_path)
    outcome = run("declared:BAD", "--law", "M06", "--no-store")

    assert outcome.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_run_goes_on_beside_what_cannot_be_loaded(home: Path):
    """An architecture that cannot be loaded is one error, and the next one is judged."""
    (home / "raising.py").write_text("raise SystemExit('half installed')")
    outcome = run("raising:ANY", "declared:GOOD", "--law", "C01", "--report", "both.ndjson")
    found = {each.architecture: each for each in read_journal(home / "both.ndjson").report.results}

    assert outcome.exit_code == 1
    assert found["good"].status.value == "pass"
    assert found["raising:ANY"].message == (
        "it cannot be loaded: 'raising:ANY' cannot be imported: SystemExit: half installed."
    )


def test_run_shows_the_need_that_fails(home: Path):
    """What blocks the law that was asked for is in the report, though nobody asked for it."""
    del home
    outcome = run("declared:BAD", "--law", "S02", "--no-store")

    assert "M06 [cpu]" in outcome.output
    assert "blocks: S02" in outcome.output


@pytest.mark.parametrize("option", ["--report", "--html"])
def test_run_writes_what_its_files_are_called(home: Path, option: str):
    """A report is written for each file that is asked for, and named in the end."""
    outcome = run("declared:GOOD", "--law", "C01", option, "page.html", "--report", "all.xml", "--report", "badge.json")

    assert outcome.exit_code == 0, outcome.output
    assert [line for line in outcome.output.splitlines() if line.startswith("wrote")] == [
        *(["wrote page.html"] if option == "--report" else []),
        "wrote all.xml",
        "wrote badge.json",
        *(["wrote page.html"] if option == "--html" else []),
    ]
    assert (home / "page.html").read_text().startswith("<!doctype html>")
    assert json.loads((home / "badge.json").read_text())["label"] == "conforms"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nameplate_resnt"], "Did you mean 'nameplate_resnet'?"),
        (["./nowhere"], "there is no folder 'nowhere'"),
        (["declared:GOOD", "--law", "Z99"], "there is no law 'Z99'"),
        (["declared:GOOD", "--report", "a.pdf"], "'a.pdf' does not say which kind of report it is to be."),
        (["declared:GOOD", "--report", "absent/a.xml"], "there is no folder absent. Make it first."),
        (["declared:GOOD", "--resume", "absent.ndjson"], "absent.ndjson cannot be read"),
        (["declared:GOOD", "declared:GOOD2"], "are both called 'good'"),
        (
            ["declared:GOOD", "--law", "c01"],
            "there is no law 'c01'; `nameplate-conformance list` shows them. Did you",
        ),
        (["declared:GOOD", "--device", "cuad"], "there is no type of device 'cuad'. Did you mean 'cuda'?"),
        (["declared:GOOD", "--device", "cuda:0"], "there is no type of device 'cuda:0'. Did you mean 'cuda'?"),
        (["declared:GOOD", "--revision", "main"], "--revision main has no effect: no name is a repository"),
        (["declared:GOOD", "--html", "a.md"], "--html a.md is no name of a page: it must end in .html."),
    ],
)
def test_run_refuses_what_makes_no_sense(home: Path, arguments: list[str], said: str):
    """What does not exist or has no effect is refused before anything is judged, with exit code 2."""
    del home
    outcome = run(*arguments)

    assert outcome.exit_code == 2
    assert said in " ".join(outcome.output.split())


def test_a_full_disk_costs_the_journal_and_not_the_run(home: Path, monkeypatch: pytest.MonkeyPatch):
    """If a journal cannot be written to its end, everything is judged and shown, and the exit code is 2."""
    del home

    def full(_: object, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalWriter, "_write", full)
    outcome = run("declared:GOOD", "--law", "C01", "--report", "full.ndjson")

    assert outcome.exit_code == 2
    assert "1 of 1 laws hold" in outcome.output
    assert "full.ndjson was not written to its end: [Errno 28] No space left on device." in outcome.output


# ---- resume


@pytest.fixture
def journal(home: Path) -> Path:
    """Return the journal of a run that was cut short after its first result."""
    run("declared:GOOD", "--law", "A01", "--law", "C01", "--report", "cut.ndjson")
    lines = (home / "cut.ndjson").read_bytes().splitlines(keepends=True)
    (home / "cut.ndjson").write_bytes(b"".join(lines[:2]))
    return home / "cut.ndjson"


def test_resume_judges_only_what_is_not_known(journal: Path):
    """The results of the journal stand as they are, the others follow them, and the journal is whole."""
    (before,) = read_journal(journal).report.results
    outcome = run("declared:GOOD", "--law", "A01", "--law", "C01", "--resume", journal.name)
    after = read_journal(journal)

    assert outcome.exit_code == 0, outcome.output
    assert after.complete
    assert after.report.results[0] == before
    assert [each.law for each in after.report.results] == ["A01", "C01"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "3"], "there the seed is not given, here it is 3."),
        (["--profile", "smoke"], "there the profile is 'glance', here it is 'smoke'."),
        (
            ["declared:SLOW"],
            "there the architecture slow is not given, here it is 'declared:SLOW",
        ),
    ],
)
def test_resume_refuses_another_run(journal: Path, arguments: list[str], said: str):
    """What results depend on must be as it was; the error says what differs, and the journal stays."""
    before = journal.read_bytes()
    outcome = run("declared:GOOD", "--law", "A01", "--law", "C01", "--resume", journal.name, *arguments)

    assert outcome.exit_code == 2
    assert said in " ".join(outcome.output.split())
    assert journal.read_bytes() == before


def test_resume_refuses_to_lose_results(journal: Path):
    """A journal with results that are not asked for now is not written over."""
    run("declared:GOOD", "--law", "A01", "--law", "C01", "--resume", journal.name)
    outcome = run("declared:GOOD", "--law", "A02", "--resume", journal.name)

    assert outcome.exit_code == 2
    assert "has results that are not asked for here: C01 of good on cpu" in " ".join(outcome.output.split())


def test_an_interrupted_run_can_be_resumed(home: Path):
    """Ctrl-C ends a run and its worker at once; its journal says that it was cut short, and another run goes on."""
    arguments = ["declared:SLOW", "--law", "M01", "--law", "M02", "--profile", "dev", "--report", "slow.ndjson"]
    command = [sys.executable, "-c", "from nameplate_conformance.cli import main; main()", "run", *arguments]
    journal = home / "slow.ndjson"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home) as process:
        ends = time.monotonic() + 300
        while time.monotonic() < ends and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "go on with --resume slow.ndjson" in said
    assert not read_journal(journal).complete


# ---- list and explain


def test_the_command_starts_without_torch():
    """Help and completion import neither torch nor hypothesis, nor the architectures."""
    code = "import sys, nameplate_conformance.cli; print({'torch', 'hypothesis', 'nameplate_resnet'} & {*sys.modules})"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_list_shows_every_law():
    """`list` prints one line a law."""
    outcome = CliRunner().invoke(main, ["list"])

    assert "S02  L3 persistence" in outcome.output
    assert len(outcome.output.splitlines()) == len(all_laws())


def test_list_filters():
    """`list` prints only the laws of a level, a strength or those that are tentative, if it is asked for them."""
    laws = all_laws().values()
    expected = {
        ("--level", "1", "--level", "2"): [law.id for law in laws if law.level in {1, 2}],
        ("--strength", "SHOULD"): [law.id for law in laws if law.strength.value == "SHOULD"],
        ("--tentative",): [law.id for law in laws if law.tentative],
    }

    for arguments, law_ids in expected.items():
        listed = CliRunner().invoke(main, ["list", *arguments]).output.splitlines()
        assert sorted(line.split()[0] for line in listed) == sorted(law_ids)


def test_explain_says_what_why_and_how():
    """`explain` prints the text of a law, the way to fix what breaks it, what it rests on, blocks and rejects."""
    output = CliRunner().invoke(main, ["explain", "s01"]).output

    assert " ".join(all_laws()["S01"].text.split()) in " ".join(output.split())
    for title in ("Why it matters", "How to fix it", "Needs", "Blocks, where it fails", "Rejects"):
        assert f"\n{title}\n" in output
    assert "S02" in output


@pytest.mark.parametrize("spelt", ["M01", "m01", "m1", "M1"])
def test_explain_knows_a_law_however_its_number_is_spelt(spelt: str):
    """The id of a law may be given in small letters and without its zero."""
    assert CliRunner().invoke(main, ["explain", spelt]).output.startswith("M01  ")


def test_selftest_names_where_a_mistake_was_reported():
    """The line of a mutant from the museum ends with the link to the bug."""
    mutant = next(each for each in MUTANTS if each.museum)

    assert line_of(Verdict(mutant, frozenset({mutant.breaks}), ())).endswith(mutant.museum)


def test_explain_refuses_an_unknown_law():
    """`explain` of a law that does not exist exits with 2 and the way out."""
    outcome = CliRunner().invoke(main, ["explain", "Z99"])

    assert outcome.exit_code == 2
    assert "there is no law 'Z99'" in outcome.output
