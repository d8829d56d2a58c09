"""Loading on many ranks: who takes part, and what they make sure of together.

The load itself is the one of a single process, in `_load` and `_into`. It asks a `Ranks` at the few places where more
than one process matters. How a model is cut is in `cutting.py`, how ranks read for each other in `sending.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from nameplate_config import UnknownOptionError
from nameplate_config.wording import listed, sentences, shown
from nameplate_model._construct import RandomState
from nameplate_model._distributed.cutting import cut
from nameplate_model._distributed.sending import Wanted, fetch_once
from nameplate_model._distributed.spec import device_of, root_of
from nameplate_model._distributed.team import A_WHILE, Team, together
from nameplate_model._placement import Placement, is_time, to_timeout
from nameplate_model._reading import Engine, Memory, fetch
from nameplate_model._report import LoadReport
from nameplate_model._state import modules_of, slots
from nameplate_model._weights import Weights
from nameplate_model.errors import CheckpointError

_DEEPEST = 8
"""How many objects inside each other are told of: what is given as a plan may hold itself."""


class Ranks:
    """The ranks that load one checkpoint together, each its parts of it.

    Attributes:
        mesh: What they are arranged in.
        plan: How a model is to be cut on it.
    """

    def __init__(self, team: Team, mesh: DeviceMesh, plan: object = None) -> None:
        self.mesh = mesh
        self.plan = plan
        self._team = team
        self._remote = False

    @property
    def device(self) -> torch.device:
        """Where the parts of this rank go."""
        return device_of(self.mesh)

    def agree(self, weights: Weights, **facts: object) -> None:
        """Make sure that all ranks load the same, and let them draw the random numbers that the first of them draws.

        Args:
            weights: The opened checkpoint.
            **facts: Whatever else must be the same on all of them.

        Raises:
            RanksDisagreeError: If ranks see different checkpoints, or want different things.
        """
        from nameplate_model import __version__  # noqa: PLC0415 - asks the system for it

        mesh = f"{self.mesh.device_type} {tuple(self.mesh.mesh.shape)} of the ranks {self.mesh.mesh.tolist()}"
        told = {name: _lines(fact) for name, fact in {**facts, "plan": self.plan}.items()}
        self._team.agree(version=__version__, checkpoint=_identity(weights), mesh=mesh, **told)
        behind = self._team.gather(any(file.remote for file in weights.files))
        mine = {"remote": any(behind), "random": _random_state(self.mesh)} if self._team.leads else None
        shared = self._team.share(mine)
        self._remote = bool(shared["remote"])
        _draw_from(shared["random"])

    def verify(self, weights: Weights) -> None:
        """Compare tensors with their checksums: each rank its share of them, of about as many bytes.

        Raises:
            CorruptFileError: If one differs.
            CheckpointError: If there are no checksums.
        """
        weights.verify(_share(weights, self._team.number, self._team.size))

    def agree_on(self, report: LoadReport) -> None:
        """Make sure that all ranks have come to the same verdict on every key.

        Raises:
            RanksDisagreeError: If they have not.
        """
        keys = {"mismatched": report.mismatched, "renamed": report.renamed}
        keys |= {"missing": report.missing, "unexpected": report.unexpected, "loaded": report.loaded}
        self._team.agree(report=[report.model, *(f"{which}: {key}" for which, every in keys.items() for key in every)])

    def cut(self, model: nn.Module, placement: Placement, to_read: Collection[str]) -> None:
        """Turn the parameters of a model into DTensors, as the plan says; see `cutting.cut`."""
        cut(model, self.mesh, self.plan, placement, to_read)

    def fetch(self, wanted: Wanted, memory: Memory, engine: Engine) -> list[torch.Tensor]:
        """Read tensors, and return when all ranks have read theirs.

        Behind a network, what several ranks need is read by one of them, which sends it to the rest.

        Raises:
            CorruptFileError: If a file has changed or cannot be read any more.
        """
        if self._remote:
            return fetch_once(wanted, partial(fetch, memory=memory, engine=engine), self.mesh, self._have_read)
        tensors = fetch([want for want, _ in wanted], memory, engine)
        self._have_read()
        return tensors

    def _have_read(self) -> None:
        self._team.agree(read="everything")


@contextmanager
def meet(mesh: object, plan: object, timeout: object) -> Iterator[Ranks]:
    """Provide the ranks of a mesh to load together. All of them return, or all raise one error.

    What one of them raises, all raise; whoever does not come in time is named. The random state is afterwards what it
    was before.

    Args:
        mesh: What was given as one.
        plan: How a model is to be cut on it.
        timeout: How long a rank waits for the others each time, in seconds.

    Raises:
        UnknownOptionError: If *mesh* is none of which this process is a rank, or *timeout* no time.
        RanksDisagreeError: If they do not load the same.
        MissingRankError: If a rank does not come in time.
    """
    mesh = to_mesh(mesh)
    before = RandomState()
    try:
        waits = float(timeout) if is_time(timeout) else A_WHILE
        with together(sorted(mesh.mesh.flatten().tolist()), "load", timeout=waits) as team:
            to_timeout(timeout)  # in here, so that the others hear of it
            yield Ranks(team, mesh, plan)
    finally:
        before.put_back()


def mesh_of(module: nn.Module) -> DeviceMesh | None:
    """Return the mesh that the DTensors of a module lie on, or None if it has none.

    What FSDP2 has gathered for a forward becomes DTensors again first.

    Raises:
        CheckpointError: If they lie on several that have nothing to do with each other.
    """
    for _, each in modules_of(module):
        if isinstance(each, FSDPModule):
            each.reshard()
    meshes = [root_of(slot.tensor.device_mesh) for slot in slots(module) if isinstance(slot.tensor, DTensor)]
    if any(mesh != meshes[0] for mesh in meshes):
        message = sentences(
            f"The DTensors of {type(module).__name__} lie on several meshes of which none is part of another.",
            "Make one mesh with named dimensions, and shard along those.",
        )
        raise CheckpointError(message)
    return meshes[0] if meshes else None


def to_mesh(value: object) -> DeviceMesh:
    """Return an argument that is a mesh of which this process is a rank.

    Raises:
        UnknownOptionError: If it is none.
    """
    if not isinstance(value, DeviceMesh):
        message = sentences(
            f"device_mesh must be a torch DeviceMesh, found {shown(value)}.",
            "Make one with torch.distributed.device_mesh.init_device_mesh('cpu', (2,)).",
        )
        raise UnknownOptionError(message)
    if not distributed.is_initialized():
        message = sentences(
            "device_mesh is given, but there is no process group through which its ranks could talk.",
            "Start the processes with torchrun, and call torch.distributed.init_process_group() in each of them first.",
        )
        raise UnknownOptionError(message)
    if value.get_coordinate() is None:
        ranks = listed(str(rank) for rank in value.mesh.flatten().tolist())
        message = f"device_mesh has the ranks {ranks}, and this process is rank {distributed.get_rank()}."
        raise UnknownOptionError(message)
    return value


# ---- facts


def _identity(weights: Weights) -> list[str]:
    """Return what two checkpoints share only if they are the same: what their headers say."""
    tensors = [f"{name} {each.dtype} {tuple(each.shape)} {each.nbytes}" for name, each in weights.tensors.items()]
    said = [f"{key}: {text}" for file in weights.files for key, text in sorted(file.header.metadata.items())]
    return [*sorted(tensors), *said]


def _lines(value: object) -> list[str]:
    """Return what is the same on every rank if the value is, and has no addresses in it."""
    if isinstance(value, Mapping):
        return [f"{_text(key)}: {_text(item, 1)}" for key, item in value.items()]
    return (value if isinstance(value, str) else _text(value)).splitlines()


def _text(value: Any, depth: int = 0) -> str:
    if depth > _DEEPEST:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_text(item, depth + 1)}" for key, item in value.items()) + "}"
    if isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes)):
        items = [_text(item, depth + 1) for item in value]
        return f"({', '.join(sorted(items) if isinstance(value, AbstractSet) else items)})"
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    if type(value).__repr__ is object.__repr__:
        return f"{type(value).__qualname__}{_text(getattr(value, '__dict__', {}), depth + 1)}"
    return repr(value)


def _share(weights: Weights, number: int, size: int) -> frozenset[str]:
    """Return the names of the tensors that one of several ranks verifies: a stretch of them with its share of bytes."""
    total = sum(each.nbytes for each in weights.tensors.values())
    names: list[str] = []
    at = 0
    for name, each in weights.tensors.items():
        if min(at * size // max(total, 1), size - 1) == number:
            names.append(name)
        at += each.nbytes
    return frozenset(names)


# ---- random numbers


def _random_state(mesh: DeviceMesh) -> dict[str, str]:
    """Return what the generators of this rank are about to draw, as texts by the type of their device."""
    states = {"cpu": torch.get_rng_state()}
    if mesh.device_type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return {device: bytes(state.tolist()).hex() for device, state in states.items()}


def _draw_from(states: Mapping[str, str]) -> None:
    for device, text in states.items():
        state = torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8, device="cpu")
        (torch.cuda.set_rng_state if device == "cuda" else torch.set_rng_state)(state)
