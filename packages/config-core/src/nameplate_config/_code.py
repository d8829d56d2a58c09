"""The source that defines classes, collected to be copied beside a checkpoint with the layout of their package.

Classes are saved with the files that their modules import relatively, at any depth, and the data files that these
name. Whoever loads the checkpoint runs its folder as the root of a private package: relative imports keep working
there, imports of the own package by its name do not, and are refused here. Nothing is imported or run: the source is
only parsed, and what is imported already is asked where packages lie. Imports made by a call, such as
`importlib.import_module`, are not seen. Running such code belongs elsewhere.
"""

import ast
import functools
import importlib.machinery
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nameplate_config._code_rules import (
    MOST_BYTES,
    MOST_DATA_FILES,
    MOST_FILES,
    MOST_UNITS,
    MOST_UNITS_OF_ONE,
    data_names,
    held_files,
    is_of_checkpoint,
    units,
)
from nameplate_config.errors import SourceCodeError
from nameplate_config.files import read_file
from nameplate_config.wording import did_you_mean, listed, sentences, shown

# Source first: where a module is compiled as well, the copy is imported from its source.
_SUFFIXES = (".py", *importlib.machinery.EXTENSION_SUFFIXES, *importlib.machinery.BYTECODE_SUFFIXES)

_INSTALLED = frozenset({"site-packages", "dist-packages"})

_Name = tuple[str, ...]
"""The parts of a module's dotted name."""

_Need = tuple[Path, str]
"""The file of a module, and the line that needs it."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The source of some classes, read once.

    Attributes:
        references: Where each class is found in the folder, as `auto_map` says it: ``modeling_resnet.ResnetModel``.
        files: The bytes of each file by its path in the checkpoint folder, with slashes.
    """

    references: tuple[str, ...]
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Module:
    """One module of the copy."""

    name: _Name
    path: Path
    data: bytes
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return _defines_package(self.name, self.path)

    @property
    def package(self) -> _Name:
        """The package that its relative imports start from."""
        return self.name if self.is_package else self.name[:-1]

    def at(self, line: int) -> str:
        """Return how messages name one of its lines."""
        return f"{self.path}:{line}"


def source_files(*classes: type) -> SourceFiles:
    """Return the source that defines classes: their modules, every module imported relatively from there, and data.

    The root of the copy is the smallest package that holds all modules. A package below the root is copied with its
    `__init__`; the `__init__` of the root only if a name is imported from it. Data files are those beside a module
    that it names, see `data_names`. Of classes that came as code from a checkpoint, its files are returned unchanged.

    Raises:
        SourceCodeError: If there is no such source, or it would not work beside a checkpoint.
    """
    try:
        held = [each for each in map(held_files, classes) if each is not None]
        _refuse_apart(classes)
        return _held(classes, *held[0]) if held else _collected(classes)
    except SourceCodeError as error:
        names = listed(cls.__qualname__ for cls in classes)
        message = sentences(f"the code of {names} cannot be saved beside a checkpoint.", str(error))
        raise SourceCodeError(message) from error.__cause__


def _held(classes: Sequence[type], root: str, files: Mapping[str, bytes]) -> SourceFiles:
    for cls in classes:
        _refuse_nested(cls, cls.__module__)
    references = (f"{cls.__module__.removeprefix(root)}.{cls.__name__}".removeprefix(".") for cls in classes)
    return SourceFiles(tuple(references), MappingProxyType(dict(sorted(files.items()))))


def _collected(classes: Sequence[type]) -> SourceFiles:
    starts = [_defining_module(cls) for cls in classes]
    modules = _closure(starts)
    depth = len(_root(starts, modules))
    files = {_relative_path(module, depth): module.data for module in modules.values()}
    files |= _data_files(modules, depth)
    references = (".".join([*start.name[depth:], cls.__name__]) for start, cls in zip(starts, classes, strict=True))
    return SourceFiles(tuple(references), MappingProxyType(dict(sorted(files.items()))))


def _refuse_apart(classes: Sequence[type]) -> None:
    """Refuse classes of different packages: one of them would be defined twice, there and beside the checkpoint."""
    first, *others = classes
    held, top = held_files(first), first.__module__.partition(".")[0]
    for cls in others:
        if (held_files(cls) or ("",))[0] != (held or ("",))[0] or cls.__module__.partition(".")[0] != top:
            raise SourceCodeError(
                sentences(
                    f"{first.__name__} is defined in {first.__module__!r}, and {cls.__name__} in {cls.__module__!r}.",
                    "Define both in one package, or register only the one whose code is to be copied.",
                )
            )


# ---- where it starts


def _defining_module(cls: type) -> _Module:
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None) or ""
    if not Path(file).is_file():
        raise _without_source(cls, file)
    start = _read(tuple(cls.__module__.split(".")), Path(file), file)
    _refuse_unreachable(cls, start, module)
    return start


def _without_source(cls: type, file: str) -> SourceCodeError:
    if cls.__module__ == "__main__":
        return SourceCodeError(
            sentences("it was defined interactively.", "Define the class in a file, and import it from there.")
        )
    if not file:
        return SourceCodeError(
            sentences(f"its module {cls.__module__!r} has no source file.", "Define the class in a file of its own.")
        )
    return SourceCodeError(
        sentences(
            f"{file!r} is not a file: its module was imported from an archive, or moved since.",
            "Import the class from an unpacked source file.",
        )
    )


def _refuse_unreachable(cls: type, start: _Module, module: Any) -> None:
    """Refuse a class that `module.Class` would not name when the file is imported from its copy."""
    name = cls.__qualname__
    line = _line_of_class(start.tree, name.rpartition(".")[2])
    where = start.at(line or 1)
    if cls.__module__ in {"__main__", "__mp_main__"}:
        if not line:  # typed after the script had run
            raise _without_source(cls, "")
        raise SourceCodeError(
            sentences(
                f"{where}: {name} is defined in the script that is being run.",
                "Move the class to a module, and import it from there.",
            )
        )
    _refuse_nested(cls, where)
    # Its own decorators see it before it has a name, so that its definition counts as well.
    if not line and vars(module).get(name) is not cls:
        raise SourceCodeError(
            sentences(
                f"{where}: the module {cls.__module__!r} has no class {name}.",
                "Give the class the name by which its module knows it.",
            )
        )


def _refuse_nested(cls: type, where: str) -> None:
    if "." in cls.__qualname__:
        place = "inside a function" if "<locals>" in cls.__qualname__ else "inside another class"
        raise SourceCodeError(
            sentences(
                f"{where}: {cls.__qualname__} is defined {place}.", "Move the class to the top level of its module."
            )
        )


def _line_of_class(tree: ast.Module, name: str) -> int | None:
    lines = (node.lineno for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return next(lines, None)


# ---- what it needs


def _closure(starts: Iterable[_Module]) -> dict[_Name, _Module]:
    """Return the modules and all that they need, by name."""
    modules = {start.name: start for start in starts}
    first = list(modules.values())
    walk = list(first)
    for module in walk:
        for name, (path, needed_at) in (_needs(module) | _packages_below_root(first, modules)).items():
            if name not in modules:
                modules[name] = _read(name, path, needed_at)
                walk.append(modules[name])
                _check_budget([each.data for each in modules.values()], path, needed_at)
    _check_units(modules.values())
    return modules


def _data_files(modules: Mapping[_Name, _Module], depth: int) -> dict[str, bytes]:
    """Return the data files that modules name, by their paths in the folder."""
    found: dict[str, bytes] = {}
    for module in modules.values():
        for name in data_names(module.tree):
            path, place = module.path.parent / name, "/".join([*module.package[depth:], name])
            if place not in found and path.is_file() and not is_of_checkpoint(place):
                found[place] = read_file(path, limit=MOST_BYTES, too_large=SourceCodeError)
                data = [*(each.data for each in modules.values()), *found.values()]
                _check_budget(data, path, module.at(_line_of_text(module.tree, name)), len(found))
    return found


def _line_of_text(tree: ast.Module, text: str) -> int:
    return next(node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == text)


def _needs(module: _Module) -> dict[_Name, _Need]:
    """Return the modules that a module imports relatively."""
    needs = {}
    for node in _imports(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            needs.update({name: (path, module.at(node.lineno)) for name, path in _imported(node, module)})
        else:
            _refuse_own(node, module)
    return needs


def _packages_below_root(starts: Sequence[_Module], modules: Mapping[_Name, _Module]) -> dict[_Name, _Need]:
    """Return the packages that Python runs on the way to the modules.

    Each module found may move the root up, so they are asked for anew, and of all modules.
    """
    depth = len(_root(starts, modules))
    ways = {each.name[:end]: each for each in modules.values() for end in range(depth + 1, len(each.name))}
    return {package: (path, each.at(1)) for package, each in ways.items() if (path := _file(package))}


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """Return the imports of a module in the order of its lines, also those inside functions and conditions."""
    found = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _imported(node: ast.ImportFrom, module: _Module) -> Iterator[tuple[_Name, Path]]:
    """Yield the modules that a relative import takes names from, or takes itself, with their files."""
    package = module.package
    if node.level > len(package):
        raise _beyond(node, module)
    target = (*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ()))
    file = _file(target)
    if file and not _defines_package(target, file):
        yield target, file
        return
    for name in _names(node, target):
        submodule = (*target, name)
        bound = _bound(target, name)
        # What the package itself binds hides a file of that name, unless it is the module of that file.
        hidden = bound is not None and bound is not sys.modules.get(".".join(submodule))
        if not hidden and (path := _file(submodule)):
            yield submodule, path
        elif file and (hidden or bound is None):
            yield target, file
        else:
            raise _missing(submodule if _folders(target) or not node.module else target, node, module)


def _names(node: ast.ImportFrom, package: _Name) -> list[str]:
    """Return the names that are imported; of a star also the modules that the package counts as its own."""
    names = [alias.name for alias in node.names]
    return [*names, *(_bound(package, "__all__") or ())] if names == ["*"] else names


def _bound(package: _Name, name: str) -> Any:
    """Return what an imported package binds to a name, without waking its `__getattr__`."""
    return getattr(sys.modules.get(".".join(package)), "__dict__", {}).get(name)


def _check_budget(files: Sequence[bytes], path: Path, needed_at: str, data_files: int = 0) -> None:
    if len(files) > MOST_FILES:
        found = f"more than {MOST_FILES} files"
    elif data_files > MOST_DATA_FILES:
        found = f"more than {MOST_DATA_FILES} data files"
    elif sum(map(len, files)) > MOST_BYTES:
        found = f"more than {MOST_BYTES >> 20} MiB of source"
    else:
        return
    raise SourceCodeError(
        sentences(
            f"{needed_at}: with {str(path)!r}, which this line needs, it would be {found}.",
            "Import less from the module of the class, or publish the package and do not copy it.",
        )
    )


def _check_units(modules: Iterable[_Module]) -> None:
    """Refuse source that whoever loads the copy would not parse."""
    sizes = {str(module.path): units(module.data) for module in modules}
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] > MOST_UNITS_OF_ONE or sum(sizes.values()) > MOST_UNITS:
        raise SourceCodeError(
            sentences(
                f"it would be {sum(sizes.values()):,} words and marks of source, {sizes[largest]:,} in {largest!r}.",
                f"At most {MOST_UNITS:,} are read again, {MOST_UNITS_OF_ONE:,} of one file. Publish the package.",
            )
        )


# ---- what would not work in the copy


def _refuse_own(node: ast.Import | ast.ImportFrom, module: _Module) -> None:
    """Refuse the absolute import of what lies in the own package, or beside a module without one."""
    for target, names in _as_from_imports(node):
        top = (*target, names[0].name)[0]
        statement = f"{module.at(node.lineno)}: {shown(ast.unparse(node))}"
        if module.package and top == module.package[0]:
            raise SourceCodeError(
                sentences(
                    f"{statement} imports its own package by name, which is not found beside a checkpoint.",
                    f"Write {_as_relative(target, names, module.package)!r}.",
                )
            )
        if not module.package and _is_sibling(module, top):
            relative = ast.unparse(ast.ImportFrom(".".join(target) or None, names, 1))
            raise SourceCodeError(
                sentences(
                    f"{statement} imports a file next to its own, which is not found beside a checkpoint.",
                    f"Put both files into a package, and write {relative!r}.",
                )
            )


def _as_from_imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[_Name, list[ast.alias]]]:
    """Yield an absolute import as where it imports from, and what."""
    if isinstance(node, ast.ImportFrom):
        yield tuple((node.module or "").split(".")), node.names
        return
    for alias in node.names:
        *parents, name = alias.name.split(".")
        yield tuple(parents), [ast.alias(name, alias.asname)]


def _as_relative(target: _Name, names: list[ast.alias], package: _Name) -> str:
    """Return the relative import that does what an absolute one of the own package does."""
    if not target:  # `import package`: what it wants from there is not known
        target, names = package[:1], [ast.alias("...")]
    shared = len(_shared(target, package))
    return ast.unparse(ast.ImportFrom(".".join(target[shared:]) or None, names, len(package) - shared + 1))


def _is_sibling(module: _Module, name: str) -> bool:
    folder = module.path.parent
    # Next to an installed module lie all the others that are installed.
    if folder.name in _INSTALLED or name in sys.stdlib_module_names:
        return False
    files = (folder / f"{name}.py", folder / name / "__init__.py")
    return any(file.is_file() for file in files) or folder / name in _folders((name,))


def _beyond(node: ast.ImportFrom, module: _Module) -> SourceCodeError:
    statement = f"{module.at(node.lineno)}: {shown(ast.unparse(node))}"
    if not module.package:
        return SourceCodeError(
            sentences(f"{statement} is a relative import, but its module is in no package.", "Move it into one.")
        )
    dots = f"{len(module.package)} dot{'s' if len(module.package) > 1 else ''}"
    return SourceCodeError(
        sentences(f"{statement} leads out of the package {module.package[0]!r}.", f"Write at most {dots}.")
    )


def _missing(name: _Name, node: ast.ImportFrom, module: _Module) -> SourceCodeError:
    folders = _folders(name[:-1])
    there = sorted({path.stem for folder in folders for path in folder.glob("*.py")})
    return SourceCodeError(
        sentences(
            f"{module.at(node.lineno)}: {shown(ast.unparse(node))} names no file.",
            f"Expected {name[-1]}.py or {name[-1]}/__init__.py in {listed(map(repr, map(str, folders)))}."
            if folders
            else f"Expected a package {'.'.join(name[:-1])!r}.",
            did_you_mean(name[-1], there),
        )
    )


# ---- modules and their files


def _read(name: _Name, path: Path, needed_at: str) -> _Module:
    """Return a module, parsed."""
    if path.suffix != ".py":
        raise SourceCodeError(
            sentences(
                f"{needed_at}: the module {'.'.join(name)!r} is compiled: there is {path.name!r} and no source.",
                "Import only modules whose source is there.",
            )
        )
    data = read_file(path, limit=MOST_BYTES, too_large=SourceCodeError)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceCodeError(
            sentences(f"{path}:{line}: the file is not UTF-8.", "Save it in that encoding.")
        ) from error
    try:
        return _Module(name, path, data, ast.parse(data, str(path)))
    except SyntaxError as error:
        message = f"{path}:{error.lineno or 1}: the file is not valid Python: {error.msg}."
        raise SourceCodeError(message) from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, or nested too deeply
        message = f"{path}:1: the file is not valid Python: {str(error) or type(error).__name__}."
        raise SourceCodeError(message) from error


def _file(name: _Name) -> Path | None:
    """Return the file that Python would import as a module, or None."""
    inside = ((folder, "__init__") for folder in _folders(name))
    beside = ((folder, name[-1]) for folder in _folders(name[:-1]))
    candidates = (folder / f"{stem}{suffix}" for folder, stem in [*inside, *beside] for suffix in _SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _folders(package: _Name) -> list[Path]:
    """Return where the modules of a package lie; nowhere, if there is no such package."""
    if not package:
        return []
    module = sys.modules.get(".".join(package))
    if module is not None:
        return [Path(entry) for entry in getattr(module, "__path__", ())]
    return [folder / package[-1] for folder in _folders(package[:-1]) if (folder / package[-1]).is_dir()]


def _defines_package(name: _Name, path: Path) -> bool:
    # `from .__init__ import x` imports that file as a plain module.
    return path.name.partition(".")[0] == "__init__" != name[-1]


def _root(starts: Sequence[_Module], modules: Mapping[_Name, _Module]) -> _Name:
    """Return the smallest package that holds every module, and in which the first ones have names."""
    root = functools.reduce(_shared, (module.package for module in modules.values()))
    return root[:-1] if any(root == start.name for start in starts) else root


def _shared(one: _Name, other: _Name) -> _Name:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(part for part, _ in pairs)


def _relative_path(module: _Module, depth: int) -> str:
    parts = module.name[depth:]
    return "/".join([*parts, "__init__.py"] if module.is_package else [*parts[:-1], f"{parts[-1]}.py"])
