"""Judging a failure again: from the folder, from a script, from the command line."""

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_conformance import Architecture, ConformanceError, Example, Known, Result, Status, Store, check, replay
from nameplate_conformance.cli.replay import replay as command
from nameplate_conformance.drawing.strategies import config_kwargs
from nameplate_conformance.instruments.sameness import same
from nameplate_conformance.records.example import example_of
from nameplate_conformance.records.source import Source
from nameplate_conformance.samples.annotated import Crop, Level, Pooling, Ratio, Size
from nameplate_conformance.samples.architectures import SAMPLES
from nameplate_conformance.zoo import reference

FORGETFUL = """
from nameplate_conformance import Architecture
from nameplate_conformance.samples.annotated import EveryKindConfig

class ForgetfulConfig(EveryKindConfig):
    def to_dict(self):
        values = super().to_dict()
        del values["count"]
        return values

ARCHITECTURE = Architecture(config=ForgetfulConfig, name="forgetful")
"""

RICH = {
    "count": 3,
    "rate": float("inf"),
    "phase": complex(0, -0.0),
    "salt": b"\x00",
    "anything": [1, {"a": (None, True)}],
    "pooling": Pooling.MAX,
    "level": Level.LOW,
    "home": Path("weights"),
    "remote": PurePosixPath("there"),
    "ratio": Ratio(1, 2),
    "crop": Crop(Size(4, width=8)),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the module `forgetful_here`, whose architecture breaks C01 for most values of `count`."""
    (tmp_path / "forgetful_here.py").write_text(FORGETFUL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "forgetful_here", raising=False)
    return tmp_path


@pytest.fixture
def failed(home: Path) -> Result:
    """The failure of a run, kept in the current folder."""
    architecture = replace(
        importlib.import_module("forgetful_here").ARCHITECTURE, reference="forgetful_here:ARCHITECTURE"
    )
    (result,) = check(architecture, laws=["C01"], profile="glance", store=Store(home / ".conformance")).results
    return result


def mended() -> None:
    path = Path("forgetful_here.py")
    path.write_text(path.read_text().replace('del values["count"]', "pass"))
    del sys.modules["forgetful_here"]
    importlib.invalidate_caches()


# ---- examples


def test_an_example_is_judged_alone():
    """An example that breaks the law fails with its message; what the law needs is not judged."""
    result = Example(reference(), "S01", {"width": 2}, head="AutoModel").judge()

    assert (result.status, result.examples) == (Status.PASS, 1)


def test_an_example_makes_the_case():
    """Whoever wants to look more closely gets the config and the model as a law sees them."""
    case = Example(reference(), "S01", {"width": 2}, head="AutoModel", seed=3).case()

    assert case.config().width == 2
    assert torch.equal(case.model().layers[0].weight, case.model().layers[0].weight)


@pytest.mark.usefixtures("home")
def test_an_admission_does_not_hide_the_example():
    """What is admitted to fail still fails when it is judged by itself."""
    known = {"C01": Known("it is old", "https://example.org/1")}
    broken = Architecture(config="forgetful_here:ForgetfulConfig", known=known)

    assert Example(broken, "C01", RICH).judge().status is Status.FAIL


def test_an_absent_device_is_not_run():
    """An example of a device that this machine lacks is not judged."""
    result = Example(reference(), "M01", {"width": 2}, head="AutoModel", device="xpu").judge()

    assert result.status is Status.NOT_RUN


def test_arguments_that_the_config_refuses_are_not_applicable():
    """To refuse what broke a law is a way to mend it."""
    result = Example(reference(), "M01", {"width": 0}, head="AutoModel").judge()

    assert result.status is Status.NOT_APPLICABLE
    assert result.message.startswith("the config refuses these arguments: ")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (Example(reference(), "Z99"), "there is no law 'Z99'"),
        (Example(reference(), "C01", head="AutoModle"), "has no head 'AutoModle'.\n  Did you mean 'AutoModel'?"),
        (Example("nameplate_resnt", "C01"), "no architecture is registered as 'nameplate_resnt'"),
    ],
)
def test_an_example_of_nothing_is_refused(example: Example, said: str):
    """A law, a head or an architecture that does not exist is an error."""
    with pytest.raises(ConformanceError) as caught:
        example.judge()

    assert said in str(caught.value)


# ---- scripts


def test_the_script_shows_the_failure(home: Path):
    """The printed script, run by itself in a fresh process, imports what it needs and fails as the suite did."""
    example = Example("forgetful_here:ARCHITECTURE", "C01", RICH)
    (home / "show.py").write_text(example.script("Failure 3f9c1d."))

    done = subprocess.run([sys.executable, "show.py"], capture_output=True, text=True, check=False)

    assert done.stdout.startswith(f"fail {example.judge().message}"), done.stderr


def test_the_script_reads_like_a_call():
    """It names the architecture, the law, the arguments and where they come from."""
    script = Example("zoo:ARCH", "C01", {"pooling": Pooling.MAX}, head="AutoModel").script("Why.")

    assert script.splitlines()[:9] == [
        "# Why.",
        "from nameplate_conformance import Example",
        "from nameplate_conformance.samples.annotated import Pooling",
        "",
        "example = Example(",
        "    'zoo:ARCH',",
        "    law='C01',",
        "    kwargs={'pooling': Pooling.MAX},",
        "    head='AutoModel',",
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.config)
@settings(max_examples=10)
@given(st.data())
def test_arguments_as_source_come_back(sample: Architecture, data: st.DataObject):
    """Whatever the strategies draw for any annotation is evaluated to an equal value of the same type."""
    kwargs = data.draw(config_kwargs(sample, exotic=True))
    source, namespace = Source(), {}

    text = source.expression(kwargs)
    exec("\n".join(source.imports()), namespace)  # noqa: S102 - what is under test

    assert same(eval(text, namespace), kwargs)  # noqa: S307


def test_source_of_what_no_sample_holds():
    """A dtype of torch, a range and several flags at once are written as people write them."""
    source = Source()

    assert source.expression([torch.bfloat16, range(3), re.ASCII | re.MULTILINE, Level.LOW]) == (
        "[torch.bfloat16, range(0, 3), RegexFlag(264), Level.LOW]"
    )
    assert source.imports() == [
        "import torch",
        "from nameplate_conformance.samples.annotated import Level",
        "from re import RegexFlag",
    ]


def test_classes_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second of two classes that are called alike is written with its module."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("one_here", "other_here"):
        (tmp_path / f"{name}.py").write_text("from typing import NamedTuple\nclass Part(NamedTuple):\n    width: int\n")
    values = [importlib.import_module(name).Part(3) for name in ("one_here", "other_here")]
    source, namespace = Source(), {}

    text = source.expression(values)
    exec("\n".join(source.imports()), namespace)  # noqa: S102 - what is under test

    assert text == "[Part(width=3), other_here.Part(width=3)]"
    assert same(eval(text, namespace), values)  # noqa: S307


def test_a_class_inside_a_function_has_no_source():
    """Nothing can import it, and the message says so."""

    @dataclass
    class Local:
        width: int = 1

    with pytest.raises(ConformanceError, match=r"Local was made inside a function"):
        Source().expression({"part": Local()})


# ---- replaying


def test_a_failure_that_still_fails_is_kept(failed: Result):
    """It fails with the same message, and can be judged again and again."""
    result = replay(failed.id)

    assert (result.status, result.message, result.kwargs) == (Status.FAIL, failed.message, failed.kwargs)
    assert replay(failed.id).status is Status.FAIL


def test_a_failure_that_is_mended_is_forgotten(failed: Result):
    """Once the architecture is mended, the failure passes and its file is gone."""
    mended()

    assert replay(failed.id).status is Status.PASS
    assert Store(Path(".conformance")).failures() == []


def test_an_architecture_that_nobody_finds_has_to_be_given(home: Path):
    """A failure of an architecture that had no name of its own says how to give it one."""
    store = Store(home / ".conformance")
    nameless = importlib.import_module("forgetful_here").ARCHITECTURE
    (result,) = check(nameless, laws=["C01"], profile="glance", store=store).results

    with pytest.raises(ConformanceError, match=r"Say where it is: `replay --arch package.module:NAME`"):
        replay(result.id)
    assert replay(result.id, architecture=nameless).status is Status.FAIL


def test_arguments_of_a_class_that_is_gone_are_refused(failed: Result, home: Path):
    """A value whose class has been renamed since cannot be read, and the message names it."""
    store = Store(home / ".conformance")
    failure = store.failure(failed.id)
    gone = {"__object__": {"class": "nowhere:Gone", "text": "Gone(1)", "value": 1}}
    record = {**failure.record, "kwargs": {"ratio": gone}}

    with pytest.raises(ConformanceError, match=r"ratio=Gone\(1\) cannot be read with ForgetfulConfig as it is now"):
        example_of(replace(failure, record=record))


# ---- the command


def test_the_command_prints_failed_and_a_script(failed: Result):
    """It ends with 1, shows the message, and the script that it prints is the one of the example."""
    done = CliRunner().invoke(command, [failed.id])

    assert done.exit_code == 1
    assert done.output.startswith(
        f"FAILED {failed.id} (C01 of forgetful) [cpu] a config survives JSON\n  {failed.message}"
    )
    assert done.output.endswith(CliRunner().invoke(command, [failed.id, "--script"]).output)


def test_the_command_prints_fixed(failed: Result):
    """It ends with 0 and says that the failure is forgotten."""
    mended()

    done = CliRunner().invoke(command, [failed.id])

    assert done.exit_code == 0
    assert done.output.startswith(f"FIXED {failed.id} ")
    assert f"{failed.id} is forgotten" in done.output


def test_the_command_prints_error(failed: Result):
    """An architecture that cannot be imported any more ends with 1, and the failure stays."""
    Path("forgetful_here.py").write_text("raise RuntimeError('no luck')")
    del sys.modules["forgetful_here"]

    done = CliRunner().invoke(command, [failed.id])

    assert done.exit_code == 1
    assert done.output.startswith(f"ERROR {failed.id} (C01 of forgetful)\n  ")
    assert "RuntimeError: no luck" in done.output
    assert len(Store(Path(".conformance")).failures()) == 1


def test_the_command_refuses_an_unknown_id(failed: Result):
    """It ends with 2 and names the nearest one."""
    done = CliRunner().invoke(command, [failed.id[:-1] + "x"])

    assert done.exit_code == 2
    assert f"Did you mean {failed.id} (C01 of forgetful)?" in done.output
