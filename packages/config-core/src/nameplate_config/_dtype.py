"""Names of tensor dtypes: texts that a `torch.dtype` may stand for and equals, without importing torch.

torch is recognised by its names alone. Where a field is annotated with `torch.dtype` itself, torch is there already.
"""

import sys
from typing import Annotated, Any

from nameplate_config._scalars import Codec, JSONSchema, Site
from nameplate_config.typing import JSONValue
from nameplate_config.wording import did_you_mean

_SIZES = {
    "float": (16, 32, 64),
    "complex": (32, 64, 128),
    "int": (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64),
    "uint": (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64),
}
_OTHERS = (
    "bool bfloat16 bcomplex32 float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz "
    "float8_e8m0fnu qint8 qint32 quint8 quint2x4 quint4x2 bits8 bits16 bits1x8 bits2x4 bits4x2"
)
DTYPE_NAMES = (*(f"{kind}{size}" for kind, sizes in _SIZES.items() for size in sizes), *_OTHERS.split())
"""Every dtype of torch 2.15, by name."""

_SYNONYMS = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


class DTypeName(str):
    """The name of a dtype. Equal to other texts of the same letters, and to the `torch.dtype` itself."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if is_torch_dtype(other):
            return str.__eq__(self, str(other).removeprefix("torch."))
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class DTypeMark:
    """The mark inside `DType`."""

    def __repr__(self) -> str:
        return "DType"


DType = Annotated[str, DTypeMark()]
"""Annotate a field with it to hold the name of a dtype: ``"bfloat16"``, or `torch.bfloat16`, which becomes that name.

Example:
    >>> from nameplate_config import PreTrainedConfig
    >>> class BlockConfig(PreTrainedConfig):
    ...     compute: DType = "float32"
    >>> BlockConfig(compute="torch.half").compute
    'float16'
"""


def is_torch_dtype(value: object) -> bool:
    """Whether *value* is a `torch.dtype`."""
    return _is_dtype_class(type(value))


def _is_dtype_class(kind: type) -> bool:
    return kind.__name__ == "dtype" and kind.__module__ == "torch"


def _of_torch(name: str) -> object:
    """Return what torch calls so, if it is imported; asking it as an attribute would import whole packages."""
    return vars(sys.modules["torch"]).get(name) if "torch" in sys.modules else None


class DTypeCodec(Codec):
    """The codec of `DType`: the name of a dtype, without ``torch.`` and never a synonym."""

    expected = "the name of a dtype, such as 'float32'"

    def convert(self, value: Any, site: Site) -> DTypeName:
        if type(value) is DTypeName:
            return value
        if is_torch_dtype(value):
            return DTypeName(str(value).removeprefix("torch."))
        if isinstance(value, str):
            name = value.removeprefix("torch.")
            name = _SYNONYMS.get(name, name)
            if name in DTYPE_NAMES or is_torch_dtype(_of_torch(name)):
                return DTypeName(name)
            raise site.refuse(self.expected, value, did_you_mean(name, DTYPE_NAMES))
        raise site.refuse(self.expected, value)

    def encode(self, value: DTypeName) -> JSONValue:
        return str(value)

    def schema(self) -> JSONSchema:
        names = [*DTYPE_NAMES, *_SYNONYMS]
        return {"enum": [*names, *(f"torch.{name}" for name in names)]}


class TorchDTypeCodec(DTypeCodec):
    """The codec of a field annotated with `torch.dtype`, which is there since it was named."""

    def convert(self, value: Any, site: Site) -> Any:
        if is_torch_dtype(value):
            return value
        return _of_torch(super().convert(value, site))

    def encode(self, value: Any) -> JSONValue:
        return str(value).removeprefix("torch.")


def dtype_codec(annotation: Any) -> Codec | None:
    """Return the codec of `torch.dtype`; None for any other annotation."""
    return TorchDTypeCodec() if isinstance(annotation, type) and _is_dtype_class(annotation) else None
