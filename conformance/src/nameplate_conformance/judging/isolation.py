"""The state of the process around one example: noted before, put back after.

Hypothesis runs a law many times in one process. Whatever an example leaves behind (a default dtype, a seed, a
registration) would leak into the next one, so every example runs inside `isolated`.
"""

import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from nameplate_auto import CONFIG_MAPPING

_REGISTERED = "_auto_classes"
"""Where `register_for_auto_class` notes what a class was registered for; there is no other way to take that back."""

_THREADS = 1  # sums of floats may depend on how many threads add them


@contextmanager
def isolated() -> Iterator[None]:
    """Run a block with one thread, uninitialised memory filled with NaN, and put the process back as it was."""
    before = process_state()
    with ExitStack() as stack:
        # First of all, because what follows may import modules that add filters of their own.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=_cuda_devices()))
        stack.callback(random.setstate, random.getstate())
        stack.callback(restore, before)
        # NaN in fresh memory turns "left uninitialised" from luck into a failure. Not `use_deterministic_algorithms`:
        # that imports the whole compiler, which takes seconds.
        torch.set_deterministic_debug_mode("warn")
        torch.set_num_threads(_THREADS)
        _compute_exactly()
        yield


@contextmanager
def saved_without_code(classes: Iterable[type]) -> Iterator[None]:
    """Let classes that their own module has registered for an Auto class save plain checkpoints inside a block.

    Such a save copies their code, too. Whether that works is for the laws about code, which register the classes
    themselves; to every other law the files would be litter.
    """
    registered = [(each, vars(each)[_REGISTERED]) for each in classes if _REGISTERED in vars(each)]
    for each, _ in registered:
        setattr(each, _REGISTERED, ())
    try:
        yield
    finally:
        for each, before in registered:
            setattr(each, _REGISTERED, before)


def process_state() -> dict[str, Any]:
    """Return what no library should change behind its caller's back."""
    return {
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "the grad mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.get_deterministic_debug_mode(),
        "the choice of kernels": torch.backends.cudnn.benchmark,
        "the precision of products": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "the working directory": os.getcwd(),  # noqa: PTH109 - as text, to compare
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
        "the registered names": CONFIG_MAPPING.names(),
        "the warning filters": list(warnings.filters),
    }


def restore(before: dict[str, Any]) -> None:
    """Put back what `process_state` returned; registrations are undone by whoever made them."""
    torch.set_default_dtype(before["the default dtype"])
    if torch.get_default_device() != before["the default device"]:
        torch.set_default_device(before["the default device"])
    torch.set_grad_enabled(before["the grad mode"])
    torch.set_num_threads(before["the number of threads"])
    torch.set_deterministic_debug_mode(before["deterministic algorithms"])
    torch.backends.cudnn.benchmark = before["the choice of kernels"]
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before["the precision of products"]
    os.chdir(before["the working directory"])
    os.environ.clear()
    os.environ.update(before["the environment"])
    sys.path[:] = before["sys.path"]
    warnings.filters[:] = before["the warning filters"]  # type: ignore[index]


def _compute_exactly() -> None:
    """Let CUDA take neither the quickest kernel of the moment nor products of fewer bits than the dtype has."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
