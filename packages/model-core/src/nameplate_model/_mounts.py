"""Which file systems lie behind a network, where a mapped page that is touched waits for a server each time."""

import os
from functools import lru_cache
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
    }
    | {"pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"}
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.lxcfs", "fuseblk"})


def lies_behind_network(descriptor: int) -> bool:
    """Whether an open file is on a network file system; false where the system does not tell.

    Most file systems in user space fetch what they show from somewhere else, so they count as well.
    """
    return _kinds().get(os.fstat(descriptor).st_dev, False)


def folder_lies_behind_network(folder: Path) -> bool:
    """Whether a folder is on a network file system, as `lies_behind_network` says of a file.

    Raises:
        OSError: If there is no such folder.
    """
    return _kinds().get(folder.stat().st_dev, False)


@lru_cache(maxsize=1)
def _kinds() -> dict[int, bool]:
    """Return for each mounted device whether it is remote. What is mounted later counts as local."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return {}
    return dict(_kind(line) for line in lines if " - " in line)


def _kind(line: str) -> tuple[int, bool]:
    before, _, after = line.partition(" - ")
    major, _, minor = before.split()[2].partition(":")
    kind = after.split()[0]
    remote = kind in _REMOTE or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)
    return os.makedev(int(major), int(minor)), remote
