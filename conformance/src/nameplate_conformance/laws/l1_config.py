"""Level 1: configs come back exactly as they went in, and share nothing with anybody."""

import copy
import json
from typing import Any

from nameplate_auto import AutoConfig
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, law, require
from nameplate_conformance.snapshot import Snapshot


@law("C01", "a config survives JSON", level=1, needs=["A01"])
def config_survives_json(case: Case, evidence: Evidence) -> None:
    """A config turned into a dict, into JSON text and back is equal to what it was, value by value and type by type:
    tuples stay tuples, integer keys stay integers."""
    config = case.config()
    text = json.dumps(config.to_dict(), allow_nan=False)
    read = case.config_class.from_dict(json.loads(text))
    require(read == config, f"{config!r} came back as {read!r}")
    for name, value in ((name, value) for name, value in vars(config).items() if not name.startswith("_")):
        require(_same(value, getattr(read, name)), f"{name} was {value!r} and came back as {getattr(read, name)!r}")
    evidence.count("values", len(config.to_dict()))


@law("C02", "a config survives its file", level=1, needs=["C01"])
def config_survives_its_file(case: Case, evidence: Evidence) -> None:
    """A config that is saved and loaded is equal to what it was, through its own class and, as the same class,
    through AutoConfig."""
    config = case.config()
    with case.folder() as folder, case.registration():
        config.save_pretrained(folder)
        own = case.config_class.from_pretrained(folder)
        require(own == config, f"{config!r} was loaded as {own!r}")
        found = AutoConfig.from_pretrained(folder)
        require(type(found) is case.config_class, f"AutoConfig loads it as {type(found).__name__}")
        require(found == config, f"AutoConfig loads {config!r} as {found!r}")
    evidence.count("configs", 2)


@law("C09", "arguments are not kept", level=1, needs=["A01"])
def arguments_are_not_kept(case: Case, evidence: Evidence) -> None:
    """Changing the lists and dicts that a config was built from, afterwards, never changes the config; and
    from_dict does not change the dict that it reads. Otherwise two models share hyperparameters by accident."""
    arguments = {name: _mutable(value) for name, value in case.kwargs.items()}
    config = case.config_class(**arguments)
    before = Snapshot.of(config.to_dict())
    evidence.count("containers", sum(_spoil(value) for value in arguments.values()))
    before.require_unchanged(config.to_dict(), "changing its arguments changed")
    given = before.thawed()
    read = case.config_class.from_dict(given)
    before.require_unchanged(given, "from_dict changed the dict that it was given:")
    evidence.count("containers", _spoil(given))
    before.require_unchanged(_values(read), "changing the dict that it was read from changed")


@law("C10", "values are not handed out", level=1, needs=["A01"])
def values_are_not_handed_out(case: Case, evidence: Evidence) -> None:
    """Changing what to_dict returned, or the lists of another config with default values, never changes a config.
    Otherwise displaying a config can alter it, and a mutable default is shared by every instance."""
    config = case.config()
    before = Snapshot.of(config.to_dict())
    evidence.count("containers", _spoil(config.to_dict()))
    before.require_unchanged(config.to_dict(), "changing a dict that it returned changed")
    default = Snapshot.of(case.config_class().to_dict())
    evidence.count("containers", sum(_spoil(value) for value in vars(case.config_class()).values()))
    default.require_unchanged(case.config_class().to_dict(), "changing one default config changed the next:")


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    return True  # equality of the configs has compared the values themselves


def _mutable(value: Any) -> Any:
    """Return a value with lists in the place of tuples, so that there is something to change."""
    if isinstance(value, (list, tuple)):
        return [_mutable(item) for item in value]
    return copy.deepcopy(value)


def _spoil(value: Any) -> int:
    """Change every container inside a value in place; return how many there were."""
    if isinstance(value, dict):
        count = 1 + sum(_spoil(item) for item in value.values())
        value.clear()
        return count
    if isinstance(value, list):
        count = 1 + sum(_spoil(item) for item in value)
        value.append("spoilt")
        return count
    return 0


def _values(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.to_dict()
    return values
