"""A certificate says what was shown of which files, is refused for anything less, and tells when it was changed."""

import base64
import hashlib
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nameplate_conformance import ConformanceError, Report, Status
from nameplate_conformance.cli import main
from nameplate_conformance.law import SPEC, Strength, all_laws
from nameplate_conformance.records.circumstances import Circumstances
from nameplate_conformance.records.provenance import installed_digest, wheel_digest
from nameplate_conformance.report import CertificateError, certificate, verify_certificate, write_report
from nameplate_conformance.samples.reports import but, circumstances, conforming, failing, made, result

FILES = {
    "mlp_net/__init__.py": "WIDTH = 1\n",
    "mlp_net/net.py": "DEPTH = 2\n",
    "mlp_net-1.2.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: mlp-net\nVersion: 1.2.0\n",
    "mlp_net-1.2.0.dist-info/WHEEL": "Wheel-Version: 1.0\n",
}
RECORD = "mlp_net-1.2.0.dist-info/RECORD"


OPTIONAL = next(law.id for law in all_laws().values() if law.strength is Strength.SHOULD and not law.tentative)


def lacking(law: str) -> Report:
    return made(*(each for each in conforming() if each.law != law))


def recorded(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return the wheel of a small package."""
    path = tmp_path / "mlp_net-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
        archive.writestr(RECORD, "")
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the package is installed, as an installer leaves it."""
    folder = tmp_path / "site"
    lines = [f"{name},sha256={recorded(text)},{len(text)}" for name, text in FILES.items()]
    written = {**FILES, "mlp_net-1.2.0.dist-info/INSTALLER": "test", RECORD: "\n".join([*lines, f"{RECORD},,"])}
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


@pytest.fixture
def shown() -> Report:
    """Return a report of a complete run on the host, with a device that is absent."""
    absent = result("D01", Status.NOT_RUN, device="cuda")
    return made(*but(conforming(), "C11", Status.NOT_APPLICABLE, evidence={}), absent)


def issued(report: Report, **options: Any) -> dict[str, Any]:
    return certificate(report, circumstances(report), **options)


@pytest.mark.usefixtures("site")
def test_a_certificate_says_what_was_shown(shown: Report):
    """It has the claim, each law with verdict and evidence, the devices judged and not, and the package."""
    found = issued(shown)

    laws = {law["id"]: law for law in found["laws"]}
    assert (found["claim"], found["level"], found["spec"], found["no_skip"]) == ("conforms to L7 on cpu", 7, SPEC, True)
    assert found["devices"] == {"judged": ["cpu"], "not run": ["cuda"]}
    assert laws.keys() == {law.id for law in all_laws().values() if not law.tentative}
    assert laws["D01"]["devices"] == {"cpu": "pass", "cuda": "not run"}
    assert laws["D01"]["evidence"] == {"tensors": 4}
    assert (laws["C11"]["verdict"], laws["D01"]["verdict"]) == ("n/a", "pass")
    assert found["standing"]["holding"] == len(laws) - 1
    assert (found["package"]["name"], found["package"]["version"]) == ("mlp-net", "1.2.0")
    assert found["package"]["wheel"] is None


@pytest.mark.usefixtures("site")
def test_a_level_is_certified_by_its_own_laws(shown: Report):
    """A run of the first levels certifies those, and lists no law above them."""
    found = issued(made(*conforming(3)))

    assert found["claim"] == "conforms to L3 on cpu"
    assert max(law["level"] for law in found["laws"]) == 3
    assert len(found["laws"]) < len(issued(shown)["laws"])


@pytest.mark.usefixtures("site")
def test_an_admitted_failure_is_a_skip(shown: Report):
    """A law that is only recommended may be known to fail; the certificate then has no mark that none was skipped."""
    assert not issued(made(*but(list(shown.results), OPTIONAL, Status.KNOWN)))["no_skip"]


@pytest.mark.parametrize(
    ("report", "options", "said"),
    [
        (failing(), {}, r"no certificate for 'mlp': it does not conform: C01 failed\."),
        (made(*conforming()), {"complete": False}, r"the run was cut short\. Go on with it"),
        (made(result("S01")), {}, r"it reaches no level, since not every law of the first was judged: A01, A02"),
        (lacking(OPTIONAL), {}, rf"laws up to L7 were left out: {OPTIONAL}\."),
        (
            made(*conforming(), profile="smoke"),
            {},
            r"judged by the profile 'smoke'\. Judge it with `--profile release`",
        ),
        (made(), {}, r"and the report is about none: say which\."),
        (made(*conforming(), *conforming(architecture="cnn")), {}, r"the report is about mlp, cnn: say which\."),
        (made(*conforming()), {"architecture": "cnn"}, r"no certificate for 'cnn': the report says nothing of it\."),
    ],
)
def test_a_certificate_is_refused(report: Report, options: dict[str, Any], said: str):
    """A run that fails, was cut short, left laws out or did not look closely certifies nothing."""
    with pytest.raises(CertificateError, match=said):
        issued(report, **options)


def test_an_architecture_of_no_package_is_not_certified(shown: Report):
    """Nothing would say what was judged."""
    unknown = replace(circumstances(shown), subjects=())

    with pytest.raises(CertificateError, match="nothing says which installed package 'mlp' belongs to"):
        certificate(shown, unknown)


# ---- the files that were judged


@pytest.mark.usefixtures("site")
def test_wheel_and_installation_have_one_digest(wheel: Path, shown: Report):
    """The files of a wheel are those of its installation, whatever the installer adds."""
    assert wheel_digest(wheel, "mlp-net", "1.2.0") == installed_digest("mlp-net", "1.2.0")

    package = issued(shown, wheel=wheel)["package"]
    assert package["files"] == installed_digest("mlp-net", "1.2.0")
    assert package["wheel"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_other_files_have_another_digest(site: Path, wheel: Path):
    """A module that is there besides changes the digest."""
    before = installed_digest("mlp-net", "1.2.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("mlp_net/more.py", "")
    (site / "mlp_net" / "more.py").touch()

    assert wheel_digest(wheel, "mlp-net", "1.2.0") != before


def test_a_changed_installation_is_refused(site: Path):
    """A file that is not what was installed is named."""
    (site / "mlp_net" / "net.py").write_text("DEPTH = 3\n")

    with pytest.raises(ConformanceError, match=r"^mlp_net/net\.py of mlp-net was changed after it was installed\."):
        installed_digest("mlp-net", "1.2.0")


def test_a_wheel_of_other_code_is_refused(site: Path, wheel: Path):
    """The wheel must hold the very modules that were judged."""
    (site / "mlp_net" / "net.py").write_text("DEPTH = 3\n")

    with pytest.raises(ConformanceError, match=r"none-any\.whl holds another mlp_net/net\.py than the one that was"):
        wheel_digest(wheel, "mlp-net", "1.2.0")


def test_an_editable_installation_is_refused(site: Path):
    """Its files may change at any time; the error says what to do."""
    url = {"url": "file:///src", "dir_info": {"editable": True}}
    (site / "mlp_net-1.2.0.dist-info" / "direct_url.json").write_text(json.dumps(url))

    with pytest.raises(ConformanceError, match=r"in editable mode, so nothing says .*\n  Install its wheel, or give"):
        installed_digest("mlp-net", "1.2.0")


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("mlp-nets", "1.2.0", "there is no installed package 'mlp-nets'"),
        ("mlp-net", "1.1.0", r"mlp-net 1\.1\.0 was judged, but 1\.2\.0 is installed"),
    ],
)
def test_what_is_not_installed_is_refused(name: str, version: str, said: str):
    """Certificates are issued where the run took place."""
    with pytest.raises(ConformanceError, match=said):
        installed_digest(name, version)


@pytest.mark.usefixtures("site")
def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path):
    """By its name or by its bytes."""
    other, broken = tmp_path / "other-1.0-py3-none-any.whl", tmp_path / "mlp_net-1.2.0-py3-none-any.whl"
    broken.write_bytes(b"no zip")

    with pytest.raises(ConformanceError, match=r"is no wheel of what was judged: its name must begin with 'mlp_net-1"):
        wheel_digest(other, "mlp-net", "1.2.0")
    with pytest.raises(ConformanceError, match=r"cannot be read as a wheel: File is not a zip file"):
        wheel_digest(broken, "mlp-net", "1.2.0")


@pytest.mark.usefixtures("site")
def test_a_wheel_is_known_however_the_package_is_spelt(wheel: Path):
    """Case, dots and dashes in the name of a package are not those of its wheels."""
    assert wheel_digest(wheel, "Mlp.Net", "1.2.0") == wheel_digest(wheel, "mlp-net", "1.2.0")


# ---- edits


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value that is no container."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in places(item, (*way, key))]
    if isinstance(value, list):
        return [place for index, item in enumerate(value) for place in places(item, (*way, index))]
    return [way]


@pytest.fixture
def file(site: Path, shown: Report, tmp_path: Path) -> Path:
    """Return the file of a certificate."""
    del site
    path = tmp_path / "conformance-mlp-1.2.0.json"
    write_report(shown, path, circumstances(shown))
    return path


def test_an_unchanged_certificate_is_verified(file: Path):
    """Its content comes back, and how its keys are ordered or indented does not matter."""
    written = json.loads(file.read_text())
    file.write_text(json.dumps(dict(reversed(written.items()))))

    assert verify_certificate(file)["claim"] == "conforms to L7 on cpu"


def test_any_edit_is_found(file: Path):
    """Whatever value is changed, the certificate says so."""
    written = file.read_text()
    ways = [way for way in places(json.loads(written)) if way != ("kind",)]

    for way in (*ways[:: max(1, len(ways) // 40)], ("claim",), ("no_skip",), ("devices", "judged", 0), ("sha256",)):
        value = json.loads(written)
        place = value
        for step in way[:-1]:
            place = place[step]
        place[way[-1]] = "edited"
        file.write_text(json.dumps(value))
        with pytest.raises(CertificateError, match=r"^conformance-mlp-1\.2\.0\.json was changed after it was issued\."):
            verify_certificate(file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"package": None}, "at package: None is not of type 'object'"), ({"format": 2}, "at format: 1 was expected")],
)
def test_a_certificate_of_another_form_is_refused(file: Path, changes: dict[str, Any], said: str):
    """Whoever makes the digest anew still cannot have anything verified that this version would not issue."""
    value = {**json.loads(file.read_text()), **changes}
    del value["sha256"]
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    file.write_text(json.dumps({**value, "sha256": hashlib.sha256(text.encode()).hexdigest()}))

    with pytest.raises(CertificateError, match=rf"is no certificate of a run: {said}.*\n  This version of .* did not"):
        verify_certificate(file)


def test_another_file_is_no_certificate(tmp_path: Path):
    """The error names the file."""
    (tmp_path / "a.json").write_text('{"kind": "summary"}')

    with pytest.raises(CertificateError, match=r"^a\.json is no certificate of a conformance run\."):
        verify_certificate(tmp_path / "a.json")


@pytest.mark.usefixtures("site")
def test_the_name_of_the_file_says_which_architecture(tmp_path: Path):
    """Of a report about several, the one that the name begins with is certified."""
    report = made(*conforming(), *conforming(architecture="mlp-wide"))
    known: Circumstances = circumstances(report)
    wide = replace(known, subjects=(*known.subjects, replace(known.subjects[0], label="mlp-wide")))

    write_report(report, tmp_path / "conformance-mlp-wide-1.2.0.json", wide)

    assert verify_certificate(tmp_path / "conformance-mlp-wide-1.2.0.json")["architecture"] == "mlp-wide"


# ---- the commands


@pytest.fixture
def journal(site: Path, shown: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a run's journal in the current folder."""
    del site
    monkeypatch.chdir(tmp_path)
    write_report(shown, tmp_path / "run.ndjson", circumstances(shown))
    return "run.ndjson"


def test_certify_writes_a_certificate_that_verify_accepts(journal: str):
    """Called after architecture and version, it says what was shown; both commands print the same of it."""
    made_now = CliRunner().invoke(main, ["certify", journal])
    read = CliRunner().invoke(main, ["verify", "conformance-mlp-1.2.0.json"])

    assert (made_now.exit_code, read.exit_code) == (0, 0), made_now.output + read.output
    *said, wrote = made_now.output.splitlines()
    assert wrote == "wrote conformance-mlp-1.2.0.json"
    assert said[0] == f"mlp conforms to L7 on cpu, specification {SPEC}"
    assert "  not run on cuda" in said
    assert read.output.splitlines()[:-1] == said


def test_certify_takes_a_wheel_and_a_name(journal: str, wheel: Path):
    """The certificate holds the digest of the wheel, in the file that was asked for."""
    done = CliRunner().invoke(main, ["certify", journal, "--wheel", str(wheel), "-o", "mine.json"])

    assert done.exit_code == 0, done.output
    assert verify_certificate(Path("mine.json"))["package"]["wheel"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_certify_refuses_a_run_that_was_cut_short(journal: str):
    """The exit code is 2, the reason is given with the way out, and nothing is written."""
    *lines, _footer = Path(journal).read_text().splitlines(keepends=True)
    Path(journal).write_text("".join(lines))

    done = CliRunner().invoke(main, ["certify", journal])

    assert done.exit_code == 2
    assert "the run was cut short. Go on with it: `nameplate-conformance run mlp --resume`" in done.output
    assert list(Path().glob("conformance-*")) == []


def test_certify_says_what_cannot_be_written(journal: str):
    """A folder that does not exist is an error with its name."""
    done = CliRunner().invoke(main, ["certify", journal, "-o", "nowhere/mine.json"])

    assert done.exit_code == 2
    assert "nowhere/mine.json cannot be written: No such file or directory." in done.output


def test_verify_fails_on_an_edit(file: Path):
    """The exit code is 1 for a certificate that was changed."""
    file.write_text(file.read_text().replace("conforms to L7", "conforms to L6"))

    done = CliRunner().invoke(main, ["verify", str(file)])

    assert done.exit_code == 1
    assert "was changed after it was issued" in done.output
