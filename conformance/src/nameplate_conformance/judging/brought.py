"""Code that a folder or repository brings, laid out as a package that every process here can import.

An Auto class runs such code from memory and copies it with whatever is saved. Laws speak of an architecture like any
other: its classes can be imported, a checkpoint holds config and weights, and code only where a law asks for it. So the
same bytes, once they are approved, become a package for as long as this process lives.
"""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nameplate_auto import AutoConfig, AutoModel, TrustPolicy, read_remote_code
from nameplate_config import PreTrainedConfig, Source
from nameplate_config.wording import brief, listed, sentences, shown
from nameplate_conformance.architecture import Architecture, auto_classes
from nameplate_conformance.errors import ConformanceError

if TYPE_CHECKING:
    from nameplate_auto import RemoteCode

    Trust = bool | str | tuple[str, ...] | list[str] | TrustPolicy | None

_CONFIG = "AutoConfig"
_SWITCH = "NAMEPLATE_REMOTE_CODE"
_PREFIX = "nameplate_brought_"
_DIGITS = 12


def brought_architecture(
    source: Source, auto_map: Mapping[str, str], config_class: type[Any] | None, trust: "Trust"
) -> Architecture:
    """Return the architecture whose classes a checkpoint brings.

    Args:
        source: The checkpoint.
        auto_map: Where its config says that the classes are.
        config_class: The class that is registered for its config, if one is.
        trust: Which code may run, as for an Auto class.

    Raises:
        RemoteCodeRefusedError: If this code may not.
        ConformanceError: If it cannot be imported, or is not what `auto_map` promises.
    """
    code = read_remote_code(source)
    if not _approves(trust, code):
        _refuse(source, auto_map, trust)
    home = _package(code)
    found = {name: _class(home, code, text) for name, text in auto_map.items() if name in {_CONFIG, *auto_classes()}}
    own = found.pop(_CONFIG, None) or config_class or next(_config_classes(found), None)
    if own is None or not issubclass(own, PreTrainedConfig):
        message = f"the code of {code.place!r} brings {shown(own)} as its config; expected a config class of Nameplate."
        raise ConformanceError(message)
    if not found:
        message = f"{source.where('config.json')} names no model class for any of {listed(auto_classes())}."
        raise ConformanceError(message)
    return Architecture(config=own, models=found)


def _approves(trust: "Trust", code: "RemoteCode") -> bool:
    if os.environ.get(_SWITCH):
        return False
    if isinstance(trust, (str, tuple, list)):
        return code.digest in ([trust] if isinstance(trust, str) else trust)
    return trust.allows(code) if isinstance(trust, TrustPolicy) else trust is True


def _refuse(source: Source, auto_map: Mapping[str, str], trust: "Trust") -> NoReturn:
    """Raise what an Auto class says of code that may not run."""
    known = (each for name, each in auto_classes().items() if name in auto_map)
    asked: Any = AutoConfig if _CONFIG in auto_map else next(known, AutoModel)
    asked.from_pretrained(source, trust_remote_code=trust)
    message = f"the code of {source.name!r} changed while it was looked at. Try again."
    raise ConformanceError(message)


def _package(code: "RemoteCode") -> str:
    """Write code into a package whose name comes from its digest, and return the name."""
    name = _PREFIX + code.digest.removeprefix("sha256:")[:_DIGITS]
    if any(Path(each, name).is_dir() for each in sys.path):
        return name
    around = Path(tempfile.mkdtemp(prefix="conformance-code-"))
    atexit.register(shutil.rmtree, around, ignore_errors=True)
    for path, data in {"__init__.py": b"", **code.files}.items():
        (around / name / path).parent.mkdir(parents=True, exist_ok=True)
        (around / name / path).write_bytes(data)
    sys.path.append(str(around))
    importlib.invalidate_caches()
    return name


def _class(home: str, code: "RemoteCode", text: str) -> type[Any]:
    repository, _, place = text.rpartition("--")
    if repository and repository != code.repository:
        message = sentences(
            f"the code of {code.name!r} lies in the repository {repository!r}.", f"Judge 'hub:{repository}' itself."
        )
        raise ConformanceError(message)
    module, _, name = place.rpartition(".")
    try:
        return getattr(importlib.import_module(f"{home}.{module}"), name)
    except (Exception, SystemExit) as error:  # whatever it does at import
        message = f"the code of {code.place!r} has no {place}: {type(error).__name__}: {brief(error)}."
        raise ConformanceError(message) from error


def _config_classes(models: Mapping[str, type[Any]]) -> Iterator[type[Any]]:
    yield from (each.config_class for each in models.values() if getattr(each, "config_class", None) is not None)
