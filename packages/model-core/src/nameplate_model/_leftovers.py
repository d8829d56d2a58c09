"""What a folder holds of the checkpoint before, and what of it goes once the new one counts.

Only what the previous record owned is removed, and what a killed save of ours can leave: drafts, and shards that no
record names. Everything else in the folder belongs to somebody else.
"""

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nameplate_config import Source
from nameplate_config.files import drafted_name, flush_folder, read_file
from nameplate_config.record import CONFIG_NAME, WeightsPlace, choose_weights, identity_of
from nameplate_config.strict_json import LARGEST_CONFIG
from nameplate_model._dcp.safetensors_folder import identity_of_shards, named_shards
from nameplate_model._layout import LARGEST_INDEX, REPLACED_KEY, is_shard, may_be_shard
from nameplate_model.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Before:
    """What a folder holds before a save.

    Attributes:
        folder: The folder.
        variant: Whose weights are meant.
        place: The weight files, and which of them counts.
        mirror: The bytes of `config.json`, or None.
        shards: The names of the files that the index owns.
        of_ranks: The names of the shards that torch's ranks have each written for itself.
    """

    folder: Path
    variant: str | None
    place: WeightsPlace
    mirror: bytes | None
    shards: frozenset[str]
    of_ranks: tuple[str, ...] = ()

    def other(self, path: Path) -> Path | None:
        """Return the weight file of the other kind, if there is one: the index for a single file, and vice versa."""
        return next((each for each in (self.place.single, self.place.index) if each not in {None, path}), None)

    def superseded(self, path: Path) -> list[str]:
        """Return the identities that a record at *path* supersedes."""
        other = self.other(path)
        found = [] if other is None else [identity_of(other)]
        return [*found, *([identity_of_shards(self.folder, self.of_ranks)] if self.of_ranks else [])]

    def stale(self, config_text: str) -> bytes | None:
        """Return the mirror that a crash could leave beside a config, if it is another one."""
        return None if self.mirror == config_text.encode() else self.mirror


def look(folder: Path, variant: str | None) -> Before:
    """Return what a folder holds of a variant's checkpoint.

    Raises:
        CheckpointError: If `config.json` is larger than any config.
        OSError: If something is there that cannot be read, or is no file.
    """
    place = choose_weights(Source(str(folder), folder), variant)
    config = folder / CONFIG_NAME
    mirror = read_file(config, limit=LARGEST_CONFIG, too_large=CheckpointError) if config.exists() else None
    of_ranks = () if variant else tuple(named_shards(folder))
    return Before(folder, variant, place, mirror, _owned(place.index, variant), of_ranks)


def _owned(index: Path | None, variant: str | None) -> frozenset[str]:
    """Return the names of shards that an index has, or had in its own folder before it was replaced by ours."""
    if index is None:
        return frozenset()
    try:
        root: Any = json.loads(read_file(index, limit=LARGEST_INDEX, too_large=CheckpointError))
        names = [*root["weight_map"].values(), *root.get("metadata", {}).get(REPLACED_KEY, [])]
    except (CheckpointError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return frozenset()  # what cannot be read owns nothing
    return frozenset(name for name in names if isinstance(name, str) and may_be_shard(name, variant))


def remove_leftovers(before: Before, kept: Iterable[Path], *, alone: bool) -> bool:
    """Remove what the new checkpoint took the place of, shards before the index that names them.

    Args:
        before: What was there.
        kept: The weight files of the new checkpoint.
        alone: Whether nobody else saves into the folder now, so that drafts and shards without an index are litter.

    Returns:
        Whether anything was removed.

    Raises:
        OSError: If something could not be removed.
    """
    keeping = {path.name for path in kept}
    names = {*before.shards, *before.of_ranks}
    if alone:
        there = [path.name for path in before.folder.iterdir()]
        names.update(name for name in there if is_shard(name, before.variant) or _is_draft(name))
    last = [path.name for path in (before.place.single, before.place.index) if path is not None]
    removed = [_remove(before.folder / name) for name in sorted(names) if name not in keeping]
    last = [name for name in last if name not in keeping]
    if any(removed) and last:
        flush_folder(before.folder)  # or a loss of power might leave a shard and not the index that says whose it is
    return any([*removed, *(_remove(before.folder / name) for name in last)])


def _is_draft(name: str) -> bool:
    return (drafted_name(name) or "").startswith("model.")


def _remove(path: Path) -> bool:
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            return False
        os.unlink(path)  # noqa: PTH108 - the calls of `os` are what tests of crashes count
    except FileNotFoundError:
        return False
    return True
