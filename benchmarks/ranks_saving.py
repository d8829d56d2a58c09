"""Ways to save a stack that two ranks share; each is a job of its own, which `ranks` starts.

A way is timed until it returns on all ranks, and then what it takes to bring to the disk whatever it has left in the
page cache. After that every weight is read back and compared. Memory and bytes are counted in processes of their own:
to look costs time, and what one save has freed the next would take again unnoticed.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from benchmarks.ranks_work import cut_stack, flush, marks, milliseconds, parts_of, watched
from benchmarks.values import checksum

_PIECE = 16 << 20


def ours(model: Any, folder: Path) -> None:
    """Save with `save_pretrained`."""
    model.save_pretrained(folder)


def raw(model: Any, folder: Path, *, flushed: bool = False) -> None:
    """Write the bytes of the whole model, which the first rank has, one after the other."""
    if distributed.get_rank():
        return
    folder.mkdir()
    with (folder / "raw").open("wb", buffering=0) as file:
        for part in parts_of(model):
            array: Any = part.detach().view(-1).numpy()
            data = memoryview(array).cast("B")
            for start in range(0, len(data), _PIECE):
                file.write(data[start : start + _PIECE])
        if flushed:
            os.fsync(file.fileno())


def raw_flushed(model: Any, folder: Path) -> None:
    """Do that, and wait until it is on the disk."""
    raw(model, folder, flushed=True)


def gather(model: Any, folder: Path) -> None:
    """Gather the model on the first rank, as torch does it, and save it there with safetensors."""
    whole: Any = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not distributed.get_rank():
        folder.mkdir()
        save_file(whole, folder / "model.safetensors")
    distributed.barrier()


def native(model: Any, folder: Path) -> None:
    """Save with torch's distributed checkpoints, in their own format."""
    checkpoint.save(get_model_state_dict(model), storage_writer=checkpoint.FileSystemWriter(folder))


def sharded(model: Any, folder: Path) -> None:
    """Save with them, in safetensors of each rank by itself."""
    writer = checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    checkpoint.save(get_model_state_dict(model), storage_writer=writer)


def consolidated(model: Any, folder: Path) -> None:
    """Save with them, and let them make one standard file of it."""
    names = dict.fromkeys(dict(model.named_parameters()), 1)
    writer = checkpoint.HuggingFaceStorageWriter(
        str(folder), names, save_distributed=True, enable_consolidation=True, thread_count_consolidation=2
    )
    checkpoint.save(get_model_state_dict(model), storage_writer=writer)
    distributed.barrier()


WAYS: Mapping[str, Callable[[Any, Path], None]] = {
    each.__name__: each for each in (ours, raw, raw_flushed, gather, native, sharded, consolidated)
}
_WHOLE = (raw, raw_flushed)


def timed(_rank: int, way: str, cut: str, sources: Mapping[str, str], place: str) -> dict[str, float]:
    """Save in one way below a folder, and return how long it took this rank, in milliseconds."""
    save, target = WAYS[way], Path(place) / "saved"
    small, model = (_source(save, Path(sources[size]), cut) for size in ("small", "large"))
    _saved_once(save, small, target)
    answers = {"save": milliseconds(lambda: save(model, target))}
    answers["flush"] = milliseconds(lambda: _flushed(target))
    _look_at(save, model, target)
    _removed(target)
    return answers


def counted(_rank: int, way: str, cut: str, sources: Mapping[str, str], place: str) -> dict[str, float]:
    """Save in one way below a folder, and return what it took of memory and disk, in bytes."""
    save, target = WAYS[way], Path(place) / "saved"
    small, model = (_source(save, Path(sources[size]), cut) for size in ("small", "large"))
    _saved_once(save, small, target)
    answers = watched(lambda: save(model, target))
    _removed(target)
    return answers


def _source(save: Callable[..., None], folder: Path, cut: str) -> Any:
    """Return a model in memory of its own: the parts of this rank, or all of it where the first rank saves alone."""
    from benchmarks.stack_ours import load  # noqa: PLC0415 - beside the other

    if save not in _WHOLE:
        return cut_stack(folder, cut, memory="copy")
    return load(str(folder), memory="copy") if not distributed.get_rank() else None


def _saved_once(save: Callable[[Any, Path], None], model: Any, target: Path) -> None:
    save(model, target)
    _removed(target)


def _flushed(target: Path) -> None:
    if not distributed.get_rank():
        flush(target)
    distributed.barrier()


def _removed(target: Path) -> None:
    """Remove what was saved now, so that the disk has nothing left to do later."""
    distributed.barrier()
    if not distributed.get_rank():
        shutil.rmtree(target)
        flush(target.parent)
    distributed.barrier()


def _look_at(save: Callable[..., None], model: Any, target: Path) -> None:
    """See to it that every weight was saved."""
    if save in _WHOLE:
        return
    if save in (native, sharded):
        expected = marks(model)
        with torch.no_grad():
            for part in parts_of(model):
                part.zero_()
        reader = checkpoint.FileSystemReader(target)
        if save is sharded:
            reader = checkpoint.HuggingFaceStorageReader(str(target))
        checkpoint.load(get_model_state_dict(model), storage_reader=reader)
        assert marks(model) == expected, f"{target} holds other weights"
        return
    whole = [each.full_tensor() for each in model.parameters()]
    found = load_file(target / _file_of(target))
    names = [name for name, _ in model.named_parameters()]
    assert checksum(found[name] for name in names) == checksum(whole), f"{target} holds other weights"


def _file_of(target: Path) -> str:
    (file,) = (each.name for each in target.glob("*.safetensors"))
    return file
