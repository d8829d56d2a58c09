"""The bare floor of a load: what any loader in Python has to do, and nothing else.

Layers are built without running an initialiser, each file is mapped once, and every parameter is put into its
place. There is no config to validate, no key to check, no report, no error that anybody could understand.
"""

import json
import mmap
import struct
from pathlib import Path

import torch
from torch import nn

_INDEX = "model.safetensors.index.json"


class _Layer(nn.Linear):
    def reset_parameters(self) -> None:
        """Run no initialiser."""


def load(folder: str) -> nn.Module:
    """Load a stack."""
    config = json.loads(Path(folder, "config.json").read_bytes())
    model = _build(config["tensors"], config["rows"], config["columns"])
    places = {f"layers.{index}.weight": layer for index, layer in enumerate(model["layers"].children())}
    for file in _files(Path(folder)):
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        (length,) = struct.unpack_from("<Q", mapped)
        header = json.loads(mapped[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            flat = torch.frombuffer(mapped, dtype=torch.float32, count=(end - start) // 4, offset=8 + length + start)
            places[name]._parameters["weight"] = nn.Parameter(flat.view(entry["shape"]))  # noqa: SLF001
    return model.eval()


def _build(tensors: int, rows: int, columns: int) -> nn.ModuleDict:
    layers = (_Layer(columns, rows, bias=False, device="meta") for _ in range(tensors))
    return nn.ModuleDict({"layers": nn.ModuleList(layers)})


def _files(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if not index.exists():
        return [folder / "model.safetensors"]
    return [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
