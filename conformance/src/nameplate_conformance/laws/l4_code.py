"""Level 4, code beside a checkpoint: it does there what the package would have done, and nothing to its neighbours."""

import ast
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nameplate_auto import CONFIG_MAPPING, read_remote_code
from nameplate_config import SourceCodeError
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.instruments.bits import Bits, bits, outputs, require_same, state_bits, weights
from nameplate_conformance.instruments.fresh import NO_PACKAGES, ask
from nameplate_conformance.instruments.naming import is_first_head, own_name
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, inapplicable, law, require
from nameplate_model import PreTrainedModel

_ELSEWHERE = """
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)
sys.meta_path.insert(0, Absent())
import torch
import nameplate_auto
torch.set_num_threads(1)
def note(value):
    if isinstance(value, torch.Tensor):
        found[f"output {{len(found)}}"] = value.clone(memory_format=torch.contiguous_format)
    elif isinstance(value, (list, tuple)):
        [note(item) for item in value]
    elif isinstance(value, dict) or hasattr(value, "__dataclass_fields__"):
        [note(item) for item in (value if isinstance(value, dict) else vars(value)).values()]
answer = []
for head, folder, inputs, kept in {checkpoints!r}:
    found = {{}}
    auto_class = getattr(nameplate_auto, head, None) or type(head, (nameplate_auto.AutoClass,), {{}})
    model = auto_class.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        note(model(**torch.load(inputs, weights_only=True)))
    for name, tensor in torch.nn.Module.state_dict(model).items():
        found[f"state {{name}}"] = tensor.clone(memory_format=torch.contiguous_format)
    torch.save(found, kept)
    answer.append(type(model).__name__)
"""
"""What a fresh process without the package does: load, answer, and leave the bits of both in a file."""

_PARTS = ("checkpoint", "inputs", "found")
"""What lies in the folder of each model for that process, and what it leaves there."""


@law("X02", "the code travels with the weights", level=4, needs=["X01", "S02"], scope=Scope.ONCE)
def code_travels_with_the_weights(case: Case, evidence: Evidence) -> None:
    """A checkpoint that is saved with its code loads, once that is allowed, in a fresh process that lacks its package,
    as a model of the same class with the same bits that answers the same. Otherwise whoever gets the checkpoint needs
    a package that may never have been published."""
    if not is_first_head(case):
        return  # all heads are loaded by one process, which takes long enough to start
    package = case.model_class.__module__.partition(".")[0]
    models: dict[str, PreTrainedModel] = {}
    with case.folder() as around:
        for head in case.architecture.models:
            models[head] = _packed(replace(case, head=head), around / head)
        checkpoints = [(head, *(str(around / head / name) for name in _PARTS)) for head in models]
        names = ask(NO_PACKAGES + _ELSEWHERE.format(package=package, checkpoints=checkpoints))
        expected = [type(model).__name__ for model in models.values()]
        require(names == expected, f"a process without {package} loads {', '.join(names)}")
        after = {head: torch.load(around / head / "found", weights_only=True) for head in models}
    for head, model in models.items():
        before, read = _answer_and_state(case, model), {name: bits(tensor) for name, tensor in after[head].items()}
        require_same(before, read, evidence, what="tensors", when=f"{head} loaded without {package}")


def _packed(case: Case, folder: Path) -> PreTrainedModel:
    """Save a model with its code, and inputs of it, for a process that has nothing else; return the model."""
    model = case.poisoned()
    _save_with_code(case, model, folder / "checkpoint")
    torch.save(case.inputs(model), folder / "inputs")
    return model


def _answer_and_state(case: Case, model: PreTrainedModel) -> dict[str, Bits]:
    answered = {f"output {number}": bits(each) for number, (_, each) in enumerate(outputs(case.answer(model)))}
    return answered | {f"state {name}": held for name, held in weights(model).items()}


@law("X03", "code stays with its checkpoint", level=4, needs=["X02"], scope=Scope.ONCE)
def code_stays_with_its_checkpoint(case: Case, evidence: Evidence) -> None:
    """Two checkpoints whose files of code have the same names and differ give different classes, two with the same
    bytes the same one; changing a file afterwards changes no class that was loaded, and is seen by the next load.
    Otherwise a model would run the code of whichever checkpoint was loaded before it."""
    model = case.poisoned()
    with case.folder() as around, _unregistered(case):
        homes = [around / name for name in ("first", "second", "twin")]
        _save_with_code(case, model, homes[0])
        for home in homes[1:]:
            shutil.copytree(homes[0], home)
        _mark(case, homes[1], "second")
        first, second, twin = (_loaded_with_code(case, model, home, evidence) for home in homes)
        require(first is not second, "checkpoints with different code give one class")
        require(first is twin, "checkpoints with the same code give different classes")
        _mark(case, homes[0], "changed")
        changed = _loaded_with_code(case, model, homes[0], evidence)
        marks = [getattr(each, "mark", None) for each in (first, second, changed)]
        require(marks == [None, "second", "changed"], f"the marks of classes of different code are {marks}")
        evidence.count("classes", len(marks))


def _mark(case: Case, home: Path, mark: str) -> None:
    """Append a line to the code of a checkpoint."""
    *module, name = _reference(home, case.head)
    place = home.joinpath(*module)
    with (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).open("a", encoding="utf-8") as file:
        file.write(f"\n{name}.mark = {mark!r}\n")


def _loaded_with_code(case: Case, model: PreTrainedModel, home: Path, evidence: Evidence) -> type:
    loaded = auto_classes()[case.head].from_pretrained(home, trust_remote_code=True)
    require_same(weights(model), state_bits(loaded), evidence, what="tensors", when=f"loaded with code of {home.name}")
    return type(loaded)


@law("X06", "no module is left behind", level=4, needs=["X02"], scope=Scope.ONCE)
def no_module_is_left_behind(case: Case, evidence: Evidence) -> None:
    """Every module that the saved code imports relatively, anywhere in it, lies beside the checkpoint if it lies in
    the package, also one that is imported in a function or that the code can do without; and a change of any of them
    changes the digest by which the code is approved. Otherwise the code works until somebody takes the other path."""
    with case.folder() as around:
        saved = around / "checkpoint"
        _save_with_code(case, case.poisoned(), saved)
        home = Path(sys.modules[case.model_class.__module__].__file__ or "")
        module = (home.parent if home.stem == "__init__" else home).parts
        package = Path(*module[: len(module) - len(_reference(saved, case.head)) + 1])
        files = sorted(saved.rglob("*.py"))
        for file in files:
            wanted = set(_imported_relatively(package / file.relative_to(saved)))
            absent = [each.relative_to(package) for each in wanted if not (saved / each.relative_to(package)).is_file()]
            require(not absent, f"{file.relative_to(saved)} imports {', '.join(map(str, absent))}, which is not copied")
            evidence.count("modules", 1 + len(wanted))
        digest = read_remote_code(saved).digest
        for file in files:
            content = file.read_bytes()
            file.write_bytes(content + b"\n")
            require(read_remote_code(saved).digest != digest, f"a change of {file.relative_to(saved)} is not noticed")
            file.write_bytes(content)
            evidence.count("digests")


def _imported_relatively(file: Path) -> Iterator[Path]:
    """Yield the files of a package that one of them imports relatively, as the source says it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        target = file.parents[node.level - 1].joinpath(*(node.module.split(".") if node.module else ()))
        own = [target / "__init__.py", *([target.parent / f"{target.name}.py"] if node.module else [])]
        for alias in node.names:
            places = (target / f"{alias.name}.py", target / alias.name / "__init__.py", *own)
            yield from [place for place in places if place.is_file()][:1]


# ---- saving and loading with code


def _save_with_code(case: Case, model: PreTrainedModel, folder: Path) -> None:
    """Save a model with the code of its classes. A law that asks does not apply to code that cannot be copied."""
    with _as_it_was(case.config_class), _as_it_was(case.model_class):
        try:
            case.config_class.register_for_auto_class()
            case.model_class.register_for_auto_class(case.head)
        except SourceCodeError as error:
            inapplicable(f"its code cannot travel: {error}")
        model.save_pretrained(folder)


@contextmanager
def _as_it_was(cls: type) -> Iterator[None]:
    """Undo what a block sets on a class."""
    before = dict(vars(cls))
    try:
        yield
    finally:
        for name, value in dict(vars(cls)).items():
            if name not in before:
                delattr(cls, name)
            elif before[name] is not value:
                setattr(cls, name, before[name])


def _reference(folder: Path, head: str) -> list[str]:
    """Return where a checkpoint says that the class for an Auto class is: the parts of its module, and its name."""
    values: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_bytes())
    require(head in values.get("auto_map", {}), f"the file has no auto_map for {head}, but {values.get('auto_map')}")
    return str(values["auto_map"][head]).split(".")


@contextmanager
def _unregistered(case: Case) -> Iterator[None]:
    """Let the name of the architecture stand for nothing inside a block, whoever registers or announces it."""
    name = own_name(case)
    with ExitStack() as stack:
        os.environ["NAMEPLATE_PLUGINS"] = ""  # put back at the end of the example
        stack.enter_context(CONFIG_MAPPING.override(name, case.config_class))
        CONFIG_MAPPING.unregister(name)
        yield
