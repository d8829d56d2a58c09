"""Writing parts of tensors into a file that other ranks write into at the same time.

Runs of bytes go where they belong, by themselves. Where they are short and close together, rows are read, changed and
written as a whole, and a lock on just these bytes keeps the ranks that do the same out meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from nameplate_config.files import JoinedDraft
from nameplate_config.wording import sentences
from nameplate_model._strips import PIECE, Strip
from nameplate_model._writer import bytes_at
from nameplate_model.errors import SaveError

_CLOSE = 4096  # bytes from one run to the next below which a call of the system for each costs more than the bytes do


class Lent(NamedTuple):
    """A draft as the leader tells the others of it.

    Attributes:
        name: That of the hidden file in the folder.
        start: Where in it the tensors begin, in bytes.
        token: The digits at its beginning.
        locks: Whether parts of it can be locked.
    """

    name: str
    start: int
    token: str
    locks: bool


@contextmanager
def joined(folder: Path, lent: Lent, leader: int) -> Iterator[JoinedDraft]:
    """Open a draft of the leader; what is written into it is on the disk at the end.

    Args:
        folder: The folder as this rank sees it.
        lent: The draft.
        leader: The rank that made it.

    Raises:
        SaveError: If it is not there: the folder is not that of the leader.
        OSError: Whatever else the system reports.
    """
    try:
        draft = JoinedDraft(folder / lent.name)
    except FileNotFoundError as error:
        raise _elsewhere(folder, leader) from error
    with draft:
        if draft.read_at(0, len(lent.token)) != lent.token.encode():
            raise _elsewhere(folder, leader)
        yield draft


def _elsewhere(folder: Path, leader: int) -> SaveError:
    message = sentences(
        f"{str(folder)!r} does not show the file that rank {leader} is writing, so it is not the same folder.",
        "Ranks that save together need one folder that all of them see, such as on a network file system.",
    )
    return SaveError(message)


def write_strip(draft: JoinedDraft, lent: Lent, begin: int, strip: Strip, data: torch.Tensor) -> None:
    """Write some bytes of a tensor.

    Args:
        draft: The open file.
        lent: What the leader told of it.
        begin: Where the tensor begins, counted from the end of the header.
        strip: Where in the tensor they lie.
        data: The bytes, uint8, 1-D, on any device; at most `PIECE`.

    Raises:
        OSError: Whatever the system reports.
    """
    data = data.cpu()
    at = lent.start + begin + strip.begin
    if strip.count > 1 and strip.period < _CLOSE and lent.locks:
        _write_rows(draft, at, strip, data)
        return
    memory = bytes_at(data.data_ptr(), strip.size)
    for number in range(strip.count):
        draft.write_at(at + number * strip.period, memory[number * strip.run : (number + 1) * strip.run])


def _write_rows(draft: JoinedDraft, at: int, strip: Strip, data: torch.Tensor) -> None:
    """Change the runs within whole rows, of which other ranks change other runs."""
    step = PIECE // strip.period
    for first in range(0, strip.count, step):
        rows = data.view(strip.count, strip.run)[first : first + step]
        begin, size = at + first * strip.period, (len(rows) - 1) * strip.period + strip.run
        with draft.locked_at(begin, size):
            found = draft.read_at(begin, size)
            torch.frombuffer(found, dtype=torch.uint8).as_strided(rows.shape, (strip.period, 1)).copy_(rows)
            draft.write_at(begin, found)
