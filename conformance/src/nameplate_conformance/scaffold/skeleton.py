"""Writing the skeleton of a package: config, model, entry points, conformance test, README."""

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from nameplate_config.wording import sentences, shown
from nameplate_conformance.errors import ConformanceError

_FAMILY = ("config", "model", "auto", "conformance")

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "__init__.py": "src/{module}/__init__.py",
    "architecture.py": "src/{module}/architecture.py",
    "configuration.py": "src/{module}/configuration.py",
    "modeling.py": "src/{module}/modeling.py",
    "conformance.py": "src/{module}/conformance.py",
    "py.typed": "src/{module}/py.typed",
    "test_conformance.py": "tests/test_conformance.py",
}
"""Where each template goes."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one package.

    Attributes:
        distribution: What is installed: ``my-arch``.

    Example:
        >>> names = Names("my-arch")
        >>> names.module, names.prefix
        ('my_arch', 'MyArch')
    """

    distribution: str

    def __post_init__(self) -> None:
        """Refuse what is no name of a distribution and of a module.

        Raises:
            ConformanceError: If it is not, or a module of that name exists already.
        """
        fits = re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", self.distribution)
        if not fits or keyword.iskeyword(self.module) or self.module in sys.stdlib_module_names:
            message = sentences(
                f"{shown(self.distribution)} cannot be the name of a package.",
                "Take letters, digits and hyphens, a letter first, and no name that Python has taken: my-arch.",
            )
            raise ConformanceError(message)
        if find_spec(self.module) is not None:
            message = f"a module {self.module!r} is installed already, which the package would hide. Take another name."
            raise ConformanceError(message)

    @property
    def module(self) -> str:
        """What is imported, and the `model_type`."""
        return re.sub(r"[-_.]+", "_", self.distribution).lower()

    @property
    def prefix(self) -> str:
        """What the names of the classes begin with."""
        return "".join(part[:1].upper() + part[1:] for part in self.module.split("_"))


def write_skeleton(name: str, folder: Path) -> list[Path]:
    """Write the skeleton of a package into a new folder.

    Args:
        name: The name of the distribution.
        folder: Where; it is made. One that has files in it is left alone.

    Returns:
        The files that were written.

    Raises:
        ConformanceError: If the name is none for a package, or the folder is not empty.
    """
    names = Names(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder} is not empty, so nothing was written. Name another folder, or remove what is there."
        raise ConformanceError(message)
    texts = _rendered(names)
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return [folder / path for path in texts]


def _rendered(names: Names) -> dict[str, str]:
    """Return every text before any is written, so that nothing is half done."""
    environment = Environment(
        loader=PackageLoader("nameplate_conformance", "scaffold/templates"),
        autoescape=False,  # noqa: S701 - Python and TOML; the names are checked
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    ranges = {each: _range(version(f"nameplate-{each}")) for each in _FAMILY}
    return {
        path.format(module=names.module): environment.get_template(f"{template}.jinja").render(
            names=names, ranges=ranges, code="```"
        )
        for template, path in _FILES.items()
    }


def _range(installed: str) -> str:
    """Return the versions that a new package should ask for: from the installed one to the next that may break it."""
    major, minor, *_rest = installed.split(".")
    return f">={major}.{minor},<{major}.{int(minor) + 1}" if major == "0" else f">={major}.{minor},<{int(major) + 1}"
