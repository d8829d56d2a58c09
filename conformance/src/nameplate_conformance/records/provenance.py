"""What exactly was judged: the files of an installed package, or of the wheel that it came from, as one digest.

The digest is the same for a wheel and for any installation of it. Executes nothing of the package.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from nameplate_config.wording import sentences
from nameplate_conformance.errors import ConformanceError

_METADATA = frozenset({"METADATA", "WHEEL", "entry_points.txt"})
"""What a wheel brings into its dist-info folder, besides licences; the rest is the installer's own."""


def installed_digest(name: str, version: str) -> str:
    """Return the digest of an installed package, whose files are as they were installed.

    Args:
        name: The name of the distribution.
        version: The version that was judged.

    Raises:
        ConformanceError: If it is not installed in that version or in editable mode, or a file was changed.
    """
    found = _installed(name, version)
    if _is_editable(found):
        message = sentences(
            f"{name} is installed in editable mode, so nothing says which files were judged.",
            "Install its wheel, or give the wheel that was built from these files.",
        )
        raise ConformanceError(message)
    contents: dict[str, str] = {}
    for file in found.files or ():
        path = PurePosixPath(file)
        if _counts(path) and file.hash is not None:
            digest = hashlib.sha256(Path(str(file.locate())).read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
                message = f"{file} of {name} was changed after it was installed. Install {name} again and judge that."
                raise ConformanceError(message)
            contents[path.as_posix()] = digest.hex()
    return _digest(contents)


def wheel_digest(wheel: Path, name: str, version: str) -> str:
    """Return the digest of a wheel whose modules are the very ones that can be imported here.

    Args:
        wheel: The file.
        name: The name of the distribution.
        version: The version that was judged.

    Raises:
        ConformanceError: If it is no such wheel, or holds other code than was judged.
    """
    _installed(name, version)
    if not _is_named(wheel.name, name, version):
        start = f"{canonicalize_name(name).replace('-', '_')}-{version}-"
        message = f"{wheel.name} is no wheel of what was judged: its name must begin with {start!r}."
        raise ConformanceError(message)
    contents: dict[str, str] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if _counts(PurePosixPath(member)) and not member.endswith("/"):
                    data = archive.read(member)
                    _require_importable(PurePosixPath(member), data, wheel.name)
                    contents[member] = hashlib.sha256(data).hexdigest()
    except (OSError, zipfile.BadZipFile) as error:
        message = f"{wheel} cannot be read as a wheel: {error}."
        raise ConformanceError(message) from error
    return _digest(contents)


def _is_named(wheel: str, name: str, version: str) -> bool:
    """Whether a wheel says by its name that it is of a package, however that one's name is spelt."""
    try:
        found, number, _, _ = parse_wheel_filename(wheel)
    except ValueError:  # of either, a name or a version that follows no rule
        return False
    return (found, number) == (canonicalize_name(name), Version(version))


def _installed(name: str, version: str) -> Distribution:
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError) as error:
        message = f"there is no installed package {name!r}, so nothing says what was judged."
        raise ConformanceError(message) from error
    if found.version != version:
        message = f"{name} {version} was judged, but {found.version} is installed. Certify where you judged."
        raise ConformanceError(message)
    return found


def _is_editable(found: Distribution) -> bool:
    url = json.loads(found.read_text("direct_url.json") or "{}")
    return bool(url.get("dir_info", {}).get("editable"))


def _counts(path: PurePosixPath) -> bool:
    if ".." in path.parts or path.is_absolute() or path.suffix == ".pyc":
        return False
    in_metadata = path.parts[0].endswith(".dist-info")
    return not in_metadata or path.name in _METADATA or "licenses" in path.parts


def _require_importable(member: PurePosixPath, data: bytes, wheel: str) -> None:
    if member.parts[0].endswith((".dist-info", ".data")):
        return
    found = [place for place in _places(member) if place.is_file() and place.read_bytes() == data]
    if not found:
        message = f"{wheel} holds another {member} than the one that was judged. Build the wheel from what was judged."
        raise ConformanceError(message)


def _places(member: PurePosixPath) -> list[Path]:
    """Return where a file of a wheel may lie in this environment."""
    spec = find_spec(member.parts[0].removesuffix(".py"))
    if spec is None:
        return []
    if len(member.parts) == 1:
        return [Path(spec.origin or "")]
    return [Path(folder, *member.parts[1:]) for folder in spec.submodule_search_locations or ()]


def _digest(contents: dict[str, str]) -> str:
    return hashlib.sha256("".join(_lines(contents.items())).encode()).hexdigest()


def _lines(files: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{digest}  {path}\n" for path, digest in sorted(files)]
