"""The example of training on many ranks, for a moment: killed on two, gone on with on three, exported for one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from workspace import ROOT

from nameplate_auto import AutoModelForImageClassification
from nameplate_conformance.instruments.ranks import run_ranks, values

EPOCHS, BATCH = 2, 200
PICTURES = ("curves.png", "confusion.png", "features.png", "cam.png")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread, here as on the ranks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def export() -> Iterator[ModuleType]:
    """The program that exports, imported from the checkout, as the ranks import theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield import_module("examples.scale.export")


class Runs(NamedTuple):
    """A run that was killed on two ranks and gone on with on three, and one that three did by themselves.

    Attributes:
        folder: That of the first.
        resumed: The loss of each of its epochs, on each rank.
        uninterrupted: Those of the other.
        refusals: What is said if the first is then gone on with by other numbers.
    """

    folder: Path
    resumed: tuple[list[float], ...]
    uninterrupted: tuple[list[float], ...]
    refusals: tuple[str, ...]


@pytest.fixture(scope="module")
def runs(export: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Have torchrun start two ranks, kill them within the second epoch, and go on on three."""
    del export
    killed, whole = (tmp_path_factory.mktemp(name) for name in ("killed", "whole"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--output", str(killed), "--epochs", str(EPOCHS), "--batch", str(BATCH)]
    command = [*torchrun, "-m", "examples.scale", *options]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE) as run:
        while not (killed / "checkpoints" / "epoch-0001").is_dir():
            assert run.poll() is None
            time.sleep(0.01)
        kill_ranks_of(run.pid)
        run.communicate()
    assert run.returncode
    assert not (killed / "checkpoints" / "epoch-0002").exists()
    return Runs(killed, *zip(*values(run_ranks(trained, 3, str(killed), str(whole))), strict=True))


def trained(rank: int, killed: str, whole: str) -> tuple[list[float], list[float], str]:
    """Train in both folders on this rank; return the loss of each epoch, and what is said of other numbers."""
    del rank
    loop, recipe = import_module("examples.scale.sharded_loop"), import_module("examples.scale.recipe")
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    asked = recipe.recipe_for(epochs=EPOCHS, batch=BATCH)
    resumed, uninterrupted = ([each.train_loss for each in loop.train(asked, mesh, Path(it))] for it in (killed, whole))
    with pytest.raises(SystemExit) as refusal:
        loop.train(recipe.recipe_for(epochs=EPOCHS, batch=BATCH, seed=1), mesh, Path(killed))
    return resumed, uninterrupted, str(refusal.value)


def kill_ranks_of(launcher: int) -> None:
    """Kill the processes that a launcher has started, each by its id."""
    for rank in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        os.kill(int(rank), signal.SIGKILL)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForImageClassification.from_pretrained(folder).state_dict()


def test_a_training_that_is_killed_on_two_ranks_goes_on_on_three(runs: Runs) -> None:
    """It comes to what it would have come to, but for the order of sums, and on every rank to the same."""
    resumed, uninterrupted = runs.resumed[0], runs.uninterrupted[0]

    assert runs.resumed == (resumed,) * 3
    assert resumed == pytest.approx(uninterrupted, rel=1e-3)  # without the optimizer's state it would differ by 1e-2
    assert resumed[1] < resumed[0]
    assert [each.name for each in (runs.folder / "checkpoints").iterdir()] == ["epoch-0002"]


def test_what_three_ranks_have_trained_is_exported_by_one_process(runs: Runs, export: ModuleType) -> None:
    """The same weights, as accurate as the ranks have judged them together, with figures and pictures."""
    assert export.main(["--output", str(runs.folder)]) == 0

    trained, exported = weights(runs.folder / "checkpoints" / "epoch-0002" / "model"), weights(runs.folder / "model")
    assert exported.keys() == trained.keys()
    assert all(torch.equal(each, trained[name]) for name, each in exported.items())
    said = json.loads((runs.folder / "model" / "metrics.json").read_bytes())
    history = json.loads((runs.folder / "history.json").read_bytes())
    assert said["metrics"]["accuracy"] == pytest.approx(history[-1]["test_accuracy"])
    assert said["training"]["epochs"] == len(history) == EPOCHS
    assert all((runs.folder / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_a_run_on_ranks_is_not_gone_on_with_by_another_recipe(runs: Runs) -> None:
    """Other numbers than those a run was begun with are refused on every rank, with both values."""
    refusal = (
        f"The run in {str(runs.folder)!r} was begun with other numbers.\n"
        "  seed: 0, not 1.\n"
        "Go on with the same, or name another folder with --output."
    )

    assert runs.refusals == (refusal,) * 3


def test_whoever_starts_no_ranks_is_told_how(export: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The program without torchrun, and the export without a run, say what to do instead."""
    program = import_module("examples.scale.__main__")
    for main, text in (
        (program.main, "nobody started the ranks; that is done by: torchrun --standalone --nproc-per-node 2"),
        (export.main, "there is no checkpoint in 'nowhere/checkpoints'; train first"),
    ):
        with pytest.raises(SystemExit):
            main(["--output", "nowhere"])
        assert text in capsys.readouterr().err
