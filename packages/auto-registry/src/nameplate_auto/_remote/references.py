"""`auto_map`: which class of which file stands for an Auto class. Only texts are looked at here, no file.

The forms are those of Transformers, ``"module.Class"`` and ``"org/repo--module.Class"``, and modules inside packages,
``"package.module.Class"``. A text that could name anything outside its repository is none of them.
"""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nameplate_auto.errors import RemoteCodeError
from nameplate_config.wording import did_you_mean, listed, sentences, shown

_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
_REPOSITORY = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_DEEPEST = 16
_MOST_ENTRIES = 100
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
"""Names that Windows takes for devices, whatever their ending."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A class in the code of a repository.

    Attributes:
        module: The parts of the dotted name of its module, from the folder of the checkpoint on.
        name: The name of the class.
        repository: The id of the repository that holds the module, if it is not the one of the checkpoint.
    """

    module: tuple[str, ...]
    name: str
    repository: str | None = None

    def __str__(self) -> str:
        dotted = ".".join([*self.module, self.name])
        return f"{self.repository}--{dotted}" if self.repository else dotted


def is_module_name(name: str) -> bool:
    """Whether a part of a dotted name can be that of a file of code, on every system."""
    plain = _NAME.fullmatch(name) and not keyword.iskeyword(name) and not name.startswith("__")
    return bool(plain) and name.casefold() not in _RESERVED


def read_references(values: Mapping[str, Any], where: str) -> dict[str, Reference]:
    """Return what the `auto_map` of a config says, by the names of the Auto classes.

    Entries that are no text, such as the pairs that stand for tokenizers, are left out.

    Raises:
        RemoteCodeError: If one is malformed, or would leave its repository.
    """
    auto_map = values.get("auto_map")
    if not isinstance(auto_map, Mapping) or len(auto_map) > _MOST_ENTRIES:
        message = f"auto_map in {where} is {shown(auto_map)}; expected Auto classes and the classes that they mean."
        raise RemoteCodeError(message)
    return {
        auto_class: _reference(auto_class, text, where)
        for auto_class, text in auto_map.items()
        if isinstance(text, str)
    }


def at_home(references: Mapping[str, Reference], repository: str | None) -> dict[str, Reference]:
    """Return references of which those that name the repository of the checkpoint itself name none.

    Such code is that of the same commit, not of whatever the branch of that repository holds by now.
    """
    return {
        auto_class: replace(each, repository=None) if each.repository == repository else each
        for auto_class, each in references.items()
    }


def chosen_reference(references: Mapping[str, Reference], auto_class: str, where: str) -> Reference:
    """Return the entry for an Auto class.

    Raises:
        RemoteCodeError: If there is none.
    """
    if auto_class in references:
        return references[auto_class]
    message = sentences(
        f"auto_map in {where} names no class for {auto_class}.",
        did_you_mean(auto_class, references) or f"It names some for: {listed(references)}.",
    )
    raise RemoteCodeError(message)


def _reference(auto_class: str, text: str, where: str) -> Reference:
    repository, found, dotted = text.rpartition("--")
    *module, name = dotted.split(".")
    well_formed = 0 < len(module) <= _DEEPEST and all(map(is_module_name, module)) and is_module_name(name)
    if well_formed and (not found or _REPOSITORY.fullmatch(repository)):
        return Reference(tuple(module), name, repository or None)
    message = sentences(
        f"auto_map[{shown(auto_class)}] in {where} is {shown(text)}.",
        "Expected 'module.Class', 'package.module.Class' or 'org/repo--module.Class', of plain names.",
    )
    raise RemoteCodeError(message)
