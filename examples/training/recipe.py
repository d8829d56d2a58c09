"""What is trained and how: the network, and the numbers that decide what comes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from examples.quickstart.training import best_device
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler

from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification

CONFIG = ResnetConfig(
    block_type="basic",
    layers=(1, 1, 1, 1),
    channels=(16, 24, 32, 64),
    stem_type="deep",
    stem_width=8,
    output_stride=8,
    input_channels=1,
    num_classes=10,
    id2label={digit: str(digit) for digit in range(10)},
)
"""A residual network whose last maps still have 8x8 pixels, so that they show where it looks."""

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What convolutions and products may be computed in; parameters and statistics are float32 always."""

_LOWEST_RATE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The numbers that decide what comes out; a run goes on only with those it was begun with.

    Attributes:
        epochs: How often every training image is seen.
        batch: Images per step.
        peak_rate: The learning rate after the warm-up, from which it falls along a cosine.
        warmup_epochs: How long it rises from nearly nothing.
        weight_decay: Of weights; biases and normalisations are left alone.
        ema_decay: What a step leaves of the moving average of all weights.
        seed: Where the random numbers start.
    """

    epochs: int = 20
    batch: int = 64
    peak_rate: float = 4e-3
    warmup_epochs: int = 1
    weight_decay: float = 0.05
    ema_decay: float = 0.98
    seed: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How the arithmetic is done; a run that was begun on one machine may go on on another.

    Attributes:
        device: Where.
        precision: In what convolutions are computed.
        gradient_checkpointing: Whether activations are computed again in backward instead of kept. Changes no bit.
    """

    device: torch.device
    precision: Precision
    gradient_checkpointing: bool = False

    @classmethod
    def choose(
        cls, device: str = "auto", precision: str = "auto", *, gradient_checkpointing: bool = False
    ) -> "Machine":
        """Return the machine with these properties; ``"auto"`` stands for the best that there is."""
        place = best_device() if device == "auto" else torch.device(device)
        half: Precision = "bfloat16" if place.type == "cpu" or torch.cuda.is_bf16_supported() else "float16"
        named: dict[str, Precision] = {each: each for each in PRECISIONS}
        return cls(device=place, precision=named.get(precision, half), gradient_checkpointing=gradient_checkpointing)

    @property
    def dtype(self) -> torch.dtype:
        """The precision, as torch knows it."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions are computed in the precision asked for."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.precision != "float32")


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Have torch compute the same bits each time; on a GPU it only warns where it cannot."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(mode=True, warn_only=device.type != "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def new_model(recipe: Recipe) -> ResnetModelForImageClassification:
    """Return a model before its training, the same one for the same seed."""
    torch.manual_seed(recipe.seed)
    return ResnetModelForImageClassification(CONFIG)


def new_optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Return an optimizer that lets only weights decay."""
    return torch.optim.AdamW(param_groups_weight_decay(model, recipe.weight_decay), lr=recipe.peak_rate)


def new_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> CosineLRScheduler:
    """Return a schedule that is told the number of each step, for epochs of so many *steps*."""
    return CosineLRScheduler(
        optimizer,
        t_initial=max(recipe.epochs * steps, 2),
        lr_min=_LOWEST_RATE,
        warmup_t=min(recipe.warmup_epochs, recipe.epochs - 1) * steps,
        warmup_lr_init=_LOWEST_RATE,
        t_in_epochs=False,
    )
