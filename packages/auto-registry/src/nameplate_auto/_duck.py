"""Classes that are not of this family, such as those of Transformers or of remote code written for it.

They are asked only for what they offer themselves: a config class for ``from_dict(values, return_unused_kwargs=True)``,
a model class for ``from_pretrained(folder_or_repository, config=config)`` and ``_from_config(config)``. What they raise
comes out as an error of this family, with theirs as its cause. Which classes these are is decided by the Auto classes.
"""

import copy
from collections.abc import Mapping
from typing import Any, NoReturn

from nameplate_auto.errors import ForeignClassError, RemoteCodeRefusedError
from nameplate_config import NameplateError, Source, SourceNotFoundError, UnknownOptionError
from nameplate_config.wording import did_you_mean, listed, reason, sentences, shown


def config_of(
    config_class: type[Any], values: Mapping[str, Any], *, source: Source, overrides: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return ``(config, unused)``: what a config class makes of the values of a file, and overrides it does not know.

    Args:
        config_class: Any class with a `from_dict`.
        values: What the file holds; copied, since such classes change what they are given.
        source: Where the file is.
        overrides: Values that go before those of the file.

    Raises:
        ForeignClassError: If the class refuses them.
        RemoteCodeRefusedError: If they name a repository whose code Transformers would run.
    """
    _refuse_kernels(values, source)
    given = {"name_or_path": source.name, **overrides}
    try:
        made = config_class.from_dict(copy.deepcopy(dict(values)), return_unused_kwargs=True, **given)
        config, left = made
        unused = {name: value for name, value in left.items() if name in overrides}
    except NameplateError:
        raise
    except Exception as error:
        raise _refusal(config_class, "from_dict", source, error) from error
    return config, unused


_IMPLEMENTATIONS = frozenset(
    {
        f"{start}{what}_implementation{end}"
        for start in ("", "_")
        for what in ("attn", "experts")
        for end in ("", "_internal")
    }
)
"""Keys of a config, or of one in it, by which Transformers takes a part of a model from a repository of kernels."""


def _refuse_kernels(values: Mapping[str, Any], source: Source) -> None:
    """Refuse a file that chooses code of a repository: nobody allowed that."""
    waiting: list[Any] = [values]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, Mapping):
            for key, value in found.items():
                if key in _IMPLEMENTATIONS and "/" in str(value):
                    message = sentences(
                        f"{key} in {source.where('config.json')} is {shown(value)}: code of another repository.",
                        "Nobody allowed that, and nothing of it was run. Take the key out of the file.",
                    )
                    raise RemoteCodeRefusedError(message)
                waiting.append(value)


def refuse_unused(config: Any, unused: Mapping[str, Any]) -> None:
    """Refuse overrides that a config class did not know.

    Raises:
        UnknownOptionError: If there are any.
    """
    if not unused:
        return
    known = [name for name in vars(config) if not name.startswith("_")]
    message = sentences(
        f"{type(config).__name__} has no field {listed(map(repr, unused))}.", did_you_mean(next(iter(unused)), known)
    )
    raise UnknownOptionError(message)


def new_model_of(model_class: type[Any], config: Any) -> Any:
    """Return a model with freshly initialised weights.

    Raises:
        ForeignClassError: If the class cannot build one.
    """
    build = getattr(model_class, "_from_config", None) or getattr(model_class, "from_config", None) or model_class
    try:
        return build(config)
    except NameplateError:
        raise
    except Exception as error:
        message = f"{_named(model_class)} cannot build a model from its config: {reason(error)}"
        raise ForeignClassError(message) from error


def model_of(model_class: type[Any], source: Source, config: Any, kwargs: Mapping[str, Any]) -> Any:
    """Return a model with the weights of a checkpoint, loaded by its own class.

    A class of Transformers fills what the checkpoint lacks with random values, and only warns. Here that is an error,
    unless *strict* is false, or the checkpoint was saved from another class, whose head may be another one.

    Args:
        model_class: Any class with a `from_pretrained`.
        source: Where the checkpoint is; its commit is the one that is loaded.
        config: The config to build from.
        kwargs: Options of the class's own `from_pretrained`, and *strict*.

    Raises:
        SourceNotFoundError: If the class finds no weights.
        UnknownOptionError: If the class does not take an option.
        ForeignClassError: If it refuses anything else, or would leave weights at random values.
    """
    options = dict(kwargs)
    strict = bool(options.pop("strict", True))
    place, where = _place(source)
    reports = _is_of_transformers(model_class)
    wanted = options.pop("output_loading_info", None) if reports else None
    asked = {"output_loading_info": True} if reports else {}
    try:
        found = model_class.from_pretrained(place, config=config, **where, **options, **asked)
    except NameplateError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes an error of this family
        _raise_as_ours(model_class, source, options, error)
    if not reports:
        return found
    model, report = found
    if strict:
        _refuse_random_weights(model, report, source)
    return (model, report) if wanted else model


def _place(source: Source) -> tuple[str, dict[str, Any]]:
    """Return what `from_pretrained` takes as the place of a checkpoint, and the options that go with it."""
    if source.file is not None:
        message = f"{str(source.file)!r} is a file. Give the folder that holds it."
        raise SourceNotFoundError(message)
    if source.folder is not None:
        return str(source.folder), {"local_files_only": True}
    options = {name: value for name, value in (source.options or {}).items() if value not in ("", None)}
    return str(source.repository), {**options, "revision": source.commit}


def _is_of_transformers(model_class: type[Any]) -> bool:
    """Whether a class descends from one of Transformers, whose loads can report; judged without importing it."""
    return any(each.__module__.partition(".")[0] == "transformers" for each in model_class.__mro__)


def _refuse_random_weights(model: Any, report: Mapping[str, Any], source: Source) -> None:
    """Refuse a load of a checkpoint's own class that left parameters at random values."""
    missing = sorted(report.get("missing_keys") or ())
    saved_from = getattr(model.config, "architectures", None) or ()
    if not missing or type(model).__name__ not in saved_from:
        return
    message = sentences(
        f"{source.name!r} lacks {len(missing)} of the tensors of {_named(type(model))}: {listed(missing)}.",
        "It says that it was saved from this class. Its own loading would give them random values and a warning.",
        "Load the right checkpoint, or pass strict=False if that is what you want.",
    )
    raise ForeignClassError(message)


def _raise_as_ours(model_class: type[Any], source: Source, options: Mapping[str, Any], error: Exception) -> NoReturn:
    if isinstance(error, TypeError) and any(f"'{name}'" in str(error) for name in options):
        message = f"{_named(model_class)}.from_pretrained does not take an option: {reason(error)}"
        raise UnknownOptionError(message) from error
    if isinstance(error, OSError):
        message = f"{_named(model_class)} cannot read {source.name!r}: {reason(error)}"
        raise SourceNotFoundError(message) from error
    raise _refusal(model_class, "from_pretrained", source, error) from error


def _refusal(refusing: type[Any], method: str, source: Source, error: Exception) -> ForeignClassError:
    return ForeignClassError(
        sentences(
            f"{_named(refusing)}.{method} refuses {source.name!r}: {reason(error)}",
            "It is no class of Nameplate; what it accepts is up to it.",
        )
    )


def _named(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
