"""Level 4, code beside a checkpoint: it does there what the package would have done, and nothing to its neighbours."""

import ast
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from nameplate_auto import RemoteCodeError, read_remote_code
from nameplate_config import SourceCodeError
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.bits import Bits, bits, outputs, require_same, state_bits, weights
from nameplate_conformance.case import Case
from nameplate_conformance.fresh import ask
from nameplate_conformance.law import Evidence, Scope, broken, inapplicable, law, require
from nameplate_conformance.naming import require_refused

_IN_A_FRESH_PROCESS = """
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)
sys.meta_path.insert(0, Absent())
import torch
from safetensors.torch import load_file, save_file
import nameplate_auto
torch.set_num_threads(1)
model = nameplate_auto.{head}.from_pretrained({folder!r}, trust_remote_code=True)
with torch.no_grad():
    answered = model(**load_file({inputs!r}))
found = {{}}
def note(value, path):
    if isinstance(value, torch.Tensor):
        found[path] = value.detach().clone().contiguous()
    elif isinstance(value, dict) or hasattr(value, "__dataclass_fields__"):
        for key, item in (value if isinstance(value, dict) else vars(value)).items():
            note(item, f"{{path}}.{{key}}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            note(item, f"{{path}}.{{position}}")
note(answered, "output")
note(torch.nn.Module.state_dict(model), "state")
save_file(found, {found!r})
answer = type(model).__name__
"""


@law("X02", "the code travels with the weights", level=4, needs=["X01", "S02"], scope=Scope.ONCE)
def code_travels_with_the_weights(case: Case, evidence: Evidence) -> None:
    """A checkpoint that is saved with its code loads in a fresh process in which its package cannot be imported, once
    the code is allowed, as a model of the same class with the same bits, which answers the same. Otherwise whoever
    gets the checkpoint cannot use it without a package that may never have been published."""
    model = case.poisoned()
    with case.folder() as folder:
        saved, inputs, found = folder / "checkpoint", folder / "inputs", folder / "found"
        _save_with_code(case, model, saved)
        save_file({name: value.contiguous() for name, value in case.inputs(model).items()}, inputs)
        places = {"folder": str(saved), "inputs": str(inputs), "found": str(found)}
        package = case.model_class.__module__.partition(".")[0]
        name = ask(_IN_A_FRESH_PROCESS.format(package=package, head=case.head, **places))
        require(name == case.model_class.__name__, f"a fresh process loads a {name}")
        after = {path: bits(tensor) for path, tensor in load_file(found).items()}
        before = {f"state.{each}": held for each, held in weights(model).items()} | _answered(case, model)
        require_same(before, after, evidence, what="tensors", when="loaded in a fresh process without its package")
