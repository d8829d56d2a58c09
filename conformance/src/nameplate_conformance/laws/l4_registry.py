"""Level 4, names: what is registered is what is found, by whomever and in whatever order."""

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    Registry,
)
from nameplate_config import PreTrainedConfig
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.instruments.handover import unimported
from nameplate_conformance.instruments.naming import (
    Announcing,
    another_config,
    another_model,
    free_name,
    own_name,
    providing,
    require_refused,
    require_standing,
    standing,
)
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, law, require


@law("R01", "a name finds its classes", level=4, needs=["A02"], scope=Scope.ONCE)
def name_finds_its_classes(case: Case, evidence: Evidence) -> None:
    """Once everything is registered, the model_type finds the very config class and the config class its name, the
    config finds under each Auto class the very model class, and from_config builds an instance of it."""
    name, models = own_name(case), case.architecture.models
    with ExitStack() as stack:
        stack.enter_context(case.config_registration())
        for head in models:
            mapping = auto_classes()[head].model_mapping
            stack.enter_context(mapping.override(case.config_class, case.architecture.model_class(head)))
        config = AutoConfig.for_model(name, **case.kwargs)
        require(type(config) is case.config_class, f"for_model builds a {type(config).__name__}")
        said = CONFIG_MAPPING.name_of(case.config_class)
        require(said == name, f"the config class is said to be registered as {said!r}")
        for head in models:
            found, meant = auto_classes()[head].model_class(config), case.architecture.model_class(head)
            require(found is meant, f"{head} finds {found.__name__} instead of {meant.__name__}")
        if case.head:
            model = auto_classes()[case.head].from_config(config)
            require(type(model) is case.model_class, f"from_config builds a {type(model).__name__}")
    evidence.count("classes", 2 + len(models) + bool(case.head))


@law("R02", "a name has one owner", level=4, needs=["R01"], scope=Scope.ONCE)
def name_has_one_owner(case: Case, evidence: Evidence) -> None:
    """Registering the same class again does nothing; registering another one under the same name is an error that
    names both and changes nothing, unless exist_ok is given. Otherwise the package that is imported last decides what
    loads."""
    with case.config_registration():
        other = another_config(case, own_name(case), "Impostor")
        _require_one_owner(CONFIG_MAPPING, own_name(case), (case.config_class, other), evidence)
        if case.head:
            mapping = auto_classes()[case.head].model_mapping
            with mapping.override(case.config_class, case.model_class):
                impostor = another_model(case, case.config_class, "Impostor")
                _require_one_owner(mapping, case.config_class, (case.model_class, impostor), evidence)


def _require_one_owner(registry: Registry[Any, Any], name: Any, owners: Sequence[type], evidence: Evidence) -> None:
    owner, other = owners
    before = standing(registry)
    registry.register(name, owner)
    require_standing(before, registry, f"{owner.__name__} was registered again")
    said = require_refused(
        lambda: registry.register(name, other), DuplicateRegistrationError, f"registering {other.__name__} in its place"
    )
    require_standing(before, registry, f"{other.__name__} was refused")
    unnamed = [each.__name__ for each in owners if each.__name__ not in said]
    require(not unnamed, f"the refusal of another owner does not name {', '.join(unnamed)}: {said}")
    with registry.override(name, owner):
        registry.register(name, other, exist_ok=True)
        require(registry[name] is other, "exist_ok=True did not replace the owner")
    evidence.count("registrations", 3)


@law("R03", "what is taken back was never there", level=4, needs=["R01"], scope=Scope.ONCE)
def taken_back_was_never_there(case: Case, evidence: Evidence) -> None:
    """Registering a name and unregistering it leaves every name standing for what it stood for before, also if the
    name is one that an installed package announces, which is then found again. A test that registers something must
    not decide what the next one loads."""
    newcomer = another_config(case, free_name(case, "newcomer"), "Newcomer")
    _require_no_trace(CONFIG_MAPPING, newcomer.model_type, (case.config_class, newcomer), evidence)
    if case.head:
        models = (case.model_class, another_model(case, newcomer, "Newcomer"))
        _require_no_trace(auto_classes()[case.head].model_mapping, newcomer, models, evidence)


def _require_no_trace(registry: Registry[Any, Any], name: Any, values: Sequence[type], evidence: Evidence) -> None:
    """Require a registration to leave no trace, under a free name and under one that somebody announces."""
    announced, value = values
    for provider in (Announcing({}), Announcing({name: announced})):
        with providing(registry, provider):
            before = standing(registry)
            with registry.override(name, value):  # which cleans up behind a registry that does not
                registry.unregister(name)
                registry.register(name, value)
                require(registry[name] is value, f"{value.__name__} was registered, {registry[name]!r} is found")
                registry.unregister(name)
                require_standing(before, registry, f"{value.__name__} was unregistered")
            evidence.count("names", require_standing(before, registry, f"the block with {value.__name__} was left"))


@law("R07", "a class keeps its own name", level=4, needs=["R01"], scope=Scope.ONCE)
def class_keeps_its_own_name(case: Case, evidence: Evidence) -> None:
    """A config class is refused under another name than its model_type, a model class for another config than it is
    built from, and what is no class at all: when it is registered, or, where only its text was, when it is asked for.
    Nothing is changed by that. Otherwise a checkpoint would not be found again under the name that it bears."""
    name, stranger = own_name(case), free_name(case, "stranger")
    other = another_config(case, stranger)
    for wrong, asked, expected in ((case.config_class, stranger, name), (other, name, stranger)):
        said = _require_mismatch(CONFIG_MAPPING, asked, wrong, evidence)
        unnamed = [each for each in (asked, expected) if repr(each) not in said]
        require(not unnamed, f"the refusal does not name the model_type {', '.join(unnamed)}: {said}")
    _require_mismatch(CONFIG_MAPPING, stranger, object(), evidence)
    if case.head:
        mapping = auto_classes()[case.head].model_mapping
        said = _require_mismatch(mapping, case.config_class, another_model(case, other), evidence)
        require(other.__name__ in said, f"the refusal does not name the config of the model: {said}")
        _require_mismatch(mapping, case.config_class, case.config_class, evidence)


def _require_mismatch(registry: Registry[Any, Any], name: Any, value: object, evidence: Evidence) -> str:
    before, what = standing(registry), f"{value!r} as {name!r}"
    for exist_ok in (False, True):
        said = require_refused(
            lambda exist_ok=exist_ok: registry.register(name, value, exist_ok=exist_ok),
            InconsistentRegistrationError,
            f"registering {what}",
        )
        require_standing(before, registry, f"{what} was refused")
    with unimported(value) as (_, (text,)), registry.override(name, text):
        for time in ("first", "second"):
            require_refused(lambda: registry[name], InconsistentRegistrationError, f"asking for {what} a {time} time")
    evidence.count("refusals", 4)
    return said


@law("R09", "the order of registrations does not matter", level=4, needs=["R01"], scope=Scope.ONCE)
def order_of_registrations_does_not_matter(case: Case, evidence: Evidence) -> None:
    """Config classes that derive from one another, and their models, are found whatever the order in which they were
    registered; a config finds the model of its own class, or else of its nearest ancestor. Otherwise what loads would
    depend on the order of imports."""
    name = own_name(case)
    child = another_config(case, free_name(case, "child"), "Child")
    for order in itertools.permutations(_family(case, child)):
        with ExitStack() as stack:
            for registry, key, value in order:
                stack.enter_context(registry.override(key, value))
            found = [CONFIG_MAPPING[name], CONFIG_MAPPING[child.model_type]]
            require(found == [case.config_class, child], f"the names stand for {found}")
            evidence.count("orders")
            if case.head:
                _require_nearest(case, child, evidence)


def _family(case: Case, child: type[PreTrainedConfig]) -> list[tuple[Registry[Any, Any], Any, type]]:
    configs = [(CONFIG_MAPPING, own_name(case), case.config_class), (CONFIG_MAPPING, child.model_type, child)]
    if not case.head:
        return configs
    mapping = auto_classes()[case.head].model_mapping
    models = [(mapping, case.config_class, case.model_class), (mapping, child, another_model(case, child, "Child"))]
    return [*configs, *models]


def _require_nearest(case: Case, child: type[PreTrainedConfig], evidence: Evidence) -> None:
    auto_class = auto_classes()[case.head]
    sibling = another_config(case, free_name(case, "sibling"), "Sibling")
    grandchild: type[PreTrainedConfig] = type(child)("Grandchild", (child,), {"__module__": __name__})
    for config_class, nearest in ((case.config_class, None), (sibling, None), (child, child), (grandchild, child)):
        found = auto_class.model_class_of(config_class)
        meant = case.model_class if nearest is None else auto_class.model_mapping[nearest]
        require(found is meant, f"{config_class.__name__} finds {found.__name__} instead of {meant.__name__}")
        evidence.count("models")
