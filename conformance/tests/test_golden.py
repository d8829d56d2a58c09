"""Golden folders are written once, found wherever they lie, and hold later versions to what was released."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nameplate_conformance import Architecture, ConformanceError, Result, Status
from nameplate_conformance.cli import main
from nameplate_conformance.instruments.oracle import StoredTensor, read_safetensors, write_safetensors
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import HOST, Runner
from nameplate_conformance.law import all_laws
from nameplate_conformance.records.golden import FORMS, create, golden_folder, goldens
from nameplate_conformance.samples.architectures import SAMPLES
from nameplate_conformance.zoo import reference
from nameplate_conformance.zoo.veteran import FIRST_ARGUMENTS, as_released, veteran

VETERAN = veteran()
"""The architecture whose golden folder comes with the suite."""


def judged(law: str, architecture: Architecture) -> Result:
    """Return the verdict on one law, whatever became of what it needs."""
    return Runner(profile="smoke").attempt(Cell(architecture, all_laws()[law], HOST))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the veteran's golden folder."""
    folder = golden_folder(VETERAN)
    assert folder is not None
    return Path(shutil.copytree(folder, tmp_path / "golden"))


@pytest.mark.parametrize("law", ["G01", "G02", "G03", "I04"])
def test_the_veteran_keeps_what_its_first_version_saved(law: str):
    """Renamed fields and buffers, and another library's names, pass with evidence."""
    found = judged(law, VETERAN)

    assert (found.status, found.message) == (Status.PASS, "")
    assert found.evidence


def test_the_golden_folder_is_what_the_first_version_saves(tmp_path: Path):
    """Nobody has edited it: the class of that time writes the same checkpoints today."""
    (golden, *_) = goldens(VETERAN)
    anew = create(as_released(), tmp_path, kwargs=dict(FIRST_ARGUMENTS), release=golden.version)
    was, now = ({file.name: file.read_bytes() for file in each.glob("*/*")} for each in (golden.folder, anew))

    assert was == now
    assert golden.forms == FORMS


def test_a_version_is_written_once(tmp_path: Path):
    """What a version saved does not change any more, so nothing is written over it, and nothing else is left."""
    create(as_released(), tmp_path, release="1.0")
    with pytest.raises(ConformanceError) as caught:
        create(as_released(), tmp_path, release="1.0")

    assert str(caught.value) == (
        f"{str(tmp_path / '1.0')!r} exists already: what version 1.0 saved does not change any more.\n"
        "  Raise the version of the package, or remove the folder if that version was never released."
    )
    assert [each.name for each in tmp_path.iterdir()] == ["1.0"]


def test_versions_are_in_order(tmp_path: Path):
    """0.10.0 is newer than 0.9.0."""
    for release in ("0.10.0", "0.9.0"):
        create(as_released(), tmp_path, release=release)

    assert [each.version for each in goldens(replace(VETERAN, golden=tmp_path))] == ["0.9.0", "0.10.0"]


def test_a_config_alone_has_a_golden_folder_too(tmp_path: Path):
    """Without a model there is a config to keep, and a later default changes nothing in it."""
    alone = replace(SAMPLES[0], golden=tmp_path)
    create(alone, tmp_path, release="1.0")

    assert judged("G01", alone).status is Status.PASS
    assert judged("G03", alone).status is Status.PASS


def test_without_a_golden_folder_there_is_nothing_to_keep():
    """An architecture that names none is not judged by what it has not."""
    assert goldens(reference()) == []
    assert judged("G01", reference()).status is Status.NOT_APPLICABLE


def test_an_empty_golden_folder_is_no_golden_folder(tmp_path: Path):
    """Whoever names a folder in which nothing is would otherwise believe that something is being kept."""
    with pytest.raises(ConformanceError) as caught:
        goldens(replace(VETERAN, golden=tmp_path))

    assert str(caught.value) == (
        f"the golden folder {str(tmp_path)!r} of zoo-veteran holds no released version.\n"
        f"  Write one with `nameplate-conformance golden create zoo-veteran {tmp_path}`."
    )
    assert judged("G01", replace(VETERAN, golden=tmp_path)).status is Status.ERROR


def test_a_package_that_is_not_there_is_named():
    """A folder inside a package is looked for in the package."""
    with pytest.raises(ConformanceError, match=r"^the golden folder 'no_such_package:golden' of zoo-veteran cannot be"):
        goldens(replace(VETERAN, golden="no_such_package:golden"))


def test_a_broken_record_is_named(copied: Path):
    """What is no record is an error with its path, not an architecture that keeps nothing."""
    (copied / "0.1.0" / "golden.json").write_text("[]")
    with pytest.raises(ConformanceError) as caught:
        goldens(replace(VETERAN, golden=copied))

    where = copied / "0.1.0" / "golden.json"
    assert str(caught.value).startswith(f"{str(where)!r} is no record of a golden folder: ")


def rewrite_record(folder: Path, **changes: Any) -> None:
    """Change what a record says, for all heads or for its only one."""
    file = folder / "0.1.0" / "golden.json"
    record = json.loads(file.read_text())
    for name, value in changes.items():
        (record if name in record else record["heads"]["AutoModel"])[name] = value
    file.write_text(json.dumps(record))


def scale_answers(folder: Path, factor: float) -> None:
    """Multiply the recorded answers, as another processor would by rounding in other places."""
    file = folder / "0.1.0" / "AutoModel.safetensors"
    architecture = replace(VETERAN, golden=folder)
    answers = {name: StoredTensor.of(each * factor) for name, each in goldens(architecture)[0].answers().items()}
    stored = read_safetensors(file)
    write_safetensors(file, {name: answers.get(name.removeprefix("answers."), each) for name, each in stored.items()})


@pytest.mark.parametrize(
    ("factor", "elsewhere", "status"),
    [
        (1.00001, False, Status.FAIL),
        (1.00001, True, Status.PASS),
        (1.01, True, Status.FAIL),
    ],
)
def test_answers_are_exact_on_the_machine_that_gave_them(factor: float, elsewhere: bool, status: Status, copied: Path):
    """The last bit counts where processor and libraries are those of the record, and a small part of it elsewhere."""
    scale_answers(copied, factor)
    if elsewhere:
        rewrite_record(copied, circumstances={"machine": "another"})
    else:
        here = create(as_released(), copied, release="9").joinpath("golden.json").read_text()
        rewrite_record(copied, circumstances=json.loads(here)["circumstances"])
        shutil.rmtree(copied / "9")
    found = judged("G01", replace(VETERAN, golden=copied))

    assert found.status is status
    assert found.status is Status.PASS or found.message.startswith("what 0.1.0 saved (single) is answered otherwise: y")


def test_another_tensor_than_the_recorded_one_breaks_the_law(copied: Path):
    """A hash that does not fit names its tensor."""
    rewrite_record(copied, tensors={"layers.0.bias": "torch.float32 [2] 00"})
    found = judged("G01", replace(VETERAN, golden=copied))

    assert found.status is Status.FAIL
    assert found.message.startswith("what 0.1.0 saved (single): its tensors changed: layers.0.bias (torch.float")


def test_a_name_is_lost_only_with_a_version_that_says_so(copied: Path):
    """`height` may be gone since the config has a new version; recorded as of that version it may not."""
    rewrite_record(copied, config_version=2)
    found = judged("G01", replace(VETERAN, golden=copied))

    assert found.message == "what 0.1.0 saved (single): its config lost height, and no newer version says so"


def test_the_command_writes_and_verifies(tmp_path: Path):
    """What `golden create` writes for an announced architecture, `golden verify` finds kept."""
    written = CliRunner().invoke(main, ["golden", "create", "nameplate_resnet", str(tmp_path), "--release", "7"])
    verified = CliRunner().invoke(main, ["golden", "verify", "nameplate_resnet"])
    again = CliRunner().invoke(main, ["golden", "create", "nameplate_resnet", str(tmp_path), "--release", "7"])

    assert (written.exit_code, written.output) == (0, f"wrote {tmp_path / '7'}\n")
    assert (verified.exit_code, verified.output) == (0, "nameplate_resnet keeps what was released: 0.1.0\n")
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_the_command_finds_a_module_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An architecture that is declared in a file beside is found, though no installed package holds it."""
    monkeypatch.setattr("sys.path", [each for each in sys.path if each])
    monkeypatch.chdir(tmp_path)
    Path("declared_here.py").write_text("from nameplate_conformance.zoo import reference\nARCH = reference()\n")

    done = CliRunner().invoke(main, ["golden", "create", "declared_here:ARCH", "golden", "--release", "1.0"])

    assert (done.exit_code, done.output) == (0, f"wrote {Path('golden', '1.0')}\n")
