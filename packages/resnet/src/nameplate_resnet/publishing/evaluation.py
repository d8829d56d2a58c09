"""Measuring a classifier on a folder of images, one sub-folder for each class, by timm's evaluation transform."""

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
        PublishingError: If the model is no classifier, the sub-folders are not its classes, or an image cannot be read.
    """
    from tqdm import tqdm  # noqa: PLC0415 - only where something is measured

    if not isinstance(model, ResnetModelForImageClassification):
        message = f"{type(model).__name__} answers no classes, so it cannot be evaluated on images of classes."
        raise PublishingError(message)
    images = _Images(folder, model.config, processor)
    batches = DataLoader(images, batch_size=batch_size)
    model.eval()
    hits = torch.zeros(2, dtype=torch.int64)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for pixels, labels in tqdm(batches, desc="evaluating", unit="batch", disable=None if progress else True):
            hits += _hits(model(pixels.to(device)).logits.cpu(), labels)
    first, among = (hits.double() / len(images)).tolist()
    more = {f"top_{_TOP}_accuracy": among} if model.config.num_classes > _TOP else {}
    return Metrics(dataset=folder.resolve().name, split=split, values={"accuracy": first, **more})


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for how many images the class is the first guess, and for how many it is among the first few."""
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
            if path.suffix.lower() in endings and path.is_file():
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
        return labels
    named = any(label != f"LABEL_{number}" for label, number in labels.items())
    if not named and len(classes) == config.num_classes:
        return {name: number for number, name in enumerate(classes)}
    near = did_you_mean(unknown[0], labels) if named else ""
    expected = f"labels of the model: {listed(map(repr, labels))}" if named else f"{config.num_classes} of them"
    message = sentences(
        f"the sub-folders of {folder} are not the classes of the model.",
        f"Expected {expected}, found {len(classes)}, {shown(unknown[0])} among them.",
        near,
    )
    raise PublishingError(message)
