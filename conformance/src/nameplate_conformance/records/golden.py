"""Golden folders: what each released version of an architecture saved and answered, for every later one to be held to.

    golden/
    └─ 0.1.0/                        one folder a version; once written it never changes
       ├─ golden.json                under which circumstances, and what must come back
       ├─ AutoModel-single/          a checkpoint in one file, for each head
       ├─ AutoModel-sharded/         the same in shards, for the first head
       └─ AutoModel.safetensors      inputs and answers

Only writing and reading them; what a later version owes to them is said by the laws G01 and G03.
"""

import hashlib
import json
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nameplate_config.strict_json import canonical_text
from nameplate_config.wording import sentences
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.drawing.strategies import Kwargs
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import Bits, state_bits, weights
from nameplate_conformance.instruments.oracle import DTYPES, StoredTensor, read_safetensors, write_safetensors
from nameplate_conformance.judging.case import Case, simplest_kwargs
from nameplate_conformance.judging.isolation import isolated
from nameplate_conformance.records.circumstances import SUITE, distribution_of

FORMS = ("single", "sharded")
"""The forms of a checkpoint: in one file, and in several."""

_RECORD = "golden.json"
_CONFIG_ALONE = "config"
_INPUTS, _ANSWERS = "inputs.", "answers."
_TOLERANCE = 1e-4
_SHARDS = 3
_MODEL = "nameplate-model"
_CPU = re.compile(r"^(?:model name|cpu family|model|stepping|cache size)\s*:\s*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What one version of an architecture saved with one of its heads.

    Attributes:
        folder: The folder of the version.
        head: The Auto class whose model it was; empty for a config alone.
        circumstances: What decides the last bits of an answer: the processor, the versions of other libraries.
        tolerance: How far the answers may be off elsewhere, as a part of the largest one.
        config: The values of the config.
        config_version: The version of its fields.
        names_version: The version of the names in the state dict.
        tensors: The dtype, shape and sha256 of every tensor.
    """

    folder: Path
    head: str
    circumstances: Mapping[str, str]
    tolerance: float
    config: Mapping[str, Any]
    config_version: int
    names_version: int
    tensors: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version that saved it."""
        return self.folder.name

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms in which it was saved."""
        return tuple(form for form in FORMS if self.checkpoint(form).is_dir())

    def checkpoint(self, form: str) -> Path:
        """Return the folder of a checkpoint."""
        return self.folder / f"{self.head or _CONFIG_ALONE}-{form}"

    def inputs(self) -> dict[str, Tensor]:
        """Return what the model was asked."""
        return self._tensors(_INPUTS)

    def answers(self) -> dict[str, Tensor]:
        """Return what it answered, by name."""
        return self._tensors(_ANSWERS)

    def _tensors(self, kind: str) -> dict[str, Tensor]:
        stored = read_safetensors(self.folder / f"{self.head}.safetensors")
        return {name.removeprefix(kind): _tensor(each) for name, each in stored.items() if name.startswith(kind)}


def goldens(architecture: Architecture) -> list[Golden]:
    """Return everything that released versions of an architecture have left, the oldest file first.

    Raises:
        ConformanceError: If the architecture says where its golden folder is, and there is none.
    """
    home = golden_folder(architecture)
    if home is None:
        return []
    records = sorted(home.glob(f"*/{_RECORD}"), key=lambda record: _numbers(record.parent.name))
    if not records:
        message = sentences(
            f"the golden folder {str(home)!r} of {architecture.label} holds no released version.",
            f"Write one with `nameplate-conformance golden create {architecture.label} {home}`.",
        )
        raise ConformanceError(message)
    return [golden for record in records for golden in _read(record)]


def golden_folder(architecture: Architecture) -> Path | None:
    """Return the golden folder of an architecture, or None if it names none.

    Raises:
        ConformanceError: If the package that should hold it is not there.

    Example:
        >>> golden_folder(Architecture(config="my_package:MyConfig", golden="nameplate_conformance:zoo")).name
        'zoo'
    """
    place = architecture.golden
    if not isinstance(place, str) or ":" not in place:
        return None if place is None else Path(place)
    package, _, folder = place.partition(":")
    try:
        return Path(str(files(package))) / folder
    except ModuleNotFoundError as error:
        message = f"the golden folder {place!r} of {architecture.label} cannot be found: {error}."
        raise ConformanceError(message) from error


def create(architecture: Architecture, home: Path, *, kwargs: Kwargs | None = None, release: str = "") -> Path:
    """Write the golden folder of the present version, for every head, with weights and inputs that a seed decides.

    Args:
        architecture: What is released.
        home: Where the folders of its versions lie.
        kwargs: The arguments of the config; the simplest ones if not given.
        release: The version; that of the installed package if not given.

    Returns:
        The folder of the version.

    Raises:
        ConformanceError: If that version has one already, or the package is not installed and nobody says a version.
    """
    name = release or _version_of(architecture)
    folder = home / name
    if folder.exists():
        message = sentences(
            f"{str(folder)!r} exists already: what version {name} saved does not change any more.",
            "Raise the version of the package, or remove the folder if that version was never released.",
        )
        raise ConformanceError(message)
    home.mkdir(parents=True, exist_ok=True)
    chosen = simplest_kwargs(architecture) if kwargs is None else kwargs
    cases = [Case(architecture, head, chosen, torch.device("cpu")) for head in list(architecture.models) or [""]]
    with isolated(), tempfile.TemporaryDirectory(prefix=f".{name}-", dir=home) as around:
        draft = Path(around) / name
        draft.mkdir()
        heads = {case.head: _written(case, draft, FORMS if case is cases[0] else FORMS[:1]) for case in cases}
        record = {"circumstances": circumstances(architecture), "tolerance": _TOLERANCE, "heads": heads}
        (draft / _RECORD).write_text(canonical_text(record), encoding="utf-8")
        draft.rename(folder)  # all of it or nothing
    return folder


def digests(state: Mapping[str, Bits]) -> dict[str, str]:
    """Return the dtype, shape and sha256 of every tensor.

    Example:
        >>> from nameplate_conformance.instruments.bits import bits
        >>> digests({"w": bits(torch.zeros(2, 1))})["w"][:27]
        'torch.float32 [2, 1] af5570'
    """
    return {
        name: f"{each.dtype} {list(each.shape)} {hashlib.sha256(bytes(each.data.tolist())).hexdigest()}"
        for name, each in state.items()
    }


def circumstances(architecture: Architecture) -> dict[str, str]:
    """Return what decides the last bits of an answer: machine, processor and the versions of other libraries."""
    return dict(_circumstances(_module_of(architecture)))


@cache
def _circumstances(module: str) -> dict[str, str]:
    own = _requirements(distribution_of(module))
    others = {name: version(name) for name in own if name not in {*_requirements(SUITE), *_requirements(_MODEL)}}
    machine = {"machine": f"{platform.system()} {platform.machine()}", "processor": _processor()}
    return {**machine, "torch": torch.__version__, **others}


def _written(case: Case, folder: Path, forms: Sequence[str]) -> dict[str, Any]:
    """Save one head in some forms, with inputs and answers; return what the record says of it."""
    config = case.config()
    known = {"config_version": config.config_version, "config": config.to_dict()}
    if not case.head:
        config.save_pretrained(folder / f"{_CONFIG_ALONE}-{FORMS[0]}")
        return {**known, "names_version": 1, "tensors": {}}
    model = case.poisoned()
    size = sum(each.data.numel() for each in weights(model).values())
    for form, limit in zip(forms, (size + 1, size // _SHARDS + 1), strict=False):
        model.save_pretrained(folder / f"{case.head}-{form}", max_shard_size=limit)
    inputs = {f"{_INPUTS}{name}": StoredTensor.of(each) for name, each in case.inputs(model).items()}
    answers = {f"{_ANSWERS}{name}": StoredTensor.of(each) for name, each in named(case.answer(model)).items()}
    write_safetensors(folder / f"{case.head}.safetensors", {**inputs, **answers})
    return {**known, "names_version": model.state_dict_version, "tensors": digests(state_bits(model))}


def _read(record: Path) -> Iterator[Golden]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        for head, each in found.pop("heads").items():
            yield Golden(folder=record.parent, head=head, **found, **each)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{str(record)!r} is no record of a golden folder: {type(error).__name__}: {error}."
        raise ConformanceError(message) from error


def _tensor(stored: StoredTensor) -> Tensor:
    dtype = DTYPES[stored.dtype]
    if not stored.data:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(bytearray(stored.data), dtype=dtype).reshape(stored.shape)


def _numbers(name: str) -> tuple[tuple[int, ...], str]:
    """Return what versions are sorted by: 0.10.0 comes after 0.9.0."""
    return tuple(map(int, re.findall(r"\d+", name))), name


def _module_of(architecture: Architecture) -> str:
    config = architecture.config
    return config.partition(":")[0] if isinstance(config, str) else config.__module__


def _version_of(architecture: Architecture) -> str:
    owner = distribution_of(_module_of(architecture))
    if not owner:
        message = sentences(
            f"{_module_of(architecture)!r} belongs to no installed package, so nothing says which version this is.",
            "Install the package, or say the version with --release.",
        )
        raise ConformanceError(message)
    return version(owner)


def _requirements(owner: str) -> list[str]:
    """Return the installed distributions that a package requires itself, without those of its extras."""
    try:
        lines = [line for line in (requires(owner) if owner else None) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return []
    names = (re.match(r"[\w.-]+", line) for line in lines)
    return sorted({found[0] for found in names if found and _is_installed(found[0])})


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    """Return which processor this is, and what torch makes of it: others round in other places."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        first = ""
    return ", ".join([*(_CPU.findall(first) or [platform.processor()]), torch.backends.cpu.get_cpu_capability()])
