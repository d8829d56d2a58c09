"""Level 5: devices and dtypes change where tensors are and how wide, never what they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.instruments.answers import in_float64
from nameplate_conformance.instruments.bits import (
    Bits,
    bits,
    every_tensor,
    output_bits,
    outputs,
    require_same,
    state_bits,
    weights,
)
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, inapplicable, law, require
from nameplate_model import PreTrainedModel

_CASTS = (torch.bfloat16, torch.float16, torch.float64)
_WIDE = torch.float64


@law("D01", "a dtype is a cast", level=5, needs=["S01", "M09"], per_device=True)
def dtype_is_a_cast(case: Case, evidence: Evidence) -> None:
    """Loading in a dtype gives what loading and casting gives, and only floating tensors are cast: an integer may be
    an index. "auto" is the dtype that was saved, tensors of several dtypes each keep their own unless another is
    asked for, and what keep_in_fp32 names, by the class or by the caller, is float32."""
    with case.folder() as folder:
        model = case.poisoned()
        weights(model)
        model.save_pretrained(folder)
        plain = every_tensor(case.model_class.from_pretrained(folder, device=case.device))
        dtype = _castable(case.device)[case.seed % len(_castable(case.device))]
        kept = next((name for name, tensor in plain.items() if tensor.is_floating_point()), None)
        loaded = case.model_class.from_pretrained(folder, dtype=dtype, device=case.device)
        _require_cast(plain, loaded, dtype, list(case.model_class.keep_in_fp32), evidence)
        if kept is None:
            return
        loaded = case.model_class.from_pretrained(folder, dtype=dtype, device=case.device, keep_in_fp32=[kept])
        _require_cast(plain, loaded, dtype, [kept, *case.model_class.keep_in_fp32], evidence)
        _require_as_stored(case, folder / "mixed", dtype, evidence)


def _castable(device: torch.device) -> list[torch.dtype]:
    return [dtype for dtype in _CASTS if device.type != "mps" or dtype is not _WIDE]


def _require_cast(
    plain: dict[str, Tensor], loaded: nn.Module, dtype: torch.dtype, kept: list[str], evidence: Evidence
) -> None:
    expected: dict[str, Bits] = {}
    wide = {id(tensor) for name, tensor in plain.items() if any(_means(pattern, name) for pattern in kept)}
    for name, tensor in plain.items():
        wanted = torch.float32 if id(tensor) in wide else dtype  # under each of the names that a tied one has
        expected[name] = bits(tensor.to(wanted) if tensor.is_floating_point() else tensor)
    found = {name: bits(tensor) for name, tensor in every_tensor(loaded).items()}
    require_same(expected, found, evidence, what="tensors", when=f"loaded as {dtype}, in float32 {kept or 'nothing'}")


def _means(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or f".{pattern}." in f".{name}."


def _require_as_stored(case: Case, folder: Path, dtype: torch.dtype, evidence: Evidence) -> None:
    model = case.poisoned()
    floating = [each for each in nn.Module.state_dict(model, keep_vars=True).values() if each.is_floating_point()]
    for tensor in floating[::2]:
        tensor.data = tensor.data.to(dtype)
    model.save_pretrained(folder)
    loaded = case.model_class.from_pretrained(folder, device=case.device)
    require_same(state_bits(model), state_bits(loaded), evidence, what="tensors", when="saved in two dtypes and loaded")
    for tensor in floating:
        tensor.data = tensor.data.to(dtype)
    model.save_pretrained(folder)
    loaded = case.model_class.from_pretrained(folder, dtype="auto", device=case.device)
    when = f'saved as {dtype} and loaded with dtype="auto"'
    require_same(state_bits(model), state_bits(loaded), evidence, what="tensors", when=when)


@law("D02", "moving keeps every bit", level=5, needs=["S01"], per_device=True)
def moving_keeps_every_bit(case: Case, evidence: Evidence) -> None:
    """A model moved to the device and back to the host has the bits that it had: moving is no arithmetic."""
    model = case.poisoned()
    before = weights(model)
    moved = model.to(case.device).to("cpu")
    require_same(before, state_bits(moved), evidence, what="tensors", when=f"moved to {case.device.type} and back")


@law("D03", "a file knows no device", level=5, needs=["S03", "D02"], per_device=True)
def file_knows_no_device(case: Case, evidence: Evidence) -> None:
    """What is saved from the device, after it was moved or loaded straight to it, is byte for byte what is saved from
    the host: a checkpoint must not tell, or depend on, where it came from."""
    with case.folder() as around:
        case.poisoned().to("cpu").save_pretrained(around / "host")
        expected = _contents(around / "host")
        placed: dict[str, PreTrainedModel] = {
            "moved": case.model_class.from_pretrained(around / "host").to(case.device),
            "loaded": case.model_class.from_pretrained(around / "host", device=case.device),
            "mapped": case.model_class.from_pretrained(around / "host", device_map={"": case.device}),
        }
        for how, model in placed.items():
            model.save_pretrained(around / how)
            found = _contents(around / how)
            differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
            require(not differing, f"{how} to {case.device.type} and saved: other bytes in {', '.join(differing)}")
            evidence.count("files", len(found))


def _contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@law("D04", "loading to a device is loading and moving", level=5, needs=["S02", "D02"], per_device=True)
def loading_to_a_device_is_loading_and_moving(case: Case, evidence: Evidence) -> None:
    """Loading straight to a device gives the tensors that loading to the host and moving gives, buffers that are not
    persistent included, and leaves nothing elsewhere."""
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        direct = case.model_class.from_pretrained(folder, device=case.device)
        moved = case.model_class.from_pretrained(folder).to(case.device)
        elsewhere = [name for name, each in every_tensor(direct).items() if each.device.type != case.device.type]
        require(not elsewhere, f"not on {case.device.type}: {', '.join(elsewhere[:4])}")
        one = {name: bits(tensor) for name, tensor in every_tensor(moved).items()} or inapplicable("it has no tensors")
        other = {name: bits(tensor) for name, tensor in every_tensor(direct).items()}
    require_same(one, other, evidence, what="tensors", when=f"loaded straight to {case.device.type}")


@law("D05", "a reloaded model computes the same", level=5, needs=["S02", "D01", "D04"], per_device=True)
def reloaded_model_computes_the_same(case: Case, evidence: Evidence) -> None:
    """A model loaded on a device answers there with the bits of the one that was moved there, whether its tensors are
    views of the file or copies, and so it does in float64; on the host it answers the same within rounding."""
    model = case.poisoned()
    with case.folder() as folder:
        model.save_pretrained(folder)
        answer = case.answer(model)
        loads: dict[str, dict[str, Any]] = {"as views": {"memory": "mmap"}, "as copies": {"memory": "copy"}}
        for how, options in loads.items():
            loaded = case.model_class.from_pretrained(folder, device=case.device, **options)
            when = f"loaded {how} on {case.device.type}"
            require_same(output_bits(answer), output_bits(case.answer(loaded)), evidence, what="outputs", when=when)
        at_home = dict(outputs(replace(case, device=torch.device("cpu")).answer(model.to("cpu"))))
        _require_close(at_home, dict(outputs(answer)), evidence, f"moved from the host to {case.device.type}")
        model.to(case.device)
        wide = _answer_in_float64(case, model)
        if wide is not None:
            loaded = case.model_class.from_pretrained(folder, device=case.device, dtype=_WIDE)
            again = _answer_in_float64(case, loaded)
            require_same(wide, again or {}, evidence, what="outputs", when="loaded in float64")


def _answer_in_float64(case: Case, model: PreTrainedModel) -> dict[str, Bits] | None:
    """Return the bits of an answer in float64; None if the model or the device has no such arithmetic."""
    if case.device.type == "mps":
        return None
    wide = model.double()
    inputs = in_float64(case.inputs(wide))
    try:
        with torch.no_grad():
            return output_bits(wide(**inputs))
    except (RuntimeError, TypeError):  # it makes tensors of a dtype of its own
        return None


def _require_close(before: dict[str, Tensor], after: dict[str, Tensor], evidence: Evidence, when: str) -> None:
    require(set(before) == set(after), f"{when}: the outputs are {', '.join(after)}, not {', '.join(before)}")
    for path, tensor in before.items():
        one, other = (each.to("cpu", torch.float64) for each in (tensor, after[path]))
        close = torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
        require(close, f"{when}: {path} differs by more than rounding")
        evidence.count("outputs")


@law("D06", "contexts are honoured", level=5, needs=["D04"], per_device=True)
def contexts_are_honoured(case: Case, evidence: Evidence) -> None:
    """Inside of `torch.device` and under another default dtype a model loads as one would expect: onto that device
    unless another is asked for, with the bits and dtypes of the file; and what no file holds is what the constructor
    makes under the same default. A device that holds no values is refused, unless another is asked for."""
    with case.folder() as folder:
        model = case.poisoned()
        model.save_pretrained(folder)
        state = weights(model)
        with torch.device(case.device):
            loaded = case.model_class.from_pretrained(folder)
        _require_on_device(case, state, loaded, evidence, f"loaded inside of torch.device({case.device.type!r})")
        with torch.device("meta"):
            loaded = case.model_class.from_pretrained(folder, device=case.device)
        _require_on_device(case, state, loaded, evidence, "loaded inside of torch.device('meta') with another device")
        with _default_dtype(torch.float64 if case.device.type != "mps" else torch.bfloat16):
            loaded = case.model_class.from_pretrained(folder, device=case.device)
            built = {name: bits(tensor) for name, tensor in case.plain().named_buffers(remove_duplicate=False)}
    _require_on_device(case, state, loaded, evidence, "loaded under another default dtype")
    other = {name: bits(tensor) for name, tensor in every_tensor(loaded).items() if name not in state}
    expected = {name: kept for name, kept in built.items() if name in other}
    require_same(expected, other, evidence, what="buffers in no file", when="loaded under another default dtype")


def _require_on_device(case: Case, state: dict[str, Bits], loaded: nn.Module, evidence: Evidence, when: str) -> None:
    elsewhere = [name for name, each in every_tensor(loaded).items() if each.device.type != case.device.type]
    require(not elsewhere, f"{when}: not on {case.device.type}: {', '.join(elsewhere[:4])}")
    require_same(state, state_bits(loaded), evidence, what="tensors", when=when)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@law("D07", "a map of devices splits nothing but memory", level=5, needs=["D05"], per_device=True)
def map_of_devices_splits_nothing_but_memory(case: Case, evidence: Evidence) -> None:
    """A model whose parts are mapped to devices by their paths, all to one, or by "auto", has the bits of one that is
    not, each tensor where the map says, those of no part included; split between two devices it computes the same."""
    model = case.poisoned()
    parts = [name for name, child in model.named_children() if every_tensor(child)]
    chosen = parts[case.seed % len(parts)] if parts else ""
    other = torch.device("cpu", 0)  # on the host a second name of the same device, which is mapped as another
    maps: tuple[Any, ...] = (
        case.device,
        "auto",
        {"": case.device, **dict.fromkeys(parts, case.device)},
        {"": case.device, chosen: other},
        {"": other, chosen: case.device},
    )
    state, answer = state_bits(model), dict(outputs(case.answer(model)))
    with case.folder() as folder:
        model.save_pretrained(folder)
        for device_map in maps:
            loaded = case.model_class.from_pretrained(folder, device_map=device_map)
            when = f"loaded with device_map={device_map!r}"
            require_same(state, state_bits(loaded), evidence, what="tensors", when=when)
            if device_map != "auto":
                _require_placed(loaded, device_map if isinstance(device_map, dict) else {"": device_map}, when)
            _require_answer(case, answer, dict(outputs(case.answer(loaded))), evidence, when)


def _require_placed(model: nn.Module, device_map: dict[str, torch.device], when: str) -> None:
    for name, tensor in every_tensor(model).items():
        longest = max((path for path in device_map if not path or name.startswith(f"{path}.")), key=len)
        device = device_map[longest].type
        require(tensor.device.type == device, f"{when}: {name} is on {tensor.device.type}, not on {device}")


def _require_answer(
    case: Case, before: dict[str, Tensor], after: dict[str, Tensor], evidence: Evidence, when: str
) -> None:
    if case.device.type == "cpu":
        same = {path: bits(tensor) for path, tensor in before.items()}
        there = {path: bits(tensor) for path, tensor in after.items()}
        require_same(same, there, evidence, what="outputs", when=when)
    else:
        _require_close(before, after, evidence, when)
