"""Training a small ResNet, and judging it on images that it has not seen."""

import hashlib
import os
from dataclasses import dataclass

import torch
from examples.quickstart.digits import Split, pixel_values, shifted
from torch import Tensor
from tqdm import tqdm

from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; makes its sums repeatable

CONFIG = ResnetConfig(
    block_type="basic",
    layers=(1, 1, 1, 1),
    channels=(16, 32, 64, 128),
    input_channels=1,
    num_classes=10,
    id2label={digit: str(digit) for digit in range(10)},
)
"""The smallest residual network that does the job."""

_EPOCHS = 15
_BATCH = 64
_PEAK_RATE = 4e-3


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model makes of held-out images.

    Attributes:
        logits: ``(images, classes)``, on the host.
        accuracy: The share of images whose largest logit is the right one.
    """

    logits: Tensor
    accuracy: float

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the logits' bytes: equal only if every bit is."""
        return hashlib.sha256(self.logits.contiguous().numpy().tobytes()).hexdigest()


def train(images: Split, device: torch.device, *, epochs: int = _EPOCHS) -> ResnetModelForImageClassification:
    """Return a trained model, in evaluation mode; the same one every time on the same machine."""
    torch.manual_seed(0)
    order = torch.Generator().manual_seed(0)
    model = ResnetModelForImageClassification(CONFIG).to(device).train()
    steps = epochs * (len(images) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_PEAK_RATE, total_steps=steps)
    with tqdm(total=steps, desc=f"training on {device.type}", unit="batch", disable=None) as bar:
        for _ in range(epochs):
            for batch in torch.randperm(len(images), generator=order).split(_BATCH)[: len(images) // _BATCH]:
                scans = shifted(images.scans[batch], order)
                loss = model(pixel_values(scans).to(device), images.labels[batch].to(device))["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    return model.eval()


def evaluate(model: torch.nn.Module, images: Split, device: torch.device) -> Evaluation:
    """Return logits and accuracy on held-out images, computed in a repeatable way."""
    torch.use_deterministic_algorithms(mode=True)
    with torch.inference_mode():
        logits = model(pixel_values(images.scans).to(device))["logits"].cpu()
    return Evaluation(logits, (logits.argmax(1) == images.labels).double().mean().item())


def best_device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
