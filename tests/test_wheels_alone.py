"""Each wheel, installed with nothing but what it declares, works.

In the editable environment every sibling and every third party is at hand, so a forgotten dependency goes
unnoticed there. Here each package gets an environment of its own.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from workspace import ROOT, Member, members

MEMBERS = {member.short_name: member for member in members()}

Install = Callable[..., Path]

ROUND_TRIP = """
import sys
import torch
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel

class LineConfig(PreTrainedConfig):
    width: int = 3

class Line(PreTrainedModel):
    config_class = LineConfig

    def __init__(self, config):
        super().__init__(config)
        self.line = torch.nn.Linear(config.width, config.width)

saved = Line(LineConfig(width=2))
saved.save_pretrained(sys.argv[1])
assert torch.equal(saved.line.weight, Line.from_pretrained(sys.argv[1]).line.weight)
"""

FIND = "import sys, importlib.util; print(*filter(importlib.util.find_spec, sys.argv[1:]))"

LOAD_ENTRY_POINTS = """
from importlib.metadata import entry_points
for each in entry_points(group="nameplate.architectures"):
    each.load()
    print(each.name)
"""


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """Return what a command prints; fail with its own words if it fails."""
    # An active environment would take the place of the one that is asked for.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every member, built once, by short name."""
    folder = tmp_path_factory.mktemp("wheels")
    for member in MEMBERS.values():
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], member.folder)
    return {name: wheel_of(member, folder) for name, member in MEMBERS.items()}


def wheel_of(member: Member, folder: Path) -> Path:
    """Return the one wheel of a member."""
    (wheel,) = folder.glob(f"{member.import_name}-*.whl")
    return wheel


@pytest.fixture
def install(wheels: dict[str, Path], tmp_path: Path) -> Iterator[Install]:
    """A function that puts packages into an empty environment and returns its folder of programs."""
    uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    assert uv, "uv is missing; `hatch run test` provides it"
    environment = tmp_path / "environment"
    constraints = tmp_path / "constraints.txt"
    # By file, not by name: an index may hold other packages called like ours.
    lines = [f"{MEMBERS[name].name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()]
    constraints.write_text("".join(lines))

    def install(*names: str) -> Path:
        run([uv, "venv", "--python", sys.executable, environment])
        folder = environment / ("Scripts" if os.name == "nt" else "bin")
        wanted = [wheels[name] for name in names]
        run([uv, "pip", "install", "--python", folder / "python", "--constraints", constraints, *wanted])
        return folder

    yield install
    # pytest keeps the temporary folders of three runs, which is too much torch where links are copies.
    shutil.rmtree(environment, ignore_errors=True)


def execute(folder: Path, code: str, *arguments: str) -> str:
    """Return what code prints in an environment."""
    # Isolated, so that neither the current folder nor an environment variable lends it anything.
    return run([folder / "python", "-I", "-c", code, *arguments])


def absent(folder: Path, *modules: str) -> list[str]:
    """Return which of the modules an environment does not have."""
    found = execute(folder, FIND, *modules).split()
    return [module for module in modules if module not in found]


def test_config_and_auto_need_no_torch(install: Install) -> None:
    """Configs and the registry install and import without torch or the packages that need it."""
    folder = install("config", "auto")

    execute(folder, "import nameplate_config, nameplate_auto")
    assert absent(folder, "nameplate_auto", "nameplate_model", "torch") == ["nameplate_model", "torch"]


def test_model_needs_no_timm(install: Install, tmp_path: Path) -> None:
    """A model is saved and loaded where there is neither timm nor the registry, nor NumPy."""
    folder = install("model")

    execute(folder, ROUND_TRIP, str(tmp_path / "checkpoint"))
    assert absent(folder, "torch", "nameplate_auto", "numpy", "timm") == ["nameplate_auto", "numpy", "timm"]


def test_resnet_needs_no_registry(install: Install) -> None:
    """The reference imports, and its entry point loads, where nobody installed the registry."""
    folder = install("resnet")

    execute(folder, "import nameplate_resnet")
    assert execute(folder, LOAD_ENTRY_POINTS) == "nameplate_resnet\n"
    assert absent(folder, "timm", "nameplate_auto", "nameplate_conformance") == [
        "nameplate_auto",
        "nameplate_conformance",
    ]


def test_a_new_package_conforms_with_the_wheels_alone(install: Install, tmp_path: Path) -> None:
    """A package that the suite has just written is judged at once in all three ways, without the reference or timm."""
    folder = install("conformance")
    package = tmp_path / "my-arch"
    run([folder / "nameplate-conformance", "new", "my-arch", package])
    uv = shutil.which("uv", path=Path(sys.executable).parent) or "uv"
    constraints = tmp_path / "constraints.txt"
    run([uv, "pip", "install", "--python", folder / "python", "--constraints", constraints, "-e", package])

    strict = ("-W", "error", "-W", "ignore:Failed to initialize NumPy")  # torch misses what it does not need
    judge = [folder / "python", "-m", "pytest", "-q", *strict, "--conformance-profile", "glance"]
    assert " passed" in run(judge, package)
    assert " passed" in run([*judge, "--pyargs", "nameplate_conformance", "--arch", "my_arch", "--law", "S01"], package)
    command = [folder / "nameplate-conformance", "run", "my_arch", "--profile", "glance", "--device", "cpu"]
    assert "laws hold" in run([*command, "--html", "report.html"], package)
    assert (package / "report.html").read_text().startswith("<!doctype html>")
    assert absent(folder, "hypothesis", "nameplate_resnet", "timm") == ["nameplate_resnet", "timm"]


# ---- a model that was published by itself

PUBLISH = """
import sys
import torch
from nameplate_resnet import ImageProcessorConfig, ResnetConfig, ResnetModelForImageClassification
from nameplate_resnet.cli import main
from safetensors.torch import save_file

torch.manual_seed(0)
config = ResnetConfig.from_timm(
    "seresnextaa101d_32x8d", layers=(1, 1, 1, 1), cardinality=2, channels=(8, 8, 16, 16), num_labels=3
)
model = ResnetModelForImageClassification(config).eval()
with torch.no_grad():
    for each in model.state_dict().values():
        if each.is_floating_point():
            each.uniform_(0.1, 0.3)
    pixels = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    save_file({"pixels": pixels, "logits": model(pixels).logits}, "expected.safetensors")
model.save_pretrained("checkpoint")
ImageProcessorConfig(size=(64, 64)).save_pretrained("checkpoint")
main(["publish", "checkpoint", "user/published"])
"""

COMPARE = """
import torch
from safetensors.torch import load_file

expected = load_file("expected.safetensors")
assert expected["logits"].isfinite().all() and expected["logits"].std() > 0
with torch.no_grad():
    answer = model(expected["pixels"])
logits = answer if torch.is_tensor(answer) else answer["logits"]
assert torch.equal(logits, expected["logits"]), (logits, expected["logits"])
"""

OURS = ("nameplate_config", "nameplate_model", "nameplate_auto", "nameplate_resnet", "nameplate_conformance")

WAYS = {
    "nameplate_resnet": ("config", "model", "resnet"),
    "nameplate_auto": ("auto", "config", "model"),
    "transformers": (),
    "timm": (),
}
"""What each way on the card imports first, and which of our packages it has at hand."""


@pytest.fixture
def hub() -> Iterator[Any]:
    """A Hub on loopback, that of the tests of configs."""
    path = ROOT / "packages/config-core/tests/loopback_hub.py"
    spec = importlib.util.spec_from_file_location("loopback_hub", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loopback_hub"] = module
    spec.loader.exec_module(module)
    with module.LoopbackHub().serving() as serving:
        yield serving


def put(uv: str, python: Path, wheels: Sequence[Path], folder: Path) -> Path:
    """Install wheels, and what only they need, into a folder that an environment may look into."""
    run([uv, "pip", "install", "--python", python, "--target", folder, "--no-deps", *wheels, "annotated-types"])
    return folder


def snippets(card: str) -> Mapping[str, str]:
    """Return each way that a card shows, by what it imports first."""
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return {block.split()[1]: block for block in blocks}


def test_a_published_model_loads_by_every_way_on_its_card(hub: Any, wheels: dict[str, Path], tmp_path: Path) -> None:
    """One commit serves this package, the cores, Transformers alone and timm alone: each way gives the same bits."""
    uv = shutil.which("uv", path=Path(sys.executable).parent) or "uv"
    environment = tmp_path / "environment"
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    strangers = [f"{name}=={version(name).partition('+')[0]}" for name in ("timm", "torch", "transformers")]
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**home, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_loopback"}.items():
            patch.setenv(name, value)
        run([sys.executable, "-c", PUBLISH], tmp_path)
        repository = hub.repositories["user/published"]
        card = repository.commits[repository.references["main"]]["README.md"].decode()
        ways = snippets(card)
        assert ways.keys() == WAYS.keys()

        run([uv, "venv", "--python", sys.executable, environment])
        run([uv, "pip", "install", "--python", python, *strangers])
        for way, names in WAYS.items():
            ours = [str(put(uv, python, [wheels[name] for name in names], tmp_path / way))] if names else []
            absent = [name for name in OURS if name.removeprefix("nameplate_") not in names]
            begin = f"import importlib.util, sys\nsys.path[:0] = {ours}\n"
            begin += f"assert not [*filter(importlib.util.find_spec, {absent})]\n"
            run([python, "-I", "-c", f"{begin}{ways[way]}{COMPARE}"], tmp_path)
    shutil.rmtree(environment, ignore_errors=True)  # as above


def shortcomings(names: Sequence[str], import_name: str) -> Iterator[str]:
    """Yield what is wrong with the list of files in a wheel."""
    if f"{import_name}/py.typed" not in names:
        yield "py.typed is missing"
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield "LICENSE is missing"
    for name in names:
        top, *rest = name.split("/")
        if (top != import_name and not top.endswith(".dist-info")) or "tests" in rest:
            yield f"{name} does not belong here"


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_holds_its_package_and_nothing_else(name: str, wheels: dict[str, Path]) -> None:
    """A wheel carries the typed package and its licence, and no tests."""
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = wheel.namelist()

    assert list(shortcomings(names, MEMBERS[name].import_name)) == []


def test_a_careless_wheel_is_reported() -> None:
    """The probe reports missing marks, tests and strangers."""
    names = ["a/__init__.py", "a/tests/test_a.py", "notes.txt", "a-1.dist-info/METADATA"]

    assert list(shortcomings(names, "a")) == [
        "py.typed is missing",
        "LICENSE is missing",
        "a/tests/test_a.py does not belong here",
        "notes.txt does not belong here",
    ]
