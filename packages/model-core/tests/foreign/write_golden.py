"""Write the golden folders: checkpoints as other libraries save them, and what is in their tensors.

Run it by hand, in the environment that pins the versions, and look at the difference:

    hatch run python packages/model-core/tests/foreign/write_golden.py

The folders in the repository were written by Transformers 5.23.0, timm 1.0.31, huggingface_hub 2.4.0, accelerate
1.15.0, safetensors 0.8.0 and torch 2.15.0. `tensors.json` holds dtype, shape and SHA-256 of every tensor, taken from
the live model before it was saved: whoever reads a folder can be compared with it, and no reader has to be trusted.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import transformers
from accelerate import Accelerator
from huggingface_hub import save_torch_model
from modules import Speaker, fill
from safetensors.torch import save_file, save_model
from sums import sums
from theirs import MixedSpeaker, OddConfig, OddModel
from timm.models import save_for_hf
from torch import nn

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"

RESNET = transformers.ResNetConfig(
    embedding_size=4,
    hidden_sizes=[4, 8],
    depths=[1, 1],
    layer_type="basic",
    id2label={0: "cat", 1: "dog", 2: "crane"},
)
GPT2 = {"vocab_size": 12, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 1, "bos_token_id": 0}
TIMM = {"layers": (1, 1, 1, 1), "channels": (4, 4, 4, 8), "stem_type": "deep", "stem_width": 2}


def _of_transformers(model: transformers.PreTrainedModel, **options: object) -> Callable[[Path], nn.Module]:
    def save(folder: Path) -> nn.Module:
        fill(model, 1)
        model.save_pretrained(folder, **options)
        (folder / "generation_config.json").unlink(missing_ok=True)
        return model

    return save


def _gpt2(**values: object) -> transformers.PreTrainedModel:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, eos_token_id=0, **values))


def _resnet() -> transformers.PreTrainedModel:
    return transformers.ResNetForImageClassification(RESNET)


def _timm(folder: Path) -> nn.Module:
    model = fill(timm.create_model("resnet18", num_classes=3, **TIMM), 2)
    labels = {"label_names": ["cat", "dog", "crane"]}
    save_for_hf(model, folder, model_config=labels, model_args=TIMM, safe_serialization=True)
    return model


def _mixin(folder: Path) -> nn.Module:
    model = fill(MixedSpeaker(words=12, width=4), 3)
    model.save_pretrained(folder)
    return model


def _speaker(save: Callable[[nn.Module, Path], object]) -> Callable[[Path], nn.Module]:
    def write(folder: Path) -> nn.Module:
        model = fill(Speaker(), 4)
        save(model, folder)
        return model

    return write


def _torch_model(folder: Path, name: str, **options: object) -> nn.Module:
    model = fill(Speaker(), 5)
    torch.save(model.state_dict(), folder / name, **options)
    return model


def _without_ties(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name != "out.weight"}


FOLDERS: dict[str, Callable[[Path], nn.Module]] = {
    "transformers_single": _of_transformers(_resnet()),
    "transformers_body": _of_transformers(transformers.ResNetModel(RESNET)),
    "transformers_sharded": _of_transformers(_resnet(), max_shard_size="2KB"),
    "transformers_variant": _of_transformers(_resnet().half(), variant="fp16"),
    "transformers_variant_sharded": _of_transformers(_resnet().half(), variant="fp16", max_shard_size="2KB"),
    "transformers_tied": _of_transformers(_gpt2()),
    "transformers_tied_bfloat16": _of_transformers(_gpt2().bfloat16()),
    "transformers_untied": _of_transformers(_gpt2(tie_word_embeddings=False)),
    "transformers_odd": _of_transformers(OddModel(OddConfig())),
    "timm": _timm,
    "mixin": _mixin,
    "safetensors_file": _speaker(lambda model, folder: save_file(_without_ties(model), folder / "model.safetensors")),
    "safetensors_model": _speaker(lambda model, folder: save_model(model, str(folder / "model.safetensors"))),
    "hub_sharded": _speaker(lambda model, folder: save_torch_model(model, folder, max_shard_size=100)),
    "accelerate_sharded": _speaker(
        lambda model, folder: Accelerator(cpu=True).save_model(model, str(folder), max_shard_size=100)
    ),
    "accelerate_pickled": _speaker(
        lambda model, folder: Accelerator(cpu=True).save_model(
            model, str(folder), max_shard_size=100, safe_serialization=False
        )
    ),
    "torch_single": lambda folder: _torch_model(folder, "pytorch_model.bin"),
    "torch_variant": lambda folder: _torch_model(folder, "pytorch_model.fp16.bin"),
    "torch_legacy": lambda folder: _torch_model(folder, "pytorch_model.bin", _use_new_zipfile_serialization=False),
}


def main(golden: Path = GOLDEN) -> None:
    """Write everything anew."""
    shutil.rmtree(golden, ignore_errors=True)
    tensors = {}
    for name, write in FOLDERS.items():
        (golden / name).mkdir(parents=True)
        tensors[name] = sums(write(golden / name).state_dict())
    text = json.dumps(tensors, indent=1, sort_keys=True)
    (golden / "tensors.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
