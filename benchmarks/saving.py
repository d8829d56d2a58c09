"""One save after another, timed; programs of their own, which `save` starts.

Every figure is of a save that is on the disk when the time ends: files and folder are flushed (fsync).
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from benchmarks.values import checksum

_PIECE = 16 << 20


def ours(small: Any, model: Any, load: Callable[[str], Any], folder: str, **options: Any) -> None:
    """Save a model, save it again unchanged, then load it and save what was loaded; print the milliseconds."""
    _warm_up(small, folder, options)
    path = Path(folder)
    answers = {"save": _milliseconds(lambda: model.save_pretrained(path, **options))}
    _look_at(path, model)
    answers["again"] = _milliseconds(lambda: model.save_pretrained(path, **options))
    loaded = load(folder)
    answers["loaded, again"] = _milliseconds(lambda: loaded.save_pretrained(path, **options))
    _look_at(path, model)
    _remove(path)
    print(json.dumps(answers))


def theirs(small: Any, model: Any, folder: str, **options: Any) -> None:
    """Save a model of Transformers, flush what it has written, and print the milliseconds without and with that."""
    _warm_up(small, folder, options)
    path = Path(folder)
    saved = _milliseconds(lambda: model.save_pretrained(path, **options))
    flushed = _milliseconds(lambda: [_flush(each) for each in [*path.iterdir(), path]])
    _look_at(path, model)
    _remove(path)
    print(json.dumps({"save": saved + flushed, "not flushed": saved}))


def raw(small: nn.Module, model: nn.Module, folder: str) -> None:
    """Write the bytes of the parameters of a model into a file, one after the other, and print the milliseconds."""
    path = Path(folder)
    _write(path, small)
    shutil.rmtree(path)
    taken = _milliseconds(lambda: _write(path, model))
    _look_at_bytes(path, model)
    _remove(path)
    print(json.dumps({"save": taken}))


def _write(folder: Path, model: nn.Module) -> None:
    folder.mkdir()
    with (folder / "raw").open("wb", buffering=0) as file:
        for weight in _bytes_of(model):
            for start in range(0, len(weight), _PIECE):
                file.write(weight[start : start + _PIECE])
        os.fsync(file.fileno())
    _flush(folder)


def _bytes_of(model: nn.Module) -> list[memoryview]:
    arrays: list[Any] = [weight.detach().view(-1).numpy() for weight in model.parameters()]
    return [memoryview(array).cast("B") for array in arrays]


def _look_at_bytes(folder: Path, model: nn.Module) -> None:
    assert (folder / "raw").stat().st_size == sum(map(len, _bytes_of(model)))


def _warm_up(small: Any, folder: str, options: dict[str, Any]) -> None:
    small.save_pretrained(folder, **options)
    shutil.rmtree(folder)


def _milliseconds(save: Callable[[], object]) -> float:
    started = time.perf_counter()
    save()
    return 1000 * (time.perf_counter() - started)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove(folder: Path) -> None:
    """Remove a folder now, so that the disk has nothing left to do when the next program starts."""
    shutil.rmtree(folder)
    _flush(folder.parent)


def _look_at(folder: Path, model: nn.Module) -> None:
    """See to it that the files hold every weight of a model, as another library reads them."""
    found = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    weights = dict(model.named_parameters())
    assert found.keys() == weights.keys()
    assert checksum(found[name] for name in weights) == checksum(weights.values()), f"{folder} holds other weights"
