"""What it costs to import the family: whole processes, ours against the same job in Transformers."""

from benchmarks.measure import Figures, compare

PROGRAMS = {
    "python": "pass",
    "torch": "import torch",
    "nameplate_config": "import nameplate_config",
    "transformers PreTrainedConfig": "from transformers import PreTrainedConfig",
    "nameplate_auto": "from nameplate_auto import AutoConfig",
    "transformers AutoConfig": "from transformers import AutoConfig",
    "nameplate_model": "from nameplate_model import PreTrainedModel",
    "transformers PreTrainedModel": "from transformers import PreTrainedModel",
    "nameplate_resnet": "from nameplate_resnet import ResnetModelForImageClassification",
    "transformers ResNet": "from transformers import ResNetForImageClassification",
}

PAIRS = {
    "import the config base": ("nameplate_config", "transformers PreTrainedConfig"),
    "import AutoConfig": ("nameplate_auto", "transformers AutoConfig"),
    "import the model base": ("nameplate_model", "transformers PreTrainedModel"),
    "import the ResNet": ("nameplate_resnet", "transformers ResNet"),
}
"""Ours and theirs, by what they do."""


def measure(rounds: int) -> dict[str, Figures]:
    """Return the figures of every program."""
    return compare(PROGRAMS, rounds=rounds)
