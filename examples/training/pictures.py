"""The pictures: how the training went, what is mistaken for what, what the stages see, where an answer comes from."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from examples.quickstart.digits import Split
from examples.training.images import enlarged
from examples.training.judging import Epoch, Evaluation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from nameplate_resnet import ResnetBackbone, ResnetModel, ResnetModelForImageClassification

_RIGHT, _WRONG, _TRAIN, _TEST = "#12784a", "#b42318", "#8a8577", "#1f5fa8"
_CLASSES = 10
_MAPS = 8
_MISTAKES = 4


# ---- how the training went


def curves(history: Sequence[Epoch]) -> bytes:
    """Return a PNG of loss, accuracy and learning rate over the epochs."""
    figure = Figure(figsize=(12, 3.8), facecolor="white", layout="constrained")
    losses, accuracy, rate = figure.subplots(1, 3)
    epochs = range(1, len(history) + 1)
    losses.semilogy(epochs, [each.train_loss for each in history], ".-", color=_TRAIN, label="training, as it went")
    losses.semilogy(epochs, [each.test_loss for each in history], ".-", color=_TEST, label="held out, after the epoch")
    losses.set(title="Loss", ylabel="cross-entropy (log scale)")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [100 * each.test_accuracy for each in history], ".-", color=_TEST)
    accuracy.set(title=f"Accuracy on held-out digits, {history[-1].test_accuracy:.2%} at last", ylabel="percent right")
    accuracy.set_ylim(0, 101)
    rate.plot(epochs, [each.rate for each in history], ".-", color=_TRAIN)
    rate.set(title="Learning rate", ylabel="at the end of the epoch")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-3, -3))
    for axis in (losses, accuracy, rate):
        axis.set_xlabel("epoch")
        axis.set_xlim(0.5, max(len(history), 2) + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color="#e6e3da", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    return _png(figure)


# ---- what is mistaken for what


def confusion(found: Evaluation) -> bytes:
    """Return a PNG that counts, for each digit, what it was told to be; mistakes stand out."""
    counts = found.confusion
    mistakes = counts - counts.diag().diag()
    figure = Figure(figsize=(6.4, 6.2), facecolor="white", layout="constrained")
    axis = figure.subplots()
    shade = mistakes.double() / max(int(mistakes.max()), 1)
    axis.imshow(shade.numpy(), cmap=_fading(_WRONG), vmin=0, vmax=1)
    axis.imshow(torch.eye(_CLASSES).numpy(), cmap=ListedColormap(["#00000000", "#dcefe4"]))
    for row in range(_CLASSES):
        for column in range(_CLASSES):
            count = int(counts[row, column])
            color = _RIGHT if row == column else "white" if shade[row, column] > 1 / 2 else _WRONG
            axis.text(column, row, str(count or ""), ha="center", va="center", color=color, fontsize=12)
    axis.set_title(f"{int(counts.sum())} held-out digits, {int(mistakes.sum())} mistaken ({found.accuracy:.2%} right)")
    axis.set(xlabel="what the model says", ylabel="what the digit is")
    axis.set_xticks(range(_CLASSES))
    axis.set_yticks(range(_CLASSES))
    axis.set_xticks([each - 0.5 for each in range(1, _CLASSES)], minor=True)
    axis.set_yticks([each - 0.5 for each in range(1, _CLASSES)], minor=True)
    axis.grid(which="minor", color="#e6e3da")
    axis.tick_params(which="both", length=0)
    return _png(figure)


def _fading(color: str) -> ListedColormap:
    """Return a colour map from white to a colour."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    steps = [each / 255 for each in range(256)]
    return ListedColormap([(1 - t * (1 - red), 1 - t * (1 - green), 1 - t * (1 - blue)) for t in steps])


# ---- what the stages see


def features(checkpoint: Path, images: Split) -> bytes:
    """Return a PNG of the strongest feature maps of each stage for one image, by the backbone in a checkpoint."""
    backbone = ResnetBackbone.from_pretrained(checkpoint).eval()
    backbone = ResnetBackbone.from_pretrained(checkpoint, out_features=backbone.config.stage_names).eval()
    pixel_values = enlarged(images.scans[:1])
    with torch.inference_mode():
        maps = backbone(pixel_values)["feature_maps"]
    figure = Figure(figsize=(1.25 * (_MAPS + 1), 1.4 * len(maps) + 0.7), facecolor="white", layout="constrained")
    figure.suptitle(
        f"A held-out {int(images.labels[0])}, and the {_MAPS} strongest maps of each stage (each on a scale of its own)"
    )
    grid = figure.subplots(len(maps), _MAPS + 1, squeeze=False)
    for row, (name, stride, found) in enumerate(zip(backbone.out_features, backbone.strides, maps, strict=True)):
        image, *axes = grid[row]
        image.imshow(pixel_values[0, 0].numpy(), cmap="gray_r")
        side = found.shape[-1]
        image.set_ylabel(f"{name}\n{found.shape[1]} channels\n{side}x{side}, stride {stride}", fontsize=9)
        strongest = found[0].abs().mean((1, 2)).topk(_MAPS).indices
        for axis, channel in zip(axes, strongest.tolist(), strict=True):
            axis.imshow(found[0, channel].numpy(), cmap="magma")
            axis.set_title(f"channel {channel}", fontsize=8, pad=2)
        for axis in grid[row]:
            _bare(axis)
    return _png(figure)


# ---- where the answer comes from


def class_activation_maps(model: ResnetModelForImageClassification, body: ResnetModel, pixel_values: Tensor) -> Tensor:
    """Return how much each place speaks for each class, ``(images, classes, height, width)``.

    The head is linear in the mean of the last maps, so each place has a part in each logit: the mean of a map
    is the logit but for the bias.

    Args:
        model: Whose head is asked.
        body: The same network without its head.
        pixel_values: The images, ``(images, channels, height, width)``.
    """
    weight = model.get_parameter("model.fc.weight")
    with torch.inference_mode():
        return torch.einsum("nkhw,ck->nchw", body(pixel_values)["last_hidden_state"], weight)


def activation_maps(checkpoint: Path, images: Split, found: Evaluation) -> bytes:
    """Return a PNG of where the answer comes from: for a digit of each class, and for mistakes beside the truth."""
    shown = _worth_showing(found)
    model = ResnetModelForImageClassification.from_pretrained(checkpoint).eval()
    body = ResnetModel.from_pretrained(checkpoint).eval()
    pixel_values = enlarged(images.scans[shown])
    maps = class_activation_maps(model, body, pixel_values)
    figure = Figure(figsize=(1.15 * len(shown) + 0.5, 4.6), facecolor="white", layout="constrained")
    figure.suptitle(
        "Where the answer comes from: red speaks for a class, blue against it (each column on a scale of its own);\n"
        "the mean over a map is the logit below it, but for the bias",
        fontsize=11,
    )
    grid = figure.subplots(3, len(shown), squeeze=False)
    for axis, name in zip(
        grid[:, 0], ("the image", "for its answer", "for the truth,\nor its next guess"), strict=True
    ):
        axis.set_ylabel(name, fontsize=9)
    for place, (index, axes) in enumerate(zip(shown.tolist(), grid.T, strict=True)):
        answer, second = found.logits[index].topk(2).indices.tolist()
        truth = int(found.labels[index])
        wrong = answer != truth
        title, color = (f"says {answer}, is {truth}", _WRONG) if wrong else (f"says {answer}", _RIGHT)
        axes[0].set_title(title, fontsize=9, color=color)
        axes[0].imshow(pixel_values[place, 0].numpy(), cmap="gray_r")
        _bare(axes[0])
        rival = truth if wrong else second
        bound = float(maps[place, [answer, rival]].abs().max())
        _evidence(axes[1], maps[place, answer], answer, pixel_values[place, 0], bound)
        _evidence(axes[2], maps[place, rival], rival, pixel_values[place, 0], bound)
    return _png(figure)


def _worth_showing(found: Evaluation) -> Tensor:
    """Return the places of an image of each class that is told right, as far as there is one, and of some mistakes."""
    told = found.predictions == found.labels
    right = [(told & (found.labels == each)).nonzero().flatten()[:1] for each in range(_CLASSES)]
    return torch.cat([*right, (~told).nonzero().flatten()[:_MISTAKES]])


def _evidence(axis: Any, evidence: Tensor, number: int, image: Tensor, bound: float) -> None:
    """Draw a map, with the outlines of the digit over it."""
    side = image.shape[-1]
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    shades: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    axis.imshow(evidence.numpy(), extent=extent, interpolation="bilinear", **shades)
    axis.contour(image.numpy(), levels=[0], colors="black", linewidths=1)
    axis.set_xlabel(f"{number}: {evidence.mean():.1f}", fontsize=9, labelpad=3)
    _bare(axis)


# ---- drawing


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color("#d9d6cd")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
