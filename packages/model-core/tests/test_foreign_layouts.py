"""Checkpoints saved in the words of another library: `layout` takes config and names there, a load brings them back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nameplate_config import ConfigError, ForeignFormat, PreTrainedConfig, Problem, UnknownOptionError
from nameplate_model import CheckpointError, PreTrainedModel, migrates_state

OURS = {"layers": [3, 5], "model_type": "stack"}


def from_theirs(values: dict[str, Any]) -> dict[str, Any]:
    """Return our fields for the config of the other library."""
    kept = {name: each for name, each in values.items() if name not in {"kind", "sizes"}}
    return {**kept, "layers": values["sizes"], "architectures": ["Stack"]}


def to_theirs(values: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the other library, which knows no gates and calls no classes by name."""
    if values.pop("gated"):
        message = "it has gates"
        raise ConfigError(message, (Problem("gated", "False", "True", "They have none"),))
    gone = {"layers", "model_type", "architectures"}
    return {"kind": "stack", "sizes": values["layers"], **{name: values[name] for name in values.keys() - gone}}


def to_both(values: dict[str, Any]) -> dict[str, Any]:
    """Return a config that is the other library's and ours as well."""
    return {**values, "kind": "stack", "sizes": values["layers"]}


THEIRS = ForeignFormat(
    "theirs",
    lambda values: values.get("kind") == "stack",
    from_theirs,
    to_theirs,
    {r"^layers\.(\d+)\.": r"stages.\1.", "weight$": "kernel"},
)
BOTH = ForeignFormat(
    "both", lambda _: False, dict, to_both, {r"^layers\.": ""}, one_file=True, mirrored=frozenset({"kind", "sizes"})
)
READ = ForeignFormat("read", lambda _: False, dict)
MERGED = ForeignFormat("merged", lambda _: False, dict, dict, {r"\d+": "0"})
WRONG = ForeignFormat("wrong", lambda _: False, dict, dict, {"weight": r"\7"})


class StackConfig(PreTrainedConfig):
    """A config that speaks the languages of others."""

    model_type = "stack"
    foreign_formats = (THEIRS, BOTH, READ, MERGED, WRONG)
    layers: tuple[int, ...] = (3, 5)
    gated: bool = False


class Stack(PreTrainedModel):
    """Linear layers, one upon the other."""

    config_class = StackConfig
    foreign_key_mapping = {r"^(stages\.)?(?=\d)": "layers.", r"\.kernel$": ".weight"}

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([nn.Linear(4, width) for width in config.layers])


@pytest.fixture
def model() -> Stack:
    """Return a model with weights of its own."""
    return Stack(StackConfig())


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same names and the same bits."""
    theirs = other.state_dict()
    equal = [torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items()]
    return all(equal) and one.state_dict().keys() == theirs.keys()


def config_in(folder: Path) -> dict[str, Any]:
    """Return what `config.json` holds."""
    return json.loads((folder / "config.json").read_text("utf-8"))


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_layout_has_the_words_of_the_other_library(model: Stack, tmp_path: Path):
    """Config and names are the other library's, the bits of the tensors ours; the model itself is as before."""
    model.save_pretrained(tmp_path, layout="theirs")
    tensors = load_file(tmp_path / "model.safetensors")

    assert config_in(tmp_path) == {"kind": "stack", "sizes": [3, 5], "dtype": "float32"}
    assert sorted(tensors) == ["stages.0.bias", "stages.0.kernel", "stages.1.bias", "stages.1.kernel"]
    assert torch.equal(tensors["stages.1.kernel"], model.layers[1].weight)
    assert model.config == StackConfig()


@pytest.mark.parametrize("layout", ["theirs", "both"])
def test_a_layout_loads_as_ours(layout: str, model: Stack, tmp_path: Path):
    """What was saved in a layout is read as any file of that library is, and gives the same model."""
    model.save_pretrained(tmp_path, layout=layout)
    loaded = Stack.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.config == StackConfig.from_dict({**OURS, "architectures": ["Stack"], "dtype": "float32"})
    assert loaded.load_report.exact
    assert len(loaded.load_report.renamed) == 4


def test_keys_of_both_count_for_the_other_library_alone(model: Stack, tmp_path: Path):
    """Of a file that is ours as well, our fields count: what was written beside them is neither read nor kept."""
    model.save_pretrained(tmp_path, layout="both")
    values = config_in(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**values, "sizes": [9], "note": "mine"}))
    loaded = Stack.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")

    assert (values["model_type"], values["kind"], values["sizes"]) == ("stack", "stack", [3, 5])
    assert same(loaded, model)
    assert config_in(tmp_path / "again").keys() == values.keys() - {"kind", "sizes"} | {"note"}


def test_shards_have_the_names_of_the_layout(model: Stack, tmp_path: Path):
    """Index and shards of a layout hold its names, and are read back."""
    model.save_pretrained(tmp_path, layout="theirs", max_shard_size=60)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text("utf-8"))

    assert len(set(index["weight_map"].values())) > 1
    assert set(index["weight_map"]) == {f"stages.{n}.{each}" for n in (0, 1) for each in ("kernel", "bias")}
    assert same(Stack.from_pretrained(tmp_path), model)


def test_a_layout_of_one_file_is_not_sharded(model: Stack, tmp_path: Path):
    """Where the other library reads one file only, what would be several is refused before a byte is written."""
    with pytest.raises(UnknownOptionError) as caught:
        model.save_pretrained(tmp_path / "new", layout="both", max_shard_size=60)

    assert str(caught.value) == (
        "layout='both' is read from one file of weights, and these would be 3.\n"
        "  Give a larger max_shard_size, or save without a layout."
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("sizes", [("50GB", "50GB"), ("50GB", 60), (60, "50GB"), (60, 60)])
def test_layouts_take_the_place_of_each_other(sizes: tuple[Any, Any], model: Stack, tmp_path: Path):
    """In one folder each save leaves one whole checkpoint in its own words, and nothing of the one before."""
    other = Stack(StackConfig(layers=(2, 6)))
    for saved, layout, size in [(model, "theirs", sizes[0]), (other, None, sizes[1]), (model, "theirs", sizes[0])]:
        saved.save_pretrained(tmp_path / "one", layout=layout, max_shard_size=size)
        saved.save_pretrained(tmp_path / f"{saved.config.layers}", layout=layout, max_shard_size=size)

        assert same(Stack.from_pretrained(tmp_path / "one"), saved)
        assert names_in(tmp_path / "one") == names_in(tmp_path / f"{saved.config.layers}")


def test_the_same_checkpoint_in_a_layout_is_not_written_again(model: Stack, tmp_path: Path):
    """An equal save in the same layout leaves the file, one in another layout does not."""
    inodes = []
    for layout in ("theirs", "theirs", None):
        model.save_pretrained(tmp_path, layout=layout)
        inodes.append((tmp_path / "model.safetensors").stat().st_ino)

    assert inodes[0] == inodes[1] != inodes[2]


def test_a_variant_in_a_layout(model: Stack, tmp_path: Path):
    """A variant's files are under its own names, in the words of the layout, beside our own of another."""
    other = Stack(StackConfig())
    model.save_pretrained(tmp_path, layout="theirs", variant="fp16")
    other.save_pretrained(tmp_path)

    assert min(load_file(tmp_path / "model.fp16.safetensors")) == "stages.0.bias"
    assert same(Stack.from_pretrained(tmp_path, variant="fp16"), model)
    assert same(Stack.from_pretrained(tmp_path), other)


def test_a_state_dict_in_a_layout(model: Stack, tmp_path: Path):
    """A state dict that is given gets the names of the layout as the model's own does."""
    other = Stack(StackConfig())
    model.save_pretrained(tmp_path, layout="theirs", state_dict=other.state_dict())

    assert same(Stack.from_pretrained(tmp_path), other)


def test_a_layout_is_of_the_present_version(tmp_path: Path):
    """What was saved in a layout before a class changed its names leads to the names of today, without a migration."""

    class Newer(Stack):
        state_dict_version = 2
        foreign_key_mapping = {r"^(stages\.)(?=\d)": "blocks.", r"\.kernel$": ".weight"}

        def __init__(self, config: StackConfig) -> None:
            super().__init__(config)
            self.blocks = self.layers
            del self.layers

        @staticmethod
        @migrates_state(1, 2)
        def rename(state: Any) -> Any:
            return {name.replace("layers.", "blocks."): each for name, each in state.items()}

    model = Stack(StackConfig())
    for layout in (None, "theirs"):
        model.save_pretrained(tmp_path, layout=layout)
        assert torch.equal(Newer.from_pretrained(tmp_path).blocks[1].weight, model.layers[1].weight)


# ---- what is refused


def test_a_layout_that_the_config_class_lacks_is_refused(model: Stack, tmp_path: Path):
    """The error names the nearest layout, or those that there are; formats that are only read are none."""
    found = []
    for layout in ("their", "read", 7):
        with pytest.raises(UnknownOptionError) as caught:
            model.save_pretrained(tmp_path, layout=layout)  # type: ignore[arg-type]
        found.append(str(caught.value))

    known = "\n  It can be 'theirs', 'both', 'merged', 'wrong', or None for our own."
    assert found == [
        "layout='their' is none that StackConfig can be saved in.\n  Did you mean 'theirs'?",
        f"layout='read' is none that StackConfig can be saved in.{known}",
        f"layout=7 is none that StackConfig can be saved in.{known}",
    ]
    assert names_in(tmp_path) == []


def test_a_config_class_without_layouts_says_so(tmp_path: Path):
    """Where no format can be written, the error says to leave the option out."""

    class Plain(PreTrainedModel):
        config_class = PreTrainedConfig

    with pytest.raises(UnknownOptionError, match=r"none that PreTrainedConfig can be saved in\.\n  Leave it out\."):
        Plain(PreTrainedConfig()).save_pretrained(tmp_path, layout="timm")


def test_what_a_layout_cannot_express_leaves_the_folder_alone(model: Stack, tmp_path: Path):
    """The error names our fields, and the checkpoint that is there stays."""
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError) as caught:
        Stack(StackConfig(gated=True)).save_pretrained(tmp_path, layout="theirs")

    assert str(caught.value) == (
        "StackConfig, in the layout 'theirs': 1 problem.\n  gated: expected False, found True. They have none"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_tensors_of_one_name_are_refused(model: Stack, tmp_path: Path):
    """A layout whose patterns would lose a tensor is an error that names both."""
    with pytest.raises(CheckpointError) as caught:
        model.save_pretrained(tmp_path, layout="merged")

    assert str(caught.value) == (
        "the layout 'merged' would call both 'layers.0.weight' and 'layers.1.weight' 'layers.0.weight'."
    )


def test_patterns_that_are_none_are_refused(model: Stack, tmp_path: Path):
    """A replacement that refers to a group which is not there is an error that names the layout."""
    with pytest.raises(UnknownOptionError, match=r"export_keys of the layout 'wrong' must map regular expressions to"):
        model.save_pretrained(tmp_path, layout="wrong")


def test_publishing_takes_the_layout(model: Stack):
    """What is published is saved with the same option: one that there is not is refused before the Hub is asked."""
    with pytest.raises(UnknownOptionError, match=r"layout='their' is none that StackConfig can be saved in\."):
        model.push_to_hub("user/stack", layout="their")
