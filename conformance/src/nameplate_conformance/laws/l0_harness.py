"""Level 0: whether the suite can judge the architecture at all. Failures here are about the declaration."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import torch

from nameplate_config import fields
from nameplate_config.wording import listed, sentences
from nameplate_conformance.drawing.adequacy import unreached, values_by_field
from nameplate_conformance.drawing.anchors import MOST_PARAMETERS, anchors_of
from nameplate_conformance.drawing.coverage import coverage_of
from nameplate_conformance.drawing.domains import is_accepted
from nameplate_conformance.instruments.bits import outputs, state_bits
from nameplate_conformance.judging.case import Case, drawn_kwargs
from nameplate_conformance.judging.isolation import process_state
from nameplate_conformance.law import Evidence, Scope, law, require

_SAMPLES = 60
_BUILT = 8
_LEAST_DISTINCT = 5
_MOST_REJECTED = 0.2
_MOST_BYTES = 1_000_000


@law("A01", "the config can be drawn", level=0, scope=Scope.ONCE)
def config_can_be_drawn(case: Case, evidence: Evidence) -> None:
    """The typed fields give at least five different configs, of which the config class refuses less than a fifth.
    Otherwise no law about all configs could show anything. Give fields bounds, a Literal or a Tiny mark, or the
    Architecture a strategy for them, and a `constrain` where they depend on each other."""
    drawn = drawn_kwargs(case.architecture, _SAMPLES)
    distinct = {repr(kwargs) for kwargs in drawn}
    require(len(distinct) >= _LEAST_DISTINCT, _too_few(case, len(distinct)))
    refused = [kwargs for kwargs in drawn if not is_accepted(case.config_class, kwargs)]
    share = len(refused) / len(drawn)
    said = sentences(
        f"the config class refuses {share:.0%} of what its annotations describe, such as {refused[:1]}.",
        "Bounds, OnlyWhen marks or the Architecture's `constrain` can say which values go together",
    )
    require(share < _MOST_REJECTED, said)
    evidence.count("configs", len(distinct))


def _too_few(case: Case, number: int) -> str:
    name, declared = case.config_class.__name__, fields(case.config_class)
    unknown = [each.name for each in declared if not coverage_of(case.architecture).values[each.name]]
    if unknown:
        return sentences(
            f"nothing says what {listed(unknown)} of {name} may be, so no config can be drawn.",
            f"Give the Architecture a strategy for it, as in fields={{{unknown[0]!r}: st.integers(1, 4)}}",
        )
    typed = [each.name for each in declared if each.annotation is not Any]
    drawn = f"only {number} different config{'s' if number > 1 else ''} of"
    needed = f"can be drawn, and {_LEAST_DISTINCT} are needed."
    return sentences(
        f"{drawn} {name} {needed}" if typed else f"{name} has no typed field: {drawn} it {needed}",
        "Say what its fields may be, as in `width: Annotated[int, Tiny(1, 2)] = 8`, "
        'or give the Architecture strategies, as in fields={"width": st.integers(1, 4)}',
    )


@law("A02", "the simplest example is small", level=0, needs=["A01"], scope=Scope.ONCE)
def simplest_example_is_small(case: Case, evidence: Evidence) -> None:
    """The simplest config builds a model that answers its inputs with at least one tensor, has fewer than 200,000
    parameters and less than a megabyte of state. Laws build thousands of models. Mark the fields that decide the
    size with Tiny values."""
    model = case.model()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    reason = anchors_of(case.architecture).reason
    require(parameters < MOST_PARAMETERS, sentences(f"the simplest model has {parameters:,} parameters.", reason))
    size = sum(each.data.numel() for each in state_bits(model).values())
    require(size < _MOST_BYTES, f"the state of the simplest model has {size:,} bytes")
    answered = list(outputs(case.answer(model)))
    require(answered, "the simplest model answers without any tensor")
    evidence.count("outputs", len(answered))
    evidence.count("parameters", parameters)


@law("A03", "the process is left alone", level=0, needs=["A02"], scope=Scope.ONCE)
def process_is_left_alone(case: Case, evidence: Evidence) -> None:
    """Building, running, saving and loading a model leave the process as it was: default dtype and device, grad
    mode, threads, determinism, working directory, environment, sys.path, registered names, warning filters.
    Whatever changes them changes the meaning of somebody else's code."""
    model_class = case.model_class
    import_module("torch._dynamo")  # torch does at its first computation on metadata, and sets a variable and a filter
    before = process_state()
    with case.folder() as folder, suppress(Exception):  # whether they work is for other laws to say
        model = case.model()
        case.answer(model)
        model.save_pretrained(folder)
        model_class.from_pretrained(folder)
    after = process_state()
    changed = [name for name in before if before[name] != after[name]]
    require(not changed, f"changed by building, running, saving or loading: {', '.join(changed)}")
    evidence.count("settings", len(before))


@law("A04", "the examples are adequate", level=0, needs=["A02"], scope=Scope.ONCE)
def examples_are_adequate(case: Case, evidence: Evidence) -> None:
    """The examples reach what the config declares: each field has two values at least unless it can have only one;
    every choice of a Literal, an Enum, a bool or None comes up, and so does every Tiny value, bound and length; and the
    models have two different sets of names and shapes at least. What no example reaches, no law judges. With one shape
    alone, a loader that ignores the config would pass."""
    examples = [*coverage_of(case.architecture).rows, *coverage_of(case.architecture, exotic=True).rows]
    values, given = values_by_field(examples), case.architecture.fields
    missing = [
        text
        for each in fields(case.config_class)
        for text in unreached(each, values.get(each.name, []), given=each.name in given)
    ]
    require(not missing, _unreached(case, missing, len(examples)))
    evidence.count("values", sum(len({repr(each) for each in seen}) for seen in values.values()))
    if case.head:
        shapes = {signature for signature in _signatures(case) if signature}
        require(len(shapes) != 1, _one_shape(case))
        evidence.count("shapes", len(shapes))


def _unreached(case: Case, missing: list[str], number: int) -> str:
    return sentences(
        f"{case.config_class.__name__} declares what none of {number} examples has: {listed(missing)}.",
        "Where other fields forbid it, say so with an OnlyWhen mark or the Architecture's `constrain`; "
        "else declare less, or give the Architecture a strategy in `fields`",
    )


def _signatures(case: Case) -> Iterator[tuple[Any, ...]]:
    """Yield the names and shapes of the models of some examples; those that cannot be built are for other laws."""
    device = "meta" if case.architecture.tags.builds_on_meta else "cpu"
    for kwargs in coverage_of(case.architecture).rows[:_BUILT]:
        with suppress(Exception), torch.device(device):
            state = case.plain(case.config_class(**copy.deepcopy(kwargs))).state_dict()
            yield tuple((name, tuple(value.shape)) for name, value in state.items() if isinstance(value, torch.Tensor))


def _one_shape(case: Case) -> str:
    return sentences(
        f"every example gives {case.model_class.__name__} the same names and shapes of tensors.",
        "Let a field that decides a size have two Tiny values",
    )
