"""What our configs are timed at; a program of its own, which `configs` starts."""

import copy
import json
from pathlib import Path
from typing import Literal

from benchmarks.timing import Operation, milliseconds_each
from nameplate_config import PreTrainedConfig
from nameplate_config.strict_json import parse_object

LABELS = {index: f"LABEL_{index}" for index in range(1000)}


class ResNetConfig(PreTrainedConfig):
    """The fields that Transformers' config of the same name has, with the same defaults."""

    model_type = "resnet"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] = [256, 512, 1024, 2048]  # noqa: RUF012 - no two configs share a default
    depths: list[int] = [3, 4, 6, 3]  # noqa: RUF012
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False
    out_features: list[str] | None = None
    out_indices: list[int] | None = None
    stage_names: list[str] | None = None


def operations(folder: Path) -> dict[str, Operation]:
    """Return what is timed, by name, given a folder with a config of 1,000 labels."""
    path = folder / "config.json"
    values = parse_object(path.read_bytes(), where="config.json")
    assert ResNetConfig.from_pretrained(folder).id2label == LABELS
    small, large = ResNetConfig(), ResNetConfig(id2label=LABELS)
    return {
        "from_pretrained": lambda: ResNetConfig.from_pretrained(folder),
        "read and parse": lambda: parse_object(path.read_bytes(), where="config.json"),
        "validate and build": lambda: ResNetConfig.from_dict(values),
        "construct, default": ResNetConfig,
        "construct, 1,000 labels": lambda: ResNetConfig(id2label=LABELS),
        "to_dict, default": small.to_dict,
        "to_dict, 1,000 labels": large.to_dict,
        "to_json_string, default": small.to_json_string,
        "to_json_string, 1,000 labels": large.to_json_string,
        "deepcopy, default": lambda: copy.deepcopy(small),
        "deepcopy, 1,000 labels": lambda: copy.deepcopy(large),
        "save_pretrained, 1,000 labels": lambda: large.save_pretrained(folder / "ours"),
    }


def main(folder: str) -> None:
    """Time everything and print the milliseconds."""
    print(json.dumps(milliseconds_each(operations(Path(folder)))))
