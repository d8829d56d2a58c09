"""The pages of a file as memory: private, so that what is written to them is nobody else's, and with no descriptor.

Python's own mapping keeps a descriptor open before 3.13, and a process has few of them: a checkpoint in a thousand
files could not be mapped.
"""

import ctypes
import mmap
import os
import sys
import weakref
from functools import cache
from typing import Any

_FAILED = ctypes.c_void_p(-1).value


def map_pages(descriptor: int, size: int) -> Any:
    """Return the bytes of a file as a buffer, unmapped when nobody refers to it any more.

    Raises:
        OSError: If the system cannot map it.
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, trackfd=False)
    if os.name == "nt":
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, descriptor, 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    buffer = (ctypes.c_char * size).from_address(address)
    unmapping: Any = weakref.finalize(buffer, libc.munmap, address, size)
    unmapping.atexit = False  # whoever still runs when the process ends may still read
    return buffer


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
