"""What Transformers' configs are timed at; a program of its own, which `configs` starts."""

import copy
import json
from pathlib import Path

from transformers import ResNetConfig

from benchmarks.timing import Operation, milliseconds_each

LABELS = {index: f"LABEL_{index}" for index in range(1000)}


def operations(folder: Path) -> dict[str, Operation]:
    """Return what is timed, by the names that `configs_ours` uses, given the same folder."""
    assert ResNetConfig.from_pretrained(folder).id2label == LABELS
    small, large = ResNetConfig(), ResNetConfig(id2label=LABELS)
    return {
        "from_pretrained": lambda: ResNetConfig.from_pretrained(folder),
        "construct, default": ResNetConfig,
        "construct, 1,000 labels": lambda: ResNetConfig(id2label=LABELS),
        "to_dict, default": small.to_dict,
        "to_dict, 1,000 labels": large.to_dict,
        "to_json_string, default": small.to_json_string,
        "to_json_string, 1,000 labels": large.to_json_string,
        "deepcopy, default": lambda: copy.deepcopy(small),
        "deepcopy, 1,000 labels": lambda: copy.deepcopy(large),
        "save_pretrained, 1,000 labels": lambda: large.save_pretrained(folder / "theirs"),
    }


def main(folder: str) -> None:
    """Time everything and print the milliseconds."""
    print(json.dumps(milliseconds_each(operations(Path(folder)))))
