"""timm's and torchvision's checkpoints load here under our names; what was saved here loads into timm's networks."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import load_checkpoint, save_for_hf
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from nameplate_model import MismatchError, load_weights
from nameplate_resnet import ResnetConfig, ResnetModel, ResnetModelForImageClassification
from nameplate_resnet.network_resnet import build_resnet

VALUES: dict[str, Any] = {
    "block_type": "basic",
    "layers": (1, 1, 1, 1),
    "channels": (4, 4, 4, 8),
    "stem_type": "deep",
    "stem_width": 2,
    "num_classes": 3,
}
ARGUMENTS = {name: VALUES[name] for name in ("layers", "channels", "stem_type", "stem_width")}
INTO_OURS, INTO_THEIRS = {"^": "model."}, {r"^model\.": ""}


def network(seed: int) -> ResNet:
    """Return timm's network, made by its own factory, with values that no construction gives."""
    made = timm.create_model("resnet18", num_classes=3, **ARGUMENTS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 9)
    return made.eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same keys and the same bits."""
    theirs = other.state_dict()
    equal = {name: torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items()}
    return list(equal) == list(theirs) and all(equal.values())


@pytest.fixture(params=["safetensors", "pickle"])
def timm_folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a folder as timm pushes it to the Hub, and how to read it."""
    pickled = request.param == "pickle"
    save_for_hf(network(1), tmp_path / "timm", model_args=ARGUMENTS, safe_serialization=not pickled)
    return tmp_path / "timm", {"use_safetensors": False} if pickled else {}


def test_a_folder_of_timm_loads(timm_folder: tuple[Path, dict[str, Any]]):
    """With a config of ours and timm's names put under `model.`, every bit of timm's file is in the classifier."""
    folder, options = timm_folder
    config = ResnetConfig(**VALUES)
    model = ResnetModelForImageClassification.from_pretrained(folder, config=config, key_mapping=INTO_OURS, **options)
    pixels = torch.rand(1, 3, 64, 64)

    assert same(model.model, network(1))
    assert model.load_report.exact
    assert torch.equal(model(pixels)["logits"], network(1)(pixels))


def test_a_body_takes_itself_from_a_folder_of_timm(timm_folder: tuple[Path, dict[str, Any]]):
    """The body leaves the classifier of timm's file alone if it is told to: timm does not say which class saved it."""
    folder, options = timm_folder
    options |= {"config": ResnetConfig(**VALUES), "key_mapping": INTO_OURS}
    with pytest.raises(MismatchError, match=r"in the file only: model\.fc\.bias, model\.fc\.weight\n"):
        ResnetModel.from_pretrained(folder, **options)
    model = ResnetModel.from_pretrained(folder, allow_unexpected=["model.fc.*"], **options)

    assert torch.equal(model.model.layer4[0].conv2.weight, network(1).layer4[0].conv2.weight)


def test_a_folder_of_timm_without_a_config_of_ours(timm_folder: tuple[Path, dict[str, Any]]):
    """Timm's own config and names are enough."""
    folder, options = timm_folder
    model = ResnetModelForImageClassification.from_pretrained(folder, **options)

    assert same(model.model, network(1))
    assert model.load_report.exact


def test_a_folder_of_timm_fills_a_network_of_timm(timm_folder: tuple[Path, dict[str, Any]]):
    """A module that is no model of ours is filled in place."""
    folder, options = timm_folder
    filled = network(2)
    report = load_weights(filled, folder, **options)

    assert same(filled, network(1))
    assert report.exact


@pytest.fixture
def ours(tmp_path: Path) -> ResnetModelForImageClassification:
    """Return a model of ours with the weights of a network of timm, saved into the folder `ours`."""
    model = ResnetModelForImageClassification(ResnetConfig(**VALUES))
    model.model.load_state_dict(network(3).state_dict())
    model.save_pretrained(tmp_path / "ours")
    return model


def test_timm_loads_a_file_of_ours(ours: ResnetModelForImageClassification, tmp_path: Path):
    """Its own loader, told to drop `model.`, finds every key and no other."""
    filled = network(4)

    def strip(tensors: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}

    load_checkpoint(filled, str(tmp_path / "ours" / "model.safetensors"), filter_fn=strip, strict=True)

    assert same(filled, ours.model)


@pytest.mark.parametrize("name", ["local-dir", "plain"])
def test_timm_makes_a_model_from_a_folder(name: str, ours: ResnetModelForImageClassification, tmp_path: Path):
    """The network inside a loaded model goes on in timm: pushed by its own function, or given as a state dict."""
    loaded = ResnetModelForImageClassification.from_pretrained(tmp_path / "ours")
    if name == "plain":
        made = timm.create_model("resnet18", num_classes=3, **ARGUMENTS)
        made.load_state_dict(loaded.model.state_dict(), strict=True)
    else:
        loaded.model.pretrained_cfg = network(0).pretrained_cfg
        config = {"architecture": "resnet18", "num_classes": 3, "num_features": 8}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own
            save_for_hf(loaded.model, tmp_path / "timm", model_config=config, model_args=ARGUMENTS)
            made = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)

    assert same(made, ours.model)


def test_a_file_of_ours_fills_a_network_of_timm(ours: ResnetModelForImageClassification, tmp_path: Path):
    """A network without a config takes its part of our checkpoint by its own names."""
    filled = network(4)
    report = load_weights(filled, tmp_path / "ours", key_mapping=INTO_THEIRS)

    assert same(filled, ours.model)
    assert report.exact


# ---- torchvision

NETWORKS = {
    "resnet18": (BasicBlock, {}),
    "resnext50_32x4d": (Bottleneck, {"groups": 32, "width_per_group": 4}),
    "wide_resnet50_2": (Bottleneck, {"width_per_group": 128}),
}
"""Networks of torchvision, and how it makes them."""


def of_torchvision(name: str) -> TorchvisionResNet:
    """Return a shallow network of torchvision, with values that no construction gives."""
    block, options = NETWORKS[name]
    made = TorchvisionResNet(block, [1, 1, 1, 1], num_classes=3, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) / 9 + 0.1)
    return made.eval()


def config_of(name: str) -> ResnetConfig:
    """Return the config of such a network."""
    return ResnetConfig.from_timm(name, layers=(1, 1, 1, 1), num_classes=3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_dict_of_torchvision_loads(name: str):
    """Its names become ours, and the answer is torchvision's to the last bit."""
    theirs = of_torchvision(name)
    model = ResnetModelForImageClassification.from_pretrained(
        None, config=config_of(name), state_dict=theirs.state_dict()
    )
    pixels = torch.rand(1, 3, 64, 64)

    assert same(model.model, theirs)
    assert model.load_report.exact
    assert torch.equal(model(pixels)["logits"], theirs(pixels))


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_a_file_of_torchvision_beside_a_config_loads(kind: str, tmp_path: Path):
    """What was saved of its state dict, in either way, is a checkpoint as soon as a config lies beside it."""
    theirs = of_torchvision("resnet18")
    config_of("resnet18").save_pretrained(tmp_path)
    if kind == "safetensors":
        save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    else:
        torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    options = {} if kind == "safetensors" else {"use_safetensors": False}
    model = ResnetModelForImageClassification.from_pretrained(tmp_path, **options)

    assert same(model.model, theirs)


def test_a_file_of_the_first_torchvision_loads_if_told():
    """Before batch norms counted their batches files had no such tensor: that it may lack is said by a pattern."""
    theirs = of_torchvision("resnet18")
    old = {name: each for name, each in theirs.state_dict().items() if "num_batches_tracked" not in name}
    given = {"config": config_of("resnet18"), "state_dict": old}
    with pytest.raises(MismatchError, match=r"num_batches_tracked"):
        ResnetModelForImageClassification.from_pretrained(None, **given)
    model = ResnetModelForImageClassification.from_pretrained(None, **given, allow_missing=["*.num_batches_tracked"])

    assert same(model.model, theirs)


def test_every_residual_network_of_torchvision_has_the_names_and_shapes_of_timms():
    """What torchvision trained under a name fits the config that timm's name gives."""
    names = [each for each in torchvision.models.list_models() if "resne" in each and "/" not in each]
    names = [each for each in names if each.startswith(("resne", "wide"))]
    with torch.device("meta"):
        theirs = {name: getattr(torchvision.models, name)().state_dict() for name in names}
        ours = {name: build_resnet(ResnetConfig.from_timm(name), num_classes=1000).state_dict() for name in names}

    assert len(names) >= 9
    for name in names:
        assert {key: each.shape for key, each in ours[name].items()} == {
            key: each.shape for key, each in theirs[name].items()
        }
