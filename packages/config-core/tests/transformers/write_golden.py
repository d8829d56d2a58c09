"""Write the golden files: configs as Transformers saves them, and labels as it understands them.

Run it by hand, in the environment that pins the version, and look at the difference:

    hatch run bench:python packages/config-core/tests/transformers/write_golden.py

The files in the repository were written by Transformers 5.23.0. Those of `EDITED` were changed afterwards, by the
function that this file names: this version writes them no more, but the Hub is full of them.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import BertConfig, CLIPConfig, PreTrainedConfig, ResNetConfig, ViTConfig
from user_config import UserConfig, UserModel

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"

CAT_AND_DOG = {0: "cat", 1: "dog"}
PETS = {0: "cat", 1: "dog", 2: "crane"}
INFINITY = float("inf")


def _inverse(labels: dict[int, str]) -> dict[str, int]:
    return {label: index for index, label in labels.items()}


def _renamed_by_assignment() -> PreTrainedConfig:
    config = ResNetConfig(num_labels=3)
    config.id2label = PETS  # and `label2id` is still that of LABEL_0 and so on
    return config


def _with_code() -> PreTrainedConfig:
    """Return the config of a model whose classes are registered for Auto classes, as saving leaves it."""
    UserConfig.register_for_auto_class()
    UserModel.register_for_auto_class("AutoModel")
    config = UserConfig(hidden_size=256)
    with tempfile.TemporaryDirectory() as folder:
        UserModel(config).save_pretrained(folder)
        shutil.copy(Path(folder) / "config.json", GOLDEN / "with_code" / "config.json")
    UserConfig._auto_class = None
    return config


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "resnet": ResNetConfig,
    "labels_1000": lambda: ResNetConfig(num_labels=1000),
    "labels_0": lambda: ResNetConfig(num_labels=0),
    "labels_1": lambda: ResNetConfig(num_labels=1),
    "labels_2": lambda: ResNetConfig(num_labels=2),
    "labels_3": lambda: ResNetConfig(num_labels=3),
    "labels_named": lambda: ResNetConfig(id2label=PETS),
    "labels_both_maps": lambda: ResNetConfig(id2label=PETS, label2id=_inverse(PETS)),
    "labels_with_gaps": lambda: ResNetConfig(id2label={1: "cat", 5: "dog", 3: "crane"}),
    "labels_shared": lambda: ResNetConfig(id2label={0: "crane", 1: "crane"}, label2id={"crane": 1}),
    # the two maps as the image classification tutorial of Transformers makes them
    "labels_of_the_tutorial": lambda: ResNetConfig(
        id2label={str(index): label for index, label in PETS.items()},
        label2id={label: str(index) for index, label in PETS.items()},
    ),
    "labels_renamed": _renamed_by_assignment,
    "dtype_bfloat16": lambda: ResNetConfig(dtype="bfloat16"),
    "dtype_float32": lambda: BertConfig(dtype="float32"),
    "problem_type": lambda: BertConfig(problem_type="multi_label_classification", num_labels=4),
    "common_settings": lambda: BertConfig(output_hidden_states=True, return_dict=False, output_attentions=True),
    "vit": lambda: ViTConfig(id2label=CAT_AND_DOG, label2id=_inverse(CAT_AND_DOG), image_size=[224, 192]),
    "bert": lambda: BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2),
    "clip": lambda: CLIPConfig(dtype="float16", text_config={"hidden_size": 256}, vision_config={"patch_size": 16}),
    "backbone": lambda: ResNetConfig(out_features=["stage2", "stage4"], depths=(2, 2, 2, 2), layer_type="basic"),
    "user": lambda: UserConfig(
        hidden_size=512,
        window=(7, 14),
        names={10: "ten", 2: "two"},
        rates={"warm": [0.1, {"steps": 3}], "none": None},
        return_dict=False,
    ),
    "special_floats": lambda: UserConfig(rates={"low": -INFINITY, "all": [INFINITY, float("nan"), 1.0]}, top=INFINITY),
    "special_floats_nested": lambda: CLIPConfig(logit_scale_init_value=INFINITY, text_config={"extra": -INFINITY}),
    "with_code": _with_code,
    "unknown_keys": lambda: ResNetConfig(laboratory={"beams": [1, 2.0, None, True]}, depth_rate=0.0, note=""),
    "unicode": lambda: ResNetConfig(id2label={0: "кот", 1: "猫", 2: "🐈"}, naïve="é\u2028\x00"),
}


def _of_version_4(values: dict[str, Any]) -> dict[str, Any]:
    """Rename `dtype`, and add what older versions wrote, with the version that wrote it."""
    values["torch_dtype"] = values.pop("dtype")
    return values | {"_name_or_path": "microsoft/resnet-50", "_commit_hash": None, "transformers_version": "4.18.0"}


def _with_two_labels(values: dict[str, Any]) -> dict[str, Any]:
    """Write out the labels that this version leaves out."""
    return values | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}


def _with_a_count(values: dict[str, Any]) -> dict[str, Any]:
    """Count the labels, which no version of Transformers writes but many people do."""
    return values | {"num_labels": 5}


EDITED: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "edited_version_4": ("dtype_bfloat16", _of_version_4),
    "edited_two_labels": ("resnet", _with_two_labels),
    "edited_count": ("resnet", _with_a_count),
    "edited_wrong_count": ("labels_named", _with_a_count),
}

# By name: what a constructor is given, what overrides it in `from_dict`, what is assigned afterwards.
LABEL_CASES: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {"kwargs": {}},
    "count 0": {"kwargs": {"num_labels": 0}},
    "count 1": {"kwargs": {"num_labels": 1}},
    "count 2": {"kwargs": {"num_labels": 2}},
    "count 3": {"kwargs": {"num_labels": 3}},
    "count None": {"kwargs": {"num_labels": None}},
    "no names": {"kwargs": {"id2label": {}}},
    "one name": {"kwargs": {"id2label": {"0": "cat"}}},
    "two names": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}}},
    "two numbers": {"kwargs": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}},
    "gaps": {"kwargs": {"id2label": {"2": "cat", "7": "dog"}}},
    "shared name": {"kwargs": {"id2label": {"0": "crane", "1": "crane"}}},
    "both maps": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}},
    "tutorial": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": "0", "dog": "1"}}},
    "contradiction": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 1, "dog": 0}}},
    "inverse alone": {"kwargs": {"label2id": {"cat": 0, "dog": 1, "crane": 2}}},
    "inverse and count": {"kwargs": {"label2id": {"cat": 0, "dog": 1, "crane": 2}, "num_labels": 3}},
    "names and count": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}, "num_labels": 2}},
    "names and wrong count": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}, "num_labels": 3}},
    "names, then count": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}}, "overrides": {"num_labels": 3}},
    "names, then their count": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}}, "overrides": {"num_labels": 2}},
    "count, then count": {"kwargs": {"num_labels": 3}, "overrides": {"num_labels": 4}},
    "nothing, then count": {"kwargs": {}, "overrides": {"num_labels": 3}},
    "count, then names": {"kwargs": {"num_labels": 3}, "overrides": {"id2label": {"0": "cat"}}},
    "count, then maps": {"kwargs": {"num_labels": 3}, "overrides": {"id2label": {"0": "cat"}, "label2id": {"cat": 0}}},
    "nothing, count set": {"kwargs": {}, "assigned": {"num_labels": 3}},
    "names, their count set": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}}, "assigned": {"num_labels": 2}},
    "names, count set": {"kwargs": {"id2label": {"0": "cat", "1": "dog"}}, "assigned": {"num_labels": 1}},
    "count, names set": {"kwargs": {"num_labels": 3}, "assigned": {"id2label": {"0": "cat", "1": "dog"}}},
    "count, None set": {"kwargs": {"num_labels": 3}, "assigned": {"id2label": None}},
}


def _with_integer_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the keys of `id2label` as code writes them."""
    labels = values.get("id2label")
    return {**values} if labels is None else {**values, "id2label": {int(key): each for key, each in labels.items()}}


def _pairs(labels: dict[Any, Any] | None) -> list[list[Any]] | None:
    return None if labels is None else [list(pair) for pair in labels.items()]


def _labels_of(case: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a case with what Transformers makes of it; maps as pairs, since JSON has no integer keys."""
    try:
        config = ResNetConfig.from_dict(
            _with_integer_keys(case["kwargs"]), **_with_integer_keys(case.get("overrides", {}))
        )
        for name, value in _with_integer_keys(case.get("assigned", {})).items():
            setattr(config, name, value)
    except TypeError as error:
        return {**case, "transformers": {"error": type(error).__name__}}
    maps = {"id2label": _pairs(config.id2label), "label2id": _pairs(config.label2id)}
    return {**case, "transformers": {"num_labels": config.num_labels, **maps}}


def _write(name: str, values: Any) -> None:
    (GOLDEN / name / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Write everything anew."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name in (*CONFIGS, *EDITED):
        (GOLDEN / name).mkdir(parents=True)
    for name, build in CONFIGS.items():
        config = build()
        if name != "with_code":
            config.save_pretrained(GOLDEN / name)
    for name, (origin, edit) in EDITED.items():
        _write(name, edit(json.loads((GOLDEN / origin / "config.json").read_text(encoding="utf-8"))))
    table = json.dumps({name: _labels_of(case) for name, case in LABEL_CASES.items()}, indent=1)
    (HERE / "labels.json").write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
