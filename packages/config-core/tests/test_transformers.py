"""Configs that Transformers wrote load here, and ours load there.

`transformers/golden` holds what Transformers 5.23 saved, and `transformers/labels.json` what it makes of labels;
`transformers/write_golden.py` writes both. The other direction runs Transformers itself, in one process.
"""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import pytest

from nameplate_config import ConfigError, PreTrainedConfig

HERE = Path(__file__).parent / "transformers"
GOLDEN = {folder.name: folder for folder in sorted((HERE / "golden").iterdir())}
LABELS: dict[str, dict[str, Any]] = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))

INFINITY = float("inf")
ABSENT = object()


class ResNet(PreTrainedConfig):
    """The native ResNet's fields."""

    model_type = "resnet"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False


class Backbone(ResNet):
    """The native ResNet's fields, with those that every backbone has."""

    stage_names: list[str] = field(default_factory=list)
    out_features: list[str] | None = None
    out_indices: list[int] | None = None


class Bert(PreTrainedConfig):
    """Some of BERT's fields; the others are kept as extras."""

    model_type = "bert"

    hidden_size: int = 768
    hidden_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True


class ViT(PreTrainedConfig):
    """Some of ViT's fields."""

    model_type = "vit"

    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0


class ClipText(PreTrainedConfig):
    """Some fields of CLIP's text model."""

    model_type = "clip_text_model"

    hidden_size: int = 512
    layer_norm_eps: float = 1e-5
    extra: float = 0.0


class ClipVision(PreTrainedConfig):
    """Some fields of CLIP's vision model."""

    model_type = "clip_vision_model"

    hidden_size: int = 768
    image_size: int = 224
    patch_size: int = 32


class Clip(PreTrainedConfig):
    """CLIP, of two configs."""

    model_type = "clip"

    text_config: ClipText = ClipText()
    vision_config: ClipVision = ClipVision()
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592


class User(PreTrainedConfig):
    """The class of `transformers/user_config.py`, with another base."""

    model_type = "user"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(
        self,
        hidden_size: int = 768,
        window: tuple[int, int] = (7, 7),
        names: dict[int, str] | None = None,
        rates: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.window = window
        self.names = names
        self.rates = rates


def numbered(count: int) -> dict[str, str]:
    return {str(index): f"LABEL_{index}" for index in range(count)}


def inverse(labels: dict[Any, str]) -> dict[str, int]:
    return {label: int(index) for index, label in labels.items()}


def values_of(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN[name] / "config.json").read_text(encoding="utf-8"))


def generic(model_type: str) -> type[PreTrainedConfig]:
    return type("Generic", (PreTrainedConfig,), {"model_type": model_type})


def read(name: str) -> PreTrainedConfig:
    """Load a golden file with a class that declares nothing."""
    contradictory = name in {"edited_wrong_count", "labels_renamed"}
    with warnings.catch_warnings(action="ignore" if contradictory else "error"):
        return generic(values_of(name)["model_type"]).from_pretrained(GOLDEN[name])


def canonical(values: Any) -> str:
    """Return values as text, which tells 1 from 1.0 and from True."""
    return json.dumps(values, sort_keys=True)


# ---- theirs, read by a class that declares nothing

PETS = {"cat": 0, "dog": 1, "crane": 2}

# All that `to_dict` changes: what follows from other keys is written, what every config has is not.
CHANGED: dict[str, dict[str, Any]] = {
    # label2id is derived where Transformers wrote null
    "labels_named": {"label2id": PETS},
    "labels_with_gaps": {"label2id": {"cat": 1, "crane": 3, "dog": 5}},
    "unicode": {"label2id": {"кот": 0, "猫": 1, "🐈": 2}},
    # or wrote texts, or the labels before
    "labels_of_the_tutorial": {"label2id": PETS},
    "labels_renamed": {"label2id": PETS},
    # the labels of a config without labels
    "edited_two_labels": {"id2label": ABSENT, "label2id": ABSENT},
    # num_labels becomes the labels that it counts, unless there are some
    "edited_count": {"num_labels": ABSENT, "id2label": numbered(5), "label2id": inverse(numbered(5))},
    "edited_wrong_count": {"num_labels": ABSENT, "id2label": numbered(5), "label2id": inverse(numbered(5))},
    # an older name
    "edited_version_4": {"torch_dtype": ABSENT, "dtype": "bfloat16"},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_value_of_a_file_of_transformers_comes_back(name):
    """Every key and value is saved again as it was, of the same type, but for what is listed."""
    expected = {**values_of(name), **CHANGED.get(name, {})}

    assert canonical(read(name).to_dict()) == canonical({k: v for k, v in expected.items() if v is not ABSENT})


@pytest.mark.parametrize("name", GOLDEN)
def test_a_file_of_transformers_is_stable_once_saved(name, tmp_path: Path):
    """What was saved here loads as an equal config."""
    config = read(name)
    config.save_pretrained(tmp_path)

    assert type(config).from_pretrained(tmp_path) == config


# ---- theirs, read by classes with types


@pytest.mark.parametrize(
    ("config_class", "name"),
    [
        *((Backbone, name) for name in ("resnet", "labels_0", "labels_1", "labels_2", "labels_3", "labels_1000")),
        *((Backbone, name) for name in ("backbone", "dtype_bfloat16", "unknown_keys", "labels_both_maps")),
        *((Bert, name) for name in ("bert", "dtype_float32", "problem_type", "common_settings")),
        (ViT, "vit"),
        *((User, name) for name in ("user", "with_code", "special_floats")),
    ],
)
def test_types_change_nothing_of_a_file(config_class, name):
    """A class that declares the types of a file saves the same values."""
    assert canonical(config_class.from_pretrained(GOLDEN[name]).to_dict()) == canonical(values_of(name))


def test_the_native_resnet_is_read():
    """Lists become the tuples of the class, and a backbone's stages are lists."""
    config = Backbone.from_pretrained(GOLDEN["backbone"])

    assert (config.depths, config.hidden_sizes, config.layer_type) == ((2, 2, 2, 2), (256, 512, 1024, 2048), "basic")
    assert config.stage_names == ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert (config.out_features, config.out_indices) == (["stage2", "stage4"], [2, 4])
    assert (config.num_labels, config.id2label, config.dtype) == (2, {0: "LABEL_0", 1: "LABEL_1"}, None)


def test_a_thousand_labels_are_read():
    """Labels have integer keys, in the order of their numbers, and an inverse."""
    config = ResNet.from_pretrained(GOLDEN["labels_1000"])

    assert config.num_labels == 1000
    assert list(config.id2label.items()) == [(index, f"LABEL_{index}") for index in range(1000)]
    assert list(config.label2id.items()) == [(f"LABEL_{index}", index) for index in range(1000)]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("labels_0", {}),
        ("labels_1", {0: "LABEL_0"}),
        ("labels_2", {0: "LABEL_0", 1: "LABEL_1"}),
        ("labels_3", {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ("labels_named", {0: "cat", 1: "dog", 2: "crane"}),
        ("labels_both_maps", {0: "cat", 1: "dog", 2: "crane"}),
        ("labels_with_gaps", {1: "cat", 3: "crane", 5: "dog"}),
        ("edited_two_labels", {0: "LABEL_0", 1: "LABEL_1"}),
        ("unicode", {0: "кот", 1: "猫", 2: "🐈"}),
    ],
)
def test_labels_of_a_file_are_read(name, labels):
    """The labels, their number and their inverse."""
    config = ResNet.from_pretrained(GOLDEN[name])

    assert (config.id2label, config.num_labels, config.label2id) == (labels, len(labels), inverse(labels))
    assert {type(index) for index in (*config.id2label, *config.label2id.values())} <= {int}


def test_a_label_of_two_classes_has_one_index_of_them():
    """That of the file, which is the last of them."""
    config = ResNet.from_pretrained(GOLDEN["labels_shared"])

    assert (config.id2label, config.label2id) == ({0: "crane", 1: "crane"}, {"crane": 1})


def test_bert_is_read():
    """Numbers keep their types; optional fields are None; the dtype is a name, whichever key held it."""
    config: Any = Bert.from_pretrained(GOLDEN["problem_type"])

    assert (config.hidden_dropout_prob, config.layer_norm_eps, config.classifier_dropout) == (0.1, 1e-12, None)
    assert (config.pad_token_id, config.eos_token_id, config.tie_word_embeddings) == (0, None, True)
    assert (config.problem_type, config.num_labels) == ("multi_label_classification", 4)
    assert Bert.from_pretrained(GOLDEN["dtype_float32"]).dtype == "float32"
    assert ResNet.from_pretrained(GOLDEN["edited_version_4"]).dtype == "bfloat16"


def test_common_settings_that_differ_are_read():
    """What Transformers saves of its common settings can be read as attributes."""
    config: Any = Bert.from_pretrained(GOLDEN["common_settings"])

    assert (config.output_hidden_states, config.output_attentions, config.return_dict) == (True, True, False)


def test_vit_is_read():
    """A field that takes an int or a pair gets what the file holds."""
    config = ViT.from_pretrained(GOLDEN["vit"])

    assert (config.image_size, config.patch_size, config.qkv_bias) == ((224, 192), 16, True)
    assert (config.id2label, config.label2id) == ({0: "cat", 1: "dog"}, {"cat": 0, "dog": 1})
    assert type(config.hidden_dropout_prob) is float


def test_nested_configs_are_read():
    """CLIP's two configs are restored as their classes; either is read from the file of the whole."""
    config = Clip.from_pretrained(GOLDEN["clip"])

    assert (type(config.text_config), type(config.vision_config)) == (ClipText, ClipVision)
    assert (config.text_config.hidden_size, config.vision_config.patch_size) == (256, 16)
    assert (config.dtype, config.text_config.dtype, config.text_config.layer_norm_eps) == ("float16", None, 1e-5)
    assert ClipText.from_pretrained(GOLDEN["clip"]) == config.text_config


def test_special_floats_are_read():
    """Infinities and NaN come back as floats wherever they stand: in extras, dicts, lists and nested configs."""
    config: Any = User.from_pretrained(GOLDEN["special_floats"])
    clip = Clip.from_pretrained(GOLDEN["special_floats_nested"])

    assert (config.top, config.rates["low"], config.rates["all"][0]) == (INFINITY, -INFINITY, INFINITY)
    assert config.rates["all"][1] != config.rates["all"][1]  # NaN
    assert (clip.logit_scale_init_value, clip.text_config.extra) == (INFINITY, -INFINITY)


def test_a_class_written_for_transformers_reads_its_file():
    """Tuples, integer keys and aliases are restored; Transformers itself forgets `hidden_size` here."""
    config: Any = User.from_pretrained(GOLDEN["user"])

    assert (config.hidden_size, config.d_model, config.window) == (512, 512, (7, 14))
    assert (config.names, config.return_dict) == ({2: "two", 10: "ten"}, False)
    assert config.rates == {"warm": [0.1, {"steps": 3}], "none": None}


def test_code_beside_a_file_is_named():
    """The classes that a file of a custom model names can be read."""
    config = User.from_pretrained(GOLDEN["with_code"])

    assert config.architectures == ["UserModel"]
    assert config.auto_map == {"AutoConfig": "user_config.UserConfig", "AutoModel": "user_config.UserModel"}


# ---- what labels mean

# What differs from Transformers, by name: the labels here, or the message of an error.
OTHER_LABELS: dict[str, list[str] | str] = {
    "count None": ["LABEL_0", "LABEL_1"],  # an error there, since range takes no None
    "inverse alone": ["cat", "dog", "crane"],  # there label2id without id2label is thrown away
    "inverse and count": ["cat", "dog", "crane"],
    # there both are kept
    "contradiction": (
        "label2id: expected the inverse of id2label, found {'cat': 1, 'dog': 0}. Remove it: it is derived."
    ),
    # there a warning, and the count wins: the names are lost
    "names and wrong count": "num_labels: expected 2, the number of labels, found 3. Leave it out: it follows.",
    "count, None set": ["LABEL_0", "LABEL_1"],  # no labels there, and a num_labels of None
}

# Where Transformers has no label2id, or still that of the labels before; here it is always the inverse.
OTHER_INVERSES = {
    *("no names", "one name", "two names", "two numbers", "gaps", "shared name", "names and count"),
    *("names, then their count", "names, their count set"),
    *("tutorial", "count, then names", "count, names set"),
}


def in_code(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a case as code gives them: with integer keys."""
    labels = values.get("id2label")
    return values if labels is None else {**values, "id2label": {int(index): label for index, label in labels.items()}}


def built(case: dict[str, Any]) -> ResNet:
    """Do to our class what was done to that of Transformers."""
    if "overrides" in case:
        return ResNet.from_dict(case["kwargs"], **in_code(case["overrides"]))
    config = ResNet(**in_code(case["kwargs"]))
    for name, value in in_code(case.get("assigned", {})).items():
        setattr(config, name, value)
    return config


def labels_of(config: PreTrainedConfig) -> dict[str, Any]:
    """Return labels as the table has them."""
    maps = {name: [list(pair) for pair in getattr(config, name).items()] for name in ("id2label", "label2id")}
    return {"num_labels": config.num_labels, **maps}


def expected_labels(name: str) -> dict[str, Any]:
    """Return what the table says, but for the differences that are listed."""
    theirs, other = LABELS[name]["transformers"], OTHER_LABELS.get(name)
    pairs = theirs["id2label"] if other is None else [list(pair) for pair in enumerate(other)]
    inverted = [list(pair) for pair in {label: index for index, label in pairs}.items()]
    expected = {"num_labels": len(pairs), "id2label": pairs, "label2id": inverted}
    if other is None and name not in OTHER_INVERSES:
        expected["label2id"] = theirs["label2id"]
    assert (expected == theirs) is (other is None and name not in OTHER_INVERSES), "the lists name what differs"
    return expected


@pytest.mark.parametrize("name", LABELS)
def test_labels_mean_what_transformers_means(name):
    """The same arguments, overrides and assignments give the same labels, but for what is listed."""
    refusal = OTHER_LABELS.get(name)
    if isinstance(refusal, str):
        with pytest.raises(ConfigError) as caught:
            built(LABELS[name])
        assert str(caught.value) == f"ResNet: 1 problem.\n  {refusal}"
    else:
        assert labels_of(built(LABELS[name])) == expected_labels(name)


def test_a_file_may_count_its_labels_wrongly():
    """What is an error in code is a warning for a file, and the count counts, as in Transformers."""
    says = r"contradicts itself: num_labels is 5, which counts; the 3 labels are dropped\.$"
    with pytest.warns(UserWarning, match=says):
        config = ResNet.from_pretrained(GOLDEN["edited_wrong_count"])

    assert (config.num_labels, config.id2label[4]) == (5, "LABEL_4")


def test_a_nested_config_of_a_file_may_count_its_labels_wrongly(tmp_path: Path):
    """Inside another config of the file too."""
    values = {"text_config": {"num_labels": 5, "id2label": {"0": "cat"}}}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"num_labels is 5, which counts; the 1 labels are dropped"):
        config = Clip.from_pretrained(tmp_path)

    assert config.text_config.num_labels == 5


def test_labels_may_be_given_as_a_tutorial_makes_them(tmp_path: Path):
    """Texts for the numbers are taken in code too: tutorials pass such maps to `from_pretrained`."""
    ResNet().save_pretrained(tmp_path)
    labels = {"id2label": {"0": "cat"}}
    both = {**labels, "label2id": {"cat": "0"}}
    configs = [ResNet(**labels), ResNet(**both), *(ResNet.from_pretrained(tmp_path, **each) for each in (labels, both))]

    assert configs == [ResNet(id2label={0: "cat"})] * 4


# ---- ours, read by Transformers


def our_configs() -> dict[str, PreTrainedConfig]:
    """Return configs of ours that Transformers has classes for."""
    named = {0: "кот", 1: "dog", 2: "crane"}
    return {
        "ours_default": ResNet(),
        "ours_fields": ResNet(depths=(1, 2), hidden_sizes=(8, 16), layer_type="basic", downsample_in_bottleneck=True),
        "ours_labels_named": ResNet(id2label=named),
        **{f"ours_labels_{count}": ResNet(num_labels=count) for count in (0, 1, 2, 3, 1000)},
        "ours_dtype": ResNet(dtype="torch.bfloat16"),
        "ours_backbone": Backbone(
            stage_names=["stem", *(f"stage{i}" for i in range(1, 5))], out_features=["stage2"], out_indices=[2]
        ),
        "ours_bert": Bert(dtype="float16", id2label=named, hidden_size=192, eos_token_id=[1, 2]),
        "ours_vit": ViT(image_size=(224, 192), hidden_dropout_prob=1.0),
        "ours_nested": Clip(
            dtype="float16",
            text_config=ClipText(hidden_size=256, extra=-INFINITY),
            vision_config=ClipVision(patch_size=16),
            logit_scale_init_value=INFINITY,
        ),
        "ours_user": User(names={10: "ten", 2: "two"}, rates={"all": [INFINITY, -INFINITY, float("nan")]}),
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what Transformers sees of the golden files, of what we made of them, and of ours: one process."""
    folder = tmp_path_factory.mktemp("ours")
    configs = {**our_configs(), **{f"saved_{name}": read(name) for name in GOLDEN}}
    for name, config in configs.items():
        config.save_pretrained(folder / name)
    folders = [*(folder / name for name in configs), *(GOLDEN[name] for name in GOLDEN)]
    command = [sys.executable, HERE / "read_ours.py", *folders]
    done = subprocess.run(
        command, capture_output=True, check=True, timeout=120, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return dict(zip([*configs, *GOLDEN], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", our_configs())
def test_transformers_sees_what_was_saved_here(name, seen):
    """Every value, the labels with their number and the dtype are theirs as they were ours."""
    config, theirs = our_configs()[name], seen[name]
    values = config.to_dict()

    assert theirs["class"] != "PreTrainedConfig"
    assert canonical(within(theirs["values"], values)) == canonical(values)
    assert [theirs["num_labels"], theirs["id2label"]] == [config.num_labels, labels_of(config)["id2label"]]
    assert theirs["dtype"] == (f"torch.{config.dtype}" if config.dtype else "None")


def within(values: Any, shape: Any) -> Any:
    """Return those of some values whose keys a dict has, all the way down."""
    if not isinstance(values, dict) or not isinstance(shape, dict):
        return values
    return {name: within(values[name], each) for name, each in shape.items() if name in values}


# What a trip changes: label2id where there was none; the labels where a wrong count discards them there.
TRIP_CHANGES = {
    **{name: CHANGED[name] for name in ("labels_named", "labels_with_gaps", "unicode")},
    **{name: CHANGED[name] for name in ("labels_of_the_tutorial", "labels_renamed")},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_trip_changes_nothing(name, seen):
    """A config of Transformers that was loaded and saved here is, read there again, what it was."""
    before, after = (
        {k: v for k, v in seen[each]["values"].items() if k != "_name_or_path"} for each in (name, f"saved_{name}")
    )

    assert canonical(after) == canonical({**before, **TRIP_CHANGES.get(name, {})})


# ---- without Transformers


def test_transformers_is_not_imported():
    """Neither importing this package nor loading, building and saving a config imports it, though it is there."""
    code = (
        "import sys, tempfile, nameplate_config as n\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    config = n.PreTrainedConfig.from_pretrained(sys.argv[1])\n"
        "    config.copy(dtype='float16').save_pretrained(folder)\n"
        "print({'transformers', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, GOLDEN["with_code"]], capture_output=True, check=True, text=True, timeout=60
    )

    assert done.stdout == "set()\n"
