"""The three ways to run under pytest, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

THREE_LINES = """
from nameplate_conformance import conformance_tests
from nameplate_conformance.zoo.{module} import {name}
test_conformance = conformance_tests({name}())
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_three_lines_judge_an_architecture(tmp_path: Path):
    """A test file of three lines gives one test for each law and device."""
    (tmp_path / "test_it.py").write_text(THREE_LINES.format(module="reference", name="reference"))
    done = run_pytest(tmp_path, "--conformance-profile", "smoke", "--device", "cpu")

    assert done.returncode == 0, done.stdout
    assert "82 passed, 10 skipped" in done.stdout


def test_three_lines_reject_a_broken_architecture(tmp_path: Path):
    """A broken law fails its own test with the smallest example; what it blocks fails too, and says by what."""
    (tmp_path / "test_it.py").write_text(THREE_LINES.format(module="broken_modules", name="_plain_tensor"))
    done = run_pytest(tmp_path, "--conformance-profile", "smoke", "--device", "cpu")

    assert done.returncode == 1
    assert "M06 every tensor is registered: fail" in done.stdout
    assert "blocked by M06" in done.stdout


def test_registered_architectures_are_judged_without_a_line(tmp_path: Path):
    """`pytest --pyargs nameplate_conformance --arch …` judges a registered architecture; absent devices are skipped."""
    done = run_pytest(
        tmp_path,
        *("--pyargs", "nameplate_conformance", "--arch", "nameplate_resnet"),
        *("--conformance-profile", "smoke", "--device", "cpu", "--device", "xpu", "-rs"),
        *("-k", "test_conformance"),  # not the doc examples, which this checkout collects too
    )

    assert done.returncode == 0, done.stdout
    assert "90 passed, 14 skipped" in done.stdout
    assert "not run: there is no xpu device on this machine" in done.stdout


def test_unknown_architecture_is_an_error(tmp_path: Path):
    """A name that nothing is registered under is reported with the nearest one."""
    done = run_pytest(tmp_path, "--pyargs", "nameplate_conformance", "--arch", "nameplate_resnt")

    assert done.returncode != 0
    assert "Did you mean 'nameplate_resnet'?" in done.stdout + done.stderr


@pytest.mark.parametrize("module", ["torch", "hypothesis", "nameplate_auto"])
def test_plugin_imports_nothing_heavy(module: str):
    """Loading the plugin, which every pytest run of the environment does, imports only the standard library."""
    probe = f"import sys, nameplate_conformance.plugin; sys.exit({module!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
