"""The models are timm's networks, to the last bit, and survive being saved and loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from nameplate_auto import AutoModel, AutoModelForImageClassification
from nameplate_config import ConfigError, UnknownOptionError
from nameplate_model import BackboneOutput, MismatchError, PreTrainedModel
from nameplate_resnet import (
    ImageClassification,
    ImageFeatures,
    LabelsError,
    ResnetBackbone,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
    SemanticSegmentation,
)

BASIC = {"block_type": "basic", "layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8), "num_classes": 5}
BOTTLENECK = {"layers": (1, 2, 1, 1), "channels": (4, 4, 8, 8), "num_classes": 5}

CONFIGS = {
    "basic": BASIC,
    "basic with two blocks": BASIC | {"layers": (2, 1, 2, 1)},
    "bottleneck": BOTTLENECK,
    "resnext": BOTTLENECK | {"cardinality": 2, "base_width": 32},
    "wide": BOTTLENECK | {"base_width": 128},
    "deep stem": BASIC | {"stem_type": "deep", "stem_width": 8},
    "tiered stem": BOTTLENECK | {"stem_type": "deep_tiered", "stem_width": 8},
    "average pooling on the way down": BOTTLENECK | {"avg_down": True},
    "grey images": BASIC | {"input_channels": 1},
}

every_config = pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)


def timm_resnet(values: Mapping[str, Any], num_classes: int) -> ResNet:
    """Return timm's own network for the fields of a config, built without our code."""
    block = {"basic": BasicBlock, "bottleneck": Bottleneck}[values.get("block_type", "bottleneck")]
    same = ("cardinality", "base_width", "stem_width", "stem_type", "avg_down", "channels")
    arguments = {name: values[name] for name in same if name in values}
    in_chans = values.get("input_channels", 3)
    return ResNet(block, list(values["layers"]), num_classes=num_classes, in_chans=in_chans, **arguments)


def images(values: Mapping[str, Any], batch: int = 2, pixels: int = 64) -> Tensor:
    """Return random images, always the same."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(batch, values.get("input_channels", 3), pixels, pixels, generator=generator)


def classifier(values: Mapping[str, Any] = BASIC) -> ResnetModelForImageClassification:
    """Return a freshly initialised classifier, ready to predict."""
    return ResnetModelForImageClassification(ResnetConfig(**values)).eval()


def same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts have the same keys in the same order, and the same bits."""
    return list(one) == list(other) and all(torch.equal(bits(one[key]), bits(other[key])) for key in one)


def bits(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor, so that 0.0 differs from -0.0."""
    return tensor.reshape(-1).view(torch.uint8)


# ---- timm's network


@every_config
def test_the_classifier_is_initialised_as_by_timm(values: Mapping[str, Any]) -> None:
    """Under one seed our constructor draws the weights that timm's draws; keys get the prefix `model.`."""
    torch.manual_seed(0)
    theirs = timm_resnet(values, num_classes=5)
    torch.manual_seed(0)
    ours = classifier(values)

    expected = {f"model.{key}": tensor for key, tensor in theirs.state_dict().items()}
    assert same_tensors(expected, ours.state_dict())


@every_config
def test_the_body_is_initialised_as_by_timm(values: Mapping[str, Any]) -> None:
    """The body is timm's network without a classifier."""
    torch.manual_seed(0)
    theirs = timm_resnet(values, num_classes=0)
    torch.manual_seed(0)
    ours = ResnetModel(ResnetConfig(**values))

    expected = {f"model.{key}": tensor for key, tensor in theirs.state_dict().items()}
    assert same_tensors(expected, ours.state_dict())


@every_config
def test_the_classifier_answers_as_timm(values: Mapping[str, Any]) -> None:
    """With the same weights the logits are timm's, to the last bit."""
    ours = classifier(values)
    theirs = timm_resnet(values, num_classes=5).eval()
    theirs.load_state_dict(ours.model.state_dict())
    pixels = images(values)

    with torch.no_grad():
        expected, logits = theirs(pixels), ours(pixels)["logits"]

    assert logits.shape == (2, 5)
    assert torch.equal(expected, logits)


@every_config
def test_the_body_answers_as_timm(values: Mapping[str, Any]) -> None:
    """With the same weights the feature map is timm's, and the pooled features are its mean."""
    ours = ResnetModel(ResnetConfig(**values)).eval()
    theirs = timm_resnet(values, num_classes=0).eval()
    theirs.load_state_dict(ours.model.state_dict())
    pixels = images(values)

    with torch.no_grad():
        features, pooled, answer = theirs.forward_features(pixels), theirs(pixels), ours(pixels)

    assert answer.keys() == {"last_hidden_state", "pooler_output"}
    assert torch.equal(features, answer["last_hidden_state"])
    assert torch.equal(pooled, answer["pooler_output"])
    assert torch.allclose(features.mean((2, 3)), pooled)


def test_weights_of_timm_fit(tmp_path: Path) -> None:
    """The network inside takes a state dict of timm as it is, and the checkpoint then answers as timm did."""
    theirs = timm_resnet(BOTTLENECK, num_classes=5).eval()
    ours = classifier(BOTTLENECK)
    ours.model.load_state_dict(theirs.state_dict())

    ours.save_pretrained(tmp_path)

    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(theirs(images(BOTTLENECK)), loaded(images(BOTTLENECK))["logits"])


# ---- shapes


@pytest.mark.parametrize(("block_type", "features"), [("basic", 8), ("bottleneck", 32)])
@pytest.mark.parametrize(("pixels", "side"), [(32, 1), (64, 2), (96, 3)])
def test_features_have_the_documented_shape(block_type: str, features: int, pixels: int, side: int) -> None:
    """The map is a thirty-second of the image; bottlenecks have four times the channels of the last stage."""
    body = ResnetModel(ResnetConfig(**BASIC | {"block_type": block_type})).eval()

    answer = body(images(BASIC, batch=3, pixels=pixels))

    assert answer["last_hidden_state"].shape == (3, features, side, side)
    assert answer["pooler_output"].shape == (3, features)


def test_the_example_inputs_run_and_never_change() -> None:
    """`dummy_inputs` are keyword arguments of `forward`, the same each time, whatever the random state."""
    model = classifier(BASIC | {"input_channels": 2})
    first, second = model.dummy_inputs, model.dummy_inputs

    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert model(**first)["logits"].shape == (2, 5)


def test_the_example_inputs_leave_the_random_state_alone() -> None:
    """Asking for an example draws nothing from the global generator."""
    model = classifier()
    before = torch.get_rng_state()

    _ = model.dummy_inputs

    assert torch.equal(before, torch.get_rng_state())


# ---- answers

ANSWERS = {
    ResnetModel: ImageFeatures,
    ResnetModelForImageClassification: ImageClassification,
    ResnetBackbone: BackboneOutput,
    ResnetForSemanticSegmentation: SemanticSegmentation,
}

every_model = pytest.mark.parametrize("model_class", ANSWERS)


@every_model
def test_an_answer_is_typed_or_a_tuple(model_class: type[PreTrainedModel]) -> None:
    """Each model has a class of answers; without `return_dict` the answer is the tuple of what that holds."""
    model = model_class(ResnetConfig(**BASIC)).eval()
    answer = model(images(BASIC))
    plain = model(images(BASIC), return_dict=False)

    assert (type(answer), type(plain)) == (ANSWERS[model_class], tuple)
    assert ANSWERS[model_class](**dict(zip(answer, plain, strict=True))) == answer


@every_model
def test_hidden_states_are_those_of_timm(model_class: type[PreTrainedModel]) -> None:
    """On demand an answer has the maps of the stem and of the four stages, and is otherwise the same."""
    model = model_class(ResnetConfig(**BASIC)).eval()
    answer = model(images(BASIC), output_hidden_states=True)
    expected = model.model.forward_intermediates(images(BASIC), intermediates_only=True)

    assert all(map(torch.equal, answer.pop("hidden_states"), expected))
    assert len(expected) == 5
    assert answer == model(images(BASIC))


def test_the_last_hidden_state_is_the_map_of_the_body() -> None:
    """The body answers the last of the hidden states by its own name."""
    answer = ResnetModel(ResnetConfig(**BASIC))(images(BASIC), output_hidden_states=True)

    assert answer.hidden_states[-1] is answer.last_hidden_state


# ---- loss


def test_without_labels_there_is_no_loss() -> None:
    """The answer holds logits alone."""
    assert classifier()(images(BASIC)).keys() == {"logits"}


def test_the_loss_is_the_cross_entropy() -> None:
    """The loss is the mean cross entropy of the logits, a scalar."""
    labels = torch.tensor([1, 4])

    answer = classifier()(images(BASIC), labels)

    assert answer["loss"].shape == ()
    assert torch.equal(answer["loss"], nn.functional.cross_entropy(answer["logits"], labels))


@pytest.mark.parametrize(
    ("values", "labels", "loss"),
    [
        ({}, torch.ones(2, 5), nn.functional.binary_cross_entropy_with_logits),
        ({"problem_type": "regression"}, torch.ones(2, 5), nn.functional.mse_loss),
        ({"problem_type": "single_label_classification"}, torch.full((2, 5), 0.2), nn.functional.cross_entropy),
        ({"label_smoothing": 0.1}, torch.tensor([1, 4]), nn.CrossEntropyLoss(label_smoothing=0.1)),
    ],
)
def test_the_config_and_the_labels_choose_the_loss(values: dict[str, Any], labels: Tensor, loss: Any) -> None:
    """The problem type tells the loss, or the labels do; the config is not written to."""
    model = classifier(BASIC | values)
    before = model.config.to_dict()
    answer = model(images(BASIC), labels)

    assert torch.equal(answer.loss, loss(answer.logits, labels))
    assert model.config.to_dict() == before


def test_labels_choose_the_loss_each_time() -> None:
    """A loss for some labels does not bind the next ones."""
    model = classifier()
    single, several = torch.tensor([1, 4]), torch.ones(2, 5)
    losses = [model(images(BASIC), labels).loss for labels in (single, several, single)]

    assert torch.equal(losses[0], losses[2])
    assert not torch.equal(losses[0], losses[1])


def test_labels_out_of_range_are_an_error() -> None:
    """The error is ours, and says what the head tells apart."""
    with pytest.raises(LabelsError, match="expected classes from 0 to 4, or -100, found classes from 2 to 5"):
        classifier()(images(BASIC), torch.tensor([2, 5]))


def test_labels_do_not_change_the_logits() -> None:
    """Predictions are the same whether or not somebody knows the answer."""
    model = classifier()

    without, with_labels = model(images(BASIC)), model(images(BASIC), labels=torch.tensor([0, 2]))

    assert torch.equal(without["logits"], with_labels["logits"])


@every_config
def test_a_gradient_flows_to_every_parameter(values: Mapping[str, Any]) -> None:
    """No parameter is out of reach of the loss."""
    model = classifier(values).train()
    with torch.no_grad():
        for parameter in model.parameters():  # timm starts each block's last gain at 0, which stops gradients
            parameter.add_(0.01)

    model(images(values, batch=4), torch.tensor([0, 1, 2, 3]))["loss"].backward()

    idle = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]
    assert idle == []


# ---- another classifier


def test_a_new_classifier_leaves_the_body() -> None:
    """Every other tensor is the same object, the mode stays, and the new head is what timm would have made."""
    model = classifier().train()
    theirs = timm_resnet(BASIC, num_classes=5)
    before = {name: each for name, each in model.state_dict(keep_vars=True).items() if ".fc." not in name}
    for each in (model, theirs):
        torch.manual_seed(1)
        each.reset_classifier(3)
    after = model.state_dict(keep_vars=True)

    assert all(after[name] is each for name, each in before.items())
    assert set(after) - set(before) == {"model.fc.bias", "model.fc.weight"}
    assert same_tensors(theirs.fc.state_dict(), model.model.fc.state_dict())
    assert (model.model.fc.training, model.model.fc.weight.requires_grad) == (True, True)


def test_a_new_classifier_is_known_to_the_config(tmp_path: Path) -> None:
    """The model gets a config of its own, with the labels given; it is saved with it."""
    model = classifier()
    config = model.config
    model.reset_classifier(2, id2label={0: "cat", 1: "dog"})
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)

    assert (config.num_labels, model.config.num_labels, config is model.config) == (5, 2, False)
    assert loaded.config.id2label == {0: "cat", 1: "dog"}
    assert loaded(images(BASIC)) == model(images(BASIC))


def test_a_new_classifier_has_new_labels() -> None:
    """Names of the old classes are not kept, not even for the same number of classes."""
    model = classifier(BASIC | {"id2label": dict(enumerate("abcde"))})
    model.reset_classifier(5)

    assert model.config.id2label == {number: f"LABEL_{number}" for number in range(5)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_new_classifier_has_the_dtype_of_the_old_one(dtype: torch.dtype) -> None:
    """Also where that is not the dtype of the body."""
    model = classifier()
    model.model.fc.to(dtype)
    model.reset_classifier(2)

    assert (model.model.fc.weight.dtype, model.model.conv1.weight.dtype) == (dtype, torch.float32)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), "num_classes: expected an int and at least 1, found 0"),
        ((3, {0: "cat"}), "id2label: expected one label for each of the 3 classes, found labels for 0"),
    ],
)
def test_a_classifier_that_cannot_be_leaves_the_model(arguments: tuple[Any, ...], text: str) -> None:
    """The error is that of the config, and nothing has changed."""
    model = classifier()
    head, config = model.model.fc, model.config
    with pytest.raises(ConfigError) as error:
        model.reset_classifier(*arguments)

    assert text in str(error.value)
    assert model.model.fc is head
    assert model.config is config


def test_a_new_classifier_is_trained_with_checkpointing() -> None:
    """What is switched on stays on, and the new head gets its gradient."""
    model = classifier().train()
    model.gradient_checkpointing_enable()
    model.reset_classifier(2)
    model(images(BASIC), torch.tensor([0, 1])).loss.backward()

    assert model.is_gradient_checkpointing
    assert model.model.fc.weight.grad.any()


# ---- saving and loading


@every_config
def test_a_saved_classifier_comes_back(tmp_path: Path, values: Mapping[str, Any]) -> None:
    """By its folder alone, the Auto class gives the same class, config, bits and logits."""
    model = classifier(values)
    model.save_pretrained(tmp_path)

    loaded, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert (type(loaded), report.exact) == (ResnetModelForImageClassification, True)
    assert loaded.config.to_dict() == model.config.to_dict() | {
        "architectures": ["ResnetModelForImageClassification"],
        "dtype": "float32",
    }
    assert same_tensors(model.state_dict(), loaded.state_dict())
    assert torch.equal(model(images(values))["logits"], loaded(images(values))["logits"])


def test_running_statistics_come_back(tmp_path: Path) -> None:
    """What training taught the normalisation layers is part of the checkpoint."""
    model = classifier().train()
    model(images(BASIC))
    model.eval().save_pretrained(tmp_path)

    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)

    assert loaded.model.bn1.num_batches_tracked == 1
    assert same_tensors(model.state_dict(), loaded.state_dict())


def test_a_body_is_taken_from_a_classifier(tmp_path: Path) -> None:
    """`AutoModel` opens a classifier's checkpoint: the body is loaded, exactly the head is left over."""
    model = classifier()
    model.save_pretrained(tmp_path)

    body, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)

    assert type(body) is ResnetModel
    assert list(report.loaded) == sorted(body.state_dict())
    assert report.unexpected == report.transferred == ("model.fc.bias", "model.fc.weight")
    assert (report.missing, report.mismatched) == ((), ())
    features = model.model.forward_features(images(BASIC))
    assert torch.equal(body(images(BASIC))["last_hidden_state"], features)


def test_a_classifier_is_started_from_a_body(tmp_path: Path) -> None:
    """A classifier opens a body's checkpoint: the body is loaded, exactly the head is new."""
    body = ResnetModel(ResnetConfig(**BASIC))
    body.save_pretrained(tmp_path)

    model, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert type(model) is ResnetModelForImageClassification
    assert list(report.loaded) == sorted(body.state_dict())
    assert report.missing == report.transferred == ("model.fc.bias", "model.fc.weight")
    assert (report.unexpected, report.mismatched) == ((), ())
    assert same_tensors(body.state_dict(), {key: model.state_dict()[key] for key in body.state_dict()})
    assert model.model.fc.weight.isfinite().all()


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    """A head of another size is an error that names both shapes and the way out."""
    classifier().save_pretrained(tmp_path)

    with pytest.raises(MismatchError) as error:
        AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=7)

    tensors = len(classifier().state_dict()) - 2
    assert str(error.value) == (
        f"{tmp_path / 'model.safetensors'} does not fit ResnetModelForImageClassification; "
        "no model is returned.\n"
        "  different: model.fc.bias (expected (7,), found (5,)), "
        "model.fc.weight (expected (7, 8), found (5, 8))\n"
        f"  {tensors} tensors fit.\n"
        "  If this is meant, pass ignore_mismatched_sizes=True."
    )


def test_another_number_of_classes_starts_a_new_head(tmp_path: Path) -> None:
    """With `ignore_mismatched_sizes` the body is loaded and the head is new, as fine-tuning needs it."""
    model = classifier()
    model.save_pretrained(tmp_path)

    loaded, report = AutoModelForImageClassification.from_pretrained(
        tmp_path,
        num_labels=7,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )

    assert [each.name for each in report.mismatched] == ["model.fc.bias", "model.fc.weight"]
    assert loaded(images(BASIC))["logits"].shape == (2, 7)
    assert torch.equal(model.model.layer4[0].conv1.weight, loaded.model.layer4[0].conv1.weight)


@pytest.mark.parametrize("model_class", [ResnetModel, ResnetModelForImageClassification])
def test_a_model_refuses_what_is_not_its_config(model_class: type[PreTrainedModel]) -> None:
    """A dict is not taken for a config."""
    with pytest.raises(UnknownOptionError) as error:
        model_class(dict(BASIC))  # type: ignore[arg-type]

    assert str(error.value).startswith(f"{model_class.__name__} is built from a ResnetConfig, found {{")
