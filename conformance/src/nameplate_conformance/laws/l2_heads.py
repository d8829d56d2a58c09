"""Level 2: what models with labels, with stages, or with a head that can be exchanged owe on top."""

import inspect
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_config import ConfigError, PreTrainedConfig, fields
from nameplate_conformance.instruments.answers import named, require_close
from nameplate_conformance.instruments.bits import Bits, require_same, state_bits
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Strength, broken, inapplicable, law, require
from nameplate_model import PreTrainedModel

_LABELS, _LOGITS, _LOSS = "labels", "logits", "loss"
_COUNTS = ("num_labels", "num_classes")
_DIMENSIONS_OF_IMAGES = 4
_CHOICES = {"out_features", "out_indices"}


@law("M15", "labels give the documented loss", level=2, needs=["M10"])
def labels_give_the_documented_loss(case: Case, evidence: Evidence) -> None:
    """Given labels, a model whose `forward` takes them answers also with `loss`: the loss that is documented, which
    is the cross entropy unless the Architecture's `loss` says another, of the very logits that it answers, and one
    that can be trained on. The labels change nothing else."""
    model = case.poisoned()
    if _LABELS not in inspect.signature(model.forward).parameters:
        inapplicable("forward takes no labels")
    inputs = {name: value for name, value in case.inputs(model).items() if name != _LABELS}
    without = model(**inputs)
    logits = named(without).get(_LOGITS)
    if logits is None:
        inapplicable("the model answers no logits without labels")
    architecture, config = case.architecture, model.config
    labels = (architecture.labels_of(case.head) or _some_labels)(config, logits)
    answer = model(**inputs, labels=labels)
    loss = named(answer).get(_LOSS)
    if loss is None:
        broken("given labels, it answers no loss")
    rest = {name: tensor for name, tensor in named(answer).items() if name != _LOSS}
    evidence.count("outputs", require_close(without, rest, "given labels"))
    documented = (architecture.loss_of(case.head) or _cross_entropy)(config, logits, labels)
    evidence.count("losses", require_close(documented, loss, "compared with the documented loss of its logits"))
    trains = any(parameter.requires_grad for parameter in model.parameters())
    require(loss.requires_grad or not trains, "no gradient flows from the loss")


def _some_labels(_: Any, logits: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    last = _classes_last(logits)
    return torch.randint(last.shape[-1], last.shape[:-1], generator=generator).to(logits.device)


def _cross_entropy(_: Any, logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(_classes_last(logits).flatten(0, -2), labels.flatten())


def _classes_last(logits: Tensor) -> Tensor:
    """Return logits with the classes behind everything else; those of the pixels of images have them second."""
    return logits.movedim(1, -1) if logits.dim() == _DIMENSIONS_OF_IMAGES else logits


@law("M16", "stages are what they are called", level=2, needs=["M10"])
def stages_are_what_they_are_called(case: Case, evidence: Evidence) -> None:
    """A backbone's `out_features` and `out_indices` name the same stages, in the order of the stages; its answer has
    one feature map for each, with as many channels as `channels` says; maps do not grow from stage to stage, and
    each of the `strides`, if it has them, divides the next. If the config has both fields, one follows from the other,
    and stages that do not exist, are out of order or differ between the two are refused. A detector that is put on top
    reads nothing else."""
    model: Any = case.model()
    names, numbers, every = (_said(model, name) for name in ("out_features", "out_indices", "stage_names"))
    if names is None or numbers is None or every is None or not hasattr(model, "channels"):
        inapplicable("the model is no backbone: it has not out_features, out_indices and channels")
    stages = list(every)
    features, indices = list(names), [index % len(stages) for index in numbers]
    require([stages[index] for index in indices] == features, f"indices {indices} are not the stages {features}")
    require(indices == sorted(indices), f"the stages {features} are not in their order {stages}")
    maps = [each for name, each in named(case.answer(model)).items() if name.startswith("feature_maps")]
    require(len(maps) == len(features), f"{len(maps)} feature maps for the stages {features}")
    found = [each.shape[1] for each in maps]
    require(list(model.channels) == found, f"channels says {list(model.channels)}, the feature maps have {found}")
    sizes = [tuple(each.shape[2:]) for each in maps]
    shrink = all(a >= b for one, two in pairwise(sizes) for a, b in zip(one, two, strict=True))
    require(shrink, f"maps grow: {sizes}")
    strides = list(getattr(model, "strides", ()))
    require(all(b % a == 0 for a, b in pairwise(strides)), f"strides do not divide each other: {strides}")
    evidence.count("feature maps", len(maps))
    if {each.name for each in fields(case.config_class)} >= _CHOICES:
        _require_one_choice(case, stages, evidence)


def _said(model: Any, name: str) -> Any:
    """Return what a model says of its stages, or its config in its stead; None if neither does."""
    found = getattr(model, name, None)
    return getattr(model.config, name, None) if found is None else found


def _require_one_choice(case: Case, stages: list[str], evidence: Evidence) -> None:
    """Require that names and numbers of stages are two spellings of one choice."""
    make: Any = case.config_class
    kwargs = {name: value for name, value in case.kwargs.items() if name not in _CHOICES}
    for number, name in enumerate(stages):
        spelt: list[dict[str, Any]] = [{"out_indices": [each]} for each in (number, number - len(stages))]
        for given in [*spelt, {"out_features": [name]}]:
            config = make(**kwargs, **given)
            found = (list(config.out_features), [each % len(stages) for each in config.out_indices])
            require(found == ([name], [number]), f"{given} means the stages {found[0]} with the numbers {found[1]}")
            evidence.count("choices of a stage")
    wrong: list[dict[str, Any]] = [{"out_indices": [number]} for number in (len(stages), -len(stages) - 1)]
    wrong += [{"out_features": ["no such stage"]}, {"out_indices": [0, 0]}, {"out_features": [stages[0]] * 2}]
    if len(stages) > 1:
        wrong += [{"out_indices": [1, 0]}, {"out_features": stages[:1], "out_indices": [1]}]
    for given in wrong:
        try:
            make(**kwargs, **given)
        except ConfigError:
            evidence.count("wrong choices refused")
        else:
            broken(f"the config takes {given}, of the stages {stages}")


@law("M18", "another head leaves the body", level=2, needs=["M14", "S01"], strength=Strength.SHOULD)
def another_head_leaves_the_body(case: Case, evidence: Evidence) -> None:
    """Loading with another number of labels, or calling `reset_classifier`, exchanges the tensors that depend on it,
    which get another shape, and keeps every other tensor bit for bit. Fine-tuning starts with this step; a body that
    is initialised again has learnt nothing."""
    model = case.poisoned()
    before = state_bits(model)
    changed = _another_count(case, model.config)
    if changed is None and not hasattr(model, "reset_classifier"):
        inapplicable("no field counts labels, and the model has no reset_classifier")
    if changed is not None:
        with case.folder() as folder:
            model.save_pretrained(folder)
            options: dict[str, Any] = {"ignore_mismatched_sizes": True, **changed}
            loaded = case.model_class.from_pretrained(folder, **options)
        _require_kept(before, loaded, evidence, when=f"loaded with {changed}")
    if hasattr(model, "reset_classifier"):
        model.reset_classifier(5)  # type: ignore[operator]
        _require_kept(before, model, evidence, when="after reset_classifier(5)")


def _another_count(case: Case, config: PreTrainedConfig) -> dict[str, int] | None:
    """Return the field that counts labels with another value that the config class accepts."""
    name = next((each.name for each in fields(case.config_class) if each.name in _COUNTS), None)
    if name is None:
        return None
    for count in (getattr(config, name) + 1, getattr(config, name) - 1):
        try:
            case.config_class(**{**case.kwargs, name: count})
        except ConfigError:
            continue
        return {name: count}
    return None


def _require_kept(before: dict[str, Bits], model: PreTrainedModel, evidence: Evidence, *, when: str) -> None:
    after = state_bits(model)
    kept = {name: each for name, each in before.items() if name not in after or after[name].shape == each.shape}
    require_same(kept, {name: after[name] for name in kept if name in after}, evidence, what="tensors", when=when)
