"""Level 4, Auto classes: what they load, and what they say when they cannot."""

import json
from functools import partial
from typing import Any

from nameplate_auto import CONFIG_MAPPING, AutoConfig, UnknownArchitectureError, UnknownModelTypeError
from nameplate_config import PreTrainedConfig
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.instruments.bits import require_same, state_bits
from nameplate_conformance.instruments.naming import free_name, own_name, require_refused
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, law, require


@law("R06", "the Auto class loads the same model", level=4, needs=["S01", "R01"])
def auto_class_loads_the_same_model(case: Case, evidence: Evidence) -> None:
    """Loading through the Auto class gives the class and the bits that loading through the model class gives, and the
    file names that class."""
    with case.folder() as folder, case.registration() as auto_class:
        case.poisoned().save_pretrained(folder)
        own, found = case.model_class.from_pretrained(folder), auto_class.from_pretrained(folder)
        require(type(found) is case.model_class, f"{auto_class.__name__} loads a {type(found).__name__}")
        require_same(state_bits(own), state_bits(found), evidence, what="tensors", when="loaded by the Auto class")
        names = AutoConfig.from_pretrained(folder).architectures
        require(names == [case.model_class.__name__], f"the file names {names} as its architecture")
        evidence.count("classes")


@law(
    "R08",
    "an unknown name is answered with the way out",
    level=4,
    needs=["R01"],
    scope=Scope.ONCE,
    strength=Strength.SHOULD,
)
def unknown_name_is_answered_with_the_way_out(case: Case, evidence: Evidence) -> None:
    """A model_type that nothing is registered under is an error that names it, the file that it stands in, the nearest
    name that there is, and what to install or register; a config that an Auto class has no model for is one that
    names both and says how to register one. A slip of the pen must not cost an afternoon."""
    name = own_name(case)
    with case.folder() as folder, case.config_registration():
        slip = _slip_of(name)
        file = folder / CONFIG_NAME
        file.write_text(json.dumps({"model_type": slip}), encoding="utf-8")
        attempts = {
            "for_model": partial(AutoConfig.for_model, slip),
            "a file": partial(AutoConfig.from_pretrained, folder),
        }
        if case.head:
            attempts["the Auto class"] = partial(auto_classes()[case.head].from_pretrained, folder)
        for where, attempt in attempts.items():
            said = require_refused(attempt, UnknownModelTypeError, f"an unknown model_type, through {where},")
            wanted = [repr(slip), repr(name), *([] if where == "for_model" else [str(file), "nstall"])]
            _require_words(said, wanted, f"an unknown model_type, through {where}", evidence)
        if case.head:
            _require_way_to_register(case, evidence)


def _slip_of(name: str) -> str:
    """Return a name that nothing is registered under, a letter longer than the one that was meant."""
    slip = name + name[-1]
    while slip in CONFIG_MAPPING:
        slip += name[-1]
    return slip


def _require_way_to_register(case: Case, evidence: Evidence) -> None:
    auto_class = auto_classes()[case.head]
    orphan: Any = type("Orphan", (PreTrainedConfig,), {"model_type": free_name(case, "orphan")})
    said = require_refused(lambda: auto_class.from_config(orphan()), UnknownArchitectureError, "a config without model")
    _require_words(said, [case.head, "Orphan", "register"], "a config without model", evidence)


def _require_words(said: str, wanted: list[str], what: str, evidence: Evidence) -> None:
    absent = [each for each in wanted if each not in said]
    require(not absent, f"what is said about {what} lacks {', '.join(absent)}: {said}")
    evidence.count("words", len(wanted))
