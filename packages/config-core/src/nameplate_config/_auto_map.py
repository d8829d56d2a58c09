"""Which classes go with a checkpoint as code, and what its `auto_map` says of them.

Those that are registered for it, and those that came as code themselves. How their source is copied is `_code`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nameplate_config._code_rules import held_files
from nameplate_config.errors import UnknownOptionError
from nameplate_config.wording import sentences, shown

if TYPE_CHECKING:
    from nameplate_config._config import PreTrainedConfig

CONFIG_KEY = "AutoConfig"


@dataclass(frozen=True, slots=True)
class CodeBeside:
    """The code that goes with a checkpoint.

    Attributes:
        auto_map: What the config says where the code lies; None if it says nothing.
        files: The bytes of each file by its path in the folder, with slashes; none if no class is registered.
    """

    auto_map: Mapping[str, Any] | None
    files: Mapping[str, bytes]


def auto_class_name(auto_class: str | type) -> str:
    """Return the name of an Auto class, which Transformers gives as the class itself.

    Raises:
        UnknownOptionError: If it is neither a name nor a class.

    Example:
        >>> auto_class_name("AutoModel")
        'AutoModel'
    """
    name = auto_class.__name__ if isinstance(auto_class, type) else auto_class
    if isinstance(name, str) and name.isidentifier():
        return name
    message = sentences(
        f"auto_class must be the name of an Auto class, or the class, found {shown(auto_class)}.",
        "Give a name such as 'AutoModelForImageClassification'.",
    )
    raise UnknownOptionError(message)


def registered_name(cls: type, auto_class: str | type) -> str:
    """Return the name of the Auto class that a class is to be registered for, if its code can be copied.

    Raises:
        SourceCodeError: If it cannot.
        UnknownOptionError: If *auto_class* is neither a name nor a class.
    """
    from nameplate_config._code import source_files  # noqa: PLC0415 - costs more than the rest of this package

    name = auto_class_name(auto_class)
    source_files(cls)
    return name


def code_beside(config: "PreTrainedConfig", model_class: type | None = None) -> CodeBeside:
    """Return the code that goes with a config, and with the model that is saved beside it.

    Neither changes. Of a registered model the class of the config is copied too, unless it belongs to another package,
    which the code of the model then needs anyway.

    Raises:
        SourceCodeError: If a class is registered and its code cannot be copied.
    """
    claims = _claims(config, model_class)
    if not claims:
        return CodeBeside(config.auto_map, {})
    from nameplate_config._code import source_files  # noqa: PLC0415 - as above

    classes = list(dict.fromkeys(claims.values()))
    found = source_files(*classes)
    references = dict(zip(classes, found.references, strict=True))
    present = dict(config.auto_map or {})
    if held_files(classes[0]) is not None:
        present = _vendored(present, found.references, found.files)
    auto_map = {**present, **{name: references[cls] for name, cls in claims.items()}}
    return CodeBeside(dict(sorted(auto_map.items())), found.files)


def _claims(config: "PreTrainedConfig", model_class: type | None) -> dict[str, type]:
    """Return the classes whose code is to be copied, by the names of their Auto classes."""
    classes = [type(config), *([] if model_class is None else [model_class])]
    registered = {name: cls for cls in classes for name in vars(cls).get("_auto_classes", ())}
    if model_class in registered.values() and CONFIG_KEY not in registered and len(set(map(_top, classes))) == 1:
        registered[CONFIG_KEY] = type(config)
    came = {cls: held[0] for cls in classes if (held := held_files(cls)) is not None}
    if not registered and len(set(came.values())) > 1:
        return {}  # of two repositories: their entries go on naming both
    named = {name: cls for cls in came for name in _names_in(config.auto_map, cls)}
    return ({CONFIG_KEY: type(config)} if type(config) in came else {}) | named | registered


def _top(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _names_in(auto_map: Mapping[str, Any] | None, cls: type) -> list[str]:
    """Return the Auto classes for which an `auto_map` names a class that came as code."""
    held = held_files(cls)
    if held is None:
        return []
    reference = f"{cls.__module__.removeprefix(held[0])}.{cls.__name__}".removeprefix(".")
    return [name for name, text in (auto_map or {}).items() if _split(text)[1] == reference]


def _vendored(auto_map: Mapping[str, Any], references: tuple[str, ...], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return an `auto_map` whose entries for code of another repository name the copy of it, where it is copied."""
    repositories = {_split(text)[0] for text in auto_map.values() if _split(text)[1] in references}
    return {
        name: reference if repository in repositories and _is_among(files, reference) else text
        for name, text in auto_map.items()
        for repository, reference in (_split(text),)
    }


def _is_among(files: Mapping[str, bytes], reference: str) -> bool:
    module = reference.rpartition(".")[0].replace(".", "/")
    return f"{module}.py" in files or f"{module}/__init__.py" in files


def _split(text: object) -> tuple[str, str]:
    """Return repository and reference of an entry; tokenizers have pairs, which name nothing here."""
    repository, _, reference = text.rpartition("--") if isinstance(text, str) else ("", "", "")
    return repository, reference
