"""The contact sheet: held-out digits with what the model says of them, mistakes first and marked."""

import io

import torch
from examples.quickstart.digits import Split
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

_COLUMNS, _ROWS = 12, 7
_RIGHT, _WRONG = "#12784a", "#b42318"


def contact_sheet(images: Split, logits: Tensor) -> bytes:
    """Return a PNG of 84 held-out scans with prediction and confidence; every mistake that fits comes first."""
    confidence, predicted = logits.softmax(1).max(1)
    mistakes = (predicted != images.labels).nonzero().flatten()
    right = (predicted == images.labels).nonzero().flatten()
    mixed = right[torch.randperm(len(right), generator=torch.Generator().manual_seed(1))]
    shown = torch.cat([mistakes, mixed])[: _COLUMNS * _ROWS]
    figure = Figure(figsize=(_COLUMNS * 0.95, _ROWS * 1.2 + 0.6), facecolor="white", layout="constrained")
    figure.suptitle(
        f"{len(images)} held-out digits, {len(mistakes)} mistakes (red, shown first); percentages are the confidence",
        fontsize=11,
    )
    axes = figure.subplots(_ROWS, _COLUMNS).flatten()
    for axis, index in zip(axes, shown.tolist(), strict=False):
        wrong = bool(predicted[index] != images.labels[index])
        said = f"{predicted[index]}  {confidence[index]:.0%}"
        axis.imshow(images.scans[index, 0], cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(said, fontsize=9, color=_WRONG if wrong else _RIGHT, pad=3)
        if wrong:
            axis.set_xlabel(f"is {images.labels[index]}", fontsize=9, color=_WRONG, labelpad=3)
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_color(_WRONG if wrong else "#d9d6cd")
            spine.set_linewidth(2.5 if wrong else 0.8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
