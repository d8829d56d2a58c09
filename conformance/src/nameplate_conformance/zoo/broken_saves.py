"""Mutants of level 7, crashes: saves that a kill, a full disk or a second saver turns into something else."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.oracle import INDEX, SINGLE
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of, reference
from nameplate_model import SaveError


def _writes_the_config_first() -> Architecture:
    class HastyModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if (Path(folder) / "config.json").is_file():
                self.config.save_pretrained(folder)
            super().save_pretrained(folder, **options)

    return of(HastyModel)


def _clears_the_folder_first() -> Architecture:
    class ClearingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if Path(folder).is_dir() and not options.get("variant"):
                for name in sorted({*_shards(Path(folder)), INDEX}):
                    _remove(Path(folder) / name)
            super().save_pretrained(folder, **options)

    return of(ClearingModel)


def _shards(folder: Path) -> list[str]:
    """Return the names of the files that an index names."""
    try:
        return list(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _remove(path: Path) -> None:
    if path.exists():
        os.unlink(path)  # noqa: PTH108 - the calls of `os` are what the law sees


def _leaves_the_single_file() -> Architecture:
    """Break shards as Transformers 5.23 does: the single file of the save before stays, and is what is loaded."""

    class StaleModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            single = Path(folder) / SINGLE
            before = single.read_bytes() if single.is_file() else None
            super().save_pretrained(folder, **options)
            if before is not None and not single.exists():
                single.write_bytes(before)

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            if not isinstance(source, (str, Path)) or not all(
                (Path(source) / each).is_file() for each in (SINGLE, INDEX)
            ):
                return super().from_pretrained(source, **kwargs)
            with tempfile.TemporaryDirectory() as preferred:
                for name in ("config.json", SINGLE):
                    shutil.copy(Path(source) / name, preferred)
                kwargs["memory"] = "copy"
                return super().from_pretrained(preferred, **kwargs)

    return of(StaleModel)


def _lets_the_system_speak() -> Architecture:
    class RawModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            try:
                super().save_pretrained(folder, **options)
            except SaveError as error:
                raise (error.__cause__ or error) from None

    return of(RawModel)


def _fails_in_silence() -> Architecture:
    class SilentModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            try:
                super().save_pretrained(folder, **options)
            except SaveError:
                return

    return of(SilentModel)


def _leaves_its_mark() -> Architecture:
    class MarkingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            mark = Path(folder) / ".saving"
            if mark.parent.is_dir():
                os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
            super().save_pretrained(folder, **options)
            _remove(mark)

    return of(MarkingModel)


@contextmanager
def _locks_do_not_lock() -> Iterator[None]:
    """Let the system say that it has locked a file when it has not, as some network file systems do."""
    import fcntl  # noqa: PLC0415 - not on Windows

    real = fcntl.flock
    fcntl.flock = lambda *_: None
    try:
        yield
    finally:
        fcntl.flock = real


def _checks_too_late() -> Architecture:
    class PedanticModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            at_hand = isinstance(source, (str, Path)) and not (Path(source) / SINGLE).exists()
            named = _shards(Path(source)) if at_hand else []
            model = super().from_pretrained(source, **kwargs)
            time.sleep(0.01)  # as a slower disk takes
            if not kwargs and not all((Path(source) / name).is_file() for name in named):
                message = f"{source} lacks a shard that its index names"
                raise FileNotFoundError(message)
            return model

    return of(PedanticModel)


def _shares_its_backup() -> Architecture:
    class CautiousModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            config, backup = Path(folder) / "config.json", Path(folder) / "config.json.bak"
            if not config.is_file():
                super().save_pretrained(folder, **options)
                return
            try:
                with suppress(FileExistsError):
                    os.link(config, backup)
                try:
                    super().save_pretrained(folder, **options)
                finally:
                    os.unlink(backup)  # noqa: PTH108 - as above
            except OSError as error:
                message = f"{folder} could not be written"
                raise error if isinstance(error, SaveError) else SaveError(message) from error

    return of(CautiousModel)


SAVE_MUTANTS = (
    Mutant(
        "WritesTheConfigFirst", "F05", "a kill leaves the new config beside the old weights", _writes_the_config_first
    ),
    Mutant("ClearsTheFolderFirst", "F05", "old shards are removed before there are new ones", _clears_the_folder_first),
    Mutant("LeavesTheSingleFile", "F05", "shards do not replace a single file", _leaves_the_single_file),
    Mutant("LetsTheSystemSpeak", "F06", "a full disk is an OSError without a folder", _lets_the_system_speak),
    Mutant("FailsInSilence", "F06", "a save that failed returns", _fails_in_silence),
    Mutant("LeavesItsMark", "F06", "a failed save leaves a file of its own", _leaves_its_mark),
    Mutant("LocksDoNotLock", "F07", "two savers take each other's drafts for litter", reference, _locks_do_not_lock),
    Mutant("ChecksTooLate", "F07", "a load looks for shards that another save has replaced", _checks_too_late),
    Mutant("SharesItsBackup", "F07", "two savers use one name for their backup", _shares_its_backup),
)
