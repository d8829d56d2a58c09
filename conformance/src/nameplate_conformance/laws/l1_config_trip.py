"""Level 1, the trip: configs come back from dicts and files exactly as they went in."""

import json
from pathlib import Path
from typing import Any

from nameplate_auto import AutoConfig
from nameplate_config import ConfigError, OnlyWhen, PreTrainedConfig, fields
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.instruments.sameness import same
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, broken, law, require

_IDENTITY = {"model_type", "config_version"}
"""What every dict of a config says, whatever its values."""


@law("C01", "a config survives JSON", level=1, needs=["A01"])
def config_survives_json(case: Case, evidence: Evidence) -> None:
    """A config turned into a dict, into JSON text and back is equal to what it was, value by value and type by type:
    tuples stay tuples, integer keys stay integers."""
    config = case.config()
    text = json.dumps(config.to_dict(), allow_nan=False)
    read = case.config_class.from_dict(json.loads(text))
    require(read == config, f"{config!r} came back as {read!r}")
    for name in (name for name in vars(config) if not name.startswith("_")):
        value, found = getattr(config, name), getattr(read, name)
        require(same(value, found), f"{name} was {value!r} and came back as {found!r}")
    evidence.count("values", len(config.to_dict()))


@law("C02", "a config survives its file", level=1, needs=["C01"])
def config_survives_its_file(case: Case, evidence: Evidence) -> None:
    """A config that is saved and loaded is equal to what it was, through its own class and, as the same class,
    through AutoConfig."""
    config = case.config()
    with case.folder() as folder, case.config_registration():
        config.save_pretrained(folder)
        own = case.config_class.from_pretrained(folder)
        require(own == config, f"{config!r} was loaded as {own!r}")
        found = AutoConfig.from_pretrained(folder)
        require(type(found) is case.config_class, f"AutoConfig loads it as {type(found).__name__}")
        require(found == config, f"AutoConfig loads {config!r} as {found!r}")
    evidence.count("configs", 2)


@law("C03", "equal configs have equal files", level=1, needs=["C02"])
def equal_configs_have_equal_files(case: Case, evidence: Evidence) -> None:
    """The file depends on the values alone: not on the order of the arguments, nor on whether the config was built or
    loaded. It is strict JSON in UTF-8 and ends with a line feed. Files that differ without a reason cannot be
    compared, deduplicated or signed."""
    with case.folder() as folder:
        files = [
            _written(case.config(), folder / "built"),
            _written(case.config_class(**dict(reversed(case.kwargs.items()))), folder / "reordered"),
            _written(_loaded(case, folder / "built"), folder / "loaded"),
        ]
    require(files[0] == files[1], "the order of the arguments changes the file")
    require(files[0] == files[2], "saving what was loaded changes the file")
    require(files[0].endswith(b"\n"), "the file does not end with a line feed")
    json.loads(files[0].decode("utf-8"), parse_constant=lambda name: broken(f"the file holds {name}, which is no JSON"))
    evidence.count("files", len(files))


@law("C05", "the difference is exact", level=1, needs=["C04"])
def difference_is_exact(case: Case, evidence: Evidence) -> None:
    """What to_diff_dict shows suffices to restore the config, and holds no default that could be left out; of a default
    config it shows what it is, the model_type, and no value. What it leaves out must really be the default."""
    config = case.config()
    shown = config.to_diff_dict()
    require(case.config_class.from_dict(shown) == config, f"{shown} does not restore {config!r}")
    required = {each.name for each in fields(case.config_class) if each.required}
    for name in _said_to_differ(config) - required:
        less = {key: value for key, value in shown.items() if key != name}
        require(not _restores(case, less, config), f"{name} is shown although it has its default value")
    rest = _said_to_differ(case.default_config()) - required
    require(not rest, f"a default config shows: {', '.join(sorted(rest))}")
    evidence.count("values", len(shown) + 1)


@law("C06", "a file keeps its meaning", level=1, needs=["C02"])
def file_keeps_its_meaning(case: Case, evidence: Evidence) -> None:
    """The file names every field of the class, those with default values too, so that a checkpoint means the same
    when a later version changes a default: a class with the same fields and other defaults reads the same values."""
    config = case.default_config()
    declared = fields(case.config_class)
    with case.folder() as folder:
        stored = json.loads(_written(config, folder))
        absent = [each.name for each in declared if each.name not in stored]
        require(not absent, f"the file leaves out: {', '.join(absent)}")
        drifted = _with_other_defaults(case)
        if drifted is not None:
            read: Any = drifted.from_pretrained(folder)
            wrong = [each.name for each in declared if not same(getattr(read, each.name), getattr(config, each.name))]
            require(not wrong, f"under other defaults the file gives other values for: {', '.join(wrong)}")
    evidence.count("fields", len(declared) or 1)


@law("C07", "unknown keys survive", level=1, needs=["C02"])
def unknown_keys_survive(case: Case, evidence: Evidence) -> None:
    """A key that no field knows, written by a newer version or another tool, is kept as it is, can be read, and is
    written again; and overrides that name no field are returned, all of them and nothing else."""
    foreign = {"zz_text": "é", "zz_nested": {"b": [1, None, {"a": True}], "a": 0.5}}
    config = case.config_class.from_dict({**case.config().to_dict(), **foreign})
    with case.folder() as folder:
        stored = json.loads(_written(config, folder))
        lost = [name for name, value in foreign.items() if stored.get(name) != value]
        require(not lost, f"saved again, these keys are lost or changed: {', '.join(lost)}")
        unread = [name for name in foreign if getattr(config, name, None) != foreign[name]]
        require(not unread, f"these keys cannot be read as attributes: {', '.join(unread)}")
        _, unused = case.config_class.from_pretrained(folder, return_unused_kwargs=True, zz_other=1, zz_third=None)
    require(unused == {"zz_other": 1, "zz_third": None}, f"the unused arguments are said to be {unused}")
    evidence.count("keys", len(foreign) + len(unused))


@law("C08", "an override changes one field", level=1, needs=["C02"])
def override_changes_one_field(case: Case, evidence: Evidence) -> None:
    """Loading a config with another value for a field gives what building it with that value gives: that field is
    replaced and no other."""
    base = case.default_config()
    with case.folder() as folder:
        base.save_pretrained(folder)
        for name, value in case.kwargs.items():
            expected = _replaced(case, base, name, value)
            if expected is not None:
                found = case.config_class.from_pretrained(folder, **{name: value})
                require(found == expected, f"loaded with {name}={value!r} it is {found!r}")
                evidence.count("overrides")


def _written(config: PreTrainedConfig, folder: Path) -> bytes:
    config.save_pretrained(folder)
    return (folder / CONFIG_NAME).read_bytes()


def _loaded(case: Case, folder: Path) -> PreTrainedConfig:
    config: Any = case.config_class.from_pretrained(folder)
    assert isinstance(config, PreTrainedConfig)
    return config


def _restores(case: Case, values: dict[str, Any], config: PreTrainedConfig) -> bool:
    """Whether a dict gives the config. One that is refused does not: two fields may need each other."""
    try:
        return bool(case.config_class.from_dict(values) == config)
    except ConfigError:
        return False


def _said_to_differ(config: PreTrainedConfig) -> set[str]:
    """Return what the difference shows, without what an `__init__` computed: that is no default of the class."""
    declared = {each.name: each.default for each in fields(type(config))}
    shown = set(config.to_diff_dict()) - _IDENTITY
    return {name for name in shown if name not in declared or getattr(config, name) == declared[name]}


def _with_other_defaults(case: Case) -> type[PreTrainedConfig] | None:
    """Return the class with the drawn values as its defaults; None if it has an `__init__` or they do not fit."""
    declared = {each.name: each for each in fields(case.config_class)}
    if case.config_class.__init__ is not PreTrainedConfig.__init__:
        return None
    # A field that only counts together with another is judged against its own default, which must stay.
    free = {name for name, each in declared.items() if not any(isinstance(mark, OnlyWhen) for mark in each.marks)}
    drawn = {name: value for name, value in case.kwargs.items() if name in free}
    annotations = {name: declared[name].annotation for name in drawn}
    return type("Drifted", (case.config_class,), {"__annotations__": annotations, **drawn})


def _replaced(case: Case, base: PreTrainedConfig, name: str, value: Any) -> PreTrainedConfig | None:
    values = {each.name: getattr(base, each.name) for each in fields(case.config_class)}
    try:
        return case.config_class(**{**values, name: value})
    except ConfigError:
        return None
