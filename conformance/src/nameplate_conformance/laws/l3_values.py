"""Level 3, the values: ties, layouts, dtypes and numbers that a careless format loses, and whose memory they are in."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.instruments.bits import bits, every_tensor, require_same, state_bits, weights
from nameplate_conformance.instruments.carrier import carrying
from nameplate_conformance.instruments.oracle import StoredTensor, read_checkpoint
from nameplate_conformance.instruments.poison import any_bits, poison, poison_with_oddities, seed_of
from nameplate_conformance.instruments.sharing import ties
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, inapplicable, law, require
from nameplate_model import CheckpointError

_CARRIED = "conformance_"
"""How the names of tensors begin that a law registers."""


@law("S08", "ties survive", level=3, needs=["S01"])
def ties_survive(case: Case, evidence: Evidence) -> None:
    """Names that are one tensor, whether the class declares it, the law adds it or only one instance has it, are
    stored once and are one tensor after loading: a change through one name is seen through the other."""
    case = carrying(case, _with_a_tie)
    model = case.poisoned()
    _tie_an_instance(model)
    groups = ties(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        stored = read_checkpoint(folder)
        loaded = case.model_class.from_pretrained(folder)
        lost = [sorted(names) for names in groups if names not in ties(loaded)]
        require(not lost, f"no longer one tensor: {lost[0] if lost else ''}")
        require_same(state_bits(model), state_bits(loaded), evidence, what="tensors", when="saved and loaded")
        keys = set(nn.Module.state_dict(model))
        for names in groups:
            held = sorted(names & set(stored))
            require(len(held) <= 1, f"stored more than once: {', '.join(held)}")
            require(held or not names & keys, f"not stored at all: {', '.join(sorted(names))}")
            _require_shared(loaded, sorted(names))
            evidence.count("ties")


def _with_a_tie(model: nn.Module) -> None:
    model.register_parameter(f"{_CARRIED}weight", nn.Parameter(torch.ones(3)))
    model.add_module(f"{_CARRIED}part", nn.Module())
    part = model.get_submodule(f"{_CARRIED}part")
    part.register_parameter("weight", model.get_parameter(f"{_CARRIED}weight"))
    part.register_buffer("free", torch.zeros(3))
    part.register_buffer("bound", torch.zeros(3))


def _tie_an_instance(model: nn.Module) -> None:
    part: Any = model.get_submodule(f"{_CARRIED}part")
    part.bound = part.free


def _require_shared(model: nn.Module, names: list[str]) -> None:
    tensors = every_tensor(model)
    with torch.no_grad():
        tensors[names[0]].view(-1)[:1] = 1 if tensors[names[0]].dtype is torch.bool else 5
    differing = [name for name in names if bits(tensors[name]) != bits(tensors[names[0]])]
    require(not differing, f"a change of {names[0]} is not seen as {', '.join(differing)}")


@law("S12", "layouts are saved by value", level=3, needs=["S01"])
def layouts_are_saved_by_value(case: Case, evidence: Evidence) -> None:
    """A tensor that is transposed, in channels-last order, a slice of a larger one, or one value repeated without
    memory is saved and loaded by its values."""
    case = carrying(case, _with_an_expanded_buffer)
    model = case.poisoned()
    strided = 0
    for position, tensor in enumerate(nn.Module.state_dict(model, keep_vars=True).values()):
        tensor.data = _another_layout(tensor.data, position)
        strided += not tensor.is_contiguous() or tensor.storage_offset() != 0
    model.get_buffer(f"{_CARRIED}expanded").data = torch.full((1, 1), 3.0).expand(2, 3)
    state = state_bits(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        stored = read_checkpoint(folder)
        loaded = case.model_class.from_pretrained(folder)
        require_same(state, state_bits(loaded), evidence, what="tensors", when="saved from other layouts and loaded")
    wrong = [name for name, each in stored.items() if StoredTensor.of(nn.Module.state_dict(model)[name]) != each]
    require(not wrong, f"the file holds other bytes for: {', '.join(wrong[:4])}")
    evidence.count("strided tensors", strided)


def _with_an_expanded_buffer(model: nn.Module) -> None:
    model.register_buffer(f"{_CARRIED}expanded", torch.zeros(2, 3))


def _another_layout(tensor: Tensor, position: int) -> Tensor:
    """Return the same values, transposed in memory if they have two axes, else as every second or the later half."""
    if tensor.dim() == 4 and position % 2:  # noqa: PLR2004 - images
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() > 1 and position % 3:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if position % 2:
        return torch.stack([tensor, tensor], dim=-1)[..., 1]
    return torch.cat([tensor.reshape(-1), tensor.reshape(-1)])[tensor.numel() :].reshape(tensor.shape)


_STORABLE = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64),
    *(torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
)
_SHAPES = ((), (0, 3), (5,), (2, 3))


@law("S13", "every dtype and shape survives", level=3, needs=["S01"], scope=Scope.ONCE)
def every_dtype_and_shape_survives(case: Case, evidence: Evidence) -> None:
    """Buffers of every dtype of the format, scalars and empty ones among them, come back with every bit, whatever
    numbers these are. One that the format cannot hold is refused with an error that names it."""
    carrier = carrying(case, _with_every_dtype)
    model = carrier.poisoned()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.startswith(_CARRIED):
                buffer.copy_(any_bits(buffer, seed_of(name, case.seed)))
    state = state_bits(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        loaded = carrier.model_class.from_pretrained(folder)
        require_same(state, state_bits(loaded), evidence, what="tensors", when="saved and loaded")
        for tensor in _hard_to_store():
            _require_stored_or_refused(case, folder / "hard", tensor, evidence)


def _with_every_dtype(model: nn.Module) -> None:
    for dtype in _STORABLE:
        for shape in _SHAPES:
            size = "x".join(map(str, shape)) or "scalar"
            model.register_buffer(
                f"{_CARRIED}{str(dtype).removeprefix('torch.')}_{size}", torch.zeros(shape, dtype=dtype)
            )


def _hard_to_store() -> Iterator[Tensor]:
    yield torch.ones(3, dtype=torch.complex128)
    yield torch.ones(3).to_sparse()
    raw = torch.arange(16, dtype=torch.uint8)
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "bits8"):
        if hasattr(torch, name):
            yield raw.view(getattr(torch, name))


def _require_stored_or_refused(case: Case, folder: Path, tensor: Tensor, evidence: Evidence) -> None:
    name = f"{_CARRIED}hard"
    what = f"a buffer of dtype {tensor.dtype} and layout {tensor.layout}"
    carrier = carrying(case, lambda model: model.register_buffer(name, tensor))
    model = carrier.model()
    try:
        model.save_pretrained(folder)
    except CheckpointError as error:
        require(name in str(error), f"{what} is refused with an error that does not name it: {error}")
        evidence.count("refusals")
        return
    loaded = carrier.model_class.from_pretrained(folder).get_buffer(name)
    same = (loaded.dtype, loaded.layout) == (tensor.dtype, tensor.layout)
    same = same and bits(loaded.view(torch.uint8)) == bits(tensor.view(torch.uint8))
    require(same, f"{what} is saved, but loads as another")
    evidence.count("tensors")


@law("S14", "odd numbers survive", level=3, needs=["S01"])
def odd_numbers_survive(case: Case, evidence: Evidence) -> None:
    """NaN with its payload, quiet and signalling, -0.0, infinities and subnormals come back bit for bit. A diverged
    run must load as it was saved, or nobody finds out where it diverged."""
    model = case.model()
    poison_with_oddities(model, case.seed)
    state = weights(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        loaded = case.model_class.from_pretrained(folder)
        require_same(state, state_bits(loaded), evidence, what="tensors", when="saved with odd numbers and loaded")


@law("S15", "nobody shares memory", level=3, needs=["S07"])
def nobody_shares_memory(case: Case, evidence: Evidence) -> None:
    """Two loads of one checkpoint share nothing; changing a loaded model changes neither the file nor the other; and
    neither replacing the files nor saving another model over them changes a model that was loaded before."""
    model = case.poisoned()
    state = weights(model)
    with case.folder() as around:
        folder = around / "checkpoint"
        model.save_pretrained(folder)
        files = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
        changed, kept = (case.model_class.from_pretrained(folder, memory="mmap") for _ in range(2))
        poison(changed, case.seed + 1)
        require_same(state, state_bits(kept), evidence, what="tensors", when="another load was changed")
        touched = [name for name, content in files.items() if (folder / name).read_bytes() != content]
        require(not touched, f"changing a loaded model changed {', '.join(touched)}")
        changed.save_pretrained(around / "other")
        for entry in (around / "other").iterdir():
            entry.replace(folder / entry.name)
        require_same(state, state_bits(kept), evidence, what="tensors", when="the files were replaced")
        late = case.model_class.from_pretrained(folder, memory="mmap")
        state = state_bits(late)
        model.save_pretrained(folder)
        require_same(state, state_bits(late), evidence, what="tensors", when="another model was saved over the files")


_LARGE, _PARTS = 4 << 20, 8
_SHARE = 10
"""A load may take a tenth of the checkpoint's bytes."""


@law("S18", "loading takes no memory", level=3, needs=["S01"], scope=Scope.ONCE, strength=Strength.SHOULD)
def loading_takes_no_memory(case: Case, evidence: Evidence) -> None:
    """While a checkpoint loads, the memory of the process never grows by more than a tenth of its bytes: the tensors
    are the mapped file, and nobody initialises what is going to be replaced. Shown on the model with 32 MiB more."""
    carrier = carrying(case, _with_large_parts)
    torch.set_deterministic_debug_mode("default")  # fresh memory that is filled with NaN would count
    with case.folder(large=True) as folder:
        carrier.model().save_pretrained(folder)
        carrier.model_class.from_pretrained(folder)  # whatever is imported or cached at first
        gc.collect()
        total = sum(entry.stat().st_size for entry in folder.iterdir())
        before = _reset_peak()
        loaded = carrier.model_class.from_pretrained(folder)
        grown = _peak() - before
    reason = None if loaded.load_report is None else loaded.load_report.built_for_real
    if reason is not None:
        inapplicable(f"it is built for real before it is loaded: {reason}")
    require(grown * _SHARE <= total, f"loading {total >> 20} MiB took {grown / (1 << 20):.1f} MiB")
    evidence.count("MiB", total >> 20)


def _with_large_parts(model: nn.Module) -> None:
    for number in range(_PARTS):
        model.register_parameter(f"{_CARRIED}{number}", nn.Parameter(torch.empty(_LARGE // 4)))


def _reset_peak() -> int:
    """Let the system forget the peak of this process's memory; return what it takes now, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _memory("VmRSS")
    except OSError:
        inapplicable("this system does not tell the peak of a process's memory")


def _peak() -> int:
    return _memory("VmHWM")


def _memory(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{what}:"))
