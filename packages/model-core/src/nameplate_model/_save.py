"""Saving: the order of the steps by which a folder's checkpoint becomes another, old or new at each of them.

Shards first, if there are any: they mean nothing yet. Then the code that goes with the checkpoint. Its files keep
their names when their content changes, so a kill in the instant before the commit leaves old weights beside new code.
Then the record takes its name, which is the commit (see `nameplate_config.record`): `model.safetensors` itself, or the
index. Then the mirror `config.json`, and last goes what the checkpoint before owned; code is never removed. Equal
states give equal bytes, and a checkpoint that is there already is not written.

Several ranks that save together go through the same steps: the first of them does, and all fill the files between.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nameplate_config import UnknownOptionError
from nameplate_config.code import drafted_code
from nameplate_config.files import Draft, flush_folder, locked, make_folder
from nameplate_config.record import (
    CONFIG_NAME,
    index_name,
    mirror_bytes,
    read_hashes,
    record_metadata,
    weights_name,
)
from nameplate_config.wording import sentences
from nameplate_model._aliases import Stored, stored
from nameplate_model._layout import REPLACED_KEY, is_shard
from nameplate_model._leftovers import Before, look, remove_leftovers
from nameplate_model._shards import Shard, index_text, same_index, split, written
from nameplate_model._unchanged import same_file
from nameplate_model._writer import MUCH, Blank, Filling, planned, write_tensors
from nameplate_model.errors import CommittedError, MissingRankError, SaveError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is to be saved.

    Attributes:
        state: The tensors by key. Only read.
        config_text: What `config.json` is going to hold.
        limit: The most bytes of tensors in one file.
        variant: Under which variant's names.
        parameters: How many parameters the model has.
        texts: More texts for the metadata.
        code: The bytes of each file of code by its path in the folder.
        one_file_for: The layout whose readers know no shards, or empty.
    """

    state: Mapping[str, torch.Tensor]
    config_text: str
    limit: int
    variant: str | None = None
    parameters: int = 0
    texts: Mapping[str, str] | None = None
    code: Mapping[str, bytes] = field(default_factory=dict)
    one_file_for: str = ""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write weights and config into a folder: a reader or a crash sees the old checkpoint or the new one.

    Args:
        folder: Created if needed.
        checkpoint: What goes into it.

    Raises:
        CheckpointError: If a value is no tensor, has no data, or has a dtype that the format lacks.
        SaveError: If the system cannot write. The folder holds the old checkpoint, whole.
        CommittedError: If it cannot once the new one counts. The folder holds the new checkpoint, whole.
        UnknownOptionError: If there would be shards in a layout that has none.
        UnsafePathError: If the path is a file, or the variant no word, or code would leave the folder through a link.
    """
    content = stored(checkpoint.state)
    save_files(folder, checkpoint, content, files_for(checkpoint, content))


def files_for(checkpoint: Checkpoint, content: Stored) -> list[dict[str, torch.Tensor]]:
    """Return which tensors go into which file; of several, all but the last have about as much as the limit allows.

    Raises:
        CheckpointError: If there would be more files than a reader opens.
        UnknownOptionError: If there would be several in a layout that has one.
        UnsafePathError: If the variant is no word.
    """
    weights_name(checkpoint.variant)  # refuses a bad one before anything is made
    parts = split(content, checkpoint.limit)
    if checkpoint.one_file_for and len(parts) > 1:
        message = sentences(
            f"layout={checkpoint.one_file_for!r} is read from one file of weights, and these would be {len(parts)}.",
            "Give a larger max_shard_size, or save without a layout.",
        )
        raise UnknownOptionError(message)
    return parts


def save_files(
    folder: Path,
    checkpoint: Checkpoint,
    content: Stored,
    parts: list[dict[str, torch.Tensor]],
    filling: Filling | None = None,
) -> None:
    """Go through all steps of a save.

    Args:
        folder: Created if needed.
        checkpoint: What goes into it.
        content: What of its state is stored.
        parts: The tensors of each file.
        filling: Who fills the files, if it is not this process alone. Then they are written even if they are there.

    Raises:
        SaveError: If the system cannot write. The folder holds the old checkpoint, whole.
        CommittedError: If it cannot once the new one counts. The folder holds the new checkpoint, whole.
        UnsafePathError: If the path is a file, or code would leave the folder through a link.
    """
    try:
        make_folder(folder)
        with locked(folder) as alone, drafted_code(folder, checkpoint.code) as publish_code:
            before = look(folder, checkpoint.variant)
            steps = _Steps(before, checkpoint, content, publish_code, alone=alone, filling=filling)
            if len(parts) > 1:
                steps.save_shards(parts)
            else:
                steps.save_single()
    except (SaveError, MissingRankError):
        raise
    except OSError as error:
        raise not_written(folder, error) from error


def not_written(folder: Path, error: OSError) -> SaveError:
    """Return the error about a folder into which the system could not write."""
    message = f"{str(folder)!r} could not be written: {_reason(error)}."
    return SaveError(sentences(message, "What it holds is as it was before."))


class _Steps:
    """The steps of one save into one folder."""

    def __init__(
        self,
        before: Before,
        checkpoint: Checkpoint,
        content: Stored,
        publish_code: Callable[[], None],
        *,
        alone: bool,
        filling: Filling | None,
    ) -> None:
        self._before = before
        self._checkpoint = checkpoint
        self._content = content
        self._publish_code = publish_code
        self._alone = alone
        self._filling = filling
        self._folder = before.folder
        variant = checkpoint.variant
        # The record of another variant may take such a config for stale.
        replaced = weights_name(variant), index_name(variant)
        self._text = mirror_bytes(self._folder, checkpoint.config_text, replaced).decode()

    def save_single(self) -> None:
        """Write everything into one file, unless it is there already."""
        path = self._folder / weights_name(self._checkpoint.variant)
        plan = planned(self._content.tensors)
        metadata = {**self._record(path), **self._content.metadata(), **self._content.aliases()}
        if self._filling is None and self._before.place.chosen == "single" and same_file(path, plan, metadata):
            self._keep([path])
            return
        with Draft(self._folder, path.name) as draft:
            if self._filling is not None:
                self._filling([Blank(draft, plan, metadata)])
            else:
                write_tensors(draft, plan, metadata, beside=bool(plan) and plan[-1].end >= MUCH)
            self._commit(draft, path, [path])

    def save_shards(self, parts: list[dict[str, torch.Tensor]]) -> None:
        """Write shards and their index, but only those that are not there already."""
        path = self._folder / index_name(self._checkpoint.variant)
        with written(self._folder, parts, self._checkpoint.variant, self._filling) as shards:
            kept = [path, *(self._folder / shard.name for shard in shards)]
            numbers = shards, self._content, self._checkpoint.parameters
            if self._before.place.chosen == "index" and same_index(path, self._record(path), *numbers):
                self._keep(kept)
                return
            data, digest = index_text(self._index_record(path), *numbers)
            with _published(self._folder, shards, path, digest), Draft(self._folder, path.name) as draft:
                flush_folder(self._folder)
                draft.write(data)
                draft.finish()
                self._commit(draft, path, kept)

    def _record(self, path: Path) -> dict[str, str]:
        record = record_metadata(self._text, self._before.stale(self._text), self._before.superseded(path))
        return {**record, **(self._checkpoint.texts or {})}

    def _index_record(self, path: Path) -> dict[str, object]:
        record: dict[str, object] = {name: text for name, text in self._record(path).items() if name != "format"}
        strangers = sorted(name for name in self._before.shards if not is_shard(name, self._checkpoint.variant))
        if strangers:  # a crash after the commit would leave them, and nobody else knows whose they are
            record[REPLACED_KEY] = strangers
        return record

    def _commit(self, draft: Draft, path: Path, kept: list[Path]) -> None:
        """Let a finished draft become the record, then do what follows a commit."""
        with self._unfinished(lambda: draft.published):
            self._publish_code()
            draft.publish(path)
            flush_folder(self._folder)
            self._mirror()
            remove_leftovers(self._before, kept, alone=self._alone)
            flush_folder(self._folder)

    def _keep(self, kept: list[Path]) -> None:
        """Do what follows a commit where the record was there already; the mirror decides whose config counts."""
        self._publish_code()
        flush_folder(self._folder)  # whoever wrote the record may not have come so far
        mirrored = self._before.mirror != self._text.encode()
        if mirrored:
            self._mirror()
        with self._unfinished(lambda: True):
            if remove_leftovers(self._before, kept, alone=self._alone) or mirrored:
                flush_folder(self._folder)

    def _mirror(self) -> None:
        with Draft(self._folder, f"model.{CONFIG_NAME}") as draft:
            draft.write(self._text.encode())
            draft.finish()
            draft.publish(self._folder / CONFIG_NAME)

    @contextmanager
    def _unfinished(self, committed: Callable[[], bool]) -> Iterator[None]:
        """Say of a failure that the new checkpoint counts, if it does."""
        try:
            yield
        except OSError as error:
            if not committed():
                raise
            where = str(self._folder)
            message = sentences(
                f"{where!r} holds the new checkpoint, but the save was not finished: {_reason(error)}.",
                "It is whole, though a power failure may undo it. Save again.",
            )
            raise CommittedError(message) from error


def _reason(error: OSError) -> str:
    return str(error.strerror or error).removesuffix(".")


def _counts(path: Path, digest: str) -> bool:
    """Whether a record is in its place."""
    hashes = read_hashes(path) if path.is_file() else None
    return hashes is not None and hashes.digest == digest


@contextmanager
def _published(folder: Path, shards: list[Shard], record: Path, digest: str) -> Iterator[None]:
    """Give shards their names; take those that are new away again if no record comes to count that names them."""
    fresh: list[Path] = []
    try:
        for shard in shards:
            path = folder / shard.name
            if shard.draft is not None:
                if not path.exists():
                    fresh.append(path)
                shard.draft.publish(path)
        yield
    except BaseException:
        if not _counts(record, digest):
            for path in fresh:
                with suppress(OSError):
                    path.unlink()
        raise
