"""Level 6: the tools that read a model as a program read the right one."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.instruments.answers import batch_size, close, named, require_close
from nameplate_conformance.instruments.bits import output_bits
from nameplate_conformance.instruments.training import objective, trainable
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Cost, Evidence, Scope, Strength, inapplicable, law, require
from nameplate_model import PreTrainedModel

_NO_RULE = "Batching rule not implemented"
"""What torch says of an operation, such as a recurrent layer, that it cannot map over rows; no mistake of the model."""


@law("K01", "it can be exported", level=6, needs=["M05", "M06", "M11"], scope=Scope.ONCE, strength=Strength.SHOULD)
def it_can_be_exported(case: Case, evidence: Evidence) -> None:
    """`torch.export` turns the simplest model in evaluation mode into a program that answers the same, up to
    rounding. That is the way to devices without Python."""
    if not case.architecture.tags.exportable:
        inapplicable("the architecture says that it cannot be exported")
    model = case.poisoned()
    inputs = case.inputs(model)
    with _fresh_compiler(), torch.no_grad():
        program = torch.export.export(model, (), inputs).module()
        evidence.count("outputs", require_close(model(**inputs), program(**inputs), "exported"))


@law("K02", "it can be compiled", level=6, needs=["M05", "M11"], scope=Scope.ONCE, strength=Strength.SHOULD)
def it_can_be_compiled(case: Case, evidence: Evidence) -> None:
    """`torch.compile` captures the simplest model in evaluation mode as one graph, without a break, that answers the
    same, up to rounding. A break costs the speed that compiling is for."""
    if not case.architecture.tags.compilable:
        inapplicable("the architecture says that it cannot be compiled")
    model = case.poisoned()
    inputs = case.inputs(model)
    with _fresh_compiler(), torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        evidence.count("outputs", require_close(model(**inputs), compiled(**inputs), "compiled"))


@law(
    "K03",
    "compiled, it trains the same",
    level=6,
    needs=["K02", "T01", "T05"],
    scope=Scope.ONCE,
    strength=Strength.SHOULD,
    cost=Cost.COMPILE,
)
def compiled_it_trains_the_same(case: Case, evidence: Evidence) -> None:
    """Compiled with its backward pass, by the backend `aot_eager`, the simplest model has the gradients that it has
    without, up to rounding: in training mode, or in evaluation mode if training draws random numbers. A program
    that answers right and trains wrong is found by nobody who only looks at answers."""
    if not case.architecture.tags.compilable:
        inapplicable("the architecture says that it cannot be compiled")
    training = not _draws(case)
    plain, model = case.model().train(training), case.model().train(training)
    expected = _gradients(case, plain, plain)
    with _fresh_compiler():
        compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
        found = _gradients(case, model, compiled)
    require(expected.keys() == found.keys(), f"compiled, gradients reach {sorted(found)}, not {sorted(expected)}")
    apart = [name for name in expected if not close(expected[name], found[name])]
    require(not apart, f"compiled, gradients differ: {', '.join(apart[:4])} of {len(expected)}")
    evidence.count("gradients", len(expected))


def _draws(case: Case) -> bool:
    """Whether the answers of training depend on the random state."""
    answers = []
    for seed in (1, 2):
        model = case.model().train()
        torch.manual_seed(seed)
        answers.append(output_bits(case.answer(model)))
    return answers[0] != answers[1]


def _gradients(case: Case, model: PreTrainedModel, run: Callable[..., Any]) -> dict[str, Tensor]:
    """Return the gradients of a model's parameters after one pass of what runs it, forwards and backwards."""
    parameters = trainable(model)
    objective(run(**case.inputs(model))).backward()
    return {name: each.grad.detach() for name, each in parameters.items() if each.grad is not None}


@law(
    "K04",
    "functional tools read it",
    level=6,
    needs=["K01", "M13"],
    scope=Scope.ONCE,
    strength=Strength.SHOULD,
    tentative=True,
    cost=Cost.COMPILE,
)
def functional_tools_read_it(case: Case, evidence: Evidence) -> None:
    """The graph that `torch.fx` traces, `torch.func.functional_call` with the state given from outside, and, where rows
    are independent, `torch.func.vmap` over the rows answer what the simplest model answers, up to rounding.
    Quantizers, ensembles and gradients for each row are built from them."""
    if not case.architecture.tags.exportable:
        inapplicable("the architecture says that it cannot be followed without values")
    model = case.poisoned()
    inputs = case.inputs(model)
    with torch.no_grad():
        answer = model(**inputs)
        evidence.count("outputs", require_close(answer, _traced(model, inputs)(**inputs), "traced by torch.fx"))
        state = {name: tensor.clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        called = torch.func.functional_call(case.model(), state, args=(), kwargs=inputs)
        evidence.count("outputs", require_close(answer, called, "called with its state given"))
        if case.architecture.tags.batch_independent and batch_size(inputs):
            evidence.count("outputs", _require_same_rows(model, inputs, named(answer)))


def _traced(model: PreTrainedModel, inputs: dict[str, Tensor]) -> nn.Module:
    """Return the graph of a model, in which arguments that are not given have their defaults."""
    parameters = inspect.signature(model.forward).parameters.values()
    optional = {each.name: each.default for each in parameters if each.default is not each.empty}
    return torch.fx.symbolic_trace(model, {name: value for name, value in optional.items() if name not in inputs})


def _require_same_rows(model: PreTrainedModel, inputs: dict[str, Tensor], answer: dict[str, Tensor]) -> int:
    """Require each row, mapped over, to be answered as in its batch; return how many outputs have rows."""
    rows = batch_size(inputs)
    by_row = {name for name, each in inputs.items() if each.dim() and len(each) == rows}
    with_rows = [name for name, each in answer.items() if each.dim() and len(each) == rows]

    def one(row: dict[str, Tensor]) -> dict[str, Tensor]:
        whole = named(model(**{name: each.unsqueeze(0) if name in by_row else each for name, each in row.items()}))
        return {name: whole[name].squeeze(0) for name in with_rows}

    axes = {name: 0 if name in by_row else None for name in inputs}
    try:
        mapped = torch.func.vmap(one, in_dims=(axes,))(inputs) if with_rows else {}
    except RuntimeError as error:
        if _NO_RULE in str(error):
            return 0
        raise
    return require_close({name: answer[name] for name in with_rows}, mapped, "mapped over its rows")


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Forget what was compiled before, and afterwards what was compiled here."""
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
