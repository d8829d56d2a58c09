"""The names that other libraries give the tensors of a class: `foreign_key_mapping`, for names it does not have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nameplate_config import ForeignFormat, PreTrainedConfig
from nameplate_model import CheckpointError, MismatchError, PreTrainedModel, migrates_state

OURS = {"body.0.weight": torch.rand(2, 2), "head.weight": torch.rand(3, 2)}
THEIRS = {"encoder.layers.0.kernel": OURS["body.0.weight"], "classifier.kernel": OURS["head.weight"]}
ARCHITECTURES = {"TheirNet": "Net"}


def converted(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of another library's config."""
    return {"classes": values["labels"], "architectures": [ARCHITECTURES[values["class"]]]}


class NetConfig(PreTrainedConfig):
    """A config that reads that of another library."""

    model_type = "net"
    foreign_formats = (ForeignFormat("theirs", lambda values: "class" in values, converted),)
    classes: int = 3


class Body(PreTrainedModel):
    """A body that reads the names of another library."""

    config_class = NetConfig
    head_prefixes = ("head.",)
    foreign_key_mapping = {
        r"^encoder\.layers\.": "body.",
        r"^classifier\.": "head.",
        r"\.kernel$": ".weight",
    }

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.body = nn.Sequential(nn.Linear(2, 2, bias=False))


class Net(Body):
    """The body with a head."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(2, config.classes, bias=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of the other library."""
    save_file(THEIRS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"class": "TheirNet", "labels": 3}')
    return tmp_path


def test_foreign_names_become_ours(folder: Path):
    """Config and weights of another library load without an option; the report says what was renamed."""
    model, report = Net.from_pretrained(folder, output_loading_info=True)

    assert torch.equal(model.head.weight, OURS["head.weight"])
    assert report.exact
    assert report.renamed == (("body.0.weight", "encoder.layers.0.kernel"), ("head.weight", "classifier.kernel"))
    assert Net.plan_load(folder).report == report


def test_a_body_leaves_a_foreign_head(folder: Path):
    """The class that the converted config names saved the file, also where the config was read before."""
    assert Body.from_pretrained(folder).load_report.transferred == ("head.weight",)
    config = NetConfig.from_pretrained(folder)
    assert Body.from_pretrained(folder, config=config).load_report.transferred == ("head.weight",)


def test_a_config_from_elsewhere_says_nothing_of_the_file(folder: Path):
    """With a config that was not read from the folder, what the file itself says counts."""
    with pytest.raises(MismatchError, match=r"in the file only: head\.weight"):
        Body.from_pretrained(folder, config=NetConfig(architectures=["Net"]))


def test_names_of_the_model_stay(tmp_path: Path):
    """A name that the model has is not foreign, even if a pattern matches it."""

    class Odd(PreTrainedModel):
        config_class = NetConfig
        foreign_key_mapping = {"^": "inner."}

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.inner = nn.Linear(2, 2, bias=False)
            self.outer = nn.Linear(2, 2, bias=False)

    tensors = {"weight": OURS["body.0.weight"], "outer.weight": OURS["body.0.weight"] + 1}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "net"}')

    assert Odd.from_pretrained(tmp_path).load_report.renamed == (("inner.weight", "weight"),)


def test_two_names_for_one_tensor_are_refused(folder: Path):
    """A file with our name and theirs for one tensor is an error that names both."""
    save_file({**THEIRS, "head.weight": OURS["head.weight"] + 1}, folder / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"both 'classifier\.kernel' and 'head\.weight' would be renamed to"):
        Net.from_pretrained(folder)


def test_what_no_pattern_knows_is_unexpected(folder: Path):
    """A foreign name that stays strange is reported as it became."""
    save_file({**THEIRS, "extra.kernel": torch.rand(1)}, folder / "model.safetensors")

    with pytest.raises(MismatchError, match=r"in the file only: extra\.weight"):
        Net.from_pretrained(folder)


def test_migrations_are_not_for_foreign_names(folder: Path):
    """Foreign names lead to the present names of the class: no migration of its own older files sees them."""

    class Second(Net):
        state_dict_version = 2

        @staticmethod
        @migrates_state(1, 2)
        def rename(state: Any) -> Any:
            return {"head.weight": state["old"], "body.0.weight": state["body.0.weight"]}

    assert torch.equal(Second.from_pretrained(folder).head.weight, OURS["head.weight"])
    save_file({"old": OURS["head.weight"], "body.0.weight": OURS["body.0.weight"]}, folder / "model.safetensors")
    assert torch.equal(Second.from_pretrained(folder).head.weight, OURS["head.weight"])


def test_an_older_version_of_ours_is_migrated(tmp_path: Path):
    """What this library saved is under names of some version of the class, also where a foreign pattern knows them."""

    class Old(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.classifier = nn.Linear(2, config.classes, bias=False)
            self.old = nn.Linear(2, 2, bias=False)

    class New(PreTrainedModel):
        config_class = NetConfig
        state_dict_version = 2
        foreign_key_mapping = {r"^classifier\.": "head."}

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.head = nn.Linear(2, config.classes, bias=False)
            self.new = nn.Linear(2, 2, bias=False)

        @staticmethod
        @migrates_state(1, 2)
        def rename(state: Any) -> Any:
            names = {"classifier.weight": "head.weight", "old.weight": "new.weight"}
            return {names[name]: tensor for name, tensor in state.items()}

    model = Old(NetConfig())
    model.save_pretrained(tmp_path)
    loaded = New.from_pretrained(tmp_path)

    assert torch.equal(loaded.head.weight, model.classifier.weight)
    assert torch.equal(loaded.new.weight, model.old.weight)


def test_a_mapping_of_the_caller_comes_first(folder: Path):
    """What the caller renames is no longer foreign."""
    mapping = {r"^classifier\.kernel": "head.weight", r"^encoder.*": "body.0.weight"}

    assert Net.from_pretrained(folder, key_mapping=mapping).load_report.exact
