"""Handing parts of tensors to the ranks that write them, where not every rank may write into every file.

All ranks go through the same rounds. In round k each sends to the rank that is k places behind it and hears from the
one that is k places ahead, piece by piece, so nobody holds more than two pieces and nobody waits in a circle.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import distributed

from nameplate_model._distributed.dealing import Portion
from nameplate_model._strips import Strip, strips_of

_FIELDS = 6  # of a piece, without its data
_LONGEST_WAIT = 366 * 24 * 3600.0  # seconds; for ever is more than gloo can count


class Piece(NamedTuple):
    """Some bytes of a tensor on their way to the rank that writes them.

    Attributes:
        file: The number of the file that they belong into.
        begin: Where their tensor begins there, counted from the end of the header.
        strip: Where in the tensor they lie.
        data: The bytes.
    """

    file: int
    begin: int
    strip: Strip
    data: torch.Tensor


def hand_over(
    ranks: Sequence[int],
    number: int,
    outgoing: Mapping[int, Sequence[Portion]],
    writers: Sequence[int],
    take: Callable[[Piece], None],
    timeout: float,
) -> None:
    """Send what others write, and take what this rank writes for others.

    Args:
        ranks: All that take part; each of them calls this.
        number: The place of this rank among them.
        outgoing: What goes to each writer.
        writers: The ranks that write for others.
        take: Gets each piece that arrives. What it raises ends the exchange here, after all have arrived.
        timeout: Seconds to wait for one piece.

    Raises:
        RuntimeError: If another rank is gone.
    """
    device = _device()
    failed: Exception | None = None
    for step in range(1, len(ranks)):
        target, source = ranks[(number + step) % len(ranks)], ranks[number - step]
        sending = _sent(outgoing.get(target, ())) if target in writers else None
        for piece in _exchanged(target, source, sending, device, timeout, hears=ranks[number] in writers):
            if failed is None:
                try:
                    take(piece)
                except Exception as error:  # noqa: BLE001 - the others must not wait for us; it is raised below
                    failed = error
    if failed is not None:
        raise failed


def _sent(portions: Sequence[Portion]) -> Iterator[Piece]:
    for portion in portions:
        for strip, data in strips_of(portion.part, portion.box, portion.each.tensor.shape):
            yield Piece(portion.file, portion.each.begin, strip, data)


def _exchanged(
    target: int, source: int, sending: Iterator[Piece] | None, device: torch.device, timeout: float, *, hears: bool
) -> Iterator[Piece]:
    """Send pieces to one rank until there are none, and yield those that another sends until it has none."""
    while sending is not None or hears:
        piece = None if sending is None else next(sending, None)
        said = torch.zeros(_FIELDS, dtype=torch.int64, device=device)
        if piece is not None:
            said.copy_(torch.tensor([piece.file, piece.begin, *piece.strip], device="cpu"))
        heard = torch.zeros(_FIELDS, dtype=torch.int64, device=device)
        _swap(None if sending is None else said, target, heard if hears else None, source, timeout)
        file, begin, first, count, run, period = heard.tolist()
        strip = Strip(first, count, run, period)
        data = torch.empty(strip.size, dtype=torch.uint8, device=device) if strip.size else None
        _swap(None if piece is None else piece.data.to(device), target, data, source, timeout)
        if data is not None:
            yield Piece(file, begin, strip, data)
        sending = sending if piece is not None else None
        hears = data is not None


def _swap(sent: torch.Tensor | None, target: int, heard: torch.Tensor | None, source: int, timeout: float) -> None:
    """Send a tensor to one rank and receive one of another at the same time, as far as there are any."""
    ways = [] if sent is None else [distributed.P2POp(distributed.isend, sent, target)]
    ways += [] if heard is None else [distributed.P2POp(distributed.irecv, heard, source)]
    for work in distributed.batch_isend_irecv(ways) if ways else ():
        work.wait(timedelta(seconds=min(timeout, _LONGEST_WAIT)))


def _device() -> torch.device:
    """Return where tensors must lie to be sent: in host memory if the process group can send from there."""
    kinds = [each.partition(":")[0] for each in str(distributed.get_backend_config()).split(",")]
    if "cpu" in kinds:
        return torch.device("cpu")
    distributed.barrier()  # makes the connections, which nccl does with all ranks at once
    return torch.device(kinds[0], torch.get_device_module(kinds[0]).current_device())
