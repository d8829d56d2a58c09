"""The ResNet in training: checkpointed, compiled, exported, and in the hands of the libraries that people use."""

import copy
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nameplate_auto import AutoModelForImageClassification
from nameplate_resnet import ImageClassification, ResnetConfig, ResnetModel, ResnetModelForImageClassification

BASIC = {"block_type": "basic", "layers": (1, 2, 1, 1), "channels": (4, 4, 8, 8), "num_classes": 3}
BOTTLENECK = {"layers": (2, 1, 1, 1), "channels": (4, 4, 8, 8), "num_classes": 3, "stem_type": "deep", "stem_width": 8}

both_blocks = pytest.mark.parametrize("values", [BASIC, BOTTLENECK], ids=["basic", "bottleneck"])


def classifier(values: Mapping[str, Any] = BASIC) -> ResnetModelForImageClassification:
    """Return a classifier, always the same, in training mode."""
    torch.manual_seed(0)
    return ResnetModelForImageClassification(ResnetConfig(**values))


def batch(number: int = 0, size: int = 4) -> dict[str, Tensor]:
    """Return the images and labels with this number."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(0, 3, (size,), generator=generator)
    return {"pixel_values": torch.rand(size, 3, 32, 32, generator=generator), "labels": labels}


def bits(tensor: Tensor | None) -> bytes:
    """Return the bytes of a tensor, so that 0.0 differs from -0.0."""
    return b"" if tensor is None else tensor.detach().contiguous().numpy().tobytes()


def weights(model: nn.Module) -> dict[str, bytes]:
    """Return every bit of a state dict."""
    return {name: bits(tensor) for name, tensor in model.state_dict().items()}


def step(model: nn.Module, number: int = 0) -> dict[str, bytes]:
    """Train on one batch, and return every bit that is left: loss, gradients, buffers, random numbers."""
    torch.manual_seed(number)
    loss = model(**batch(number))["loss"]
    loss.backward()
    gradients = {f"gradient of {name}": bits(each.grad) for name, each in model.named_parameters()}
    state = {"loss": bits(loss), "random numbers": bits(torch.get_rng_state())}
    return {**gradients, **weights(model), **state}


class Images(Dataset[dict[str, Tensor]]):
    """A few random images with labels."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: each[0] for name, each in batch(index, size=1).items()}


# ---- gradient checkpointing


VIEWS = BOTTLENECK | {"norm_layer": "layernorm2d", "replace_stem_pool": True}


@pytest.mark.parametrize("values", [BASIC, BOTTLENECK, VIEWS], ids=["basic", "bottleneck", "norms that answer views"])
@pytest.mark.parametrize(
    "options", [{}, {"use_reentrant": False}, {"use_reentrant": True}], ids=["plain", "not reentrant", "reentrant"]
)
def test_checkpointing_is_the_plain_step(options: dict[str, Any], values: Mapping[str, Any]):
    """Blocks run twice and yet no batch counts twice: gradients and statistics are those of the plain step."""
    plain, checked = classifier(values), classifier(values)
    checked.gradient_checkpointing_enable(options)

    assert [step(checked, number) for number in range(2)] == [step(plain, number) for number in range(2)]


@pytest.mark.parametrize("options", [{}, {"use_reentrant": True}], ids=["plain", "reentrant"])
def test_blocks_really_run_twice(options: dict[str, Any]):
    """Each block runs again in backward, and no longer when it is switched off."""
    model, runs = classifier(), []
    for block in itertools.chain(model.model.layer1, model.model.layer2, model.model.layer3, model.model.layer4):
        block.conv1.register_forward_hook(lambda *_: runs.append(1))
    model.gradient_checkpointing_enable(options)
    step(model)
    checked = len(runs)
    model.gradient_checkpointing_disable()
    step(model)

    assert (checked, len(runs) - checked) == (10, 5)


@pytest.mark.parametrize("switched", [False, True], ids=["off", "on"])
def test_the_body_is_checkpointed_too(switched: bool, tmp_path: Path):
    """The body alone supports it; a checkpoint does not tell whether it was on."""
    torch.manual_seed(0)
    model = ResnetModel(ResnetConfig(**BASIC))
    if switched:
        model.gradient_checkpointing_enable()
    model.save_pretrained(tmp_path)

    assert (model.supports_gradient_checkpointing, model.is_gradient_checkpointing) == (True, switched)
    assert not ResnetModel.from_pretrained(tmp_path).is_gradient_checkpointing
    assert weights(ResnetModel.from_pretrained(tmp_path)) == weights(model)


# ---- compilers


def fresh(_: Path) -> ResnetModelForImageClassification:
    """Return a model as its constructor makes it."""
    return classifier()


def loaded(folder: Path) -> ResnetModelForImageClassification:
    """Return a model as it comes from a checkpoint."""
    classifier().save_pretrained(folder)
    return ResnetModelForImageClassification.from_pretrained(folder).train()


both_ways = pytest.mark.parametrize("make", [fresh, loaded])
Make = Callable[[Path], ResnetModelForImageClassification]


@both_ways
def test_training_is_compiled_whole(make: Make, tmp_path: Path):
    """The compiler sees the network as one graph; a step has the same bits."""
    torch.compiler.reset()
    model = make(tmp_path)
    other = copy.deepcopy(model)
    other.compile(backend="eager", fullgraph=True)

    assert step(other) == step(model)


@both_ways
def test_the_network_is_exported(make: Make, tmp_path: Path):
    """The exported program answers with the same bits, for any number of images."""
    model = make(tmp_path).eval()
    images = batch()["pixel_values"]
    shapes = {"pixel_values": {0: torch.export.Dim("images", min=2, max=64)}}
    program = torch.export.export(model, (), {"pixel_values": images}, dynamic_shapes=shapes)
    more = batch(1, size=7)["pixel_values"]

    answer = program.module()(pixel_values=more)
    assert type(answer) is ImageClassification
    assert bits(answer.logits) == bits(model(more).logits)


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        (None, torch.rand(4, 3)),
        ("regression", torch.rand(4, 3)),
        ("single_label_classification", torch.rand(4, 3).softmax(-1)),
    ],
)
def test_every_loss_is_compiled_whole(problem: str | None, labels: Tensor):
    """Whichever loss the labels ask for, and all maps too, it is one graph that answers the same bits."""
    torch.compiler.reset()
    model = classifier(BASIC | {"problem_type": problem}).eval()
    inputs = {"pixel_values": batch()["pixel_values"], "labels": labels, "output_hidden_states": True}

    assert torch.compile(model, backend="eager", fullgraph=True)(**inputs) == model(**inputs)


# ---- mixed precision


@both_blocks
def test_a_step_in_mixed_precision(values: Mapping[str, Any]):
    """With autocast and channels last the loss is float32, near that of the plain step, and trains every parameter."""
    plain, mixed = classifier(values), classifier(values).to(memory_format=torch.channels_last)
    inputs = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = mixed(inputs["pixel_values"].contiguous(memory_format=torch.channels_last), inputs["labels"])
    answer.loss.backward()

    assert (answer.loss.dtype, answer.logits.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(answer.loss, plain(**inputs).loss, rtol=0.05)
    assert all(each.grad is not None and each.grad.isfinite().all() for each in mixed.parameters())


# ---- Trainer


def trainer(model: nn.Module, folder: Path, **arguments: Any) -> Any:
    """Return a `transformers.Trainer` for two steps on the CPU."""
    from transformers import Trainer, TrainingArguments  # noqa: PLC0415 - takes seconds

    settings = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=1,
        dataloader_pin_memory=False,
        **arguments,
    )
    return Trainer(model=model, args=settings, train_dataset=Images(), eval_dataset=Images())


def test_trainer_trains_and_its_checkpoints_load(tmp_path: Path):
    """`Trainer` trains, evaluates and saves the classifier; what it saved is loaded with every bit."""
    model = classifier()
    before = weights(model)
    training = trainer(model, tmp_path)
    training.train()
    found = training.evaluate()
    training.save_model(str(tmp_path / "final"))
    model.save_pretrained(tmp_path / "ours")

    assert weights(model) != before
    assert found["eval_loss"] > 0
    for folder in (tmp_path / "final", tmp_path / "checkpoint-2"):
        again, report = AutoModelForImageClassification.from_pretrained(
            folder, config=model.config, output_loading_info=True
        )
        assert report.exact
        assert weights(again) == weights(model)


def test_trainer_resumes(tmp_path: Path):
    """Training that is resumed from a checkpoint ends with the bits of training that was not interrupted."""
    whole, resumed = classifier(), classifier()
    trainer(whole, tmp_path / "whole").train()
    half = tmp_path / "whole" / "checkpoint-1"
    trainer(resumed, tmp_path / "resumed").train(resume_from_checkpoint=str(half))

    assert weights(resumed) == weights(whole)
    assert weights(ResnetModelForImageClassification.from_pretrained(half, config=whole.config)) != weights(whole)


def test_trainer_switches_checkpointing_on(tmp_path: Path):
    """With `activation_checkpointing` the same weights come out."""
    plain, checked = classifier(), classifier()
    trainer(plain, tmp_path / "plain").train()
    trainer(checked, tmp_path / "checked", activation_checkpointing=True).train()

    assert (plain.is_gradient_checkpointing, checked.is_gradient_checkpointing) == (False, True)
    assert weights(checked) == weights(plain)


# ---- accelerate


def test_accelerate_trains_and_its_checkpoints_load(tmp_path: Path):
    """A model that `Accelerator` prepared is trained, unwrapped and saved in each of the ways of its documentation."""
    from accelerate import Accelerator  # noqa: PLC0415 - takes seconds

    accelerator = Accelerator(cpu=True)
    model = classifier()
    before = weights(model)
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    accelerator.backward(prepared(**batch())["loss"])
    optimizer.step()
    unwrapped = accelerator.unwrap_model(prepared)
    unwrapped.save_pretrained(
        tmp_path / "unwrapped",
        is_main_process=accelerator.is_main_process,
        save_function=accelerator.save,
        state_dict=accelerator.get_state_dict(prepared),
    )
    accelerator.save_model(prepared, tmp_path / "saved", max_shard_size="4KB")
    accelerator.save_state(str(tmp_path / "state"))

    assert weights(unwrapped) != before
    assert weights(ResnetModelForImageClassification.from_pretrained(tmp_path / "unwrapped")) == weights(unwrapped)
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    for folder in ("saved", "state"):
        again = ResnetModelForImageClassification.from_pretrained(tmp_path / folder, config=model.config)
        assert weights(again) == weights(unwrapped)


def test_accelerate_makes_answers_of_answers():
    """What it moves or casts is an answer of the same class again."""
    from accelerate.utils import convert_to_fp32, send_to_device  # noqa: PLC0415 - takes seconds

    half = ImageClassification(logits=torch.ones(2, 3, dtype=torch.bfloat16))

    assert convert_to_fp32(half) == ImageClassification(logits=torch.ones(2, 3))
    assert send_to_device(half, "meta").logits.is_meta


# ---- peft


def lora(model: nn.Module) -> Any:
    """Return a model with LoRA adapters on a convolution of each block, and on the classifier."""
    import peft  # noqa: PLC0415 - takes seconds

    targets = r".*layer\d\.\d\.conv1|.*\.fc"
    torch.manual_seed(1)
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checkpointed"])
def test_lora_trains_the_adapters_alone(checked: bool):
    """A wrapped model trains its adapters and nothing else, also when activations are computed again."""
    model = classifier()
    if checked:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    wrapped = lora(model)
    wrapped(**batch())["loss"].backward()
    trained = {name for name, each in wrapped.named_parameters() if each.grad is not None}

    assert trained == {name for name, _ in wrapped.named_parameters() if "lora_" in name}
    assert len(trained) == 2 * 6


def test_lora_is_checkpointed_with_the_same_bits():
    """Checkpointing of a wrapped model is the plain step, before or after the wrapping."""
    plain, before, after = lora(classifier()), classifier(), lora(classifier())
    before.gradient_checkpointing_enable()
    before = lora(before)
    after.base_model.model.gradient_checkpointing_enable()

    assert step(before) == step(plain) == step(after)


def test_adapters_are_saved_apart_and_merged(tmp_path: Path):
    """Adapters come back on a model from a checkpoint; merged into it, they are saved with it, bit for bit."""
    import peft  # noqa: PLC0415 - takes seconds

    classifier().save_pretrained(tmp_path / "base")
    wrapped = lora(ResnetModelForImageClassification.from_pretrained(tmp_path / "base"))
    wrapped.save_pretrained(tmp_path / "adapters")
    again = peft.PeftModel.from_pretrained(
        ResnetModelForImageClassification.from_pretrained(tmp_path / "base"), str(tmp_path / "adapters")
    )
    merged = wrapped.eval().merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")

    assert weights(again.merge_and_unload()) == weights(merged) != weights(classifier())
    assert weights(ResnetModelForImageClassification.from_pretrained(tmp_path / "merged")) == weights(merged)
