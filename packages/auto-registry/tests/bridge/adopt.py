"""Let our Auto classes find the architectures of Transformers, and write into `facts.json` what came of it.

Run by `test_transformers_bridge.py` in a process of its own, in an empty folder that is its home as well.
"""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForDepthEstimation,
    AutoModelForImageClassification,
)
from nameplate_auto.transformers import adopt, publish
from nameplate_config import PreTrainedConfig

facts: dict[str, Any] = {}
TINY = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}


class CustomConfig(transformers.PreTrainedConfig):
    """An architecture that somebody registered with Transformers."""

    model_type = "custom"

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        self.width = width
        super().__init__(**kwargs)


class CustomModel(transformers.PreTrainedModel):
    """Its model."""

    config_class = CustomConfig

    def __init__(self, config: CustomConfig) -> None:
        super().__init__(config)
        self.line = torch.nn.Linear(config.width, 1)
        self.post_init()


class OwnConfig(PreTrainedConfig):
    """A class of ours under a name that Transformers has built in."""

    model_type = "vit"


def told(ask: Callable[[], object]) -> list[str] | None:
    """Return the type and text of the error that a call raises, or None."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - its type is what is asked for
        return [type(error).__name__, str(error)]
    return None


def architectures() -> list[str]:
    """Return the modules of architectures that Transformers has imported."""
    return sorted(
        name for name in sys.modules if name.startswith("transformers.models.") and ".models.auto" not in name
    )


def is_equal(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two models hold the same tensors, bit for bit."""
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


# ---- what is listed

transformers.AutoConfig.register("custom", CustomConfig)
transformers.AutoModel.register(CustomConfig, CustomModel)
with adopt() as everything:
    names = CONFIG_MAPPING.names()
    facts["listed"] = [
        {"resnet", "bert", "custom", "nameplate_resnet"} <= set(names),
        set(everything.model_types) == set(transformers.CONFIG_MAPPING),
        architectures(),
    ]
    facts["found"] = CONFIG_MAPPING.find("resnet").value
facts["gone"] = ["resnet" in CONFIG_MAPPING, "custom" in CONFIG_MAPPING]

# ---- what is loaded

torch.manual_seed(0)
saved = transformers.ResNetForImageClassification(transformers.ResNetConfig(**TINY)).eval()
saved.save_pretrained("resnet")
CustomModel(CustomConfig(width=2)).save_pretrained("custom")
theirs = transformers.AutoModelForImageClassification.from_pretrained("resnet")

adoption = adopt("resnet", "custom", "gpt-sw3", "funnel")
facts["adopted"] = [adoption.model_types, "bert" in CONFIG_MAPPING]
config = AutoConfig.from_pretrained("resnet")
facts["config"] = [
    type(config) is transformers.ResNetConfig,
    config.to_dict() == transformers.AutoConfig.from_pretrained("resnet").to_dict(),
]
facts["override"] = AutoConfig.from_pretrained("resnet", num_channels=4).num_channels
facts["bad_override"] = told(lambda: AutoConfig.from_pretrained("resnet", num_chanels=4))

model = AutoModelForImageClassification.from_pretrained("resnet")
facts["model"] = [type(model) is transformers.ResNetForImageClassification, is_equal(model, theirs), model.training]
facts["body"] = type(AutoModel.from_pretrained("resnet")) is transformers.ResNetModel
facts["half"] = str(AutoModel.from_pretrained("resnet", dtype=torch.float16).dtype)
loud = AutoConfig.from_pretrained("resnet", output_hidden_states=True)
facts["given"] = AutoModel.from_pretrained("resnet", config=loud).config.output_hidden_states
facts["fresh"] = type(AutoModel.from_config(config)) is transformers.ResNetModel
facts["custom"] = [
    type(AutoModel.from_pretrained("custom")) is CustomModel,
    is_equal(AutoModel.from_pretrained("custom"), transformers.AutoModel.from_pretrained("custom")),
]
facts["several"] = [
    AutoModel.model_class_of(transformers.FunnelConfig, names).__name__ for names in (None, ["FunnelBaseModel"])
]
facts["second_name"] = type(AutoConfig.for_model("gpt-sw3")).__name__

model.save_pretrained("again")
facts["again"] = is_equal(AutoModelForImageClassification.from_pretrained("again"), saved)

# ---- what is refused

facts["no_head"] = told(lambda: AutoModelForDepthEstimation.from_pretrained("resnet"))
facts["bad_option"] = told(lambda: AutoModel.from_pretrained("resnet", strct=True))
weights = load_file("resnet/model.safetensors")
config.save_pretrained("headless")
body = {name: each for name, each in weights.items() if not name.startswith("classifier.")}
save_file(body, "headless/model.safetensors", {"format": "pt"})
facts["random"] = told(lambda: AutoModelForImageClassification.from_pretrained("headless"))
facts["allowed"] = told(lambda: AutoModelForImageClassification.from_pretrained("headless", strict=False))
facts["mismatched"] = told(lambda: AutoModel.from_pretrained("resnet", hidden_sizes=[8, 24]))
config.save_pretrained("weightless")
facts["weightless"] = told(lambda: AutoModel.from_pretrained("weightless"))
facts["unknown"] = told(lambda: adopt("resnt"))

# ---- who comes first

with adopt():
    with CONFIG_MAPPING.override("vit", OwnConfig):
        facts["ours_first"] = AutoConfig.for_model("vit") == OwnConfig()
    facts["theirs_then"] = type(AutoConfig.for_model("vit")) is transformers.ViTConfig
    with publish() as publication:
        facts["published"] = sorted(publication.published)
        facts["not_back"] = CONFIG_MAPPING.find("nameplate_resnet").origin != CONFIG_MAPPING.find("bert").origin
adoption.withdraw()
adoption.withdraw()
facts["withdrawn"] = [CONFIG_MAPPING.names(), told(lambda: AutoModel.from_config(config))]


# ---- threads


def come_and_go() -> None:
    """Adopt, look up and withdraw, again and again."""
    for _ in range(20):
        with adopt("resnet"):
            if type(AutoConfig.for_model("resnet")) is not transformers.ResNetConfig:
                raise AssertionError
    done.append(threading.get_ident())


done: list[int] = []
threads = [threading.Thread(target=come_and_go) for _ in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
facts["threads"] = [len(done), "resnet" in CONFIG_MAPPING]

Path("facts.json").write_text(json.dumps(facts), encoding="utf-8")
