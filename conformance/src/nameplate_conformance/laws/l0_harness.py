"""Level 0: whether the suite can judge the architecture at all. Failures here are about the declaration."""

from contextlib import suppress
from importlib import import_module

from nameplate_conformance.bits import outputs, state_bits
from nameplate_conformance.case import Case, drawn_kwargs
from nameplate_conformance.isolation import process_state
from nameplate_conformance.law import Evidence, Scope, law, require
from nameplate_conformance.strategies import is_accepted

_SAMPLES = 60
_LEAST_DISTINCT = 5
_MOST_REJECTED = 0.2
_MOST_PARAMETERS = 200_000
_MOST_BYTES = 1_000_000


@law("A01", "the config can be drawn", level=0, scope=Scope.ONCE)
def config_can_be_drawn(case: Case, evidence: Evidence) -> None:
    """The typed fields give at least five different configs, of which the config class refuses less than a fifth.
    Otherwise no law about all configs could show anything. Give fields bounds, a Literal or a Tiny mark, or the
    Architecture a strategy for them."""
    drawn = drawn_kwargs(case.architecture, _SAMPLES)
    distinct = {repr(kwargs) for kwargs in drawn}
    require(
        len(distinct) >= _LEAST_DISTINCT,
        f"only {len(distinct)} different configs can be drawn; {_LEAST_DISTINCT} are needed",
    )
    refused = [kwargs for kwargs in drawn if not is_accepted(case.config_class, kwargs)]
    share = len(refused) / len(drawn)
    require(
        share < _MOST_REJECTED,
        f"the config class refuses {share:.0%} of what its annotations describe, such as {refused[:1]}",
    )
    evidence.count("configs", len(distinct))


@law("A02", "the simplest example is small", level=0, needs=["A01"], scope=Scope.ONCE)
def simplest_example_is_small(case: Case, evidence: Evidence) -> None:
    """The simplest config builds a model that answers its inputs with at least one tensor, has fewer than 200,000
    parameters and less than a megabyte of state. Laws build thousands of models. Mark the fields that decide the
    size with Tiny values."""
    model = case.model()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    require(parameters < _MOST_PARAMETERS, f"the simplest model has {parameters:,} parameters")
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
