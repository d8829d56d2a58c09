"""Level 1, the parts: configs that are part of a larger config, alone or in lists and dicts."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nameplate_config import ConfigError, PreTrainedConfig, fields
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.instruments.nesting import configs_of, holds_configs
from nameplate_conformance.instruments.sameness import same
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, inapplicable, law, require


@law("C15", "a part is a config", level=1, needs=["C02", "C08"])
def part_is_a_config(case: Case, evidence: Evidence) -> None:
    """A config inside of a config comes back from the file of the whole as the same class with the same values; its
    own class reads it out of that file; an override that is a dict changes only what it names, by any of its names, and
    keeps the keys of a newer version; and whether it is given as a config or as its dict makes no difference. A text
    model must be loadable out of the checkpoint that it is half of."""
    if not holds_configs(case.config_class):
        inapplicable("no field holds a config")
    config = case.config()
    with case.folder() as folder:
        config.save_pretrained(folder)
        _require_same_parts(config, _loaded(case.config_class, folder), evidence)
        stored = json.loads((folder / CONFIG_NAME).read_bytes())
        for part in _own_fields(config).values():
            _require_readable_alone(part, stored, folder, evidence)
        for name, part in _parts(config).items():
            for path, value in _partial_overrides(name, part):
                _require_one_change(case, folder, path, value, evidence)
            _require_unknown_keys_kept(case, stored, name, part)
    for name, part in _parts(config).items():
        for how, given in _as_dicts(part):
            arguments: dict[str, Any] = {**case.kwargs, name: given}
            built = case.config_class(**arguments)
            require(built == config, f"{name} given as {how} builds {built!r}, given as a config it builds {config!r}")
            evidence.count("dicts")


def _loaded(config_class: type[PreTrainedConfig], folder: Path, **overrides: Any) -> PreTrainedConfig:
    config: Any = config_class.from_pretrained(folder, **overrides)
    assert isinstance(config, PreTrainedConfig)
    return config


def _require_same_parts(config: PreTrainedConfig, read: PreTrainedConfig, evidence: Evidence) -> None:
    before, after = dict(configs_of(config)), dict(configs_of(read))
    require(before.keys() == after.keys(), f"the configs {sorted(before)} came back as {sorted(after)}")
    for path, part in before.items():
        found = after[path]
        require(type(found) is type(part), f"{path} was a {type(part).__name__} and is a {type(found).__name__}")
        require(found == part and same(found, part), f"{path} was {part!r} and came back as {found!r}")
        evidence.count("parts")


def _own_fields(config: PreTrainedConfig) -> dict[str, PreTrainedConfig]:
    """Return the values of a config that are configs themselves."""
    values = {each.name: getattr(config, each.name) for each in fields(type(config))}
    return {name: value for name, value in values.items() if isinstance(value, PreTrainedConfig)}


def _parts(config: PreTrainedConfig) -> dict[str, PreTrainedConfig]:
    """Return those of them whose class a dict without a name cannot mistake."""
    certain = {each.name for each in fields(type(config)) if each.holds_config}
    return {name: part for name, part in _own_fields(config).items() if name in certain}


def _require_readable_alone(part: PreTrainedConfig, stored: Any, folder: Path, evidence: Evidence) -> None:
    """Require the class of a part to read it out of the whole, if its model_type says which one is meant."""
    if not part.model_type or list(_model_types(stored)).count(part.model_type) != 1:
        return
    found = _loaded(type(part), folder)
    require(found == part, f"{type(part).__name__} reads {found!r} out of the whole, which holds {part!r}")
    evidence.count("parts read alone")


def _model_types(stored: Any) -> Iterator[Any]:
    if isinstance(stored, dict):
        yield from ([stored["model_type"]] if "model_type" in stored else [])
    inner = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ()
    for each in inner:
        yield from _model_types(each)


def _partial_overrides(name: str, part: PreTrainedConfig) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path to each value of a part, through parts of the part, and another value for it: its default."""
    for each in fields(type(part)):
        value = getattr(part, each.name)
        if isinstance(value, PreTrainedConfig) and each.holds_config:
            yield from (((name, *path), other) for path, other in _partial_overrides(each.name, value))
        else:
            for known_as in (each.name, *_aliases(part, each.name)):
                yield (name, known_as), copy.deepcopy(value if each.required else each.default)


def _aliases(part: PreTrainedConfig, name: str) -> list[str]:
    return [alias for alias, field in part.attribute_map.items() if field == name]


def _require_one_change(case: Case, folder: Path, path: tuple[str, ...], value: Any, evidence: Evidence) -> None:
    name, *inner = path
    override: Any = value
    for each in reversed(inner):
        override = {each: override}
    try:
        expected = _replaced(case.config(), path, value)
    except ConfigError:  # the value needs another one beside it
        return
    found = _loaded(case.config_class, folder, **{name: override})
    require(found == expected, f"loaded with {name}={override!r} it is {found!r}, not {expected!r}")
    evidence.count("overrides")


def _require_unknown_keys_kept(case: Case, stored: dict[str, Any], name: str, part: PreTrainedConfig) -> None:
    """Require an override of a part of a file by a newer version to keep what it does not know."""
    newer = {**stored, name: {**stored[name], "zz_text": "é"}}
    known = next(iter(_partial_overrides(name, part)), None)
    if known is None or len(known[0]) > len(("whole", "part")):
        return
    (_, inner), _ = known
    override: dict[str, Any] = {name: {inner: copy.deepcopy(getattr(part, inner))}}
    read: Any = case.config_class.from_dict(newer, **override)
    found = getattr(getattr(read, name), "zz_text", None)
    require(found == "é", f"an override of {name}.{inner} loses the keys of {name} that no field knows")


def _replaced(config: PreTrainedConfig, path: tuple[str, ...], value: Any) -> PreTrainedConfig:
    """Return a config built anew with one value replaced, in a part of a part if the path says so."""
    name, *rest = path
    name = config.attribute_map.get(name, name)
    values = {each.name: getattr(config, each.name) for each in fields(type(config))}
    values[name] = _replaced(values[name], tuple(rest), value) if rest else value
    return type(config)(**values)


def _as_dicts(part: PreTrainedConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "its dict", part.to_dict()
    yield "the dict of its values", {each.name: getattr(part, each.name) for each in fields(type(part))}
