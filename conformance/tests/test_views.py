"""What a report looks like in a terminal, in CI, in a README and to another program; nothing is judged here."""

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from rich.console import Console

from nameplate_conformance import ConformanceError, Report, Status, print_report
from nameplate_conformance.law import SPEC, all_laws
from nameplate_conformance.records.journal import RecordError, schema
from nameplate_conformance.report import badge, badge_picture, junit, markdown, read_report, summary, write_report
from nameplate_conformance.report.matrix import Tally, claim, matrix, tally, verdict
from nameplate_conformance.report.writing import check_report_name
from nameplate_conformance.samples.reports import but, circumstances, conforming, failing, made, result

# ---- the matrix


def test_a_crossing_names_its_root_causes():
    """What failed by itself is named, what is blocked is only counted, and what does not apply stands beside."""
    rows = dict(matrix(failing(), "mlp"))

    assert [crossing.text for crossing in rows["L1 config"]] == ["1✗C01 1◌ n/a 1", "—"]
    assert [crossing.text for crossing in rows["L5 device"]] == ["1✓", "not run"]


def test_a_crossing_names_three_root_causes_at_most():
    """More of them are in the list below."""
    causes = [result(law, Status.FAIL) for law in ("C01", "C03", "C04", "C05")]

    ((_, (crossing,)),) = matrix(made(*causes), "mlp")

    assert crossing.text == "4✗C01,C03,C04,…"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (made(*conforming()), "conforms to L7 on cpu"),
        (made(*conforming(3)), "conforms to L3 on cpu"),
        (made(result("S01")), "reaches no level on cpu"),
        (made(), "does not conform"),
        (failing(), "does not conform"),
    ],
)
def test_a_claim_says_no_more_than_was_shown(report: Report, said: str):
    """The level is one of which every binding law was judged."""
    assert claim(report) == said


def test_an_absent_device_is_not_claimed():
    """A device on which nothing was judged is in no claim."""
    absent = [replace(each, device="cuda", status=Status.NOT_RUN) for each in conforming()]

    assert claim(made(*conforming(), *absent)) == "conforms to L7 on cpu"


def test_what_decides_nothing_is_counted_beside():
    """Neither what does not apply nor what was not run nor a tentative law is among the laws that hold."""
    tentative = result("C05", Status.FAIL, tentative=True)

    assert verdict(failing()) == "2 of 4 laws hold; not applicable: 1; not run: 1 on cuda"
    assert verdict(made(result("C01"), tentative)) == "1 of 1 laws hold; tentative: 1"


def test_a_share_is_one_of_all_laws():
    """What does not apply, was not run or is missing is not among the laws that hold, but it counts."""
    laws = [law.id for law in all_laws().values() if law.level <= 1 and not law.tentative]
    report = made(*but(conforming(1), "C11", Status.NOT_APPLICABLE))

    counted = tally(report, "mlp")

    assert (counted.level, counted.total, counted.holding) == (1, len(laws), len(laws) - 1)
    assert counted.percent == 100 * (len(laws) - 1) // len(laws) < 100
    assert counted.having(Status.NOT_APPLICABLE) == ["C11"]
    assert Tally(level=0, verdicts={}).percent == 0


def test_the_worst_verdict_on_a_law_counts():
    """A law that holds on one device and fails on another does not hold."""
    report = made(result("D01"), result("D01", Status.FAIL, device="cuda"))

    assert tally(report, "mlp").verdicts["D01"] is Status.FAIL


# ---- the terminal


def printed(report: Report, width: int = 80, **options: Any) -> list[str]:
    console = Console(width=width, file=io.StringIO(), **options)
    print_report(report, console, circumstances(report))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_terminal_shows_matrix_and_root_causes():
    """A line says what was judged and how, a table where it stands, and each root cause what to do about it."""
    cause = next(each for each in failing().results if each.is_root)

    assert [line.strip() for line in printed(failing()) if line.strip()] == [
        f"mlp 1.2.0 · spec {SPEC} · torch 2.15.0 · release",
        "level        laws   cpu              cuda",
        "────────────────────────────────────────────",
        "L0 harness      1   1✓               —",
        "L1 config       3   1✗C01 1◌ n/a 1   —",
        "L5 device       1   1✓               not run",
        "✗ C01 [cpu]  a config survives JSON",
        "layers came back as a list",
        "evidence: 3 fields, in 2 examples",
        "smallest: AutoModel: layers=(1,)",
        "root cause, blocks: C02",
        f"reproduce: nameplate-conformance replay {cause.id}",
        "why it matters, how to fix: nameplate-conformance explain C01",
        "2 of 4 laws hold; not applicable: 1; not run: 1 on cuda",
    ]


def test_a_terminal_of_eighty_columns_is_wide_enough():
    """No line is longer, whatever stands in it."""
    long = result("S01", Status.FAIL, message="word " * 40, kwargs={"layers": (1,) * 60})

    assert max(map(len, printed(made(long), 80))) <= 80


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    """With NO_COLOR a terminal gets no colour."""
    with_colour = "\n".join(printed(failing(), force_terminal=True, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    without = "\n".join(printed(failing(), force_terminal=True, color_system="standard"))

    assert "\x1b[1;31m" in with_colour
    assert "31m" not in without


def test_a_terminal_without_unicode_gets_plain_signs():
    """Nothing is printed that the encoding of the terminal lacks, whatever a message says."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report = made(result("S01", Status.FAIL, message="größer"), result("S02"))

    print_report(report, Console(width=80, file=file))

    file.seek(0)
    text = file.read()
    assert "1+ 1xS01" in text
    assert "gr\\xf6\\xdfer" in text


def test_tentative_laws_are_printed_apart():
    """They are in no row and no root cause, and say that they are tentative."""
    text = "\n".join(printed(made(result("A02"), result("C05", Status.FAIL, tentative=True, message="too long"))))

    assert "✗ C05" in text
    assert "tentative ✗ C05 [cpu]" in text
    assert "L1 config" not in text
    assert "root cause" not in text


# ---- JUnit


def cases(report: Report) -> dict[str, ET.Element]:
    root = ET.fromstring(junit(report))  # noqa: S314 - we wrote it
    return {case.get("name", "").partition(" ")[0]: case for case in root.iter("testcase")}


def properties(case: ET.Element) -> dict[str, str]:
    return {each.get("name", ""): each.get("value", "") for each in case.iter("property")}


SHAPE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp"},
        {"testcase"},
    ),
    "testcase": ({"name"}, {"classname", "time"}, {"properties", "skipped", "error", "failure"}),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    **dict.fromkeys(("skipped", "error", "failure"), (set(), {"type", "message"}, set())),
}
"""Of each element: the attributes it must have, those it may have, and what may stand in it."""


def misshapen(element: ET.Element) -> list[str]:
    required, allowed, children = SHAPE[element.tag]
    found = [f"{element.tag} lacks {name}" for name in required - set(element.attrib)]
    found += [f"{element.tag} has {name}" for name in set(element.attrib) - required - allowed]
    found += [f"{child.tag} in {element.tag}" for child in element if child.tag not in children]
    return found + [each for child in element if child.tag in children for each in misshapen(child)]


def test_junit_has_the_shape_that_others_read():
    """Every element is one that CI systems know, with the attributes that they ask for, and the counts are right."""
    root = ET.fromstring(junit(failing()))  # noqa: S314 - we wrote it

    assert misshapen(root) == []
    assert [suite.get("name") for suite in root] == ["mlp[cpu]", "mlp[cuda]"]
    for suite in root:
        counted = [len(suite.findall(path)) for path in ("testcase", "*/failure", "*/error", "*/skipped")]
        assert [int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")] == counted
    assert (root.get("tests"), root.get("failures")) == ("6", "1")


def test_a_wrong_shape_is_noticed():
    """The probe of the test before sees what does not belong."""
    root = ET.fromstring("<testsuites><testsuite name='a' tests='1' failures='0'><b/></testsuite></testsuites>")  # noqa: S314

    assert misshapen(root) == ["testsuite lacks errors", "b in testsuite"]


def test_junit_says_what_is_known_of_a_root_cause():
    """Law, level, strength, status and id are properties; the text has the law and how to repeat it."""
    cause = next(each for each in failing().results if each.is_root)
    case = cases(failing())["C01[cpu]"]

    assert properties(case) == {
        "law": "C01",
        "level": "1",
        "strength": "MUST",
        "status": "fail",
        "device": "cpu",
        "root": "true",
        "id": cause.id,
        "evidence.fields": "3",
    }
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("message") == "layers came back as a list"
    assert f"nameplate-conformance replay {cause.id}" in str(failure.text)


@pytest.mark.parametrize(
    ("status", "tag"),
    [
        (Status.PASS, None),
        (Status.FAIL, "failure"),
        (Status.VACUOUS, "failure"),
        (Status.STALE, "failure"),
        (Status.ERROR, "error"),
        (Status.KNOWN, "skipped"),
        (Status.NOT_APPLICABLE, "skipped"),
        (Status.NOT_RUN, "skipped"),
    ],
)
def test_each_verdict_becomes_an_outcome(status: Status, tag: str | None):
    """Bad verdicts are failures and errors, and nothing that was not shown passes."""
    case = cases(made(result("S01", status)))["S01[cpu]"]

    assert [child.tag for child in case if child.tag != "properties"] == ([] if tag is None else [tag])


def test_a_blocked_law_is_red_if_nothing_else_is():
    """It is skipped beside its root cause; alone in a file, it fails."""
    blocked = result("C02", Status.BLOCKED, blocked_by=("C01",))

    assert cases(failing())["C02[cpu]"].find("skipped") is not None
    assert cases(made(blocked))["C02[cpu]"].find("failure") is not None


def test_a_tentative_law_that_fails_is_skipped():
    """It turns no build red, and says what it is."""
    case = cases(made(result("S01", Status.FAIL, tentative=True)))["S01[cpu]"]

    assert case.find("skipped") is not None
    assert properties(case)["tentative"] == "true"


def test_junit_holds_no_character_that_xml_forbids():
    """Control characters and lone surrogates of a message are replaced."""
    case = cases(made(result("S01", Status.FAIL, message="a\x00b\ud800 <&>\n\x1b[31m")))["S01[cpu]"]

    failure = case.find("failure")
    assert failure is not None
    assert failure.get("message") == "a\ufffdb\ufffd <&>"


# ---- JSON


def test_a_summary_keeps_to_its_schema():
    """The schema is one, and it accepts summaries of runs that passed, failed, or were cut short."""
    Draft202012Validator.check_schema(schema())
    validator = Draft202012Validator(schema())

    for report in (failing(), made(*conforming(1)), made()):
        validator.validate(json.loads(json.dumps(summary(report))))
    cut = summary(made(*conforming()), complete=False)
    validator.validate(json.loads(json.dumps(cut)))
    assert (cut["passed"], cut["claim"]) == (False, "the run was cut short")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passed": "yes"}, "'yes' is not of type 'boolean'"),
        ({"surprise": 1}, "'surprise' was unexpected"),
        ({"results": [{}]}, "is a required property"),
        ({"architectures": [{"label": ""}]}, "is too short|non-empty|is a required property"),
    ],
)
def test_the_schema_rejects_what_is_no_summary(change: dict[str, Any], said: str):
    """A wrong type, a key too many, or one too few is refused."""
    value = json.loads(json.dumps({**summary(failing()), **change}))

    with pytest.raises(ValidationError, match=said):
        Draft202012Validator(schema()).validate(value)


def test_a_summary_says_what_it_comes_down_to():
    """Each architecture has its level, its root causes and its counts by level and device."""
    (told,) = summary(failing())["architectures"]

    assert (told["label"], told["level"], told["passed"], told["roots"]) == ("mlp", -1, False, ["C01"])
    assert told["devices"] == ["cpu"]
    assert told["levels"][-1] == {
        "level": 5,
        "name": "L5 device",
        "devices": {"cpu": {"pass": 1}, "cuda": {"not run": 1}},
    }


@pytest.mark.parametrize("name", ["run.json", "run.ndjson"])
def test_a_written_report_is_read_back(tmp_path: Path, name: str):
    """Summary and journal both give back the report and its circumstances."""
    report = failing()
    write_report(report, tmp_path / name, circumstances(report))

    back = read_report(tmp_path / name)

    assert (back.report, back.circumstances, back.complete) == (report, circumstances(report), True)


def test_a_json_file_that_is_no_summary_is_refused(tmp_path: Path):
    """The error names the file."""
    (tmp_path / "other.json").write_text("{}")

    with pytest.raises(RecordError, match=r"^other\.json is no summary of a run: 'kind' is a required property\.$"):
        read_report(tmp_path / "other.json")


# ---- badges


@pytest.mark.parametrize(
    ("report", "message", "colour"),
    [
        (made(*conforming()), f"L7 · cpu · release · {SPEC}", "brightgreen"),
        (made(*conforming(3)), f"L3 · cpu · release · {SPEC}", "yellowgreen"),
        (made(result("S01")), f"no level · cpu · release · {SPEC}", "lightgrey"),
        (failing(), "no", "red"),
    ],
)
def test_a_badge_says_level_devices_profile_and_specification(report: Report, message: str, colour: str):
    """What does not conform has no level, whatever it reached."""
    assert badge(report) == {"schemaVersion": 1, "label": "conforms", "message": message, "color": colour}


def test_a_badge_picture_needs_nothing_else():
    """It is SVG that says in words what it shows, and fetches nothing."""
    picture = ET.fromstring(badge_picture(made(*conforming())))  # noqa: S314 - we wrote it

    assert picture.get("aria-label") == f"conforms: L7 · cpu · release · {SPEC}"
    assert not [each for each in picture.iter() if any("href" in name for name in each.attrib)]


# ---- Markdown


def test_the_document_of_a_conforming_package():
    """It has the claim, the share of all laws, the matrix, and how to repeat the run."""
    report = made(*but(conforming(1), "C11", Status.NOT_APPLICABLE, message="no | <field>"))
    laws = len(tally(report, "mlp").verdicts)

    text = markdown(report, circumstances(report))

    assert f"**`mlp`, of `mlp-net` 1.2.0, conforms to L1 on cpu** by specification {SPEC}, profile `release`." in text
    assert f"{laws - 1} of the {laws} laws up to L1 hold ({100 * (laws - 1) // laws} %); 1 not applicable." in text
    assert "| level | cpu |\n|---|---|\n| L0 harness |" in text
    assert "### Not applicable\n\n- C11 on cpu, " in text
    assert ": no \\| &lt;field>" in text
    assert "$ nameplate-conformance run mlp_net:ARCH --profile release --level 1 --device cpu\n" in text


def test_the_document_of_an_architecture_without_a_package():
    """It is called by its label alone, and the command to repeat the run installs the suite alone."""
    report = made(*conforming())

    text = markdown(report, circumstances(report, subjects=()))

    assert f"**`mlp` conforms to L7 on cpu** by specification {SPEC}, profile `release`." in text
    assert "$ nameplate-conformance run mlp --profile release --device cpu\n" in text


def test_the_document_of_a_failing_package_says_so():
    """It claims nothing, and lists what fails and what was not run."""
    text = markdown(failing(), circumstances(failing()))

    assert "does not conform**" in text
    assert "### What fails\n\n- C01 on cpu, " in text
    assert "### Not run\n\n- D01 on cuda, " in text


# ---- files


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.html", "<!doctype html>"),
        ("a.json", '{\n  "kind": "summary"'),
        ("badge.json", '{\n  "schemaVersion": 1'),
        ("a.ndjson", '{"kind": "header"'),
        ("a.md", "# Conformance"),
        ("a.svg", "<svg "),
        ("a.xml", "<?xml version='1.0' encoding='utf-8'?>\n<testsuites"),
    ],
)
def test_the_name_of_a_file_says_its_kind(tmp_path: Path, name: str, start: str):
    """Each kind is written, and nothing is left beside it."""
    write_report(failing(), tmp_path / name)

    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_says_no_kind_is_refused(tmp_path: Path):
    """The error lists the names that do, also before a run begins."""
    said = (
        r"^'report\.txt' does not say which kind of report it is to be\.\n  Its name must end in \.html, \.json, \.md"
    )

    for refuse in (lambda path: write_report(failing(), path), check_report_name):
        with pytest.raises(ConformanceError, match=said):
            refuse(tmp_path / "report.txt")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    """A report that cannot be written is an error that names the file, and is refused before a run begins."""
    with pytest.raises(
        ConformanceError, match=r"absent/a\.md cannot be written: there is no folder .*absent\. Make it"
    ):
        check_report_name(tmp_path / "absent" / "a.md")
    with pytest.raises(ConformanceError, match=r"absent/a\.md cannot be written: No such file or directory"):
        write_report(failing(), tmp_path / "absent" / "a.md")
