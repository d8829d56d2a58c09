"""What ranks do with a checkpoint when a law asks them: errands, and the jobs for `run_ranks` that run them.

All that goes to a rank and comes back is plain. Who asks, and what the answers mean, is `slices`.
"""

import importlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from nameplate_config import NameplateError
from nameplate_conformance.faults.fault import Call
from nameplate_conformance.faults.patcher import patched
from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import bits, every_tensor
from nameplate_model import PreTrainedModel

FSDP = "fsdp"
"""The plan that every model has."""

OWN = ""
"""The plan that stands for the one that the class declares."""

_LATEST = 30.0
"""Seconds after which a rank that waits for another gives up."""

_GRACE = 0.2
"""Seconds for which ranks go on after one was killed: a launcher needs a moment to end them."""


class Home(NamedTuple):
    """Where a model class can be imported from.

    Attributes:
        module: The name of its module.
        name: Its own name.
        file: The file of the module.
    """

    module: str
    name: str
    file: str


class Packed(NamedTuple):
    """A tensor in values that go from process to process.

    Attributes:
        dtype: Its name, without ``torch.``.
        shape: The size along each axis.
        data: The bytes, row after row.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Errand(NamedTuple):
    """Something that ranks do together, beginning with a load in slices.

    Attributes:
        what: Whether they then tell every tensor and the report, answer, or save.
        folders: From where each rank loads. There are as many ranks as folders.
        plan: How the model is cut.
        inputs: What they answer.
        into: The folder that they save into.
        options: Of the save.
    """

    what: Literal["load", "answer", "save"]
    folders: tuple[str, ...]
    plan: str = FSDP
    inputs: Mapping[str, Packed] = {}
    into: str = ""
    options: Mapping[str, Any] = {}


class Told(NamedTuple):
    """What came of an errand on one rank.

    Attributes:
        raised: The name of the class of the error that it raised; empty if it raised none.
        text: What the error says.
        ours: Whether it is one of our errors.
        value: What the errand returned.
        without_us: What was raised when torch alone cut the model and it answered; likewise.
    """

    raised: str = ""
    text: str = ""
    ours: bool = True
    value: Any = None
    without_us: str = ""


def packed(tensor: Tensor) -> Packed:
    """Return a tensor as plain values."""
    kept = bits(tensor)
    return Packed(_name_of(kept.dtype), kept.shape, bytes(kept.data.tolist()))


def unpacked(values: Packed) -> Tensor:
    """Return the tensor that was packed.

    Example:
        >>> unpacked(packed(torch.tensor([[1.5, -0.0]])))
        tensor([[1.5000, -0.0000]])
    """
    dtype = getattr(torch, values.dtype)
    if not values.data:
        return torch.empty(values.shape, dtype=dtype)
    return torch.frombuffer(bytearray(values.data), dtype=torch.uint8).view(dtype).reshape(values.shape)


# ---- the jobs


def run(rank: int, home: Home, errands: Mapping[str, Errand], scratch: str) -> dict[str, Told]:
    """Run errands one after the other, each on the first ranks, and return what came of those of this rank.

    Args:
        rank: The number of this one.
        home: Where the model class is.
        errands: By their names.
        scratch: A folder for temporary files: ranks end without removing what a class keeps for as long as they live.
    """
    tempfile.tempdir = scratch
    meshes = {count: _mesh(count) for count in sorted({len(errand.folders) for errand in errands.values()})}
    told: dict[str, Told] = {}
    for name, errand in errands.items():
        if rank < len(errand.folders):
            told[name] = _ran(rank, home, errand, meshes[len(errand.folders)])
        dist.barrier()
    return told


def save_until_killed(rank: int, home: Home, errand: Errand, victim: int, at: int, scratch: str) -> None:
    """Load and save on all ranks, of which one is killed as soon as it has made some change to the folder.

    Args:
        rank: The number of this one.
        home: Where the model class is.
        errand: What is saved, and into which folder.
        victim: Who is killed.
        at: After which of its changes, counted from 0.
        scratch: A folder for temporary files.
    """
    tempfile.tempdir = scratch
    model, _ = _loaded(rank, home, errand, _mesh(dist.get_world_size()))
    _watch(Path(scratch) / "alive", is_victim=rank == victim)

    def struck(count: int) -> None:
        if rank == victim and count > at:
            os.kill(os.getpid(), signal.SIGKILL)

    _saved(model, errand, struck)


# ---- an errand


def _ran(rank: int, home: Home, errand: Errand, mesh: DeviceMesh) -> Told:
    try:
        model, report = _loaded(rank, home, errand, mesh)
        if errand.what == "save":
            return Told(value=_saved(model, errand))
        if errand.what == "load":
            return Told(value={"tensors": _whole_tensors(model), "report": asdict(report)})
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of it
        return Told(type(error).__name__, str(error), isinstance(error, NameplateError))
    return _answered(home, errand, mesh, model)


def _loaded(rank: int, home: Home, errand: Errand, mesh: DeviceMesh) -> tuple[Any, Any]:
    """Load on the ranks of a mesh, each its own slices; return the model and the report."""
    options: dict[str, str] = {} if errand.plan == OWN else {"plan": errand.plan}
    load: Any = _class_of(home).from_pretrained
    found: tuple[Any, Any] = load(
        errand.folders[rank], device_mesh=mesh, timeout=_LATEST, output_loading_info=True, **options
    )
    return found


def _saved(model: PreTrainedModel, errand: Errand, note: Callable[[int], object] = lambda _: None) -> int:
    """Save into a folder and return how many changes this rank makes there; *note* hears of each."""
    changes: list[Call] = []

    def noted(call: Call) -> None:
        changes.append(call)
        note(len(changes))

    options: Any = errand.options
    with patched(Path(errand.into), watch=noted):
        model.save_pretrained(errand.into, timeout=_LATEST, **options)
    return len(changes)


def _answered(home: Home, errand: Errand, mesh: DeviceMesh, model: nn.Module) -> Told:
    """Return the answers of a model; where it raises something, also what it does when torch alone has cut it."""
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - takes long, and only ranks need it

    inputs = {name: unpacked(each) for name, each in errand.inputs.items()}
    try:
        return Told(value=_answers(model, inputs))
    except Exception as error:  # noqa: BLE001 - as above
        mine = error
    without_us = ""
    try:
        plain: Any = _class_of(home).from_pretrained(errand.folders[0])
        _answers(fully_shard(plain, mesh=mesh), inputs)
    except Exception as error:  # noqa: BLE001 - as above
        without_us = f"{type(error).__name__}: {error}"
    return Told(type(mine).__name__, str(mine), isinstance(mine, NameplateError), without_us=without_us)


def _answers(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Packed]:
    with torch.no_grad():
        return {name: packed(each) for name, each in named(model(**inputs)).items()}


def _class_of(home: Home) -> type[PreTrainedModel]:
    """Import the model class; anew, if another module of that name is there."""
    module = sys.modules.get(home.module)
    if module is not None and getattr(module, "__file__", None) != home.file:
        top = home.module.partition(".")[0]
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{top}.")]:
            del sys.modules[name]
        importlib.invalidate_caches()
    found: type[PreTrainedModel] = getattr(importlib.import_module(home.module), home.name)
    return found


def _mesh(count: int) -> DeviceMesh:
    """Return the mesh of the first ranks; all ranks must ask, whether or not they are in it."""
    return DeviceMesh("cpu", list(range(count)))


# ---- whole tensors


def _whole_tensors(model: nn.Module) -> dict[str, Packed]:
    """Return parameters and all buffers, put together from their slices by torch itself."""
    return {name: _whole(tensor) for name, tensor in every_tensor(model).items()}


def _whole(tensor: Tensor) -> Packed:
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - takes long, and only ranks need it

    if not isinstance(tensor, DTensor):
        return packed(tensor)
    local = tensor.to_local().detach().contiguous()
    raw = local.unsqueeze(-1).view(torch.uint8)  # gloo does not send every dtype
    shape = torch.Size((*tensor.shape, tensor.element_size()))
    strides = torch.empty(shape, device="meta").stride()
    mesh, placements = tensor.device_mesh, tensor.placements
    cut = DTensor.from_local(raw, mesh, placements, run_check=False, shape=shape, stride=strides)
    return Packed(_name_of(tensor.dtype), tuple(tensor.shape), packed(cut.full_tensor()).data)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- a death


def _watch(held: Path, *, is_victim: bool) -> None:
    """Let the victim hold a lock, which the system takes from it when it dies; then the others die too, a bit later."""
    import fcntl  # noqa: PLC0415 - not on Windows

    file = os.open(held, os.O_RDWR | os.O_CREAT)
    if is_victim:
        fcntl.flock(file, fcntl.LOCK_EX)
    dist.barrier()

    def follow() -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    if not is_victim:
        threading.Thread(target=follow, daemon=True).start()
