"""A program that lets Transformers save the state that foreign transitions start from, in one file and in six."""

import sys
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from nameplate_conformance.faults.transitions import BLOCK, State


class LadderConfig(PreTrainedConfig):
    """The fields of `nameplate_conformance.faults.ours.LadderConfig`."""

    model_type = "ladder"
    blocks: int = State(1).blocks
    labels: int = State(1).labels
    setting: int = 0


class Ladder(PreTrainedModel):
    """The tensors of `nameplate_conformance.faults.ours.Ladder`."""

    config_class = LadderConfig

    def __init__(self, config: LadderConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ParameterList([nn.Parameter(torch.zeros(BLOCK)) for _ in range(config.blocks)])
        self.head = nn.Linear(BLOCK[0], config.labels)
        self.post_init()


if __name__ == "__main__":
    model = Ladder(LadderConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
    model.save_pretrained(Path(sys.argv[1]) / "single")
    model.save_pretrained(Path(sys.argv[1]) / "sharded", max_shard_size=4096)
