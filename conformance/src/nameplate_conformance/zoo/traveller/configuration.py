"""The config of the traveller."""

from typing import Annotated, Literal

from annotated_types import Ge

from nameplate_config import PreTrainedConfig, Tiny


class TravellerConfig(PreTrainedConfig):
    """The config of a small perceptron."""

    model_type = "zoo_traveller"

    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 8
    depth: Annotated[int, Ge(1), Tiny(1, 2)] = 2
    act: Literal["relu", "tanh"] = "relu"
    bias: bool = True
