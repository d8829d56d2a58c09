"""Saving on many ranks: each writes its own parts into one set of files, and the first of them makes the commit.

The steps are those of a save by one process, in `_save`. The leader goes through them; where files are to be filled, it
lends them to all ranks, waits until their parts are on the disk, and adds the headers. Nobody gathers anything.
"""

import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from nameplate_config.files import JoinedDraft, folder_of, make_folder
from nameplate_config.record import seal
from nameplate_config.typing import StrPath
from nameplate_model._aliases import Stored, stored
from nameplate_model._boxes import is_sharded
from nameplate_model._distributed.dealing import Dealer, Portion, deal_out
from nameplate_model._distributed.handing import Piece, hand_over
from nameplate_model._distributed.joint_writing import Lent, joined, write_strip
from nameplate_model._distributed.spec import Spec, local_of, root_of, spec_of
from nameplate_model._distributed.team import A_WHILE, Team, together
from nameplate_model._layout import SUMS_KEY
from nameplate_model._mounts import folder_lies_behind_network
from nameplate_model._placement import is_time
from nameplate_model._save import Checkpoint, files_for, not_written, save_files
from nameplate_model._strips import Strip, strips_of
from nameplate_model._sums import Sum, sum_of
from nameplate_model._writer import Blank, Filled, Flusher, Planned, bytes_of, header, planned, room_for_header
from nameplate_model.errors import MissingRankError, SaveError

_Files = list[dict[str, torch.Tensor]]
_TOKEN = 32


def save_together(
    folder: StrPath,
    state: Mapping[str, torch.Tensor],
    describe: Callable[[], Checkpoint],
    *,
    writers: str = "auto",
    timeout: float = A_WHILE,
) -> None:
    """Save a state dict that has DTensors; every rank of their mesh calls this.

    Args:
        folder: As this rank sees it: the same one on all of them.
        state: What is saved, before anything is left out of it or renamed.
        describe: Makes the checkpoint, once all that the caller gave is checked; what it raises, all ranks raise.
        writers: One of `_content.WRITERS`.
        timeout: Seconds that a rank waits for the others at each step.

    Raises:
        CheckpointError: If a value is no tensor, has no data, or has a dtype that the format lacks.
        RanksDisagreeError: If the ranks want to save different things.
        MissingRankError: If a rank does not come. The folder holds the old checkpoint or the new one, whole.
        SaveError: If the system cannot write on some rank. The folder holds the old checkpoint, whole.
        CommittedError: If it cannot once the new one counts. The folder holds the new checkpoint, whole.
        UnsafePathError: If *folder* is no path of a folder.
    """
    with together(_ranks_of(state), "save", timeout=timeout if is_time(timeout) else A_WHILE) as team:
        checkpoint = describe()  # in here, so that the others hear of a wrong option
        target = folder_of(folder)
        team.agree(**_facts(checkpoint, writers))
        saving = _decided(team, target, checkpoint, writers, timeout)
        if team.leads:
            saving.lead()
        else:
            saving.follow()


def _ranks_of(state: Mapping[str, torch.Tensor]) -> list[int]:
    """Return the ranks of all meshes that the DTensors of a state dict lie on parts of."""
    meshes = {id(each.device_mesh): each.device_mesh for each in state.values() if isinstance(each, DTensor)}
    return sorted({rank for mesh in meshes.values() for rank in root_of(mesh).mesh.flatten().tolist()})


def _facts(checkpoint: Checkpoint, writers: str) -> dict[str, str | list[str]]:
    """Return what all ranks must agree on."""
    from nameplate_model import __version__  # noqa: PLC0415 - asks the system for it

    options = {"max_shard_size": checkpoint.limit, "variant": checkpoint.variant, "writers": writers}
    return {
        "version": __version__,
        "tensors": [
            f"{name} {each.dtype} {tuple(each.shape)}{_cuts(name, each)}" for name, each in _tensors(checkpoint)
        ],
        "config": checkpoint.config_text.splitlines(),
        "metadata": [f"{name}: {text}" for name, text in sorted((checkpoint.texts or {}).items())],
        "options": ", ".join(f"{name}={value!r}" for name, value in options.items()),
    }


def _tensors(checkpoint: Checkpoint) -> Iterable[tuple[str, torch.Tensor]]:
    return ((name, each) for name, each in checkpoint.state.items() if isinstance(each, torch.Tensor))


def _cuts(name: str, tensor: torch.Tensor) -> str:
    if not is_sharded(tensor):
        return ""
    spec = spec_of(tensor, name)
    axes = (f"{cut.dim}" + f" in {cut.factor} parts" * (cut.factor > 1) if cut else "none" for cut in spec.cuts)
    return f", cut along {', '.join(axes)} on {spec.mesh_sizes} ranks"


# ---- what the leader decides


def _decided(team: Team, folder: Path, checkpoint: Checkpoint, writers: str, timeout: float) -> "_Saving":
    """Let the leader decide what depends on one rank: which tensors are one, and who writes where."""
    specs = {name: spec_of(each, name) for name, each in _tensors(checkpoint) if is_sharded(each)}
    own = _stored(checkpoint, specs)  # also on the others: what cannot be saved there is an error for all
    hosts = team.gather(socket.gethostname())
    decided: dict[str, Any] = {}
    if team.leads:
        places = {spec.ranks: number for number, spec in reversed(list(enumerate(specs.values())))}
        decided = {
            "tied": dict(own.tied),
            "views": [dict(each) for each in own.views],
            "meshes": {str(number): list(ranks) for ranks, number in places.items()},
            "mesh_of": {name: str(places[spec.ranks]) for name, spec in specs.items()},
            "groups": _groups(team, folder, hosts, writers),
        }
    decided = team.share(decided)
    kept = {name: each for name, each in checkpoint.state.items() if name not in decided["tied"]}
    content = Stored(kept, decided["tied"], tuple(decided["views"]))
    meshes = {name: decided["meshes"][number] for name, number in decided["mesh_of"].items()}
    files, homes = _files(checkpoint, content, decided["groups"])
    dealer = Dealer(team.rank, team.ranks[0], meshes, homes)
    return _Saving(team, folder, checkpoint, content, files, dealer, timeout)


def _stored(checkpoint: Checkpoint, specs: Mapping[str, Spec]) -> Stored:
    parts = {name: local_of(each) if name in specs else each for name, each in checkpoint.state.items()}
    return stored(parts, specs)


def _groups(team: Team, folder: Path, hosts: Sequence[str], writers: str) -> list[list[int]]:
    """Return the ranks of each machine where those of several cannot write into one file, else nothing.

    Clients of a network file system keep pages of a file, each its own, and bring them back as a whole.
    """
    if writers == "shared" or len(set(hosts)) == 1 or (writers == "auto" and not _is_remote(folder)):
        return []
    of_host: dict[str, list[int]] = {}
    for rank, host in zip(team.ranks, hosts, strict=True):
        of_host.setdefault(host, []).append(rank)
    return list(of_host.values())


def _is_remote(folder: Path) -> bool:
    try:
        make_folder(folder)
        return folder_lies_behind_network(folder)
    except OSError as error:
        raise not_written(folder, error) from error


def _files(
    checkpoint: Checkpoint, content: Stored, groups: Sequence[Sequence[int]]
) -> tuple[_Files, list[tuple[int, ...] | None]]:
    """Return the tensors of each file, and the ranks that may write into it; None where all may."""
    if not groups:
        files = files_for(checkpoint, content)
        return files, [None] * len(files)
    shares = deal_out(content, 1 if checkpoint.one_file_for else len(groups))
    files, homes = _Files(), list[tuple[int, ...] | None]()
    for share, group in zip(shares, groups, strict=False):
        of_group = files_for(checkpoint, share)
        files += of_group
        homes += [tuple(group)] * len(of_group)
    return files, homes


# ---- writing


@dataclass(frozen=True)
class _Saving:
    """A save as one rank sees it when everything is decided."""

    team: Team
    folder: Path
    checkpoint: Checkpoint
    content: Stored
    files: _Files
    dealer: Dealer
    timeout: float

    def lead(self) -> None:
        """Go through the steps of a save."""
        save_files(self.folder, self.checkpoint, self.content, self.files, self._fill)

    def follow(self) -> None:
        """Write the parts of this rank when the leader has lent its drafts."""
        lent = self.team.share(None)
        self.team.gather(self._write([Lent(*each) for each in lent]))

    def _fill(self, blanks: Sequence[Blank]) -> list[Filled]:
        """Let all ranks fill files, then add the headers."""
        lent = [self._lent(blank) for blank in blanks]
        self.team.share([list(each) for each in lent])
        every = self.team.gather(self._write(lent))
        sums = [sum(map(Sum.of_digest, filter(None, of_tensor)), Sum()) for of_tensor in zip(*every, strict=True)]
        names = [each.name for blank in blanks for each in blank.plan]
        digests = {name: each.digest for name, each in zip(names, sums, strict=True)}
        return [_finished(blank, {each.name: digests[each.name] for each in blank.plan}) for blank in blanks]

    def _lent(self, blank: Blank) -> Lent:
        start = room_for_header(blank.plan, blank.metadata, SUMS_KEY)
        token = secrets.token_hex(_TOKEN // 2)
        blank.draft.take_back()
        blank.draft.lend(start + (blank.plan[-1].end if blank.plan else 0), token.encode())
        with JoinedDraft(self.folder / blank.draft.name) as draft:
            return Lent(blank.draft.name, start, token, draft.can_lock())

    def _write(self, lent: Sequence[Lent]) -> list[str]:
        """Write what this rank brings, and return its share of each tensor's sum; empty where it has none.

        Raises:
            SaveError: If the system cannot write.
        """
        try:
            return self._written(lent)
        except (SaveError, MissingRankError):
            raise
        except OSError as error:
            raise not_written(self.folder, error) from error

    def _written(self, lent: Sequence[Lent]) -> list[str]:
        sums = [["" for _ in plan] for plan in self._plans]
        sent: dict[int, list[Portion]] = {}
        for (file, writer), portions in groupby(self._portions, key=lambda portion: (portion.file, portion.writer)):
            with ExitStack() as stack:
                if writer != self.team.rank:
                    for portion in portions:
                        sums[file][portion.place] = _bring(portion, _leave)
                        sent.setdefault(writer, []).append(portion)
                    continue
                draft = stack.enter_context(joined(self.folder, lent[file], self.team.ranks[0]))
                flusher = Flusher(stack, draft)
                for portion in portions:
                    sums[file][portion.place] = _bring(portion, partial(write_strip, draft, lent[file]))
                    flusher.take(bytes_of(portion.part))
                flusher.finish()
        self._hand_over(lent, sent)
        return [each for of_file in sums for each in of_file]

    def _hand_over(self, lent: Sequence[Lent], sent: Mapping[int, Sequence[Portion]]) -> None:
        writers = [home[0] for home in self.dealer.homes if home is not None]
        if not writers:
            return
        self.team.agree(step="hand over")  # whoever could not write so far is not waited for
        with ExitStack() as stack:
            drafts: dict[int, JoinedDraft] = {}

            def take(piece: Piece) -> None:
                if piece.file not in drafts:
                    drafts[piece.file] = stack.enter_context(joined(self.folder, lent[piece.file], self.team.ranks[0]))
                write_strip(drafts[piece.file], lent[piece.file], piece.begin, piece.strip, piece.data)

            hand_over(self.team.ranks, self.team.number, sent, writers, take, self.timeout)

    @cached_property
    def _plans(self) -> list[list[Planned]]:
        return [planned(tensors) for tensors in self.files]

    @cached_property
    def _portions(self) -> list[Portion]:
        return list(self.dealer.portions(self._plans))


def _bring(portion: Portion, write: Callable[[int, Strip, torch.Tensor], None]) -> str:
    """Write a part, and return what it adds to the checksum of its tensor."""
    found = Sum()
    for strip, data in strips_of(portion.part, portion.box, portion.each.tensor.shape):
        found += sum_of(data, strip)
        write(portion.each.begin, strip, data)
    return found.digest


def _leave(_begin: int, _strip: Strip, _data: torch.Tensor) -> None:
    """Leave bytes to the rank that writes them."""


def _finished(blank: Blank, digests: Mapping[str, str]) -> Filled:
    """Add the header to a file that all have filled, and bring it to the disk."""
    sealed, digest = seal(header(blank.plan, blank.metadata, digests, SUMS_KEY))
    blank.draft.take_back()
    blank.draft.write_at(0, sealed)
    blank.draft.finish()
    return Filled(digest, len(sealed) + (blank.plan[-1].end if blank.plan else 0))
