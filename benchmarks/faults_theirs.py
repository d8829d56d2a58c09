"""The saver of Transformers, as the transitions want it, and its sweep."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from benchmarks.faults import save_states, sweep_all
from nameplate_conformance.faults.transitions import BLOCK, State


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
        self.post_init()


class TheirSaver:
    """`save_pretrained` and `from_pretrained` of Transformers."""

    nothing: tuple[type[Exception], ...] = (OSError,)

    def save(self, folder: Path, state: State) -> None:
        """Save a state over whatever the folder holds."""
        model = Ladder(LadderConfig(blocks=state.blocks, labels=state.labels, setting=state.setting))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(state.level)
        model.save_pretrained(folder, max_shard_size=state.largest_shard or "50GB", variant=state.variant)

    def seen(self, folder: Path, variant: str | None) -> str:
        """Load what the folder holds and name its levels and what its config says.

        A tensor that the load reports as missing or unexpected is no part of a state; it counts as a failed load.
        """
        loaded: Any = Ladder.from_pretrained(folder, variant=variant, output_loading_info=True)
        model, report = loaded
        reported = {what: sorted(keys) for what, keys in report.items() if keys}
        if reported:
            message = f"the load reports {reported}"
            raise ValueError(message)
        levels = sorted({value for parameter in model.parameters() for value in parameter.unique().tolist()})
        return f"levels {levels}, {model.config.labels} labels, setting {model.config.setting}"

    def committed(self, error: BaseException) -> bool:  # noqa: ARG002 - a saver has it
        """Return False: no error of theirs says so."""
        return False


def save_for_the_other(folder: str) -> None:
    """Save what the other library then saves over."""
    save_states(TheirSaver(), Path(folder))


def main(foreign: str) -> None:
    """Sweep all transitions."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    sweep_all(TheirSaver(), Path(foreign))
