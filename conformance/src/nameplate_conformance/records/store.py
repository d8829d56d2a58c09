"""The folder `.conformance`, in which a run leaves what the next one may use: examples that failed, and failures.

A kept failure is a small JSON file that says what to judge again, whatever versions of Python, torch and hypothesis
there are by then. Only the folder is the business of this module; judging one again is `example`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nameplate_config.files import replace_file
from nameplate_config.strict_json import parse_object
from nameplate_config.wording import nearest, sentences
from nameplate_conformance.errors import ConformanceError

if TYPE_CHECKING:
    from hypothesis.database import ExampleDatabase

    from nameplate_conformance.architecture import Architecture
    from nameplate_conformance.result import Result

FOLDER = ".conformance"
"""What the folder is called, in the current folder of the command line and in the root of a pytest run."""

_FORMAT = 1
_ID = re.compile(r"[0-9a-f]{6}")
_IGNORE = "# Made by nameplate-conformance.\n*\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure that was kept.

    Attributes:
        id: The six digits that name it.
        reference: Where its architecture is found; empty if only the process that judged it knew.
        spec: The version of the laws that it broke.
        versions: The packages that took part.
        record: The result as it lies in the file.
    """

    id: str
    reference: str
    spec: str
    versions: Mapping[str, str]
    record: Mapping[str, Any]

    @property
    def result(self) -> "Result":
        """The result, read anew: what classes its arguments can have depends on what has been imported by then."""
        from nameplate_conformance.records.journal import result_from_json  # noqa: PLC0415 - every run loads this module

        return result_from_json(dict(self.record))

    @property
    def title(self) -> str:
        """What lists of failures call it."""
        return f"{self.id} ({self.record['law']} of {self.record['architecture']})"


@dataclass
class Store:
    """A folder of what runs remember. It is made when something is first put into it.

    Attributes:
        folder: The folder.
        trouble: Why something could not be kept; empty if everything was. A run does not end for that.

    Example:
        >>> Store(Path(".conformance")).failures()
        []
    """

    folder: Path
    trouble: str = field(default="", init=False)

    def database(self) -> "ExampleDatabase":
        """Return where hypothesis keeps the examples that failed."""
        return self._database

    @cached_property
    def _database(self) -> "ExampleDatabase":
        from hypothesis.database import DirectoryBasedExampleDatabase  # noqa: PLC0415 - heavy

        return DirectoryBasedExampleDatabase(self.folder / "examples")

    def keep(self, result: "Result", architecture: "Architecture") -> bool:
        """Keep a failure, so that it can be judged again; return whether that was possible.

        A verdict without an example, such as one that is blocked, has nothing to judge again.

        Args:
            result: The verdict.
            architecture: What was judged.
        """
        if result.kwargs is None or not result.status.is_bad:
            return False
        try:
            self._write(result, architecture.reference)
        except OSError as error:
            self.trouble = f"{self.folder} cannot be written: {error}"
            return False
        return True

    def _write(self, result: "Result", reference: str) -> None:
        from nameplate_conformance.judging.versions import versions  # noqa: PLC0415
        from nameplate_conformance.law import SPEC  # noqa: PLC0415
        from nameplate_conformance.records.journal import result_to_json  # noqa: PLC0415 - every run loads this module

        kept = {
            "format": _FORMAT,
            "id": result.id,
            "reference": reference,
            "spec": SPEC,
            "versions": versions(),
            "result": result_to_json(replace(result, apart=())),
        }
        path = self._path(result.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ignored()
        replace_file(path, [json.dumps(kept, indent=2).encode(), b"\n"])

    def failures(self) -> list[Failure]:
        """Return every failure that was kept, by its id.

        Raises:
            ConformanceError: If a file is not what `keep` writes.
        """
        names = sorted(path.stem for path in (self.folder / "failures").glob("*.json"))
        return [self._read(name) for name in names if _ID.fullmatch(name)]

    def failure(self, failure_id: str) -> Failure:
        """Return the failure with an id.

        Args:
            failure_id: Six hexadecimal digits.

        Raises:
            ConformanceError: If there is none, or its file is not what `keep` writes.
        """
        if _ID.fullmatch(failure_id) and self._path(failure_id).is_file():
            return self._read(failure_id)
        kept = {each.id: each.title for each in self.failures()}
        near = nearest(failure_id, kept)
        message = sentences(
            f"no failure {failure_id!r} is kept in {self.folder / 'failures'}.",
            f"Did you mean {kept.pop(near)}?" if near else "",
            f"{'Others' if near else 'There are'}: {'; '.join(kept.values())}." if kept else "",
            "" if kept or near else "A run keeps every failure there: judge the architecture first.",
        )
        raise ConformanceError(message)

    def forget(self, failure_id: str) -> None:
        """Remove the failure with an id, if there is one."""
        self._path(failure_id).unlink(missing_ok=True)

    def _path(self, failure_id: str) -> Path:
        return self.folder / "failures" / f"{failure_id}.json"

    def _read(self, failure_id: str) -> Failure:
        from nameplate_conformance.records.journal import (  # noqa: PLC0415 - every run loads this module
            RecordError,
            read_records,
            require_schema,
        )

        path = self._path(failure_id)
        try:
            kept = parse_object(read_records(path), where="it", error=RecordError)
            require_schema(kept, "failure")
        except RecordError as error:
            message = sentences(
                f"{path} is no failure that a run has kept: {str(error).removeprefix('is no failure of a run: ')}",
                "Remove the file; the next run that fails keeps a new one.",
            )
            raise ConformanceError(message) from error
        names = ("id", "reference", "spec", "versions")
        return Failure(record=kept["result"], **{name: kept[name] for name in names})

    def _ignored(self) -> None:
        """Tell git, as pytest does of its cache, that the folder is nobody's source."""
        marker = self.folder / ".gitignore"
        if not marker.exists():
            marker.write_text(_IGNORE, encoding="utf-8")
