"""Configs inside of configs: three levels deep, in lists and dicts, and of their own kind."""

from typing import Annotated, Literal

from annotated_types import Ge

from nameplate_config import PreTrainedConfig, Tiny


class LeafConfig(PreTrainedConfig):
    """The innermost of three levels."""

    model_type = "sample_leaf"
    attribute_map = {"hidden_size": "width"}  # noqa: RUF012 - a ClassVar of the base class

    width: Annotated[int, Ge(1), Tiny(4, 8)] = 16
    act: Literal["relu", "gelu"] = "relu"
    shape: tuple[int, ...] = (1, 2)
    token: bytes = b""


class BranchConfig(PreTrainedConfig):
    """The level between: a leaf of its own, leaves in a list, and a dict of them."""

    model_type = "sample_branch"

    leaf: LeafConfig = LeafConfig(width=8)
    leaves: list[LeafConfig] = [LeafConfig(), LeafConfig(act="gelu")]  # noqa: RUF012
    named: dict[str, LeafConfig] = {"left": LeafConfig()}  # noqa: RUF012
    depth: Annotated[int, Ge(1), Tiny(1, 2)] = 2


class NamelessPartConfig(PreTrainedConfig):
    """A part without a model_type, which nobody can ask for by name."""

    rate: Annotated[float, Tiny(0.0, 0.5)] = 0.1
    sizes: list[int] = [1]  # noqa: RUF012


class TreeConfig(PreTrainedConfig):
    """The outermost of three levels."""

    model_type = "sample_tree"

    branch: BranchConfig = BranchConfig(depth=1)
    part: NamelessPartConfig = NamelessPartConfig()
    maybe: LeafConfig | None = None
    either: LeafConfig | NamelessPartConfig = NamelessPartConfig(rate=0.5)
    by_index: dict[int, BranchConfig] = {}  # noqa: RUF012
    rows: tuple[tuple[LeafConfig, ...], ...] = ()
    bias: bool = True


class TextHalfConfig(PreTrainedConfig):
    """One half of a model of two, with a model_type of its own."""

    model_type = "sample_text_half"

    width: Annotated[int, Tiny(4, 8)] = 16
    layers: tuple[int, ...] = (2, 2)
    act: Literal["relu", "gelu"] = "relu"


class ImageHalfConfig(PreTrainedConfig):
    """The other half, whose inner part is a config too."""

    model_type = "sample_image_half"
    base_config_key = "image_config"

    width: Annotated[int, Tiny(4, 8)] = 32
    leaf: LeafConfig = LeafConfig(act="gelu")


class TwoTowersConfig(PreTrainedConfig):
    """A model of two halves, each of which can be loaded alone."""

    model_type = "sample_two_towers"

    text_config: TextHalfConfig = TextHalfConfig()
    image_config: ImageHalfConfig = ImageHalfConfig(width=4)
    scale: float = 2.5


class NodeConfig(PreTrainedConfig):
    """A config that holds its own kind."""

    model_type = "sample_node"

    width: Annotated[int, Tiny(4, 8)] = 8
    children: list["NodeConfig"] = []  # noqa: RUF012
    best: "NodeConfig | None" = None
