"""`ResnetBackbone`: the feature maps of chosen stages, from any checkpoint of the family."""

from pathlib import Path

import pytest
import torch
from timm.models._features import FeatureListNet

from nameplate_auto import AutoBackbone
from nameplate_config import ConfigError
from nameplate_resnet import ResnetBackbone, ResnetConfig, ResnetModel, ResnetModelForImageClassification

SMALL = {"block_type": "bottleneck", "layers": (1, 2, 1, 1), "channels": (4, 8, 8, 16), "num_classes": 3}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier(tmp_path: Path) -> ResnetModelForImageClassification:
    """Return a classifier that is saved in the folder."""
    torch.manual_seed(0)
    model = ResnetModelForImageClassification(ResnetConfig(**SMALL)).eval()
    model.save_pretrained(tmp_path)
    return model


@pytest.mark.parametrize("indices", [(1, 2), (0, -1), (4,), (0, 1, 2, 3, 4)])
def test_a_classifier_gives_its_stages(
    indices: tuple[int, ...], classifier: ResnetModelForImageClassification, tmp_path: Path
):
    """The checkpoint of a classifier loads as a backbone, its head left aside; the maps are those of timm."""
    backbone = AutoBackbone.from_pretrained(tmp_path, out_indices=indices)
    expected = classifier.model.forward_intermediates(IMAGES, indices=list(indices), intermediates_only=True)

    assert type(backbone) is ResnetBackbone
    assert backbone.load_report.transferred == ("model.fc.bias", "model.fc.weight")
    assert all(torch.equal(*pair) for pair in zip(backbone(IMAGES).feature_maps, expected, strict=True))


def test_channels_and_strides_are_those_of_the_maps():
    """What the backbone says of its maps is true of them."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, out_features=["stem", "stage1", "stage3"]))
    maps = backbone(IMAGES).feature_maps

    assert backbone.out_features == ("stem", "stage1", "stage3")
    assert backbone.channels == tuple(each.shape[1] for each in maps) == (64, 16, 32)
    assert backbone.strides == tuple(64 // each.shape[2] for each in maps) == (2, 4, 16)


def test_strides_follow_the_output_stride():
    """Stages that are dilated do not shrink their map any further, and the backbone says so."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, output_stride=8, out_indices=(1, 2, 4)))
    maps = backbone(IMAGES).feature_maps

    assert backbone.strides == tuple(64 // each.shape[2] for each in maps) == (4, 8, 8)


def test_without_a_choice_the_last_stage_is_answered():
    """The last map is what the body answers."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL)).eval()
    body = ResnetModel(backbone.config).eval()
    body.load_state_dict(backbone.state_dict())
    (features,) = backbone(IMAGES).feature_maps

    assert torch.equal(features, body(IMAGES)["last_hidden_state"])


def test_all_stages_are_answered_on_demand():
    """`output_hidden_states` adds the maps of every stage, of which the chosen ones are a part."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, out_indices=(1, 3))).eval()
    answer = backbone(IMAGES, output_hidden_states=True)

    assert len(answer.hidden_states) == 5
    assert [id(each) for each in answer.feature_maps] == [id(answer.hidden_states[index]) for index in (1, 3)]
    assert backbone(IMAGES).hidden_states is None


def test_stages_that_nobody_asked_for_are_not_run():
    """What lies behind the last chosen stage costs nothing."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, out_indices=(1,)))
    ran: list[str] = []
    for name in ("layer1", "layer2", "layer4"):
        getattr(backbone.model, name).register_forward_hook(lambda *_, name=name: ran.append(name))
    backbone(IMAGES)

    assert ran == ["layer1"]


def test_the_stages_may_change_afterwards():
    """The config that the model is built from decides at each call."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL))
    backbone.config.out_features = ["stage2"]

    assert (backbone.channels, backbone.strides) == ((32,), (8,))
    assert backbone(IMAGES).feature_maps[0].shape == (2, 32, 8, 8)


def test_a_backbone_is_saved_and_found(tmp_path: Path):
    """A saved backbone comes back with its choice, exactly; a classifier takes it and makes a head of its own."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, out_indices=(1, -1)))
    backbone.save_pretrained(tmp_path)
    again = AutoBackbone.from_pretrained(tmp_path)

    assert (again.out_features, again.config.out_indices) == (("stage1", "stage4"), (1, -1))
    assert again.load_report.exact
    assert ResnetModelForImageClassification.from_pretrained(tmp_path).load_report.missing == (
        "model.fc.bias",
        "model.fc.weight",
    )


def test_the_features_are_those_that_timm_extracts():
    """A backbone and timm's own extractor of features answer the same maps, channels and reductions."""
    backbone = ResnetBackbone(ResnetConfig(**SMALL, out_indices=(1, 4))).eval()
    maps = backbone(IMAGES).feature_maps
    extractor = FeatureListNet(backbone.model, out_indices=(1, 4))

    assert all(torch.equal(*pair) for pair in zip(maps, extractor(IMAGES), strict=True))
    assert list(backbone.channels) == extractor.feature_info.channels()
    assert list(backbone.strides) == extractor.feature_info.reduction()


def test_checkpointing_gives_the_same_gradients():
    """Blocks that are computed again in the backward pass give the gradients of the plain one."""
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        backbone = ResnetBackbone(ResnetConfig(**SMALL, out_indices=(2, 4)))
        if checkpointed:
            backbone.gradient_checkpointing_enable()
        sum(each.square().sum() for each in backbone(IMAGES).feature_maps).backward()
        gradients.append([each.grad for each in backbone.parameters()])

    assert all(map(torch.equal, *gradients))


def test_stages_that_do_not_exist_are_refused():
    """A network has a stem and four stages."""
    with pytest.raises(ConfigError, match=r"out_features: expected only stages of the network: stem, stage1, stage2"):
        ResnetConfig(out_features=["stage5"])
