"""What it costs to import the family: whole processes, ours against the same job in Transformers, and against torch."""

from collections.abc import Iterator, Mapping

from benchmarks.measure import Figures, compare
from benchmarks.report import Section, at_most, noise

HEAVY = ("torch._dynamo", "sympy", "torch.distributed.tensor", "torchvision")
"""What the model base must not import, although torch or a neighbour would like to."""

_COUNTED = f"""
import sys
heavy = sum(name in sys.modules for name in {HEAVY!r})
print('{{"modules": %d, "heavy": %d}}' % (len(sys.modules), heavy))
"""

PROGRAMS = {
    "python": "pass",
    "torch": "import torch" + _COUNTED,
    "nameplate_config": "import nameplate_config",
    "transformers PreTrainedConfig": "from transformers import PreTrainedConfig",
    "nameplate_auto": "from nameplate_auto import AutoConfig",
    "transformers AutoConfig": "from transformers import AutoConfig",
    "nameplate_model": "from nameplate_model import PreTrainedModel" + _COUNTED,
    "transformers PreTrainedModel": "from transformers import PreTrainedModel" + _COUNTED,
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

_MIB = 1 << 20
_OF_TORCH = 1.05
_NOTES = (f"Heavy are {', '.join(HEAVY[:-1])} and {HEAVY[-1]}: how many of them were imported.",)


def measure(rounds: int) -> dict[str, Figures]:
    """Return the figures of every program."""
    return compare(PROGRAMS, rounds=rounds)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("what", "ours, CPU", "theirs, CPU", "ratio", "ours, peak", "theirs, peak", "ratio", "noise")
    yield Section("Importing, whole processes", columns, list(_pair_rows(figures)))
    columns = ("what", "CPU", "of torch", "goal", "wall", "modules", "heavy", "goal", "noise")
    yield Section("Importing the model base, against torch alone", columns, list(_torch_rows(figures)), _NOTES)


def _pair_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for what, (ours, theirs) in PAIRS.items():
        mine, other = figures[ours], figures[theirs]
        cpu, memory = (other.median(name) / mine.median(name) for name in ("cpu", "memory"))
        yield (
            what,
            f"{1000 * mine.median('cpu'):.0f} ms",
            f"{1000 * other.median('cpu'):.0f} ms",
            f"{cpu:.1f}x",
            f"{mine.median('memory') / _MIB:.0f} MiB",
            f"{other.median('memory') / _MIB:.0f} MiB",
            f"{memory:.1f}x",
            noise(max(mine.spread("cpu"), other.spread("cpu"))),
        )


def _torch_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    torch = figures["torch"].median("cpu")
    for what in ("torch", "nameplate_model", "transformers PreTrainedModel"):
        each = figures[what]
        ratio, heavy = each.median("cpu") / torch, each.median("heavy")
        judged = what == "nameplate_model"
        yield (
            what,
            f"{1000 * each.median('cpu'):.0f} ms",
            f"{ratio:.2f}x",
            at_most(ratio, _OF_TORCH) if judged else "",
            f"{1000 * each.median('wall'):.0f} ms",
            f"{each.median('modules'):,.0f}",
            f"{heavy:.0f}",
            at_most(heavy, 0, "") if judged else "",
            noise(each.spread("cpu")),
        )
