"""The system calls that change files: which argument names what, and their numbers on each kind of machine.

`Signature` says the same of a call wherever it runs. Only the numbers differ; aarch64 lacks the calls without an
`at` in their name, because its kernel was born later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CURRENT = None
"""Instead of the argument that holds a folder's descriptor: the path starts from the working directory."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Where the arguments of a call stand.

    Attributes:
        name: As in the manual.
        paths: For each path, the argument with the descriptor of the folder it starts from, and the path's own.
        descriptors: The arguments that are descriptors of what is changed.
        size: The argument that says how many bytes are to be written.
        vector: The argument that points at a list of buffers; the next one is its length.
        only_if: What else must hold for the call to change something: flags of an open, or of a mapping.
    """

    name: str
    paths: tuple[tuple[int | None, int], ...] = ()
    descriptors: tuple[int, ...] = ()
    size: int | None = None
    vector: int | None = None
    only_if: Literal["opened to change", "described to change", "mapped to change", "cloned"] | None = None

    @property
    def writes(self) -> bool:
        """Whether it writes bytes, of which half might arrive."""
        return self.size is not None or self.vector is not None


_ALL = (
    Signature("open", paths=((CURRENT, 0),), only_if="opened to change"),
    Signature("openat", paths=((0, 1),), only_if="opened to change"),
    Signature("openat2", paths=((0, 1),), only_if="described to change"),
    Signature("creat", paths=((CURRENT, 0),)),
    Signature("write", descriptors=(0,), size=2),
    Signature("pwrite64", descriptors=(0,), size=2),
    Signature("writev", descriptors=(0,), vector=1),
    Signature("pwritev", descriptors=(0,), vector=1),
    Signature("pwritev2", descriptors=(0,), vector=1),
    Signature("sendfile", descriptors=(0,), size=3),
    Signature("splice", descriptors=(2,), size=4),
    Signature("copy_file_range", descriptors=(2,), size=4),
    Signature("ioctl", descriptors=(0,), only_if="cloned"),
    Signature("mmap", descriptors=(4,), only_if="mapped to change"),
    Signature("truncate", paths=((CURRENT, 0),)),
    Signature("ftruncate", descriptors=(0,)),
    Signature("fallocate", descriptors=(0,)),
    Signature("fsync", descriptors=(0,)),
    Signature("fdatasync", descriptors=(0,)),
    Signature("sync_file_range", descriptors=(0,)),
    Signature("syncfs", descriptors=(0,)),
    Signature("rename", paths=((CURRENT, 0), (CURRENT, 1))),
    Signature("renameat", paths=((0, 1), (2, 3))),
    Signature("renameat2", paths=((0, 1), (2, 3))),
    Signature("link", paths=((CURRENT, 0), (CURRENT, 1))),
    Signature("linkat", paths=((0, 1), (2, 3))),
    Signature("symlink", paths=((CURRENT, 1),)),
    Signature("symlinkat", paths=((1, 2),)),
    Signature("unlink", paths=((CURRENT, 0),)),
    Signature("unlinkat", paths=((0, 1),)),
    Signature("mkdir", paths=((CURRENT, 0),)),
    Signature("mkdirat", paths=((0, 1),)),
    Signature("rmdir", paths=((CURRENT, 0),)),
    Signature("chmod", paths=((CURRENT, 0),)),
    Signature("fchmod", descriptors=(0,)),
    Signature("fchmodat", paths=((0, 1),)),
    Signature("fchmodat2", paths=((0, 1),)),
    Signature("chown", paths=((CURRENT, 0),)),
    Signature("fchown", descriptors=(0,)),
    Signature("fchownat", paths=((0, 1),)),
    Signature("utimensat", paths=((0, 1),), descriptors=(0,)),
)

REMOVING = frozenset({"unlink", "unlinkat", "rmdir", "remove"})
"""The calls without which nothing can be cleaned up; a full disk does not refuse them."""

_X86_64 = {
    "write": 1, "mmap": 9, "open": 2, "ioctl": 16, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74,
    "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86,
    "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "openat": 257, "mkdirat": 258,
    "fchownat": 260, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268,
    "splice": 275, "sync_file_range": 277, "utimensat": 280, "fallocate": 285, "pwritev": 296, "syncfs": 306,
    "renameat2": 316, "copy_file_range": 326, "pwritev2": 328, "openat2": 437, "fchmodat2": 452,
}  # fmt: skip

_AARCH64 = {
    "ioctl": 29, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45,
    "ftruncate": 46, "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56,
    "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70, "sendfile": 71, "splice": 76, "fsync": 82,
    "fdatasync": 83, "sync_file_range": 84, "utimensat": 88, "mmap": 222, "syncfs": 267, "renameat2": 276,
    "copy_file_range": 285, "pwritev2": 287, "openat2": 437, "fchmodat2": 452,
}  # fmt: skip

RINGS = frozenset({425})
"""`io_uring_setup`, the same number everywhere: what is written through a ring is no system call that could be seen."""


def _by_number(numbers: Mapping[str, int]) -> dict[int, Signature]:
    return {numbers[each.name]: each for each in _ALL if each.name in numbers}


SIGNATURES = {"x86_64": _by_number(_X86_64), "aarch64": _by_number(_AARCH64)}
"""By the name that `platform.machine()` has for a machine, then by number."""
