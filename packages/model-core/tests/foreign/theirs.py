"""The same modules as in the golden folders, wrapped by the libraries of others."""

import transformers
from huggingface_hub import PyTorchModelHubMixin
from modules import Odd, Speaker
from torch import nn


class OddConfig(transformers.PreTrainedConfig):
    """The width of an odd model."""

    model_type = "odd"
    width: int = 4


class OddModel(transformers.PreTrainedModel):
    """Any module, as Transformers wraps it."""

    config_class = OddConfig

    def __init__(self, config: OddConfig) -> None:
        super().__init__(config)
        self.net = Odd(config.width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass


class MixedSpeaker(Speaker, PyTorchModelHubMixin):
    """A model that saves and loads itself as `huggingface_hub` teaches it to."""
