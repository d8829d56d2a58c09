"""Who writes what when ranks save together: one of those that hold a part of a tensor brings it into its file.

Every rank works this out for itself, from names, shapes and what the leader has told; nothing is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from nameplate_model._aliases import Stored
from nameplate_model._boxes import Box, is_sharded, whole
from nameplate_model._distributed.spec import local_of, spec_of
from nameplate_model._writer import Planned, bytes_of


class Portion(NamedTuple):
    """A part of a tensor that this rank brings into its file.

    Attributes:
        file: The number of the file.
        place: The number of the tensor in the plan of that file.
        each: The whole tensor, and where it goes in the file.
        part: The values of the part.
        box: Which part that is.
        writer: The rank that writes it.
    """

    file: int
    place: int
    each: Planned
    part: torch.Tensor
    box: Box
    writer: int


@dataclass(slots=True)
class Dealer:
    """Deals parts of tensors out to the ranks that hold them, so that each has about as many bytes to write.

    Attributes:
        rank: This one.
        leader: The rank whose plain tensors are saved.
        meshes: The ranks over which each DTensor lies, as the leader sees it. Where a tensor lies on parts of a larger
            mesh, those on the leader's part write it, and all others have nothing but replicas.
        homes: The ranks that may write to each file, the first of which writes for the ranks that may not; None where
            all may.
    """

    rank: int
    leader: int
    meshes: Mapping[str, Sequence[int]]
    homes: Sequence[tuple[int, ...] | None]
    _dealt: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def portions(self, files: Sequence[Sequence[Planned]]) -> Iterator[Portion]:
        """Yield what this rank brings, in the order of the files.

        Args:
            files: What goes into each file, and where.
        """
        for file, plan in enumerate(files):
            for place, each in enumerate(plan):
                holders, box = self._holders(each)
                if not box.numel or self.rank not in holders:
                    continue
                if self._chosen(holders, self.homes[file], box.numel * each.tensor.element_size()) == self.rank:
                    part = local_of(each.tensor) if is_sharded(each.tensor) else each.tensor
                    yield Portion(file, place, each, part, box, self._writer(self.homes[file]))

    def _holders(self, each: Planned) -> tuple[tuple[int, ...], Box]:
        """Return which ranks hold the part that this rank has, as far as they may bring it, and which part it is."""
        if not is_sharded(each.tensor):
            return (self.leader,), whole(each.tensor.shape)
        spec = spec_of(each.tensor, each.name)
        return (spec.replicas if spec.ranks == tuple(self.meshes[each.name]) else ()), spec.box

    def _chosen(self, holders: tuple[int, ...], home: tuple[int, ...] | None, size: int) -> int:
        """Return who of some ranks brings a part: one that may write it itself, and has the least so far.

        What each has is counted for each set of ranks by itself: all of a set see the same parts of that set.
        """
        near = tuple(rank for rank in holders if home is None or rank in home) or holders
        dealt = self._dealt.setdefault(near, [0] * len(near))
        number = dealt.index(min(dealt))
        dealt[number] += size
        return near[number]

    def _writer(self, home: tuple[int, ...] | None) -> int:
        return self.rank if home is None or self.rank in home else home[0]


def deal_out(content: Stored, shares: int) -> list[Stored]:
    """Deal whole tensors out to as many shares, of about as many bytes each; the largest tensors first.

    Args:
        content: What is stored.
        shares: How many. A share that gets none is left out, but for the first.
    """
    sizes = [0] * shares
    chosen: dict[str, int] = {}
    for name, tensor in sorted(content.tensors.items(), key=lambda item: (-bytes_of(item[1]), item[0])):
        chosen[name] = sizes.index(min(sizes))
        sizes[chosen[name]] += bytes_of(tensor)
    found: list[dict[str, torch.Tensor]] = [{} for _ in range(shares)]
    for name, tensor in content.tensors.items():
        found[chosen[name]][name] = tensor
    return [Stored(tensors, {}, ()) for number, tensors in enumerate(found) if tensors or not number]
