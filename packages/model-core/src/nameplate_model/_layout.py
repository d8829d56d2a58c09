"""What a checkpoint is called and made of: names of files, keys of metadata, names of dtypes, the grid of the data.

The few facts that the writer and the reader must agree on, without torch. What a record says and which file counts
is `nameplate_config.record`; how bytes get there is `_save`.
"""

import re

from nameplate_config.record import index_name, weights_name

INDEX_NAME = index_name()

METADATA = "__metadata__"
"""The entry of a safetensors header that is no tensor."""

TIED_KEY = "nameplate.tied"
"""The metadata key that records which names were one tensor: JSON, ``{alias: kept name}``."""

VIEWS_KEY = "nameplate.views"
"""The metadata key of tensors that overlapped in memory: JSON, a list of ``{"bytes": total, "members": {name:
{"offset": bytes, "stride": [elements]}}}``. Each of them is in the file by value as well."""

NAMES_KEY = "nameplate.layout"
"""The metadata key of weights that were saved under the names of another library: what its layout is called."""

DIGESTS_KEY = "nameplate.sha256"
"""The metadata key of the tensors' digests: JSON, ``{name: first half of the sha256 of its bytes, in hex}``."""

SUMS_KEY = "nameplate.sums"
"""The metadata key of the tensors' sums, which files that ranks write together have instead: JSON, ``{name: as `_sums`
makes it, in hex}``."""

CHECKSUM_KEYS = (DIGESTS_KEY, SUMS_KEY)
"""The metadata keys of tensors' checksums. A file of ours has one of them."""

FILES_KEY = "nameplate.files"
"""The key of an index's metadata that names its shards: ``{file: {"size": bytes, "digest": hex}}``."""

REPLACED_KEY = "nameplate.replaced"
"""The key of an index's metadata that names shards of others which it took the place of, in case a crash left them."""

MOST_SHARDS = 10_000
"""How many files a checkpoint may have."""

MOST_TENSORS = 50_000
"""How many tensors a checkpoint may have."""

LARGEST_HEADER = 16 << 20
"""The longest header that is read, in bytes. The format allows 100 MB, which as JSON could take gigabytes of memory;
that of 50,000 tensors has about ten."""

LARGEST_INDEX = 12 << 20
"""The largest index that is read, in bytes; that of 50,000 tensors has about five."""

DIGEST_LENGTH = 32
"""How many hexadecimal digits a tensor's digest has: 16 bytes, half of a sha256, or a sum."""

ALIGNMENT = 64
"""Where tensors start in memory that torch allocates, in bytes. Kernels treat the odd ends of a tensor differently,
so the same weights elsewhere can give another last bit; a mapped tensor off this grid is therefore copied."""

PAGE = 4096
"""Tensor data starts on a page, so that it can be mapped, sliced by rank and read past the page cache."""

DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32",
    "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
"""torch's name of every dtype that a file can hold, and the file's."""

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8, "F16": 2, "BF16": 2,
    "F32": 4, "F64": 8, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}  # fmt: skip
"""The bytes of one element of each dtype of a file."""


def shard_name(digest: str, number: int, count: int, variant: str | None = None) -> str:
    """Return the name of a shard: its content, its place and the number of all.

    Example:
        >>> shard_name("0123456789abcdef" * 4, 1, 12, "fp16")
        'model.fp16-0123456789abcdef-00001-of-00012.safetensors'
    """
    return f"{_stem(variant)}-{digest[:16]}-{number:05d}-of-{count:05d}.safetensors"


def is_shard(name: str, variant: str | None = None) -> bool:
    """Return whether a file is called as only a shard of ours is.

    Example:
        >>> is_shard("model-0123456789abcdef-00001-of-00002.safetensors")
        True
        >>> is_shard("model-00001-of-00002.safetensors")
        False
    """
    return re.fullmatch(re.escape(_stem(variant)) + r"-[0-9a-f]{16}-\d{5}-of-\d{5}\.safetensors", name) is not None


def may_be_shard(name: str, variant: str | None = None) -> bool:
    """Return whether a file is called as shards are, by whatever library: a plain name that begins like the weights'.

    Example:
        >>> may_be_shard("model-00001-of-00002.safetensors"), may_be_shard("adapter_model.safetensors")
        (True, False)
    """
    return re.fullmatch(re.escape(_stem(variant)) + r"-[^/\\\0]+\.safetensors", name) is not None


def _stem(variant: str | None) -> str:
    return weights_name(variant).removesuffix(".safetensors")


def variant_of(name: str) -> str | None:
    """Return the variant that a file of weights or an index belongs to, or None.

    Example:
        >>> variant_of("model.fp16.safetensors"), variant_of("model.safetensors")
        ('fp16', None)
    """
    for prefix, suffix in (("model.safetensors.index.", ".json"), ("model.", ".safetensors")):
        if name.startswith(prefix) and name.endswith(suffix):
            middle = name[len(prefix) : -len(suffix)]
            return middle if middle and "." not in middle and "-" not in middle else None
    return None
