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

import pytest
import torch
from workspace import ROOT

from nameplate_auto import AutoModelForImageClassification
from nameplate_conformance.instruments.ranks import run_ranks, values

EPOCHS = 2
CHANCE = 0.1
LEFT = ("curves.png", "confusion.png", "features.png", "cam.png", "history.json", "model/metrics.json")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread, here as on the ranks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that exports, imported from the checkout, as the ranks import theirs."""
    monkeypatch.syspath_prepend(str(ROOT))
    return import_module("examples.scale.export")


def trained(rank: int, folder: str) -> list[float]:
    """Train on this rank; return the loss of each epoch."""
    del rank
    sharded_loop, recipe = import_module("examples.scale.sharded_loop"), import_module("examples.scale.recipe")
    mesh = torch.distributed.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    history = sharded_loop.train(recipe.recipe_for(epochs=EPOCHS), mesh, Path(folder))
    return [each.train_loss for each in history]


def refused(rank: int, folder: str) -> str:
    """Go on with other numbers; return what is said."""
    sharded_loop, recipe = import_module("examples.scale.sharded_loop"), import_module("examples.scale.recipe")
    mesh = torch.distributed.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    with pytest.raises(SystemExit) as refusal:
        sharded_loop.train(recipe.recipe_for(epochs=EPOCHS + rank, seed=1), mesh, Path(folder))
    return str(refusal.value)


def kill_ranks_of(launcher: int) -> None:
    """Kill the processes that a launcher has started, each by its id."""
    for rank in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        os.kill(int(rank), signal.SIGKILL)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForImageClassification.from_pretrained(folder).state_dict()


def test_a_training_that_is_killed_on_two_ranks_goes_on_on_three_and_loads_on_one(
    export: ModuleType, tmp_path: Path
) -> None:
    """The ranks that torchrun started are killed within an epoch; three go on to what two would have come to."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "examples.scale", "--output", str(killed), "--epochs", str(EPOCHS)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE) as run:
        while not (killed / "checkpoints" / "epoch-0001").is_dir():
            assert run.poll() is None
            time.sleep(0.01)
        kill_ranks_of(run.pid)
        run.communicate()
    assert run.returncode
    assert not (killed / "checkpoints" / "epoch-0002").exists()

    resumed = values(run_ranks(trained, 3, str(killed)))
    uninterrupted = values(run_ranks(trained, 2, str(whole)))

    assert resumed[0] == resumed[1] == resumed[2] == pytest.approx(uninterrupted[0], rel=1e-3)
    found, expected = (weights(each / "checkpoints" / "epoch-0002" / "model") for each in (killed, whole))
    print({n: float((found[n] - expected[n]).abs().max()) for n in found}, resumed[0], uninterrupted[0])
    for name, each in expected.items():
        torch.testing.assert_close(found[name], each, rtol=0, atol=1e-3)
    assert export.main(["--output", str(killed)]) == 0
    said = json.loads((killed / "model" / "metrics.json").read_bytes())
    assert said["metrics"]["accuracy"] > 4 * CHANCE
    assert said["training"]["epochs"] == EPOCHS
    assert all((killed / name).is_file() for name in LEFT)
    assert weights(killed / "model").keys() == found.keys()
    assert all(torch.equal(each, found[name]) for name, each in weights(killed / "model").items())
