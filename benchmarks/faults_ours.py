"""The saver of nameplate-model and its sweep."""

from pathlib import Path

import torch

from benchmarks.faults import save_states, sweep_all
from nameplate_conformance.faults.ours import OurSaver


def save_for_the_other(folder: str) -> None:
    """Save what the other library then saves over."""
    save_states(OurSaver(), Path(folder))


def main(foreign: str) -> None:
    """Sweep all transitions."""
    torch.set_num_threads(1)
    sweep_all(OurSaver(), Path(foreign))
