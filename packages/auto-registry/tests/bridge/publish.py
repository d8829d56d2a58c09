"""Show our architectures to the installed Transformers, use them there, and write into `facts.json` what came of it.

Run by `test_transformers_bridge.py` in a process of its own, in an empty folder that is its home as well.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import nn

from nameplate_auto import AutoClass, AutoConfig, AutoModel, AutoModelForImageClassification
from nameplate_auto.transformers import Publication, publish
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel

facts: dict[str, Any] = {}
IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


class GridConfig(PreTrainedConfig):
    """An architecture that no package announces."""

    model_type = "grid"
    width: int = 4


class GridModel(PreTrainedModel):
    """Its body."""

    config_class = GridConfig
    head_prefixes = ("head.",)

    def __init__(self, config: GridConfig) -> None:
        super().__init__(config)
        self.body = nn.Conv2d(3, config.width, 3)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the features of images."""
        return {"features": self.body(pixel_values)}


class GridClassifier(GridModel):
    """Its body with a head for classes."""

    def __init__(self, config: GridConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.width, config.num_labels)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Return the logits of images, and their loss if labels are given."""
        logits = self.head(self.body(pixel_values).mean((2, 3)))
        return (
            {"logits": logits}
            if labels is None
            else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
        )


class AutoModelForCounting(AutoClass[Any]):
    """A task that Transformers does not have."""


class TheirNameConfig(PreTrainedConfig):
    """A config class under a name that Transformers has built in."""

    model_type = "resnet"


def told(ask: Callable[[], object]) -> list[str] | None:
    """Return the type and text of the error that a call raises, or None."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - its type is what is asked for
        return [type(error).__name__, str(error)]
    return None


def entries(publication: Publication) -> dict[str, Any]:
    """Return what a publication says, ready for JSON."""
    published = {name: list(each) for name, each in publication.published.items()}
    failed = {name: type(error).__name__ for name, error in publication.failed.items()}
    return {"published": published, "taken": publication.taken, "failed": failed}


def registered() -> list[bool]:
    """Return whether Transformers knows the name of the config, and a model for its class, now."""
    theirs = transformers.AutoModelForImageClassification._model_mapping
    return ["grid" in transformers.CONFIG_MAPPING, GridConfig in theirs]


def is_equal(model: nn.Module, other: nn.Module) -> bool:
    """Whether two models answer alike, bit for bit."""
    return torch.equal(model(IMAGES)["logits"], other(IMAGES)["logits"])


# ---- what is published

AutoConfig.register("grid", GridConfig)
AutoModel.register(GridConfig, GridModel)
AutoModelForImageClassification.register(GridConfig, GridClassifier)
AutoModelForCounting.register(GridConfig, GridModel)
AutoConfig.register("resnet", TheirNameConfig)
AutoConfig.register("broken", "no_such_module:Config")

first = publish()
facts["first"] = entries(first)
facts["again"] = entries(publish())
facts["modules"] = sorted({"timm", "nameplate_resnet.modeling_resnet"} & sys.modules.keys())
facts["is_registered"] = registered()

# ---- what Transformers loads

torch.manual_seed(0)
saved = GridClassifier(GridConfig(width=3, id2label={0: "cat", 1: "dog", 2: "crane"})).eval()
saved.save_pretrained("grid")

config = transformers.AutoConfig.from_pretrained("grid")
facts["config"] = [type(config) is GridConfig, config.width, config.id2label, config.name_or_path]
facts["config_override"] = transformers.AutoConfig.from_pretrained("grid", width=5).width
facts["for_model"] = transformers.AutoConfig.for_model("grid", width=6).width

loaded = transformers.AutoModelForImageClassification.from_pretrained("grid")
facts["loaded"] = [type(loaded) is GridClassifier, is_equal(loaded, saved), loaded.training]
facts["body"] = type(transformers.AutoModel.from_pretrained("grid")) is GridModel
half = transformers.AutoModelForImageClassification.from_pretrained("grid", dtype=torch.float16)
facts["half"] = [str(half.head.weight.dtype), torch.equal(half.head.weight, saved.head.weight.half())]
old = transformers.AutoModelForImageClassification.from_pretrained("grid", torch_dtype="auto", low_cpu_mem_usage=True)
facts["old_options"] = [str(old.head.weight.dtype), is_equal(old, saved)]
_, report = transformers.AutoModelForImageClassification.from_pretrained("grid", output_loading_info=True)
facts["report"] = [sorted(report["missing_keys"]), sorted(report["unexpected_keys"])]

other = GridConfig(width=3, id2label={0: "one", 1: "two", 2: "three"})
facts["config_given"] = transformers.AutoModelForImageClassification.from_pretrained(
    "grid", config=other
).config.id2label

torch.manual_seed(1)
fresh = transformers.AutoModelForImageClassification.from_config(GridConfig(width=2))
facts["fresh"] = [type(fresh) is GridClassifier, list(fresh.head.weight.shape)]
facts["fresh_half"] = str(transformers.AutoModel.from_config(GridConfig(), dtype=torch.float16).body.weight.dtype)

facts["unknown_option"] = told(lambda: transformers.AutoModel.from_pretrained("grid", strct=True))
facts["unknown_option_fresh"] = told(lambda: transformers.AutoModel.from_config(GridConfig(), strct=True))
facts["positional"] = told(lambda: transformers.AutoModel.from_pretrained("grid", 1))
no_head = told(lambda: transformers.AutoModelForDepthEstimation.from_pretrained("grid"))
facts["no_head"] = no_head and no_head[0]

# ---- the announced reference

resnet = transformers.AutoModelForImageClassification.from_config(
    transformers.AutoConfig.for_model("nameplate_resnet", layers=[1, 1, 1, 1], block_type="basic", num_classes=3)
).eval()
resnet.save_pretrained("nameplate")
facts["announced"] = [
    type(resnet).__name__,
    is_equal(transformers.AutoModelForImageClassification.from_pretrained("nameplate"), resnet),
]

# ---- what is built on it


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Four images with labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": IMAGES[index % 2], "labels": index % 3}


arguments = transformers.TrainingArguments(
    output_dir="runs", max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True, per_device_train_batch_size=2
)
before = loaded.head.weight.clone()
trainer = transformers.Trainer(model=loaded, args=arguments, train_dataset=Rows())
trainer.train()
trainer.save_model("trained")
facts["trained"] = [trainer.state.global_step, torch.equal(before, loaded.head.weight)]
facts["saved_by_trainer"] = sorted(each.name for each in Path("trained").iterdir() if each.suffix != ".bin")

processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
classify = transformers.pipeline("image-classification", model="grid", image_processor=processor)
found = classify(Image.new("RGB", (9, 9)), function_to_apply="softmax")
facts["pipeline"] = [type(classify.model) is GridClassifier, sorted(each["label"] for each in found)]

# ---- taking it back

first.withdraw()
first.withdraw()
facts["withdrawn"] = registered()
with publish():
    facts["inside"] = registered()
facts["outside"] = registered()

with publish(exist_ok=True) as forced:
    facts["forced"] = [forced.taken, transformers.CONFIG_MAPPING["resnet"] is TheirNameConfig]
facts["given_back"] = transformers.CONFIG_MAPPING["resnet"].__module__

kept = publish()
transformers.CONFIG_MAPPING.register("grid", TheirNameConfig)
kept.withdraw()
facts["replaced_since"] = transformers.CONFIG_MAPPING["grid"] is TheirNameConfig
facts["owned"] = publish().taken

Path("facts.json").write_text(json.dumps(facts), encoding="utf-8")
