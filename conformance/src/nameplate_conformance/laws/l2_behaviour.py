"""Level 2: a model is a well-behaved function and torch module: it forgets nothing and remembers nothing."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nameplate_conformance.instruments.answers import (
    another_batch,
    batch_size,
    close,
    in_float64,
    named,
    require_promised,
)
from nameplate_conformance.instruments.bits import bits, every_tensor, output_bits, require_same, state_bits
from nameplate_conformance.instruments.copies import pickled
from nameplate_conformance.instruments.overlaps import in_common, same_objects
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Strength, inapplicable, law, require


@law("M04", "running changes nothing", level=2, needs=["M01"], per_device=True)
def running_changes_nothing(case: Case, evidence: Evidence) -> None:
    """Running a model in evaluation mode changes neither its inputs nor its state, the mode of any module, the
    grad mode or the global random state."""
    model = case.model()
    inputs = case.inputs(model)
    given, state = output_bits(inputs), state_bits(model)
    modes = [module.training for module in model.modules()]
    random, grad = torch.get_rng_state(), torch.is_grad_enabled()
    model(**inputs)
    require_same(given, output_bits(inputs), evidence, what="inputs", when="run in evaluation mode")
    require_same(state, state_bits(model), evidence, what="tensors", when="run in evaluation mode")
    require(modes == [module.training for module in model.modules()], "running it changed the mode of a module")
    require(torch.equal(random, torch.get_rng_state()), "running it drew from the global random state")
    require(grad == torch.is_grad_enabled(), "running it changed the grad mode")


@law("M05", "a model is a function", level=2, needs=["M04"], per_device=True)
def model_is_a_function(case: Case, evidence: Evidence) -> None:
    """In evaluation mode the same inputs give the same bits, whatever the seed: no dropout, no sampling, no state
    that remembers earlier calls."""
    model = case.model()
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        answers.append(output_bits(case.answer(model)))
    require_same(answers[0], answers[1], evidence, what="outputs", when="run again under another seed")


@law("M10", "the answer is what was promised", level=2, needs=["M01"])
def answer_is_what_was_promised(case: Case, evidence: Evidence) -> None:
    """In evaluation mode a model answers with finite numbers, under the names and with the shapes and dtypes that
    the Architecture's `outputs` promises; without a promise, under the same names, of the same type and with the
    same dtypes for every batch. Whoever unpacks an answer relies on it."""
    model = case.model()
    inputs = case.inputs(model)
    answers = []
    for batch in _batches(case):
        with torch.no_grad():
            answer = model(**batch)
        evidence.count("outputs", require_promised(case.architecture, case.head, model.config, batch, answer))
        wild = [name for name, each in named(answer).items() if not bool(each.to(_wide(each)).isfinite().all())]
        require(not wild, f"not finite: {', '.join(wild[:4])}")
        answers.append((type(answer), {name: each.dtype for name, each in named(answer).items()}))
    require(all(each == answers[0] for each in answers), f"{len(inputs)} inputs in another number of rows: {answers}")


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64


def _batches(case: Case) -> list[dict[str, torch.Tensor]]:
    """Return the inputs, and those of another batch where rows are independent."""
    model = case.model()
    inputs = case.inputs(model)
    if not (case.architecture.tags.batch_independent and batch_size(inputs)):
        return [inputs]
    return [inputs, another_batch(case.inputs(model))]


@law("M13", "rows are independent", level=2, needs=["M05", "M10"])
def rows_are_independent(case: Case, evidence: Evidence) -> None:
    """In evaluation mode the answer to a row does not depend on the other rows of the batch, up to rounding. If it
    did, serving a request alone and in company would give two results. A model of another nature says so in the tag
    `batch_independent`."""
    model = case.poisoned()
    rows = batch_size(case.inputs(model))
    if not (case.architecture.tags.batch_independent and rows):
        inapplicable("the rows of a batch are not independent, or there are none")
    batches = _batches(case)
    by_row, apart = _rows_apart(model, batches, rows)
    if apart:  # a norm of next to nothing amplifies rounding, of which there is none to see in float64
        with suppress(RuntimeError, TypeError):  # it makes tensors of a dtype of its own
            _, still = _rows_apart(model.double(), [in_float64(batch) for batch in batches], rows)
            apart = [name for name in apart if name in still]
    require(not apart, f"answered in another batch, the same rows differ: {', '.join(apart[:4])}")
    if not by_row:
        inapplicable("no output has a row for each row of the inputs")
    evidence.count("outputs", len(by_row))


def _rows_apart(
    model: nn.Module, batches: Sequence[Mapping[str, torch.Tensor]], rows: int
) -> tuple[list[str], list[str]]:
    """Return the names of the outputs that have a row for each row of the inputs, and of those that differ."""
    with torch.no_grad():
        one, other = (named(model(**batch)) for batch in batches)
    fewer = min(batch_size(batch) for batch in batches)
    by_row = [name for name in one if one[name].dim() and len(one[name]) == rows]
    return by_row, [name for name in by_row if not close(one[name][:fewer], other[name][:fewer])]


@law("M14", "a copy is the same model", level=2, needs=["M05", "M07"])
def copy_is_the_same_model(case: Case, evidence: Evidence) -> None:
    """`copy.deepcopy`, and pickling with `torch.save`, give a model with the same bits, ties, modes and frozen
    parameters, and the same answers, which has no memory in common with the original. Averaging weights, sending a
    model to a process and comparing two runs begin with a copy. torch itself pickles no parametrizations, and copies
    views of a parameter one by one."""
    model = case.poisoned()
    copies = {"copied": copy.deepcopy(model)}
    if not any(is_parametrized(module) for module in model.modules()):
        copies["pickled"] = pickled(model)
    for when, other in copies.items():
        common = in_common(model, other)
        require(not common, f"{when}: the original and the other share the memory of {', '.join(common[:4])}")
        before, after = ({name: bits(each) for name, each in every_tensor(m).items()} for m in (model, other))
        require_same(before, after, evidence, what="tensors", when=when)
        require(same_objects(model) == same_objects(other), f"{when}: a tensor that has two names became two tensors")
        require(_natures(model) == _natures(other), f"{when}: other parameters are frozen")
        require(_modes(model) == _modes(other), f"{when}: the mode of a module changed")
        expected, found = (output_bits(case.answer(each)) for each in (model, other))
        require_same(expected, found, evidence, what="outputs", when=when)


def _natures(model: nn.Module) -> dict[str, bool]:
    return {name: each.requires_grad for name, each in model.named_parameters(remove_duplicate=False)}


def _modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules(remove_duplicate=False)}


@law("M17", "evaluation follows training", level=2, needs=["M05"], strength=Strength.SHOULD)
def evaluation_follows_training(case: Case, evidence: Evidence) -> None:
    """`train()` and `eval()` reach every module, and a model that was in training mode in between answers with the
    same bits: it trained nothing meanwhile. Validation in the middle of training depends on it."""
    model = case.poisoned()
    before = output_bits(case.answer(model))
    for training in (True, False):
        model.train(training)
        others = [name or "the model" for name, each in model.named_modules() if each.training is not training]
        require(not others, f"train({training}) did not reach {', '.join(others[:4])}")
    after = output_bits(case.answer(model))
    require_same(before, after, evidence, what="outputs", when="put into training mode and back")
