"""Level 5: what running on a device leaves behind, and what becomes of the answers in narrow arithmetic."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import every_tensor
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Strength, broken, inapplicable, law, require
from nameplate_model import PreTrainedModel

_NARROW = {"cpu": (torch.bfloat16, torch.float16), "cuda": (torch.bfloat16, torch.float16), "mps": (torch.float16,)}
"""The narrow dtypes that a device computes in."""

_LACKING = "not implemented for"
"""What torch says where a device lacks an operation in some dtype, which is no mistake of the model."""


@law(
    "D08",
    "a deleted model is gone",
    level=5,
    needs=["M05", "M07", "S15"],
    per_device=True,
    strength=Strength.SHOULD,
)
def deleted_model_is_gone(case: Case, evidence: Evidence) -> None:
    """Once a model that was built or loaded, and run, is deleted, none of its tensors is alive, and the device has as
    much free memory as before. A class that keeps what it has built, in a list, a cache or a hook, makes a program
    that loads one model after another run out of memory."""
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        tensors = _one_life(case, folder)  # what is made once, such as the workspace of a library, exists from now on
        with _newcomers() as alive:
            before = _allocated(case.device)
            _one_life(case, folder)
            gc.collect()
            left, after = alive(), _allocated(case.device)
        shapes = [tuple(each.shape) for each in left]
        require(not left, f"deleted, {len(left)} of its tensors are alive, the first of shape {shapes[:1]}")
        require(after <= before, f"deleted, {after - before:,} more bytes are in use on {case.device.type}")
    if not tensors:
        inapplicable("the model has neither parameters nor buffers")
    evidence.count("tensors", tensors)


def _one_life(case: Case, folder: Path) -> int:
    """Build a model and load another, run both, and return how many tensors they had."""
    models = [case.model(), case.model_class.from_pretrained(folder, device=case.device)]
    for model in models:
        case.answer(model)
    return sum(len(every_tensor(model)) for model in models)


@contextmanager
def _newcomers() -> Iterator[Callable[[], list[Tensor]]]:
    """Provide what lists the tensors that were made inside of the block and are alive.

    All that lives before is put out of the collector's sight, so that collecting takes no time.
    """
    frozen = gc.get_freeze_count()
    gc.freeze()
    try:
        yield lambda: [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    finally:
        if not frozen:  # what somebody else froze must stay so
            gc.unfreeze()


def _allocated(device: torch.device) -> int:
    """Return how many bytes tensors take on an accelerator; on the host nobody counts them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        torch.mps.synchronize()
        return torch.mps.current_allocated_memory()
    return 0


@dataclass(frozen=True, slots=True)
class _Narrow:
    """A way to compute in a narrow dtype: all of the model in it, or the operations that torch picks."""

    dtype: torch.dtype
    automatic: bool

    def __str__(self) -> str:
        return f"under autocast to {self.dtype}" if self.automatic else f"in {self.dtype}"

    def context(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype=self.dtype) if self.automatic else nullcontext()


@law(
    "D09",
    "narrow arithmetic answers too",
    level=5,
    needs=["D01", "M05", "M10"],
    per_device=True,
    strength=Strength.SHOULD,
)
def narrow_arithmetic_answers_too(case: Case, evidence: Evidence) -> None:
    """Loaded in bfloat16 or float16, and under autocast, a model gives the answers that it gives in float32, by name
    and shape: whole numbers stay whole, and floating ones are finite, in that dtype or in the one of before. Masks
    filled with the smallest float32, and tensors made in a fixed dtype, fail where models are served. A model that
    is meant for wide arithmetic alone says so in the tag `half_precision`."""
    if not case.architecture.tags.half_precision:
        inapplicable("the architecture says that it needs wide arithmetic")
    with case.folder() as folder:
        plain = case.model()
        plain.save_pretrained(folder)
        expected = named(case.answer(plain))
        for dtype in _NARROW[case.device.type]:
            cast = case.model_class.from_pretrained(folder, device=case.device, dtype=dtype)
            for way, model in ((_Narrow(dtype, automatic=False), cast), (_Narrow(dtype, automatic=True), plain)):
                answer = _answer(case, model, way)
                if answer is not None:
                    _require_same_kinds(expected, answer, way)
                    _require_finite(answer, str(way))
                    evidence.count("outputs", len(answer))
    if not evidence.counts:
        inapplicable(f"on {case.device.type} torch lacks an operation of the model in every narrow dtype")


def _answer(case: Case, model: PreTrainedModel, way: _Narrow) -> dict[str, Tensor] | None:
    """Return what a model answers; None if the device lacks an operation that it needs."""
    inputs = case.inputs(model)
    if not way.automatic:
        inputs = {name: each.to(way.dtype) if each.is_floating_point() else each for name, each in inputs.items()}
    try:
        with torch.no_grad(), way.context(case.device):
            return named(model(**inputs))
    except RuntimeError as error:
        if _LACKING in str(error):
            return None
        broken(f"{way} it raises {type(error).__name__}: {error}")


def _require_same_kinds(expected: Mapping[str, Tensor], answer: Mapping[str, Tensor], way: _Narrow) -> None:
    require(expected.keys() == answer.keys(), f"{way} it answers {sorted(answer)}, not {sorted(expected)}")
    for name, before in expected.items():
        after = answer[name]
        require(before.shape == after.shape, f"{way} {name} has shape {tuple(after.shape)}, not {tuple(before.shape)}")
        allowed = {before.dtype, way.dtype} if before.is_floating_point() else {before.dtype}
        require(after.dtype in allowed, f"{way} {name} is {after.dtype}, not {' or '.join(map(str, allowed))}")


def _require_finite(answer: Mapping[str, Tensor], when: str) -> None:
    wild = [name for name, each in answer.items() if not bool(each.to(_wide(each)).isfinite().all())]
    require(not wild, f"{when} it answers what is not finite: {', '.join(wild[:4])}")


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.complex64 if tensor.is_complex() else torch.float32
