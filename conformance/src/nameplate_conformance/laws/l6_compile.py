"""Level 6: the tools that read a model as a program read the right one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nameplate_conformance.answers import require_close
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, inapplicable, law


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


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Forget what was compiled before, and afterwards what was compiled here."""
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
