"""Level 7, history: what older versions saved loads for ever, and what newer ones saved is not mistaken for ours."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import bits, require_same, state_bits
from nameplate_conformance.instruments.carrier import carrying
from nameplate_conformance.instruments.grid import few
from nameplate_conformance.instruments.naming import require_refused
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, inapplicable, law, require
from nameplate_conformance.records.golden import Golden, circumstances, digests, goldens
from nameplate_model import migrates_state

_LATER = {"a_later_field": {"depth": [1, 2.5, None]}, "another_later_field": "ä"}
"""What a newer minor version may write that this one does not know."""

_VERSION = "config_version"
"""The key under which a config file says the version of its fields."""


@law("G01", "what was released still loads", level=7, needs=["S02", "S04", "C02"], scope=Scope.ONCE)
def what_was_released_still_loads(case: Case, evidence: Evidence) -> None:
    """What every released version has left in the golden folder loads: the config with the values that it had, every
    tensor with its hash, and answers that are the same to the last bit where processor and libraries are the same,
    and close everywhere else. Names may have become others only with a version that says so. Checkpoints are kept
    longer than programs, and nobody trains a model again because a library was updated."""
    for golden in _goldens_of(case):
        for form in golden.forms:
            when = f"what {golden.version} saved ({form})"
            if not case.head:
                _require_config(golden, case.config_class.from_pretrained(golden.checkpoint(form)), when, evidence)
                continue
            model = case.model_class.from_pretrained(golden.checkpoint(form))
            _require_config(golden, model.config, when, evidence)
            newer = model.state_dict_version > golden.names_version
            kept = _require_kept(golden.tensors, digests(state_bits(model)), f"{when}: its tensors", newer=newer)
            evidence.count("tensors", kept)
            with torch.no_grad():
                answered = named(model(**golden.inputs()))
            _require_answers(golden, answered, when, exactly=golden.circumstances == circumstances(case.architecture))
            evidence.count("answers", len(answered))


def _goldens_of(case: Case) -> Iterator[Golden]:
    found = goldens(case.architecture)
    if not found:
        inapplicable("the architecture has no golden folder in which a released version has left something")
    yield from (golden for golden in found if golden.head == case.head)


def _require_config(golden: Golden, config: PreTrainedConfig, when: str, evidence: Evidence) -> None:
    before, after = _texts(golden.config), _texts(config.to_dict())
    newer = config.config_version > golden.config_version
    evidence.count("config values", _require_kept(before, after, f"{when}: its config", newer=newer))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items() if name != _VERSION}


def _require_kept(before: Mapping[str, str], after: Mapping[str, str], what: str, *, newer: bool) -> int:
    """Require every value to be what it was, under its name unless a newer version has another; return how many are."""
    gone = [name for name in before if name not in after]
    require(newer or not gone, f"{what} lost {', '.join(gone[:4])}, and no newer version says so")
    kept = [name for name in before if name in after]
    changed = [f"{name} ({before[name][:80]} → {after[name][:80]})" for name in kept if before[name] != after[name]]
    require(not changed, f"{what} changed: {', '.join(changed[:4])}")
    return len(kept)


def _require_answers(golden: Golden, answered: Mapping[str, Tensor], when: str, *, exactly: bool) -> None:
    recorded = golden.answers()
    lost = [name for name in recorded if name not in answered]
    require(not lost, f"{when} is no longer answered with {', '.join(lost)}")
    tolerance = 0.0 if exactly else golden.tolerance
    apart = [name for name, each in recorded.items() if not _within(tolerance, each, answered[name].detach().cpu())]
    if apart:
        allowed = f"a {tolerance:g} part of the largest" if tolerance else "no difference, as on the same machine"
        message = f"{when} is answered otherwise: {', '.join(apart[:4])} of {len(recorded)}, with {allowed} allowed"
        raise LawBrokenError(message, few((name, recorded[name], answered[name]) for name in apart))


def _within(tolerance: float, recorded: Tensor, found: Tensor) -> bool:
    if (recorded.dtype, recorded.shape) != (found.dtype, found.shape):
        return False
    if not tolerance or not (recorded.is_floating_point() or recorded.is_complex()):
        return bits(recorded) == bits(found)
    largest = float(recorded.abs().max()) if recorded.numel() else 0.0
    return torch.allclose(recorded, found, rtol=0, atol=tolerance * largest, equal_nan=True)


@law("G02", "newer files are told apart", level=7, needs=["C07", "S19"], scope=Scope.ONCE)
def newer_files_are_told_apart(case: Case, evidence: Evidence) -> None:
    """A file of a newer minor version, which has keys that this one does not know, loads, and saving writes them back;
    one whose `config_version`, or whose version of the names, is newer than the class is refused with a typed error
    that says both versions. Whoever has not updated yet reads what they can, and never half of what was meant."""
    with case.folder() as around:
        home, again = around / "home", around / "again"
        (case.model() if case.head else case.config()).save_pretrained(home)
        values: dict[str, Any] = json.loads((home / CONFIG_NAME).read_bytes())
        for reader in (case.config_class, *([case.model_class] if case.head else [])):
            _write(home, {**values, **_LATER})
            reader.from_pretrained(home).save_pretrained(again)
            kept = json.loads((again / CONFIG_NAME).read_bytes())
            lost = [name for name, value in _LATER.items() if kept.get(name) != value]
            require(not lost, f"{reader.__name__} loads a file with {', '.join(_LATER)} and saves it without {lost}")
            version = case.config_class.config_version
            _write(home, {**values, _VERSION: version + 1})
            _require_says_both(partial(reader.from_pretrained, home), f"a config of version {version + 1}", version)
            evidence.count("newer files", 2)
        if case.head:
            _require_newer_names_refused(case, around / "newer")
            evidence.count("newer files")


def _write(home: Path, values: Mapping[str, Any]) -> None:
    (home / CONFIG_NAME).write_text(json.dumps(values), encoding="utf-8")


def _require_newer_names_refused(case: Case, home: Path) -> None:
    version = case.model_class.state_dict_version
    marked = staticmethod(migrates_state(version, version + 1)(_unchanged))
    newer = carrying(case, lambda _: None, state_dict_version=version + 1, conformance_migration=marked)
    newer.model().save_pretrained(home)
    what = f"a checkpoint with version {version + 1} of the names"
    _require_says_both(partial(case.model_class.from_pretrained, home), what, version)


def _unchanged(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


def _require_says_both(attempt: Callable[[], Any], what: str, known: int) -> None:
    said = require_refused(attempt, NameplateError, what)
    numbers = {int(number) for number in re.findall(r"\b\d+\b", said)}
    require({known, known + 1} <= numbers, f"the refusal of {what} does not say it and the known {known}: {said}")


@law("G03", "an upgrade is done once", level=7, needs=["G01", "S03"], scope=Scope.ONCE)
def upgrade_is_done_once(case: Case, evidence: Evidence) -> None:
    """What a released version has left, loaded and saved by this one, loads as the same config and tensors, and saving
    that again writes the same bytes: the upgrade is finished after one step, so nobody has to know how often a
    checkpoint went through it."""
    for golden in _goldens_of(case):
        for form in golden.forms:
            with case.folder() as around:
                _require_settled(case, golden.checkpoint(form), around, f"{golden.version} ({form})", evidence)


def _require_settled(case: Case, old: Path, around: Path, what: str, evidence: Evidence) -> None:
    reader: Any = case.model_class if case.head else case.config_class
    upgraded = reader.from_pretrained(old)
    upgraded.save_pretrained(around / "once")
    loaded = reader.from_pretrained(around / "once")
    loaded.save_pretrained(around / "twice")
    when = f"{what}, loaded, saved and loaded"
    configs = [(each.config if case.head else each).to_dict() for each in (upgraded, loaded)]
    for values in configs:
        values.pop("architectures", None)  # a save puts the name of the class there that saves
    Snapshot.of(configs[0]).require_unchanged(configs[1], f"{when}, has another config:")
    evidence.count("configs")
    if case.head:
        require_same(state_bits(upgraded), state_bits(loaded), evidence, what="tensors", when=when)
    once, twice = ({file.name: file.read_bytes() for file in (around / name).iterdir()} for name in ("once", "twice"))
    differing = sorted(name for name in once.keys() | twice.keys() if once.get(name) != twice.get(name))
    require(not differing, f"{when}, is saved with other bytes in {', '.join(differing)}")
    evidence.count("files", len(once))
