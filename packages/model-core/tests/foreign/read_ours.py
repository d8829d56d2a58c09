"""Read checkpoints with the libraries of others and print, as JSON, what they see: one process reads all.

python read_ours.py JOBS        where JOBS is a JSON file: a list of [reader, folder, options]
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch
import torch
import transformers
from accelerate import load_checkpoint_in_model
from huggingface_hub import load_torch_model
from modules import Odd, Speaker
from safetensors import safe_open
from sums import sums
from theirs import MixedSpeaker, OddConfig, OddModel
from torch import nn

transformers.AutoConfig.register("odd", OddConfig)
transformers.AutoModel.register(OddConfig, OddModel)
transformers.logging.disable_progress_bar()

Seen = dict[str, Any]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _in_parts(folder: Path) -> Seen:
    found = {}
    for path in _files(folder):
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "pt"
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return {"tensors": sums(found)}


def _whole(folder: Path) -> Seen:
    found = {}
    for path in _files(folder):
        found |= safetensors.torch.load_file(path)
    return {"tensors": sums(found)}


def _as_arrays(folder: Path) -> Seen:
    found = {}
    for path in _files(folder):
        found |= safetensors.numpy.load_file(path)
    return {"tensors": sums({name: torch.from_numpy(array) for name, array in found.items()})}


def _with_transformers(folder: Path, name: str, **options: Any) -> Seen:
    cls = OddModel if name == "OddModel" else getattr(transformers, name)
    model, info = cls.from_pretrained(folder, output_loading_info=True, dtype="auto", **options)
    shared = getattr(model, "lm_head", None) is not None and model.lm_head.weight is model.transformer.wte.weight
    lost = {key: sorted(map(str, info[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    return {"class": type(model).__name__, "tensors": sums(model.state_dict()), "tied": shared, **lost}


def _into_speaker(read: Callable[[nn.Module, Path], object]) -> Callable[[Path], Seen]:
    def see(folder: Path) -> Seen:
        model = Speaker()
        read(model, folder)
        return _of_speaker(model)

    return see


def _with_the_hub(folder: Path) -> Seen:
    """Read a folder strictly, unless it has tied weights: then the Hub's loader misses a name even in its own files."""
    model = nn.ModuleDict({"net": Odd()}) if "net.gamma" in _in_parts(folder)["tensors"] else Speaker()
    tied = model.out.weight is model.words.weight if isinstance(model, Speaker) else False
    lost = load_torch_model(model, folder, strict=not tied)
    return {
        "tensors": sums(model.state_dict()),
        "tied": tied,
        "missing_keys": [key for key in lost.missing_keys if key != "out.weight"],
        "unexpected_keys": lost.unexpected_keys,
    }


def _of_speaker(model: nn.Module) -> Seen:
    return {"tensors": sums(model.state_dict()), "tied": model.out.weight is model.words.weight}


READERS: dict[str, Callable[..., Seen]] = {
    "safe_open": _in_parts,
    "load_file": _whole,
    "numpy": _as_arrays,
    "transformers": _with_transformers,
    "load_torch_model": _with_the_hub,
    "load_model": _into_speaker(
        lambda model, folder: safetensors.torch.load_model(model, folder / "model.safetensors")
    ),
    "accelerate": _into_speaker(lambda model, folder: load_checkpoint_in_model(model, str(folder), strict=True)),
    "mixin": lambda folder: _of_speaker(MixedSpeaker.from_pretrained(folder, strict=True)),
}


def _attempt(reader: str, folder: str, options: dict[str, Any]) -> Seen:
    try:
        return READERS[reader](Path(folder), **options)
    except Exception as error:  # noqa: BLE001 - the test says which reader failed, and how
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    JOBS = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps([_attempt(*job) for job in JOBS]))  # noqa: T201 - its result
