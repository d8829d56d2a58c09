"""Running approved code: the one place of the family that executes what a repository holds.

Exactly the bytes that were approved are executed, from memory, as a package of their own that is named after their
hash. There is no copy on disk and no change of `sys.path`, so that nothing can be swapped, torn, raced or squatted,
and one content is one set of classes, wherever it came from.
"""

import copyreg
import importlib
import importlib.util
import linecache
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from io import StringIO
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from nameplate_auto._remote.references import Reference
from nameplate_auto._remote.repository_code import RemoteCode
from nameplate_auto._remote.syntax import decoded
from nameplate_auto._remote.trust import SWITCH, forbidden
from nameplate_auto.errors import RemoteCodeError, RemoteCodeImportError, RemoteCodeRefusedError
from nameplate_config.code import FILES_ATTRIBUTE, digest_of
from nameplate_config.wording import brief, listed, sentences

if TYPE_CHECKING:
    from importlib.resources.abc import TraversableResources

_PREFIX = "_nameplate_code_"
_DIGITS = 32
"""How much of the hash is in a package's name: 128 bits."""

_INIT = "__init__.py"

_Files = Mapping[str, bytes]

_approved: dict[str, _Files] = {}
"""The files of every code that may run in this process, by the name of its package."""

_lock = threading.Lock()


def load_class(code: RemoteCode, reference: Reference) -> type:
    """Return a class of approved code, running its module unless that has been done.

    Raises:
        RemoteCodeImportError: If a package that it imports is not installed, or its own code fails.
        RemoteCodeError: If its module has no such class.
    """
    _refuse_missing_packages(code)
    return _class_of(_admit(code.files, code.digest), reference, code.name)


def class_beside(cls: type, reference: Reference) -> type | None:
    """Return a class from the code that another class came from; None if that did not come from such code.

    Raises:
        RemoteCodeImportError: If its module fails.
        RemoteCodeError: If that code has no such class.
    """
    package = _package_of(cls)
    return None if package is None else _class_of(package, reference, cls.__module__)


def is_brought(cls: type) -> bool:
    """Whether a class came from approved code."""
    return _package_of(cls) is not None


def _package_of(cls: type) -> str | None:
    package = cls.__module__.partition(".")[0]
    return package if package in _approved else None


def _admit(files: _Files, digest: str) -> str:
    """Let approved code be imported; returns the name of its package."""
    package = _PREFIX + digest.removeprefix("sha256:")[:_DIGITS]
    with _lock:
        _approved.setdefault(package, files)
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)  # first: a folder of that name on sys.path must not win
    return package


def _class_of(package: str, reference: Reference, name: str) -> type:
    try:
        module = importlib.import_module(".".join([package, *reference.module]))
        found = getattr(module, reference.name, None)
    except RemoteCodeError:
        raise
    except (Exception, SystemExit) as error:  # whatever it does at import
        raise _failed(error, package, name) from error
    if not isinstance(found, type):
        message = f"{name!r}: its code has no class {reference.name!r} in {'.'.join(reference.module)}."
        raise RemoteCodeError(message)
    if _is_installed(found, package):
        message = f"{name!r}: auto_map names {found.__module__}.{found.__qualname__}, which its code only imports."
        raise RemoteCodeError(message)
    _let_pickle(found)
    return found


def _is_installed(cls: type, package: str) -> bool:
    """Whether a class is one of an installed package: what is approved is code, not that data reaches through it."""
    if cls.__module__.partition(".")[0] == package:
        return False
    return getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls


def _failed(error: BaseException, package: str, name: str) -> RemoteCodeImportError:
    line = next((each for each in reversed(list(_lines(error))) if each.startswith(package)), "")
    place = f" at {line.removeprefix(package).lstrip('/')}" if line else ""
    message = f"the code of {name!r} fails{place}: {type(error).__name__}: {brief(error)}"
    return RemoteCodeImportError(message)


def _lines(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next


# ---- what it needs that is not in it


def _refuse_missing_packages(code: RemoteCode) -> None:
    missing = {}
    for path, facts in code.facts.items():
        for name, line in facts.absolute:
            if name not in missing and not _installed(name):
                missing[name] = f"{name} ({path}:{line})"
    if missing:
        message = sentences(
            f"the code of {code.name!r} imports packages that are not installed: {listed(missing.values())}.",
            "Ask its authors which distributions provide them: a name in a repository may be anybody's.",
        )
        raise RemoteCodeImportError(message)


def _installed(name: str) -> bool:
    """Whether a top-level package can be imported; finding one runs nothing of it."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# ---- the import system's side


class _Finder(MetaPathFinder):
    """Finds the modules of approved code, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of approved code comes from."""
        del path, target
        package, _, dotted = fullname.partition(".")
        files = _approved.get(package)
        if files is None:
            if package.startswith(_PREFIX):  # nobody else may have such a name, such as a folder on `sys.path`
                message = f"no code of the name {package!r} was approved in this process."
                raise ModuleNotFoundError(message, name=fullname)
            return None
        base = dotted.replace(".", "/")
        file = f"{base}.py" if f"{base}.py" in files else "/".join(filter(None, [base, _INIT]))
        if file not in files and dotted and not any(each.startswith(f"{base}/") for each in files):
            return None
        loader = _Loader(package, file, files)
        return ModuleSpec(fullname, loader, origin=f"{package}/{file}", is_package=loader.is_package(fullname))


class _Loader(InspectLoader):
    """Loads one module of approved code; a folder without `__init__` is an empty package."""

    def __init__(self, package: str, file: str, files: _Files) -> None:
        self._package = package
        self._file = file
        self._files = files

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the creation of the module to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, if nobody has forbidden it since it was approved."""
        if forbidden():
            message = f"{SWITCH}=never forbids code of checkpoints, {self._package}/{self._file} is not run."
            raise RemoteCodeRefusedError(message)
        module.__file__ = f"{self._package}/{self._file}"
        if module.__name__ == self._package:
            setattr(module, FILES_ATTRIBUTE, self._files)
        text = self.get_source(module.__name__)
        code = compile(text, module.__file__, "exec", dont_inherit=True)
        # Known here, it is not looked for: a file of that name in the current folder would be shown, and compiled from.
        linecache.cache[module.__file__] = (len(text), None, list(StringIO(text, newline=None)), module.__file__)
        exec(code, module.__dict__)  # noqa: S102 - the one place that does; the bytes were approved by their hash

    def get_source(self, fullname: str) -> str:
        """Return the text of the module, for tracebacks and `inspect`."""
        del fullname
        return decoded(self._files.get(self._file, b""), self._file)

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package; ``from .__init__ import name`` runs its file as a plain module."""
        return self._file.rpartition("/")[2] == _INIT and not fullname.endswith(".__init__")

    def get_data(self, path: str) -> bytes:
        """Return a data file by its path below a module's `__file__`, for `pkgutil.get_data`."""
        try:
            return self._files[str(path).replace("\\", "/").removeprefix(f"{self._package}/")]
        except KeyError:
            raise FileNotFoundError(path) from None

    def get_resource_reader(self, fullname: str) -> "TraversableResources":
        """Return the data files of a package, for `importlib.resources`."""
        from nameplate_auto._remote.resources import Resources  # noqa: PLC0415 - few codes bring data

        del fullname
        return Resources(self._files, self._file.rpartition("/")[0])


_FINDER = _Finder()


# ---- other processes


def _let_pickle(cls: type) -> None:
    """Let classes of a metaclass carry their code into processes that lack it, if they came from such code.

    Only a metaclass can be told so; classes of plain `type` find their code once one of the others has brought it.
    """
    metaclass = type(cls)
    if metaclass is not type:
        copyreg.dispatch_table.setdefault(metaclass, _reduce_class)


def _reduce_class(cls: type) -> str | tuple[Any, ...]:
    package = _package_of(cls)
    if package is None:
        return cls.__qualname__
    return restore_class, (dict(_approved[package]), cls.__module__, cls.__qualname__)


def restore_class(files: dict[str, bytes], module: str, name: str) -> type:
    """Return a class that was pickled in a process where its code was approved; the code is checked against its hash.

    Raises:
        RemoteCodeRefusedError: If it is other code, or the environment forbids it.
        RemoteCodeImportError: If it fails here.
    """
    digest = digest_of(files)
    package, _, dotted = module.partition(".")
    if package != _PREFIX + digest.removeprefix("sha256:")[:_DIGITS] or forbidden():
        message = f"{module}.{name} was pickled with other code than that of its hash, or {SWITCH}=never forbids it."
        raise RemoteCodeRefusedError(message)
    _admit(MappingProxyType(files), digest)
    *outer, last = name.split(".")
    found: Any = _class_of(package, Reference(tuple(filter(None, dotted.split("."))), (outer or [last])[0]), module)
    for each in [*outer[1:], last] if outer else []:
        found = getattr(found, each)
    return found
