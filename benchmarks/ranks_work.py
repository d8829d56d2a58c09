"""What every way to save or load on several ranks has in common: a stack cut on a mesh, and times of all ranks.

Every rank times itself from a barrier on. No torch at the top: what starts the ranks stays small.
"""

import os
import time
from collections.abc import Callable, Mapping
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from benchmarks.memory import Watch
from benchmarks.stack_ours import Stack
from benchmarks.values import checksum

PLANS: Mapping[str, Any] = {"rows": "fsdp", "columns": {"layers.*": "rowwise"}}
"""How the layers are cut: by FSDP2 along the first axis, so that a part is one run of bytes, or along the second."""

_IO = Path("/proc/self/io")


def mesh_of_all() -> DeviceMesh:
    """Return a mesh of all ranks."""
    return init_device_mesh("cpu", (distributed.get_world_size(),))


def cut_stack(source: Path, cut: str, **options: Any) -> Stack:
    """Return the stack in a folder, cut on all ranks, by our own load."""
    return Stack.from_pretrained(source, device_mesh=mesh_of_all(), plan=PLANS[cut], **options)


def parts_of(model: Any) -> list[Any]:
    """Return what this rank has of each parameter."""
    return [each.to_local() if hasattr(each, "to_local") else each for each in model.parameters()]


def bytes_of(model: Any) -> int:
    """Return the bytes that this rank has of all parameters."""
    return sum(each.nbytes for each in parts_of(model))


def pages_of(model: Any) -> int:
    """Return the bytes of the pages of memory that the parts of this rank lie on."""
    places = [(part.data_ptr(), part.data_ptr() + part.nbytes) for part in parts_of(model)]
    return sum(PAGESIZE * (-(-end // PAGESIZE) - begin // PAGESIZE) for begin, end in places)


def marks(model: Any) -> float:
    """Return a number that every part of this rank goes into."""
    return checksum(parts_of(model))


def milliseconds(operation: Callable[[], object]) -> float:
    """Return how long this rank takes, when all begin at once."""
    distributed.barrier()
    started = time.perf_counter()
    operation()
    return 1000 * (time.perf_counter() - started)


def watched(operation: Callable[[], object]) -> dict[str, float]:
    """Return what an operation takes on this rank, in bytes.

    That is more memory, what it reads by calls of the system, what the disk reads for it, and what it writes.
    """
    distributed.barrier()
    before = _io()
    with Watch() as watch:
        operation()
    grown = {name: value - before[name] for name, value in _io().items()}
    by_calls, from_disk = grown["rchar"] - watch.read, grown["read_bytes"]
    return {"memory": watch.grown, "calls": by_calls, "disk": from_disk, "written": grown["write_bytes"]}


def _io() -> dict[str, int]:
    return {name: int(value) for name, value in (line.split(": ") for line in _IO.read_text().splitlines())}


def flush(folder: Path) -> None:
    """Bring everything below a folder to the disk."""
    for each in [*folder.rglob("*"), folder, folder.parent]:
        opened = os.open(each, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
