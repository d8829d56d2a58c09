"""Level 7, damage: what disks, networks and editors do to a checkpoint is noticed, and the file is named."""

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from nameplate_auto import AutoConfig
from nameplate_config import NameplateError, fields
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.drawing.negatives import is_json, wrong_values
from nameplate_conformance.instruments.bits import Bits, require_same, state_bits, weights
from nameplate_conformance.instruments.naming import require_refused
from nameplate_conformance.instruments.oracle import INDEX, SINGLE
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, broken, law, require
from nameplate_model import PreTrainedModel

_LENGTH = struct.Struct("<Q")
_BOM = b"\xef\xbb\xbf"
_UNHEARD_OF = "an_unheard_of_key"
_HALF = 0.5  # of the examples are saved in shards


@law("F04", "a broken config is refused by name", level=7, needs=["C02", "C12", "X01"])
def broken_config_is_refused_by_name(case: Case, evidence: Evidence) -> None:
    """A config file that is empty, cut off, no object, no UTF-8 or nested without end, or that holds a key twice, NaN,
    an endless number or a value of the wrong type, is refused with a typed error that names the file, and the key or
    number at fault. Whoever edits a config is told what to mend, and nobody gets a model of half a config."""
    with case.folder() as home, _known_by_name(case):
        (case.model() if case.head else case.config()).save_pretrained(home)
        file = home / CONFIG_NAME
        content = file.read_bytes()
        for readers, broken_configs in (
            (_readers(case), _garbage(content)),
            ([case.config_class], _wrong(case, content)),
        ):
            for what, garbage, at_fault in broken_configs:
                _rewrite(file, garbage)
                for reader in readers:
                    said = _refusal(partial(reader.from_pretrained, home), file, f"{reader.__name__} of {what}")
                    require(at_fault in said, f"the refusal of {what} does not name {at_fault}: {said}")
                    evidence.count("broken configs")


def _known_by_name(case: Case) -> AbstractContextManager[None]:
    return case.config_registration() if case.config_class.model_type else nullcontext()


def _readers(case: Case) -> list[Any]:
    by_name = [AutoConfig] if case.config_class.model_type else []
    return [case.config_class, *by_name, *([case.model_class] if case.head else [])]


def _garbage(content: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield what a config file could hold instead of *content*, and which key or number its refusal should name."""
    values: dict[str, Any] = json.loads(content)
    key = next(iter(values), _UNHEARD_OF)
    twice = json.dumps({key: values.get(key)})[:-1] + ", " + json.dumps({key: values.get(key), **values})[1:]
    yield "an empty config", b"", ""
    yield "a config cut in half", content[: len(content) // 2], ""
    yield "a list as config", b"[1, 2]\n", ""
    yield "null as config", b"null\n", ""
    yield "a config behind a byte order mark", _BOM + content, ""
    yield "a config in UTF-16", content.decode().encode("utf-16"), ""
    yield "a config that nests without end", b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""
    yield f"a config with {key} twice", twice.encode(), key
    yield "a config with NaN", json.dumps({**values, _UNHEARD_OF: float("nan")}).encode(), "NaN"
    yield "a config with 1e999", json.dumps({**values, _UNHEARD_OF: 0.5}).replace("0.5", "1e999").encode(), "1e999"
    yield "a config with an endless number", b'{"digits": ' + b"9" * 5000 + b"}", "5,000 digits"


def _wrong(case: Case, content: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield config files in which one field has a value that it cannot have, and the field."""
    values: dict[str, Any] = json.loads(content)
    for field in fields(case.config_class):
        wrong = next(filter(is_json, wrong_values(field.annotation)), None)
        if wrong is not None:
            named = f"a config whose {field.name} is {wrong!r}"
            yield named, json.dumps({**values, field.name: wrong}).encode(), field.name


@law("F01", "a truncated file is refused by name", level=7, needs=["S04", "F04"])
def truncated_file_is_refused_by_name(case: Case, evidence: Evidence) -> None:
    """Wherever config, weights, index or shard are cut off, no model is returned, and the typed error names that file:
    an interrupted download must not load, and of a hundred files only one has to be fetched again."""
    drawn = _drawn(case)
    with case.folder() as home:
        _save(case.poisoned(), home, sharded=drawn.random() < _HALF)
        for file in _some_files(home, drawn):
            content = file.read_bytes()
            for length in _shorter(content, drawn):
                _rewrite(file, content[:length])
                what = f"{file.name}, of whose {len(content):,} bytes {length:,} are left,"
                _refusal(partial(case.model_class.from_pretrained, home), file, what)
                evidence.count("truncations")
            _rewrite(file, content)


def _shorter(content: bytes, drawn: random.Random) -> set[int]:
    """Return lengths to which a file is cut: none, the ends of a header, and drawn ones; never at the space behind."""
    (header,) = _LENGTH.unpack(content[: _LENGTH.size].ljust(_LENGTH.size))
    most = len(content.rstrip()) if content.startswith(b"{") else len(content)
    chosen = {0, most - 1, drawn.choice((7, 8, header + 7, header + 8)), drawn.randrange(most)}
    return {length for length in chosen if length < most}


@law("F02", "a flipped bit is noticed", level=7, needs=["F01"])
def flipped_bit_is_noticed(case: Case, evidence: Evidence) -> None:
    """A bit that flips in an index or in the header of a weight file changes nothing or is a typed error that names the
    file; one that flips in a tensor is such an error when the load verifies. Never are other tensors loaded than
    those that were saved: memory and cables do flip bits, and a model that answers a little worse tells nobody."""
    drawn, model = _drawn(case), case.poisoned()
    state = weights(model)
    with case.folder() as home:
        _save(model, home, sharded=drawn.random() < _HALF)
        for file in _some_files(home, drawn):
            if file.name != CONFIG_NAME:
                content = file.read_bytes()
                _require_noticed(case, state, file, drawn, evidence)
                _rewrite(file, content)


def _require_noticed(case: Case, state: dict[str, Bits], file: Path, drawn: random.Random, evidence: Evidence) -> None:
    content = file.read_bytes()
    header = len(content) if file.name == INDEX else _LENGTH.size + _LENGTH.unpack(content[: _LENGTH.size])[0]
    load = partial(case.model_class.from_pretrained, file.parent)
    places = (drawn.randrange(_LENGTH.size), drawn.randrange(64), *(drawn.randrange(header) for _ in range(4)))
    for place in places:
        what = _flip(file, content, place, drawn)
        _require_same_or_refused(load, state, file, what, evidence)
    if header < len(content):
        what = _flip(file, content, drawn.randrange(header, len(content)), drawn)
        _refusal(partial(load, verify="full"), file, f"{what}, to verify,")
        evidence.count("flipped bits of tensors")


def _flip(file: Path, content: bytes, place: int, drawn: random.Random) -> str:
    """Flip a bit of one byte of a file; return what was done."""
    bit = drawn.randrange(8)
    _rewrite(file, content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
    return f"{file.name} with bit {bit} of byte {place:,} flipped"


def _require_same_or_refused(
    load: Callable[[], PreTrainedModel], state: dict[str, Bits], file: Path, what: str, evidence: Evidence
) -> None:
    try:
        loaded = load()
    except NameplateError as error:
        require(file.name in str(error), f"the refusal of {what} does not name it: {error}")
        evidence.count("flipped bits")
    except Exception as error:  # noqa: BLE001 - whatever else is raised is not the refusal that was promised
        broken(f"{what} raises {type(error).__name__} instead of a NameplateError: {error}")
    else:
        require_same(state, state_bits(loaded), evidence, what="tensors", when=f"loaded from {what}")


@law("F03", "what is missing is named", level=7, needs=["F01"], scope=Scope.ONCE)
def what_is_missing_is_named(case: Case, evidence: Evidence) -> None:
    """A folder that is absent or empty, and a checkpoint in which a file is absent, empty, a folder, a dead link or
    under another suffix, is refused with a typed error that names the place, the file that was looked for, and what
    is there instead. Only a config that the weights hold too may be missing, and then the same tensors load."""
    model = case.poisoned()
    state = weights(model)
    with case.folder() as around:
        for place in (around / "nowhere", around / "empty"):
            _refusal(partial(case.model_class.from_pretrained, place), place, f"a folder that is {place.name}")
            (around / "empty").mkdir(exist_ok=True)
            evidence.count("missing files")
        for sharded in (False, True):
            _save(model, around / "home", sharded=sharded)
            for file in _some_files(around / "home", _drawn(case)):
                _require_named(case, state, file, evidence)


def _require_named(case: Case, state: dict[str, Bits], file: Path, evidence: Evidence) -> None:
    content, home = file.read_bytes(), file.parent
    load = partial(case.model_class.from_pretrained, home)
    for what, put in _WRONG_FILES.items():
        _remove(file)
        put(file, content)
        found = {entry.name for entry in home.iterdir()} - {file.name}
        missing = f"a checkpoint in which {file.name} is {what}"
        try:
            loaded = load()
        except NameplateError as error:
            _require_located(str(error), file, missing)
            there = os.path.lexists(file) or not found or any(name in str(error) for name in found)
            require(there, f"the refusal of {missing} does not say what is there: {error}")
        except Exception as error:  # noqa: BLE001 - as above
            broken(f"{missing} raises {type(error).__name__} instead of a NameplateError: {error}")
        else:
            require(file.name == CONFIG_NAME, f"{missing} loads")
            require_same(state, state_bits(loaded), evidence, what="tensors", when=f"loaded from {missing}")
        evidence.count("missing files")
        _remove(_of_another_suffix(file))
    _remove(file)
    file.write_bytes(content)


def _of_another_suffix(file: Path) -> Path:
    return file.with_suffix(".dat")


_WRONG_FILES: dict[str, Callable[[Path, bytes], object]] = {
    "absent": lambda _file, _content: None,
    "empty": lambda file, _content: file.touch(),
    "a folder": lambda file, _content: file.mkdir(),
    "a dead link": lambda file, _content: file.symlink_to(file.with_name("gone")),
    "under another suffix": lambda file, content: _of_another_suffix(file).write_bytes(content),
}


def _remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)


def _refusal(attempt: Callable[[], Any], file: Path, what: str) -> str:
    """Require an attempt to be refused with a typed error that names a file; return what it says."""
    said = require_refused(attempt, NameplateError, what)
    _require_located(said, file, what)
    return said


def _require_located(said: str, file: Path, what: str) -> None:
    require(file.name in said, f"the refusal of {what} does not name {file.name}: {said}")
    require(str(file.parent) in said, f"the refusal of {what} does not say where {file.name} is: {said}")


def _drawn(case: Case) -> random.Random:
    """Return what decides which of many damages an example sees."""
    return random.Random(f"{case.seed} {case.head} {case.kwargs}")  # noqa: S311 - a choice, no secret


def _save(model: PreTrainedModel, home: Path, *, sharded: bool) -> None:
    """Save a model in one file, or in some shards if it has enough for them."""
    shutil.rmtree(home, ignore_errors=True)
    total = sum(each.data.numel() for each in weights(model).values())
    model.save_pretrained(home, max_shard_size=max(1, total // 3) if sharded else total + 1)


def _some_files(home: Path, drawn: random.Random) -> list[Path]:
    """Return the files of a checkpoint; of its shards two."""
    shards = sorted(file for file in home.glob("*.safetensors") if file.name != SINGLE)
    chosen = drawn.sample(shards, min(2, len(shards)))
    return [*(home / name for name in (CONFIG_NAME, INDEX, SINGLE) if (home / name).exists()), *chosen]


def _rewrite(file: Path, content: bytes) -> None:
    """Put a new file in the place of one that may be mapped."""
    file.unlink()
    file.write_bytes(content)
