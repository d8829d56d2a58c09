"""Measuring a classifier on a folder of images, one sub-folder for each class, by timm's evaluation transform."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nameplate_config.wording import brief, did_you_mean, listed, sentences, shown
from nameplate_resnet.configuration_resnet import ResnetConfig
from nameplate_resnet.image_processing_resnet import ImageProcessorConfig
from nameplate_resnet.modeling_resnet import ResnetModelForImageClassification, ResnetPreTrainedModel
from nameplate_resnet.publishing.errors import PublishingError
from nameplate_resnet.publishing.metrics import Metrics

_TOP = 5
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""What Pillow calls images of so many channels."""


def evaluate(
    model: ResnetPreTrainedModel,
    processor: ImageProcessorConfig,
    folder: Path,
    *,
    split: str = "",
    batch_size: int = 64,
    progress: bool = False,
) -> Metrics:
    """Return how often a classifier is right about the images of a folder.

    Args:
        model: The classifier; it is put into evaluation mode, and stays on its device.
        processor: How its images are prepared.
        folder: One sub-folder of images for each class, called like its label. Where the labels have no names, the
            classes are the sub-folders in the order of their names.
        split: How the record calls this part of the data.
        batch_size: How many images go through the network at once.
        progress: Whether to draw a bar on a terminal.

    Returns:
        The share of images whose class is the first guess (``accuracy``), and of more than five classes the share of
        those whose class is among the first five (``top_5_accuracy``). The folder gives the name of the data.

    Raises:
        PublishingError: If the model is no classifier or answers no numbers, the sub-folders are not its classes or
            leave open which is which, or an image cannot be read.
    """
    from tqdm import tqdm  # noqa: PLC0415 - only where something is measured

    _require_classes(model)
    images = _Images(folder, model.config, processor)
    batches = DataLoader(images, batch_size=batch_size)
    model.eval()
    hits = torch.zeros(2, dtype=torch.int64)
    weight = next(model.parameters())
    with torch.inference_mode():
        for pixels, labels in tqdm(batches, desc="evaluating", unit="batch", disable=None if progress else True):
            hits += _hits(model(pixels.to(weight)).logits.cpu(), labels)
    first, among = (hits.double() / len(images)).tolist()
    more = {f"top_{_TOP}_accuracy": among} if model.config.num_classes > _TOP else {}
    return Metrics(dataset=folder.resolve().name, split=split, values={"accuracy": first, **more})


def _require_classes(model: ResnetPreTrainedModel) -> None:
    """Make sure that there is something to be right about: one class, or a regression, is always or never right."""
    config = model.config
    said = ""
    if not isinstance(model, ResnetModelForImageClassification):
        said = f"{type(model).__name__} answers no classes"
    elif config.num_classes == 1 or config.problem_type == "regression":
        said = f"with num_classes={config.num_classes} and problem_type={config.problem_type!r} there is no guess"
    if said:
        message = f"{said}, so it cannot be evaluated on images of classes."
        raise PublishingError(message)


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for how many images the class is the first guess, and for how many it is among the first few."""
    if logits.isnan().any():
        message = "the model answers NaN, so nothing can be measured of it."
        raise PublishingError(message)
    guesses = logits.topk(min(_TOP, logits.shape[-1])).indices == labels[:, None]
    return torch.stack((guesses[:, 0].sum(), guesses.sum()))


class _Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The images of a folder, prepared, each with the number of its class."""

    def __init__(self, folder: Path, config: ResnetConfig, processor: ImageProcessorConfig) -> None:
        self.files = list(_files(folder, config))
        self.transform: Any = processor.transform()
        self.mode = _MODES.get(processor.channels)
        if self.mode is None:
            message = f"images of {processor.channels} channels cannot be read from files: expected 1, 3 or 4."
            raise PublishingError(message)
        if processor.channels != config.input_channels:
            expected = f"expected {config.input_channels}, as input_channels of the model says"
            message = f"the image processor makes images of {processor.channels} channels: {expected}."
            raise PublishingError(message)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image  # noqa: PLC0415 - as above

        path, label = self.files[index]
        try:
            with Image.open(path) as image:
                return self.transform(image.convert(self.mode)), label
        except Exception as error:  # what Pillow raises depends on the kind of the file
            message = f"{path} cannot be read as an image: {brief(error)}"
            raise PublishingError(message) from error


def _files(folder: Path, config: ResnetConfig) -> Iterator[tuple[Path, int]]:
    """Yield every image below a folder, in the order of their paths, and the number of its class."""
    if not folder.is_dir():
        message = f"{folder} is no folder. Give one with a sub-folder of images for each class."
        raise PublishingError(message)
    classes = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    numbers = _numbers(classes, config, folder)
    from PIL import Image  # noqa: PLC0415 - as above

    endings = Image.registered_extensions().keys()
    found = 0
    for name in classes:
        for path in sorted((folder / name).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.suffix.lower() in endings and path.is_file():
                found += 1
                yield path, numbers[name]
    if not found:
        message = sentences(f"{folder} holds no image.", "Expected a sub-folder of images for each class.")
        raise PublishingError(message)


def _numbers(classes: list[str], config: ResnetConfig, folder: Path) -> Mapping[str, int]:
    """Return the number of each class that has a sub-folder."""
    labels: Mapping[str, int] = config.label2id
    unknown = [name for name in classes if name not in labels]
    if not unknown:
        _require_one_number_each(classes, config)
        return labels
    named = any(label != f"LABEL_{number}" for label, number in labels.items())
    if not named and len(classes) == config.num_classes:
        _require_one_order(classes, folder)
        return {name: number for number, name in enumerate(classes)}
    near = did_you_mean(unknown[0], labels) if named else ""
    expected = f"labels of the model: {listed(map(repr, labels))}" if named else f"{config.num_classes} of them"
    message = sentences(
        f"the sub-folders of {folder} are not the classes of the model.",
        f"Expected {expected}, found {len(classes)}, {shown(unknown[0])} among them.",
        near,
    )
    raise PublishingError(message)


def _require_one_number_each(classes: list[str], config: ResnetConfig) -> None:
    """Refuse a class whose label stands for several: ImageNet has two cranes, and nothing tells them apart."""
    times = Counter((config.id2label or {}).values())
    double = [name for name in classes if times[name] > 1]
    if double:
        message = sentences(
            f"the label {shown(double[0])} stands for {times[double[0]]} classes, so its images cannot be counted.",
            "Give every class a label of its own in id2label.",
        )
        raise PublishingError(message)


def _require_one_order(classes: list[str], folder: Path) -> None:
    """Refuse names that are in one order by their letters and in another by their numbers, as '10' and '2' are."""
    by_number = sorted(classes, key=_natural)
    if by_number == classes:
        return
    first = next(pair for pair in zip(classes, by_number, strict=True) if pair[0] != pair[1])
    message = sentences(
        f"the labels of the model have no names, and the sub-folders of {folder} no clear order.",
        f"By their letters {shown(first[0])} comes before {shown(first[1])}, by their numbers after it.",
        "Name the labels in id2label like the sub-folders.",
    )
    raise PublishingError(message)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return what sorts names by the numbers in them, as timm sorts its classes."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(1, int(part), "") if number % 2 else (0, 0, part) for number, part in enumerate(parts)]
