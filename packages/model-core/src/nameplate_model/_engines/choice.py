"""Which engine brings tensors to which device, and whether the one that was asked for can do it here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from nameplate_config import UnknownOptionError
from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._engines.mapped import Mapped
from nameplate_model._engines.source import Engine, Memory, Range, WeightSource

_WORDS = ("auto", "mapped", "ring", "prefetch")

_WAY_OUT = "Pass engine='auto', which takes what works."

_FILLED: Mapping[Engine, tuple[str, ...]] = {"ring": ("cuda", "cpu"), "prefetch": ("cuda",)}
"""The kinds of devices that engines fill, of those that do not fill all."""

_LITTLE = 4 << 20
"""Bytes of a load up to which a ring is not worth its threads."""


def to_engine(value: Any) -> Engine:
    """Return the engine that an argument means.

    Raises:
        UnknownOptionError: If it is none, or one that cannot work on this machine.
    """
    if value not in _WORDS:
        known = "'auto', 'mapped', 'ring' or 'prefetch'"
        guess = did_you_mean(value, _WORDS) if isinstance(value, str) else ""
        raise UnknownOptionError(sentences(f"engine must be {known}, found {shown(value)}.", guess))
    if value == "prefetch":
        from nameplate_model._engines.prefetch import prefetch_problem  # noqa: PLC0415 - most loads need none of it

        problem = prefetch_problem() or ("" if torch.cuda.is_available() else "needs CUDA, which is not there")
        if problem:
            raise UnknownOptionError(sentences(f"engine='prefetch' {problem}.", _WAY_OUT))
    return value


def check_engine(engine: Engine, devices: Collection[torch.device]) -> None:
    """Refuse an engine that has nothing to do on any of the devices of a model.

    Raises:
        UnknownOptionError: If there is none that it can fill.
    """
    kinds = _FILLED.get(engine)
    if kinds is None or any(device.type in kinds for device in devices):
        return
    found = ", ".join(sorted(map(str, devices)))
    message = f"engine={engine!r} fills {' and '.join(kinds)} devices only, and the model goes to {found}."
    raise UnknownOptionError(sentences(message, _WAY_OUT))


def source_for(device: torch.device, ranges: Sequence[Range], memory: Memory, engine: Engine) -> WeightSource:
    """Return who brings tensors to a device.

    The ring serves CUDA devices, unless there is hardly anything to bring or the files are to be mapped. It reads and
    never maps, so that it does not matter what file system they are on. Everything else is mapped, or read, first: on
    the host that is all there is to do. The engine of safetensors is taken only if it is asked for.

    Args:
        device: Where they go.
        ranges: What is wanted there.
        memory: How tensors get into the memory of the host.
        engine: Who was asked for; one that cannot serve this device serves other devices of the same model.
    """
    on_cuda = device.type == "cuda"
    if on_cuda and engine == "prefetch":
        from nameplate_model._engines.prefetch import Prefetch  # noqa: PLC0415 - as above

        return Prefetch(device)
    if on_cuda and engine == "auto" and memory != "mmap" and sum(each.nbytes for each in ranges) > _LITTLE:
        engine = "ring"
    if engine == "ring" and device.type in _FILLED["ring"]:
        from nameplate_model._engines.ring import Ring  # noqa: PLC0415 - as above

        return Ring(device)
    return Mapped(device, memory)
