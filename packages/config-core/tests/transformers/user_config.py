"""A config and a model that somebody wrote for Transformers: `write_golden` and `read_ours` import it."""

from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel


class UserConfig(PreTrainedConfig):
    """A config with a plain `__init__`, and with every kind of value that JSON changes."""

    model_type = "user"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(
        self,
        hidden_size: int = 768,
        window: tuple[int, int] = (7, 7),
        names: dict[int, str] | None = None,
        rates: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.window = window
        self.names = names
        self.rates = rates
        super().__init__(**kwargs)


class UserModel(PreTrainedModel):
    """A model with one weight."""

    config_class = UserConfig

    def __init__(self, config: UserConfig) -> None:
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.post_init()
