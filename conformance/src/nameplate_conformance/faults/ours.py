"""The saver of nameplate-model, as the transitions want it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nameplate_config import PreTrainedConfig, SourceNotFoundError
from nameplate_conformance.faults.transitions import BLOCK, State
from nameplate_model import PreTrainedModel
from nameplate_model.errors import CommittedError


class LadderConfig(PreTrainedConfig):
    """Says of what the model is built, and one thing more."""

    model_type = "ladder"
    blocks: int = 11
    labels: int = 10
    setting: int = 0


class Ladder(PreTrainedModel):
    """Equal blocks and a head, all of one value."""

    config_class = LadderConfig

    def __init__(self, config: LadderConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ParameterList([nn.Parameter(torch.zeros(BLOCK)) for _ in range(config.blocks)])
        self.head = nn.Linear(BLOCK[0], config.labels)


class OurSaver:
    """`save_pretrained` and `from_pretrained` of nameplate-model."""

    nothing: tuple[type[Exception], ...] = (SourceNotFoundError,)

    def save(self, folder: Path, state: State) -> None:
        """Save a state over whatever the folder holds."""
        model = Ladder(LadderConfig(blocks=state.blocks, labels=state.labels, setting=state.setting))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(state.level)
        options: dict[str, Any] = {"variant": state.variant} if state.variant else {}
        if state.largest_shard is not None:
            options["max_shard_size"] = state.largest_shard
        model.save_pretrained(folder, **options)

    def seen(self, folder: Path, variant: str | None) -> str:
        """Load what the folder holds and name its levels and what its config says."""
        options: dict[str, Any] = {"variant": variant} if variant else {}
        model = Ladder.from_pretrained(folder, **options)
        levels = sorted({value for parameter in model.parameters() for value in parameter.unique().tolist()})
        return f"levels {levels}, {model.config.labels} labels, setting {model.config.setting}"

    def committed(self, error: BaseException) -> bool:
        """Return whether the error says that the new checkpoint is there, though perhaps not on the disk."""
        return isinstance(error, CommittedError)
