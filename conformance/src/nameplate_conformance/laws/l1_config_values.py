"""Level 1, the values: configs share nothing with anybody, refuse what does not fit, and tell themselves apart."""

import copy
import dataclasses
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from nameplate_config import ConfigError, PreTrainedConfig, fields
from nameplate_conformance.drawing.negatives import wrong_together, wrong_values
from nameplate_conformance.instruments.fresh import ask
from nameplate_conformance.instruments.sameness import same
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, broken, inapplicable, law, require


@law("C04", "equality sees every field", level=1, needs=["C01"])
def equality_sees_every_field(case: Case, evidence: Evidence) -> None:
    """A config equals itself and its copies, and stops being equal as soon as one field differs. Equality that
    overlooks a field makes caches and tests accept the wrong model."""
    config = case.config()
    for how, twin in _twins(config):
        require(twin == config and config == twin, f"a config differs from its {how}")
        evidence.count("copies")
    default = case.default_config()
    for name, value in case.kwargs.items():
        other = _changed(default, name, value)
        if other is not None:
            require(other != default and default != other, f"configs that differ in {name} are equal")
            evidence.count("fields")


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
    default = Snapshot.of(case.default_config().to_dict())
    evidence.count("containers", sum(_spoil(value) for value in vars(case.default_config()).values()))
    default.require_unchanged(case.default_config().to_dict(), "changing one default config changed the next:")


@law("C11", "an alias is the field", level=1, needs=["C02"])
def alias_is_the_field(case: Case, evidence: Evidence) -> None:
    """Another name of a field, from attribute_map, reads and writes that very field, is accepted as an argument, and
    never appears in a file; giving both names different values is an error."""
    aliases = case.config_class.attribute_map
    if not aliases:
        inapplicable("no field has another name")
    config: Any = case.config()
    for alias, name in aliases.items():
        value = getattr(config, name)
        require(same(getattr(config, alias), value), f"{alias} is {getattr(config, alias)!r}, but {name} is {value!r}")
        renamed = {key: kept for key, kept in case.kwargs.items() if key != name}
        built = case.config_class(**{**renamed, alias: value})
        require(built == config, f"given as {alias}={value!r}, it builds {built!r}")
        require(alias not in config.to_dict(), f"the alias {alias} is written into files")
        for other in (each for each in _other_values(case, name) if not same(each, value)):
            _require_refusal(lambda: case.config_class(**{name: value, alias: other}), name, "two values")  # noqa: B023
        evidence.count("aliases")


@law("C12", "wrong values are refused", level=1, needs=["C01"])
def wrong_values_are_refused(case: Case, evidence: Evidence) -> None:
    """A value of the wrong type, out of bounds or not among the choices is a ConfigError that names the field, whether
    it comes from an argument, a file or an assignment; and a refused assignment changes nothing. So is a value that has
    no effect beside that of another field (`OnlyWhen`)."""
    config = case.config()
    for field in fields(case.config_class):
        for wrong in wrong_values(field.annotation):
            _require_refusal(lambda: case.config_class(**{**case.kwargs, field.name: wrong}), field.name, "an argument")  # noqa: B023
            stored = {**config.to_dict(), field.name: wrong}
            _require_refusal(lambda: case.config_class.from_dict(stored), field.name, "a file")  # noqa: B023
            before = Snapshot.of(config.to_dict())
            _require_refusal(lambda: setattr(config, field.name, wrong), field.name, "an assignment")  # noqa: B023
            before.require_unchanged(config.to_dict(), f"the refused assignment of {wrong!r} changed")
            evidence.count("wrong values")
    for name, together in wrong_together(case.config_class, case.kwargs):
        _require_refusal(lambda: case.config_class(**together), name, "an argument beside others")  # noqa: B023
        evidence.count("wrong combinations")
    if not evidence.counts:
        inapplicable("no field says what it accepts")


@law("C13", "a file names its architecture", level=1, needs=["C02"])
def file_names_its_architecture(case: Case, evidence: Evidence) -> None:
    """The model_type is not empty and stands in every dict; a file of another architecture is refused by name. A config
    read by the wrong class builds the wrong model."""
    name = case.config_class.model_type
    require(name, f"{case.config_class.__name__} has no model_type")
    values = case.config().to_dict()
    require(values.get("model_type") == name, f"the dict says that it is of {values.get('model_type')!r}")
    stranger = {**values, "model_type": f"{name}_of_another_kind"}
    said = _require_refusal(lambda: case.config_class.from_dict(stranger), "model_type", "a file")
    require(repr(name) in said and f"{name}_of_another_kind" in said, f"the refusal does not name both: {said}")
    evidence.count("names", 2)


@law("C14", "labels agree", level=1, needs=["C02"])
def labels_agree(case: Case, evidence: Evidence) -> None:
    """The labels of the classes survive with their integer indices, and the inverse map always follows from them: where
    a file lets the two disagree, the labels count and a warning says so, or the file is refused."""
    count = getattr(case.config(), "num_labels", 3)
    labels = {index: f"label {index}" for index in range(count)}
    arguments: dict[str, Any] = {**case.kwargs, "id2label": labels}
    config: Any = case.config_class(**arguments)
    with case.folder() as folder:
        config.save_pretrained(folder)
        loaded: Any = case.config_class.from_pretrained(folder)
    require(loaded.id2label == labels, f"the labels came back as {loaded.id2label}")
    inverse = {label: index for index, label in labels.items()}
    require(loaded.label2id == inverse, f"the inverse of the labels is {loaded.label2id}")
    wrong = {**config.to_dict(), "label2id": {label: index + 1 for label, index in inverse.items()}}
    _require_no_silent_choice(case, wrong, inverse)
    evidence.count("labels", count)


def _require_no_silent_choice(case: Case, wrong: dict[str, Any], inverse: dict[str, int]) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            read: Any = case.config_class.from_dict(wrong)
        except ConfigError as error:
            require("label2id" in str(error), f"the refusal of a wrong label2id does not name it: {error}")
            return
    require(any("label2id" in str(each.message) for each in said), "a wrong label2id in a file is accepted silently")
    require(read.label2id == inverse, f"a wrong label2id in a file gives {read.label2id}")


@law("C16", "a config is light", level=1, scope=Scope.ONCE)
def config_is_light(case: Case, evidence: Evidence) -> None:
    """Importing the module of the config class imports neither torch nor the modules of the models. Reading a config,
    listing architectures or checking a file must not cost seconds and half a gigabyte."""
    config = case.architecture.config
    if not isinstance(config, str):
        inapplicable("the architecture is declared by its classes, not by the names of their modules")
    home = config.partition(":")[0]
    models = [each.partition(":")[0] for each in case.architecture.models.values() if isinstance(each, str)]
    heavy = ["torch", *(model for model in models if model != home)]
    imported = [name for name in heavy if name in _imported_with(home)]
    require(not imported, f"importing {home} imports {' '.join(imported)}")
    evidence.count("modules", len(heavy))


@cache
def _imported_with(module: str) -> frozenset[str]:
    return frozenset(ask(f"import {module}\nanswer = sorted(sys.modules)"))


@law("C18", "a config shows what it is", level=1, needs=["C02"], strength=Strength.SHOULD)
def config_shows_what_it_is(case: Case, evidence: Evidence) -> None:
    """The repr is a call that builds an equal config, and a loaded config has the attributes of the saved one."""
    config = case.config()
    namespace = {case.config_class.__name__: case.config_class, **vars(sys.modules[case.config_class.__module__])}
    try:
        built = eval(repr(config), namespace)  # noqa: S307 - the text is what the law is about
    except Exception as error:  # noqa: BLE001 - whatever it raises, the text is no call
        broken(f"{config!r} cannot be evaluated: {type(error).__name__}: {error}")
    require(built == config, f"{config!r} evaluates to {built!r}")
    read: Any = case.config_class.from_dict(config.to_dict())
    differing = set(dir(read)) ^ set(dir(config))
    require(not differing, f"a loaded config has other attributes: {', '.join(sorted(differing))}")
    evidence.count("attributes", len(dir(config)))


def _mutable(value: Any) -> Any:
    """Return a value with lists in the place of tuples, so that there is something to change."""
    if type(value) in {list, tuple}:
        return [_mutable(item) for item in value]
    return copy.deepcopy(value)


def _spoil(value: Any) -> int:
    """Change every container inside a value in place; return how many there were."""
    if isinstance(value, dict):
        count = 1 + sum(_spoil(item) for item in value.values())
        value.clear()
        return count
    if isinstance(value, (list, tuple)):
        count = sum(_spoil(item) for item in value)
        if isinstance(value, tuple):
            return count
        value.append("spoilt")
        return count + 1
    if isinstance(value, set):
        value.add("spoilt")
        return 1
    if isinstance(value, PreTrainedConfig):
        return sum(_spoil(item) for item in vars(value).values())
    return _spoil_record(value) if dataclasses.is_dataclass(value) else 0


def _spoil_record(value: Any) -> int:
    """Change a dataclass in place, unless it is frozen, and what it holds."""
    count = 0
    for each in dataclasses.fields(value):
        count += _spoil(getattr(value, each.name))
        with suppress(AttributeError):  # frozen
            setattr(value, each.name, "spoilt")
            count += 1
    return count


def _values(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.to_dict()
    return values


def _twins(config: PreTrainedConfig) -> Iterator[tuple[str, PreTrainedConfig]]:
    yield "deep copy", copy.deepcopy(config)
    yield "copy", copy.copy(config)
    home = sys.modules.get(type(config).__module__)
    if getattr(home, type(config).__qualname__, None) is type(config):  # else no class could be pickled
        yield "pickled copy", pickle.loads(pickle.dumps(config))  # noqa: S301 - our own bytes


def _changed(default: PreTrainedConfig, name: str, value: Any) -> PreTrainedConfig | None:
    """Return a config with one other value; None if the value is the same or does not fit the others."""
    other = copy.deepcopy(default)
    try:
        setattr(other, name, value)
    except ConfigError:
        return None
    unchanged = default.to_dict().get(name) == other.to_dict().get(name)
    return None if unchanged else other


def _other_values(case: Case, name: str) -> list[Any]:
    """Return values of a field that the config class accepts: the drawn one and the default."""
    return [getattr(case.config(), name), getattr(case.default_config(), name)]


def _require_refusal(attempt: Callable[[], Any], name: str, through: str) -> str:
    """Require an attempt to raise a ConfigError that names a field; return what it says."""
    said = ""
    try:
        attempt()
    except ConfigError as error:
        said = str(error)
    require(said, f"a wrong value of {name} is accepted from {through}")
    require(name in said, f"the refusal of a wrong {name} does not name it: {said}")
    return said
