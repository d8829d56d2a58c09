"""Level 4: what is registered is what is found."""

from nameplate_auto import CONFIG_MAPPING, AutoConfig, DuplicateRegistrationError
from nameplate_config import PreTrainedConfig
from nameplate_conformance.bits import require_same, state_bits
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, Scope, broken, law, require


@law("R01", "a name finds its classes", level=4, needs=["A02"], scope=Scope.ONCE)
def name_finds_its_classes(case: Case, evidence: Evidence) -> None:
    """Once registered, the model_type finds the very config class, the config finds the very model class, and
    from_config builds an instance of it."""
    with case.registration() as auto_class:
        config = AutoConfig.for_model(case.config_class.model_type, **case.kwargs)
        require(type(config) is case.config_class, f"for_model builds a {type(config).__name__}")
        found = auto_class.model_class(config)
        require(found is case.model_class, f"{auto_class.__name__} finds {found.__name__}")
        model = auto_class.from_config(config)
        require(type(model) is case.model_class, f"from_config builds a {type(model).__name__}")
    evidence.count("classes", 3)


@law("R02", "a name has one owner", level=4, needs=["R01"], scope=Scope.ONCE)
def name_has_one_owner(case: Case, evidence: Evidence) -> None:
    """Registering the same class again does nothing; registering another one under the same name is an error that
    changes nothing, unless exist_ok is given. Otherwise the package that is imported last decides what loads."""
    name = case.config_class.model_type
    other: type[PreTrainedConfig] = type("Impostor", (case.config_class,), {})
    with case.registration():
        AutoConfig.register(name, case.config_class)
        require(CONFIG_MAPPING[name] is case.config_class, "registering the same class again changed the owner")
        try:
            AutoConfig.register(name, other)
        except DuplicateRegistrationError:
            pass
        else:
            broken("another class was registered under the same name without an error")
        require(CONFIG_MAPPING[name] is case.config_class, "a refused registration changed the owner")
        AutoConfig.register(name, other, exist_ok=True)
        require(CONFIG_MAPPING[name] is other, "exist_ok=True did not replace the owner")
    evidence.count("registrations", 3)


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
