"""What the side that copies code beside a checkpoint and the side that runs it there have to agree on.

Which data files belong to a module, how much there may be, what its digest is, and where code that runs from memory
keeps its files.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Mapping
from typing import Final

MOST_FILES: Final = 200
"""The most files that the code of a checkpoint may have, data files included."""

MOST_BYTES: Final = 4 << 20
"""The most bytes that they may have together."""

MOST_DATA_FILES: Final = 50
"""The most of them that may be data files."""

MOST_UNITS: Final = 100_000
"""The largest source that is parsed as a whole, in words and other marks: what may become nodes of a syntax tree.

One costs up to 900 bytes and 9 microseconds. The largest model of Transformers 5.23 has 24,000.
"""

MOST_UNITS_OF_ONE: Final = 60_000
"""The largest module of it: while it is parsed, it takes at most 64 MiB."""

FILES_ATTRIBUTE: Final = "__nameplate_files__"
"""Where the root package of code that was loaded from memory keeps it: its bytes by the path in the folder.

The module of the file ``deep/block.py`` is called ``<root>.deep.block``.
"""

_FORMAT = b"nameplate code 1\n"

_IN_WORDS = bytes(each for each in range(256) if re.match(rb"\w", bytes([each])))
_KINDS = bytes(0 if each in _IN_WORDS else 32 if bytes([each]).isspace() else 1 for each in range(256))
"""Of every byte, whether it is part of a word (0), a blank (32) or another mark (1)."""

_MARKS_PER_WORD = 2.5

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_DATA_NAME = re.compile(rf"{_PART}(?:/{_PART})*\.(?:txt|json|csv|tsv|yaml|yml|toml|npy)")
_OF_CHECKPOINT = re.compile(r"(?:generation_)?config\.json|.*\.index(?:\.[^/]*)?\.json")
_LONGEST_NAME = 200


def units(data: bytes) -> int:
    """Return how much a source costs to parse, in the unit of `MOST_UNITS`.

    Example:
        >>> units(b"width = 8"), units(b"((((()))))")
        (2, 4)
    """
    kinds = data.translate(_KINDS)  # counting in a translation takes a hundredth of what a pattern takes
    words = kinds.count(b" \0") + kinds.count(b"\1\0") + kinds.startswith(b"\0")
    return words + int(kinds.count(1) / _MARKS_PER_WORD)


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the digest of code: sha256 over the length and text of every path and the length and bytes of its file.

    It is what `trust_remote_code` is pinned to.

    Example:
        >>> digest_of({"a.py": b""}) == digest_of({"a.py": b" "})
        False
    """
    total = hashlib.sha256(_FORMAT)
    for path, data in sorted(files.items()):
        name = path.encode()
        total.update(b"%d %d\n" % (len(name), len(data)))
        total.update(name)
        total.update(data)
    return f"sha256:{total.hexdigest()}"


def data_names(tree: ast.Module) -> list[str]:
    """Return what could be the names of data files in a module, sorted, with slashes.

    Every text in the module counts that is a plain relative name with an ending of data. Those that name a regular
    file in the folder of the module's package belong to the module, unless `is_of_checkpoint` says otherwise.

    Example:
        >>> data_names(ast.parse("files(__package__) / 'labels.txt', 'tables/a.csv', '../b.txt', 'text'"))
        ['labels.txt', 'tables/a.csv']
    """
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(text for text in texts if len(text) <= _LONGEST_NAME and _DATA_NAME.fullmatch(text))


def is_of_checkpoint(path: str) -> bool:
    """Return whether a path in the folder is that of a file of the checkpoint itself, and so no data of its code.

    Example:
        >>> is_of_checkpoint("config.json"), is_of_checkpoint("model.safetensors.index.json")
        (True, True)
        >>> is_of_checkpoint("labels.json"), is_of_checkpoint("deep/config.json")
        (False, False)
    """
    return "/" not in path and _OF_CHECKPOINT.fullmatch(path) is not None


def held_files(cls: type) -> tuple[str, Mapping[str, bytes]] | None:
    """Return the root package of a class that came as code from a checkpoint, and its files; None for any other.

    Example:
        >>> held_files(int) is None
        True
    """
    parts = cls.__module__.split(".")
    for depth in range(1, len(parts) + 1):
        root = ".".join(parts[:depth])
        files = getattr(sys.modules.get(root), "__dict__", {}).get(FILES_ATTRIBUTE)
        if files is not None:
            return root, files
    return None
