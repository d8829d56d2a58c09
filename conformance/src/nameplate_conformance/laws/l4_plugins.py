"""Level 4, packages: what is installed is known by its metadata alone, and what is broken in it stays there."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from nameplate_auto import CONFIG_MAPPING, Registry
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.instruments.fresh import ask, importable, install, is_announced, place
from nameplate_conformance.instruments.handover import unimported
from nameplate_conformance.instruments.naming import another_config, another_model, free_name, own_name
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, inapplicable, law, require

_GOOD, _BROKEN = "conformance-announced", "conformance-broken"
"""The distributions that a fresh process finds installed besides the real ones."""

_QUESTIONS = """
import nameplate_auto
from nameplate_auto import CONFIG_MAPPING
answer = {{"imported": {{}}}}
def note(when):
    answer["imported"][when] = sorted(sys.modules)
note("importing nameplate_auto")
answer["listed"] = sorted({{*CONFIG_MAPPING.names()}}.intersection({names!r}))
list(CONFIG_MAPPING), len(CONFIG_MAPPING)
note("listing the names")
answer["held"] = [name in CONFIG_MAPPING for name in ({name!r}, {broken!r}, {absent!r})]
note("asking whether a name is known")
answer["unknown"] = said(lambda: CONFIG_MAPPING[{absent!r}])
note("asking for an unknown name")
answer["resolving"] = said(lambda: CONFIG_MAPPING[{name!r}])
if not answer["resolving"][0]:
    found = CONFIG_MAPPING[{name!r}]
    answer["found"] = f"{{found.__module__}}:{{found.__qualname__}}"
answer["strangers"] = sorted(sys.modules.keys() & {strangers!r})
answer["broken"] = said(lambda: CONFIG_MAPPING[{broken!r}])
"""


@law("R04", "listing imports nothing", level=4, needs=["R01"], scope=Scope.ONCE)
def listing_imports_nothing(case: Case, evidence: Evidence) -> None:
    """Importing the registry, listing its names, counting them and asking for one, also in vain, imports no
    architecture; asking for a class imports its module once, and that of no other. With hundreds of architectures
    installed, anything else costs seconds, and fails if one of them does."""
    bystander = another_config(case, free_name(case, "bystander"), "Bystander")
    absent = another_config(case, free_name(case, "absent"), "Absent")
    configs = {own_name(case): case.config_class, bystander.model_type: bystander}
    _require_lazy(CONFIG_MAPPING, configs, absent.model_type, evidence)
    if case.head:
        models = {case.config_class: case.model_class, bystander: another_model(case, bystander, "Bystander")}
        _require_lazy(auto_classes()[case.head].model_mapping, models, absent, evidence)
    if importable(case.config_class):
        answer = _in_a_fresh_process(case)
        for when, modules in answer["imported"].items():
            named = sorted({*_homes(case), _module_of(_GOOD), _module_of(_BROKEN)}.intersection(modules))
            require(not named, f"in a fresh process, {when} imports {', '.join(named)}")
            evidence.count("questions")
        require(not answer["strangers"], f"asking for one class imports {', '.join(answer['strangers'])}")


def _require_lazy(registry: Registry[Any, Any], values: Mapping[Any, type], absent: Any, evidence: Evidence) -> None:
    """Require a text in a registry to be imported when somebody asks for that very name, and once."""
    name, bystander = values
    with unimported(*values.values()) as (handover, texts), ExitStack() as stack:
        for key, text in zip(values, texts, strict=True):
            stack.enter_context(registry.override(key, text))
        held = [name in registry, bystander in registry, absent in registry]
        require(held == [True, True, False], f"whether a name is known is answered with {held}")
        listed = {*registry.names(), *registry}
        require({name, bystander} <= listed, f"of two names, {len({name, bystander} & listed)} are listed")
        require(registry.get(absent) is None, "a name that nothing is registered under is found")
        registry.find(name), registry.find(bystander), len(registry)
        require(
            not handover.imported, f"{len(handover.imported)} modules are imported by listing and looking for names"
        )
        found = [registry[name], registry[name], registry.get(name)]
        require(all(each is values[name] for each in found), f"{values[name]!r} was registered, {found} is found")
        require(len(handover.imported) == 1, f"asking for one class executes {len(handover.imported)} modules")
    evidence.count("imports", len(found))


@law("R05", "a broken package fails alone", level=4, needs=["R04"], scope=Scope.ONCE)
def broken_package_fails_alone(case: Case, evidence: Evidence) -> None:
    """Beside an installed package that announces an architecture and cannot be imported, every other name is listed
    and found; only who asks for the broken one is told, by the name of the distribution to repair or uninstall.
    Otherwise one bad release takes down everything that is installed next to it."""
    if not importable(case.config_class):
        inapplicable("the config class cannot be imported by its name, so no package could announce it")
    answer = _in_a_fresh_process(case)
    require(len(answer["listed"]) == len(answer["held"]) - 1, f"of the installed names are listed: {answer['listed']}")
    require(answer["held"] == [True, True, False], f"whether a name is known is answered with {answer['held']}")
    kind, said = answer["unknown"]
    require(kind == "UnknownModelTypeError", f"asking for an unknown name raises {kind}: {said}")
    kind, said = answer["resolving"]
    require(not kind, f"asking for the architecture raises {kind}: {said}")
    require(answer["found"] == place(case.config_class), f"asking for the architecture finds {answer['found']}")
    kind, said = answer["broken"]
    require(kind == "BrokenPluginError", f"asking for the broken name raises {kind or 'nothing'}: {said}")
    require(_BROKEN in said, f"the error does not name the distribution {_BROKEN}: {said}")
    evidence.count("names", len(answer["held"]))


def _in_a_fresh_process(case: Case) -> dict[str, Any]:
    """Ask a fresh process for the architecture, announced by a package, and for one that a broken package announces."""
    return _asked(own_name(case), place(case.config_class), os.environ.get("PYTHONPATH", ""))


def _module_of(distribution: str) -> str:
    return distribution.replace("-", "_")


def _homes(case: Case) -> tuple[str, ...]:
    """Return the modules that listing must not import: torch, and those of the architecture."""
    models = [case.architecture.model_class(head) for head in case.architecture.models]
    return ("torch", *sorted({each.__module__ for each in (case.config_class, *models)}))


@cache
def _asked(name: str, config: str, path: str) -> dict[str, Any]:
    del path  # another one gives another answer
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        site = Path(folder)
        if not is_announced(name):
            module = f"ARCHITECTURE = {{'AutoConfig': {config!r}}}\n"
            install(site, _GOOD, {name: f"{_module_of(_GOOD)}:ARCHITECTURE"}, {_module_of(_GOOD): module})
        broken = f"{name}_of_a_broken_package"
        install(site, _BROKEN, {broken: f"{_module_of(_BROKEN)}:ARCHITECTURE"}, {_module_of(_BROKEN): "1 / 0\n"})
        code = _QUESTIONS.format(
            name=name,
            broken=broken,
            absent=f"{name}_that_nobody_announces",
            names=[name, broken],
            strangers=[_module_of(_BROKEN)],
        )
        answer: dict[str, Any] = ask(code, site)
        return answer
