"""What we give as an example runs: on the pages and in docstrings, as a reader would, and the programs that train."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from workspace import ROOT

from nameplate_auto import AutoModelForImageClassification

pytest_plugins = ["pytester"]

# ---- examples of the documentation, which the root conftest.py runs


@pytest.fixture
def checkout(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty checkout with our conftest.py, in which `src/` can be imported."""
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib\nfilterwarnings = error\n")
    pytester.mkdir("src").joinpath("demo").mkdir()
    pytester.syspathinsert("src")
    return pytester


def outcomes(checkout: pytest.Pytester, **files: str) -> dict[str, int]:
    """Return how many examples passed and failed in a README.md or a module of the package `demo`."""
    for name, text in files.items():
        path = "README.md" if name == "readme" else f"src/demo/{name}.py"
        checkout.path.joinpath(path).write_text(text, encoding="utf-8")
    return checkout.runpytest_inprocess().parseoutcomes()


def block(code: str) -> str:
    """Return a page with one Python code block."""
    return f"# A page\n\n```python\n{code}\n```\n"


def docstring(examples: str) -> str:
    """Return a module whose docstring holds examples."""
    return f'"""A module.\n\nExample:\n    {examples}\n"""\n'


def test_a_true_example_passes(checkout: pytest.Pytester) -> None:
    """Code blocks, their doctests and docstrings are all collected."""
    files = {"readme": block("ONE = 1") + block(">>> ONE\n1"), "__init__": docstring(">>> 1\n    1")}

    assert outcomes(checkout, **files) == {"passed": 3}


def test_a_lying_code_block_fails(checkout: pytest.Pytester) -> None:
    """A page whose code does not hold is a failure."""
    assert outcomes(checkout, readme=block("assert 1 == 2")) == {"failed": 1}


def test_a_lying_docstring_fails(checkout: pytest.Pytester) -> None:
    """A docstring whose example prints something else is a failure."""
    assert outcomes(checkout, __init__="", module=docstring(">>> 1\n    2")) == {"failed": 1}


def test_a_warning_in_an_example_fails(checkout: pytest.Pytester) -> None:
    """Examples show no deprecated ways."""
    assert outcomes(checkout, readme=block("import warnings; warnings.warn('old')")) == {"failed": 1}


def test_a_page_runs_in_a_folder_of_its_own(checkout: pytest.Pytester) -> None:
    """The blocks of a page share one folder, which is neither the checkout nor left behind."""
    write = block("open('file', 'x').close()")
    read = block("assert __import__('os').listdir() == ['file']")

    assert outcomes(checkout, readme=write + read) == {"passed": 2}
    assert not (checkout.path / "file").exists()


def test_a_page_is_a_module(checkout: pytest.Pytester) -> None:
    """Classes of a page find each other by name and can be pickled, as they could in a script."""
    define = block("class A:\n    pass\n\n\nclass B:\n    a: 'A'")
    use = block("import pickle, typing\nassert typing.get_type_hints(B)['a'] is A is pickle.loads(pickle.dumps(A))")

    assert outcomes(checkout, readme=define + use) == {"passed": 2}


def test_a_module_is_not_loaded_twice(checkout: pytest.Pytester) -> None:
    """Running the examples of a package executes it once, so that what it registers is registered once."""
    refuse_twice = "from pathlib import Path\nPath(__file__).with_name('loaded').touch(exist_ok=False)\n"

    assert outcomes(checkout, __init__=docstring(">>> 1\n    1") + refuse_twice) == {"passed": 1}


def test_a_module_that_cannot_be_imported_fails(checkout: pytest.Pytester) -> None:
    """A broken module is one failure among the results, not the end of the run."""
    broken = docstring(">>> 1\n    1") + "import nowhere\n"

    assert outcomes(checkout, readme=block("ONE = 1"), __init__=broken) == {"failed": 1, "passed": 1}


def test_a_docstring_sees_its_module(checkout: pytest.Pytester) -> None:
    """An example uses the names of its module, the very objects that importers get."""
    example = docstring(">>> import demo.module; A is demo.module.A\n    True")

    assert outcomes(checkout, __init__="", module=example + "class A:\n    pass\n") == {"passed": 1}


# ---- programs that train

PICTURES = ("curves.png", "confusion.png", "features.png", "cam.png")
CHANCE = 0.1


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread, here and in processes that are started: tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command line of the programs, imported from the checkout as `hatch run train` does."""
    monkeypatch.syspath_prepend(str(ROOT))
    return import_module("examples.training.__main__")


@pytest.fixture
def room(training: ModuleType) -> Callable[[str], ModuleType]:
    """How to get at a module of the programs by its name."""
    del training
    return lambda name: import_module(f"examples.training.{name}")


def contents(folder: Path) -> dict[str, Any]:
    """Return what each file below a folder holds: its bytes, but for the state of a training, which is a pickle."""
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if each.is_file()}
    return {name: state(each) if each.suffix == ".pt" else each.read_bytes() for name, each in files.items()}


def state(file: Path) -> Any:
    """Return what was pickled; tensors by their bytes. Two pickles of the same can differ in who shares a string."""
    return bits(torch.load(file, weights_only=True))


def bits(value: Any) -> Any:
    """Return a value in which every tensor is replaced by its type, shape and bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {name: bits(each) for name, each in value.items()}
    return [bits(each) for each in value] if isinstance(value, list | tuple) else value


def loop(training: ModuleType, folder: Path, *options: str) -> dict[str, Any]:
    """Train with the loop of our own for a moment on the CPU, and return all that it leaves."""
    assert training.main(["loop", "--output", str(folder), "--device", "cpu", *options]) == 0
    return contents(folder)


@pytest.mark.parametrize("program", ["own_loop", "with_trainer", "with_lightning"])
def test_each_program_trains_what_loads_by_name(
    room: Callable[[str], ModuleType], program: str, tmp_path: Path
) -> None:
    """Two epochs make a model far beyond chance, saved with its figures and pictures, and loaded to the bit."""
    recipe, judging, results = (room(name) for name in ("recipe", "judging", "results"))
    asked = recipe.Recipe(epochs=2, batch=16)

    model, history = room(program).train(asked, recipe.Machine.choose("cpu"), tmp_path)
    accuracy = results.write_results(model, history, asked.seed, tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "model")

    again, same_history = room(program).train(asked, recipe.Machine.choose("cpu"), tmp_path)

    held_out = results.load_splits()[1]
    before, after, resumed = (judging.evaluate(each, held_out, model.device) for each in (model, loaded, again))
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.logits, resumed.logits)  # there was nothing left to train
    assert same_history == history
    assert accuracy == after.accuracy > 4 * CHANCE
    assert history[-1].test_accuracy == pytest.approx(accuracy, abs=0.02)  # some judge in the precision of the training
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    assert len(json.loads((tmp_path / "history.json").read_bytes())) == len(history) == 2


def test_the_figures_say_what_a_model_card_quotes(room: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """`model/metrics.json` names task, data, split and figures, and what they were trained with."""
    recipe, results = room("recipe"), room("results")
    model = recipe.new_model(recipe.Recipe())
    epoch = room("judging").Epoch(rate=0.1, train_loss=2.0, test_loss=2.0, test_accuracy=0.1)

    accuracy = results.write_results(model, [epoch], 0, tmp_path)

    said = json.loads((tmp_path / "model/metrics.json").read_bytes())
    assert (said["task"], said["metrics"]["accuracy"]) == ("image-classification", accuracy)
    assert said["dataset"] == {
        "name": "UCI handwritten digits, as in scikit-learn",
        "split": "test",
        "train_images": 1198,
        "test_images": 599,
    }
    assert said["training"] == {"epochs": 1, "seed": 0, "parameters": model.num_parameters()}


def test_a_killed_training_goes_on_to_the_same_bytes(training: ModuleType, tmp_path: Path) -> None:
    """A process killed within an epoch and started again leaves what an uninterrupted one does, in all files."""
    killed, epochs = tmp_path / "killed", ("--epochs", "2")
    command = [sys.executable, "-m", "examples.training", "loop", "--output", str(killed), "--device", "cpu", *epochs]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        while not (killed / "checkpoints" / "epoch-0001").is_dir():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (killed / "checkpoints" / "epoch-0002").exists()

    resumed, whole = loop(training, killed, *epochs), loop(training, tmp_path / "whole", *epochs)

    assert resumed == whole
    assert "checkpoints/epoch-0002/training.pt" in whole


def test_gradient_checkpointing_changes_no_byte(room: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """What is trained with activations computed twice is what is trained without, and is saved alike."""
    recipe, own_loop = room("recipe"), room("own_loop")
    for name, twice in (("plain", False), ("twice", True)):
        machine = recipe.Machine.choose("cpu", gradient_checkpointing=twice)
        model, _ = own_loop.train(recipe.Recipe(epochs=1), machine, tmp_path / name)
        model.save_pretrained(tmp_path / name / "model")

    assert contents(tmp_path / "twice") == contents(tmp_path / "plain")


def test_a_run_goes_on_in_another_precision(room: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """A run that was begun in float16, whose losses are scaled, is gone on with in float32, where none are."""
    recipe, run = room("recipe"), room("run")
    asked = recipe.Recipe(epochs=2)
    begun = run.Run.begin(asked, recipe.Machine.choose("cpu", "float16"), 18)
    begun.history.append(room("judging").Epoch(rate=0.1, train_loss=2.0, test_loss=2.0, test_accuracy=0.1))
    begun.scaler.scale(torch.ones(()))
    begun.scaler.update(2.0**7)
    begun.save(tmp_path / "checkpoints")

    again = run.Run.begin(asked, recipe.Machine.choose("cpu", "float16"), 18)
    again.resume(tmp_path / "checkpoints")
    _, history = room("own_loop").train(asked, recipe.Machine.choose("cpu", "float32"), tmp_path)

    assert again.scaler.get_scale() == 2.0**7
    assert history[0] == begun.history[0]
    assert len(history) == 2


def test_half_a_checkpoint_is_none(room: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """What a crash left of a checkpoint is not gone on from, and is gone with the next."""
    recipe, run = room("recipe"), room("run")
    begun = run.Run.begin(recipe.Recipe(), recipe.Machine.choose("cpu"), 18)
    (tmp_path / ".draft" / "model").mkdir(parents=True)
    (tmp_path / ".draft" / "model" / "config.json").write_text("{}", encoding="utf-8")

    begun.resume(tmp_path)
    assert begun.epoch == 0
    begun.save(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["epoch-0000"]


def test_a_run_is_not_gone_on_with_by_another_recipe(
    training: ModuleType, room: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """Other numbers than those a run was begun with are refused, each with both values."""
    recipe = room("recipe")
    begun = room("run").Run.begin(recipe.Recipe(epochs=9), recipe.Machine.choose("cpu"), 18)
    begun.save(tmp_path / "checkpoints")

    with pytest.raises(SystemExit) as refusal:
        loop(training, tmp_path, "--epochs", "3", "--seed", "1")

    assert str(refusal.value) == (
        f"The run in {str(tmp_path)!r} was begun with other numbers.\n"
        "  epochs: 9, not 3.\n"
        "  seed: 0, not 1.\n"
        "Go on with the same, or name another folder with --output."
    )


def test_activation_maps_add_up_to_the_logits(room: Callable[[str], ModuleType]) -> None:
    """The mean of the map of a class is its logit but for the bias, so that a picture shows all that decides."""
    recipe, pictures = room("recipe"), room("pictures")
    model = recipe.new_model(recipe.Recipe()).eval()
    body = pictures.ResnetModel(recipe.CONFIG).eval()
    body.load_state_dict(model.state_dict(), strict=False)
    pixel_values = model.dummy_inputs["pixel_values"]

    maps = pictures.class_activation_maps(model, body, pixel_values)

    expected = model(pixel_values)["logits"] - model.model.fc.bias
    torch.testing.assert_close(maps.mean((2, 3)), expected.detach())


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--epochs", "0"), "argument --epochs: expected a number of at least 1, found '0'"),
        (("--device", "tpu"), "which are there, found 'tpu'"),
    ],
)
def test_what_cannot_be_asked_is_said(
    training: ModuleType, capsys: pytest.CaptureFixture[str], option: tuple[str, str], text: str
) -> None:
    """A number or a device that makes no sense is reported by the command line, before anything is trained."""
    with pytest.raises(SystemExit):
        training.main(list(option))

    assert text in capsys.readouterr().err
