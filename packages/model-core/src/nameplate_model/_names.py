"""Between the names in a file and the names in a model: renames, older versions of a class, body and head.

Everything here maps names, and so works on headers alone; only a migration may look at tensors.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from nameplate_config import UnknownOptionError
from nameplate_config.wording import shown
from nameplate_model._reading import CPU, Memory, Want, fetch
from nameplate_model._weights import Weights, held_weights
from nameplate_model.errors import CheckpointError

StateDict = Mapping[str, torch.Tensor]
Migration = Callable[[StateDict], StateDict]
"""Turns a state dict of one version into that of the next; called with tensors that it must not change in place."""

_MARK = "_nameplate_migrates_state"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Naming:
    """How the names of a file become those of a model.

    Attributes:
        key_mapping: Regular expressions and their replacements, applied to each name in order.
        migrations: What leads from each older version of the names to the next.
        version: The version that the model has.
        foreign: As *key_mapping*, for the names that other libraries give the tensors of the class.
        body: The attribute of a head's model that holds the body; empty if no other class saved the file.
    """

    key_mapping: Mapping[str, str]
    migrations: Mapping[int, Migration]
    version: int = 1
    foreign: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def migrates_state(before: int, after: int) -> Callable[[Decorated], Decorated]:
    """Mark a method of a model class that brings the state dict of an older version to the next one.

    The method is a static one: it gets a mapping of names to tensors and returns another, in which it may rename,
    leave out, split or join tensors. To plan a load it is called with tensors on the meta device, so it must not
    decide by values. The class says its own version in `state_dict_version`, which a save records.

    Example:
        >>> from nameplate_model import PreTrainedModel, migrates_state
        >>> class Net(PreTrainedModel):
        ...     state_dict_version = 2
        ...     @staticmethod
        ...     @migrates_state(1, 2)
        ...     def rename_the_head(state):
        ...         return {name.replace("classifier.", "head."): tensor for name, tensor in state.items()}
    """
    if after != before + 1 or before < 1:
        message = f"a migration leads from one version to the next, such as (1, 2); found ({before}, {after})."
        raise UnknownOptionError(message)

    def mark(function: Decorated) -> Decorated:
        setattr(function, _MARK, before)
        return function

    return mark


def migrations_of(cls: type, version: int) -> dict[int, Migration]:
    """Return the migrations that a class declares, by the version that each starts from.

    Raises:
        UnknownOptionError: If two start from the same version, or there is no way from 1 to *version*.
    """
    found: dict[int, Migration] = {}
    names = {name for each in cls.__mro__ for name in vars(each)}
    for name in sorted(names):
        declared = next(vars(each)[name] for each in cls.__mro__ if name in vars(each))
        before = getattr(getattr(declared, "__func__", declared), _MARK, None)
        if before is None:
            continue
        if before in found:
            message = f"{cls.__name__} has two migrations of the state dict from version {before}; keep one."
            raise UnknownOptionError(message)
        found[before] = getattr(cls, name)
    gaps = [each for each in range(1, version) if each not in found]
    if gaps:
        message = (
            f"{cls.__name__} has state_dict_version {version}, but no way on from version {gaps[0]}. "
            f"Add a static method with @migrates_state({gaps[0]}, {gaps[0] + 1})."
        )
        raise UnknownOptionError(message)
    return found


def renamed(weights: Weights, naming: Naming, memory: Memory | None, keys: Collection[str] = ()) -> Weights:
    """Return the weights under the names of the model's version.

    Args:
        weights: As the file has them.
        naming: What to do.
        memory: How tensors that a migration gets come into memory; None if they are metadata only, for a plan.
        keys: The names of the model, which no other library gave.

    Raises:
        CheckpointError: If two tensors would get the same name, or the file is newer than the class.
    """
    if naming.key_mapping:
        weights = _by_mapping(weights, naming.key_mapping)
    if naming.foreign and not weights.ours and not all(name in keys for name in (*weights.tensors, *weights.tied)):
        own = _by_mapping(weights, naming.foreign, keys)
        if own.tensors.keys() != weights.tensors.keys():  # a file of another library: it knows no versions of ours
            weights = replace(own, version=naming.version)
    if weights.version > naming.version:
        message = (
            f"{weights.where} has version {weights.version} of its names, and the class knows {naming.version}. "
            "Install a newer version of the package that defines it."
        )
        raise CheckpointError(message)
    for version in range(weights.version, naming.version):
        weights = _migrated(weights, naming.migrations[version], version, memory)
    return weights


def with_body(weights: Weights, keys: Collection[str], body: str) -> Weights:
    """Return the weights of a body under the names of a head's model, or the other way round.

    Args:
        weights: As another class of the architecture saved them.
        keys: The names of the model.
        body: The attribute of the head's model that holds the body.
    """
    prefix = f"{body}."
    in_model, in_file = (any(key.startswith(prefix) for key in names) for names in (keys, weights.tensors))
    if in_model and not in_file:
        return weights.with_names(lambda name: prefix + name)
    if in_file and not in_model:
        return weights.with_names(lambda name: name.removeprefix(prefix))
    return weights


def namer(key_mapping: Mapping[str, str], option: str = "key_mapping") -> Callable[[str], str]:
    """Return the function that applies regular expressions and their replacements to a name, in order.

    Args:
        key_mapping: What to apply.
        option: What messages call it. The function raises `UnknownOptionError` as this one does.

    Raises:
        UnknownOptionError: If a pattern is none, or something is no text.
    """

    def unfit(error: Exception) -> UnknownOptionError:
        return UnknownOptionError(
            f"{option} must map regular expressions to texts, found {shown(key_mapping)}: {error}."
        )

    try:
        patterns = [(re.compile(pattern), new) for pattern, new in key_mapping.items()]
    except (re.error, TypeError) as error:
        raise unfit(error) from error

    def new_name(name: str) -> str:
        try:
            for pattern, new in patterns:
                name = pattern.sub(new, name)
        except (re.error, TypeError, IndexError) as error:  # of what replaces it
            raise unfit(error) from error
        return name

    return new_name


def _by_mapping(weights: Weights, key_mapping: Mapping[str, str], kept: Collection[str] = ()) -> Weights:
    new_name = namer(key_mapping)
    return weights.with_names(lambda name: name if name in kept else new_name(name))


def _migrated(weights: Weights, migration: Migration, version: int, memory: Memory | None) -> Weights:
    """Let a migration turn the weights into those of the next version."""
    state = _state(weights, memory)
    state |= {alias: state[kept] for alias, kept in weights.tied.items()}
    try:
        new = dict(migration(state))
    except Exception as error:
        message = f"{weights.where}: the migration of its names from version {version} failed: {error}."
        raise CheckpointError(message) from error
    held = held_weights(new, weights.where)
    before = {id(tensor): name for name, tensor in reversed(state.items())}
    origin = {name: before.get(id(tensor), name) for name, tensor in new.items()}
    stored = {name: weights.renamed.get(old, old) for name, old in origin.items()}
    renamed = {name: old for name, old in stored.items() if name != old}
    return Weights(weights.where, held.tensors, weights.files, held.tied, version=version + 1, renamed=renamed)


def _state(weights: Weights, memory: Memory | None) -> dict[str, torch.Tensor]:
    stored = weights.tensors.values()
    if memory is None:
        values = [torch.empty(each.shape, dtype=each.dtype, device="meta") for each in stored]
    else:
        values = fetch([Want(each, CPU, each.dtype) for each in stored], memory)
    return dict(zip(weights.tensors, values, strict=True))
