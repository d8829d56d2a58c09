"""Configs with an `__init__` of their own, in all the ways in which people call the base class, or do not."""

from typing import Annotated, Any, Literal

from annotated_types import Ge

from nameplate_config import PreTrainedConfig, Tiny


class BaseLastConfig(PreTrainedConfig):
    """Calls the base class last, as the documentation of Transformers does."""

    model_type = "sample_base_last"

    def __init__(
        self,
        layers: tuple[int, ...] = (3, 4),
        width: int = 64,
        *,
        avg_down: bool = False,
        scales: list[float] = [1.0],  # noqa: B006 - copied by the base class
        **kwargs: Any,
    ) -> None:
        self.layers = layers
        self.width = width
        self.avg_down = avg_down
        self.scales = scales
        super().__init__(**kwargs)


class BaseForgottenConfig(PreTrainedConfig):
    """Never calls the base class, and annotates nothing."""

    model_type = "sample_base_forgotten"

    def __init__(self, layers=[1, 2], names={"a": [1]}, by_index={0: "x"}, rate=0.1, bias=True, sizes=(1, 2), **_):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN204, B006
        self.layers = layers
        self.names = names
        self.by_index = by_index
        self.rate = rate
        self.bias = bias
        self.sizes = sizes


class BaseFirstConfig(PreTrainedConfig):
    """Calls the base class first, takes no other arguments, and computes a default."""

    model_type = "sample_base_first"

    def __init__(
        self,
        width: Annotated[int, Ge(1), Tiny(4, 8)] = 64,
        inner: int | None = None,
        groups: list[list[int]] = [[1], [2]],  # noqa: B006
        names: dict[int, str] = {0: "a"},  # noqa: B006
    ) -> None:
        super().__init__()
        self.width = width
        self.inner = inner if inner is not None else 4 * width
        self.groups = groups
        self.names = names


class AnnotatedBaseConfig(PreTrainedConfig):
    """The annotated class that a plain one extends."""

    model_type = "sample_annotated_base"
    attribute_map = {"hidden_size": "width"}  # noqa: RUF012 - a ClassVar of the base class

    width: Annotated[int, Ge(1), Tiny(4, 8)] = 16
    act: Literal["relu", "gelu"] = "relu"


class PlainOverAnnotatedConfig(AnnotatedBaseConfig):
    """A plain class over an annotated one, under the alias of a field of which it passes another on."""

    model_type = "sample_plain_over_annotated"
    attribute_map = {"n_layer": "depth"}  # noqa: RUF012

    def __init__(self, hidden_size: int = 32, n_layer: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.n_layer = n_layer


class AnnotatedOverPlainConfig(PlainOverAnnotatedConfig):
    """An annotated class over that plain one."""

    model_type = "sample_annotated_over_plain"

    act: Literal["relu", "gelu"] = "gelu"
    drop: Annotated[float, Ge(0.0), Tiny(0.0, 0.5)] = 0.0


class RequiredArgumentConfig(PreTrainedConfig):
    """A plain class with an argument that must be given, and a check in its `__init__`."""

    model_type = "sample_required_argument"

    def __init__(self, vocab: int, block: str = "basic", **kwargs: Any) -> None:
        if block not in {"basic", "bottleneck"}:
            message = f"block must be 'basic' or 'bottleneck', not {block!r}"
            raise ValueError(message)
        super().__init__(**kwargs)
        self.vocab = vocab
        self.block = block
