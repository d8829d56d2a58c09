"""Checkpoints that were saved here load with the libraries of others: every bit, one object where weights are tied.

The libraries themselves read, all in one process: `foreign/read_ours.py`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from nameplate_model import PreTrainedModel

from .foreign.modules import fill
from .foreign.ours import (
    GPT2Config,
    GPT2LMHeadModel,
    OddConfig,
    OddModel,
    ResNet,
    ResNetConfig,
    ResNetForImageClassification,
    SpeakerConfig,
    SpeakerModel,
)
from .foreign.sums import sums

FOREIGN = Path(__file__).parent / "foreign"
GOLDEN = FOREIGN / "golden"
TENSORS: dict[str, dict[str, str]] = json.loads((GOLDEN / "tensors.json").read_text(encoding="utf-8"))

RESNET: dict[str, Any] = {
    "embedding_size": 4,
    "hidden_sizes": (4, 8),
    "depths": (1, 1),
    "layer_type": "basic",
    "num_labels": 3,
}
GPT2: dict[str, Any] = {"vocab_size": 12, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 1}
SMALL: dict[str, Any] = {"max_shard_size": 2000}
FP16: dict[str, Any] = {"variant": "fp16"}


def resnet() -> PreTrainedModel:
    """Return a classifier with the names of Transformers' own."""
    return ResNetForImageClassification(ResNetConfig(**RESNET))


def gpt2(**values: Any) -> PreTrainedModel:
    """Return a language model with the names of Transformers' own."""
    return GPT2LMHeadModel(GPT2Config(**GPT2, **values))


def speaker() -> PreTrainedModel:
    """Return a module with tied weights of which no library knows."""
    return SpeakerModel(SpeakerConfig())


# by name: how the model is made, and how it is saved
MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "resnet": (resnet, {}),
    "resnet_body": (lambda: ResNet(ResNetConfig(**RESNET)), {}),
    "resnet_sharded": (resnet, SMALL),
    "resnet_fp16": (lambda: resnet().half(), FP16),
    "resnet_fp16_sharded": (lambda: resnet().half(), FP16 | SMALL),
    "gpt2": (gpt2, {}),
    "gpt2_sharded": (gpt2, {"max_shard_size": 200}),
    "gpt2_bfloat16": (lambda: gpt2().bfloat16(), {}),
    "gpt2_untied": (lambda: gpt2(tie_word_embeddings=False), {}),
    "odd": (lambda: OddModel(OddConfig()), {}),
    "odd_sharded": (lambda: OddModel(OddConfig()), {"max_shard_size": 50}),
    "speaker": (speaker, {}),
    "speaker_sharded": (speaker, {"max_shard_size": 100}),
}

PLAIN = ["safe_open", "load_file", "numpy"]
RESNET_CLASS = {"name": "ResNetForImageClassification"}

# reader, model, options of the reader
READ: list[tuple[str, str, dict[str, Any]]] = [
    *((reader, name, {}) for name in MODELS for reader in PLAIN if (reader, name) != ("numpy", "gpt2_bfloat16")),
    ("transformers", "resnet", RESNET_CLASS),
    ("transformers", "resnet", {"name": "AutoModelForImageClassification"}),
    ("transformers", "resnet_body", {"name": "ResNetModel"}),
    ("transformers", "resnet_sharded", RESNET_CLASS),
    ("transformers", "resnet_fp16", RESNET_CLASS | FP16),
    ("transformers", "resnet_fp16_sharded", RESNET_CLASS | FP16),
    *(
        ("transformers", f"gpt2{kind}", {"name": "GPT2LMHeadModel"})
        for kind in ("", "_sharded", "_bfloat16", "_untied")
    ),
    ("transformers", "odd", {"name": "OddModel"}),
    ("transformers", "odd", {"name": "AutoModel"}),
    ("load_torch_model", "odd", {}),
    ("load_torch_model", "odd_sharded", {}),
    ("load_torch_model", "speaker", {}),
    ("load_torch_model", "speaker_sharded", {}),
    ("load_model", "speaker", {}),
    ("mixin", "speaker", {}),
    ("accelerate", "speaker", {}),
    ("accelerate", "speaker_sharded", {}),
]

# golden folder of Transformers: our class, options of both libraries, its class
TRIPS: dict[str, tuple[type[PreTrainedModel], dict[str, Any], str]] = {
    "transformers_single": (ResNetForImageClassification, {}, "ResNetForImageClassification"),
    "transformers_body": (ResNet, {}, "ResNetModel"),
    "transformers_sharded": (ResNetForImageClassification, {}, "ResNetForImageClassification"),
    "transformers_variant": (ResNetForImageClassification, FP16, "ResNetForImageClassification"),
    "transformers_variant_sharded": (ResNetForImageClassification, FP16, "ResNetForImageClassification"),
    "transformers_tied": (GPT2LMHeadModel, {}, "GPT2LMHeadModel"),
    "transformers_tied_bfloat16": (GPT2LMHeadModel, {}, "GPT2LMHeadModel"),
    "transformers_untied": (GPT2LMHeadModel, {}, "GPT2LMHeadModel"),
    "transformers_odd": (OddModel, {}, "OddModel"),
}

Key = tuple[str, str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Save every model, load and save every golden folder, and let the others read all of it: one process."""
    saved, moved = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("moved") / "elsewhere"
    models = {name: fill(make(), 7) for name, (make, _) in MODELS.items()}
    for name, model in models.items():
        model.save_pretrained(saved / name, **MODELS[name][1])
    shutil.move(saved, moved)  # a checkpoint does not know where it was saved
    jobs = [(reader, str(moved / name), options) for reader, name, options in READ]
    jobs += list(_trips(tmp_path_factory.mktemp("trips")))
    path = tmp_path_factory.mktemp("jobs") / "jobs.json"
    path.write_text(json.dumps(jobs), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, FOREIGN / "read_ours.py", path],
        capture_output=True,
        check=False,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout.splitlines()[-1])
    return {"seen": seen, "sums": {name: sums(model.state_dict()) for name, model in models.items()}}


def _trips(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Save what Transformers saved once more, anew and over its own files."""
    for name, (cls, options, theirs) in TRIPS.items():
        model = cls.from_pretrained(GOLDEN / name, **options)
        over = Path(shutil.copytree(GOLDEN / name, folder / f"{name}_over"))
        for place, size in ((folder / name, {}), (folder / f"{name}_sharded", {"max_shard_size": 1500}), (over, {})):
            model.save_pretrained(place, **options, **size)
            yield "transformers", str(place), {"name": theirs, **options}


@pytest.mark.parametrize(
    ("number", "reader", "name"),
    [(number, reader, name) for number, (reader, name, _) in enumerate(READ)],
    ids=[f"{reader}-{options.get('name', '')}-{name}" for reader, name, options in READ],
)
def test_others_read_what_was_saved_here(number, reader, name, world):
    """Each tensor has our dtype, shape and bits, nothing is missing or left over, and ties are one object."""
    seen, expected = world["seen"][number], world["sums"][name]
    assert "error" not in seen, seen["error"]

    if reader in PLAIN:  # they know no ties: each tensor is in the files once
        assert seen["tensors"].items() <= expected.items()
        assert {*seen["tensors"].values()} == {*expected.values()}
    else:
        assert seen["tensors"] == expected
        assert seen.get("missing_keys", []) == seen.get("unexpected_keys", []) == seen.get("mismatched_keys", []) == []
        assert seen["tied"] == (name.startswith(("gpt2", "speaker")) and name != "gpt2_untied")


@pytest.mark.parametrize("place", ["anew", "sharded", "over its files"])
@pytest.mark.parametrize("name", TRIPS)
def test_a_trip_changes_nothing(name, place, world):
    """What Transformers saved, was loaded and saved here, and is read by Transformers again, is what it was."""
    number = len(READ) + list(TRIPS).index(name) * 3 + ["anew", "sharded", "over its files"].index(place)
    seen = world["seen"][number]
    assert "error" not in seen, seen["error"]

    assert seen["tensors"] == TENSORS[name]
    assert seen["missing_keys"] == seen["unexpected_keys"] == seen["mismatched_keys"] == []
    assert seen["tied"] == ("_tied" in name)
