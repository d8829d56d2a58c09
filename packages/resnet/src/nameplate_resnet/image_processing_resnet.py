"""`ImageProcessorConfig`: how images become the numbers that a network reads, and timm's transform that does it.

What the files of timm and of Transformers call these things is `image_processor_formats`. Pillow, torchvision and timm
are imported only when a transform is made.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Unpack, overload

from annotated_types import Ge, Le, MinLen

from nameplate_config import (
    ConfigError,
    PreTrainedConfig,
    Problem,
    Source,
    Tiny,
    UnknownOptionError,
    check_publish_options,
    fields,
    open_source,
    publish,
    split_options,
)
from nameplate_config.files import folder_of, make_folder, replace_file
from nameplate_config.strict_json import LARGEST_CONFIG, readable_text
from nameplate_config.typing import PublishOptions, StrPath
from nameplate_config.wording import did_you_mean, reason, sentences, shown

from .image_processor_formats import (
    LEAST_SHARE,
    MEAN,
    PROCESSOR_FORMATS,
    RESCALE,
    STD,
    expressible,
    for_timm,
    for_transformers,
    resized,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PROCESSOR_NAME = "preprocessor_config.json"
"""The file that says how images are prepared, as Transformers calls it."""

Side = Annotated[int, Ge(1), Tiny(8, 16)]
"""The height or the width of an image, in pixels."""

Share = Annotated[float, Ge(LEAST_SHARE), Le(1 / LEAST_SHARE)]
"""How much of the resized sides a crop keeps; beyond 1 there is a margin."""

Mean = Annotated[float, Ge(-1e6), Le(1e6)]
Deviation = Annotated[float, Ge(1e-6), Le(1e6)]

_FIXED = frozenset({"input_size", "is_training"})


class ImageProcessorConfig(PreTrainedConfig):
    """How an image becomes the numbers that a network reads: resized, cropped, rescaled and normalised.

    It is read from `preprocessor_config.json`, as the image processors of Transformers write it (ConvNext's, which is
    that of its ResNet, Bit's, CLIP's, DeiT's and ViT's, of older versions too), or else from the `pretrained_cfg` that
    timm keeps in `config.json`. Where neither says anything, timm's defaults count, which are those below; of a network
    whose images have other than three channels, mean and deviation are the averages of those.

    Attributes:
        size: Height and width of what the network gets, in pixels.
        crop_pct: The share of the resized sides that the crop keeps: an image is resized to ``size / crop_pct`` first.
        crop_mode: What is resized so: the sides that are the shorter ones beside those of `size` (``"center"``, which
            crops the rest), each side for itself (``"squash"``), or the longer ones, with a margin (``"border"``).
        interpolation: How it is resized, by Pillow's name.
        mean: What is subtracted from each channel after it was rescaled.
        std: What each channel is divided by after that.
        rescale_factor: What the bytes of the image are multiplied by first.
        test_size: Height and width at which timm evaluates the network, if not at those it was trained with.
        test_crop_pct: The share that goes with it.

    Example:
        >>> processor = ImageProcessorConfig(size=(160, 160), crop_pct=0.95)
        >>> processor.resized
        (168, 168)
        >>> processor.pretrained_cfg()["input_size"]
        [3, 160, 160]
        >>> ImageProcessorConfig(crop_mode="centre")
        Traceback (most recent call last):
        ...
        nameplate_config.ConfigError: ImageProcessorConfig: 1 problem.
          crop_mode: expected one of 'center', 'squash', 'border', found 'centre'. Did you mean 'center'?
    """

    foreign_formats = PROCESSOR_FORMATS

    size: tuple[Side, Side] = (224, 224)
    crop_pct: Share = 0.875
    crop_mode: Literal["center", "squash", "border"] = "center"
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"] = "bicubic"
    mean: Annotated[tuple[Mean, ...], MinLen(1)] = MEAN
    std: Annotated[tuple[Deviation, ...], MinLen(1)] = STD
    rescale_factor: Deviation = RESCALE
    test_size: tuple[Side, Side] | None = None
    test_crop_pct: Share | None = None

    @property
    def channels(self) -> int:
        """How many channels the images have."""
        return len(self.mean)

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width to which an image is resized before the crop, in pixels."""
        return resized(self.size, self.crop_pct)

    def validate_numbers(self) -> Iterator[Problem]:
        """Refuse numbers that do not go together, or leave nothing to crop from."""
        if len(self.std) != len(self.mean):
            yield Problem("std", f"{len(self.mean)} numbers, as mean has", str(len(self.std)))
        for size, share, name in (
            (self.size, self.crop_pct, "crop_pct"),
            (self.test_size or self.size, self.test_crop_pct or self.crop_pct, "test_crop_pct"),
        ):
            if min(resized(size, share)) < 1:
                yield Problem(name, f"at most {min(size)}, the shorter side", str(share))
        if self.rescale_factor != RESCALE and not expressible(vars(self)):
            hint = "timm, which alone can crop so, divides by 255"
            yield Problem("rescale_factor", "1 / 255", str(self.rescale_factor), hint)

    # ---- timm

    @classmethod
    def from_timm(cls, name: str, **overrides: Any) -> Self:
        """Return how the images of one of timm's networks are prepared.

        Args:
            name: The name of a network, with or without the tag of its weights, such as ``"resnet50.a1_in1k"``.
            **overrides: Fields that get another value than timm's.

        Raises:
            ConfigError: If timm has no such network or no such weights of it, or a value does not fit.
            UnknownOptionError: If an override names no field.

        Example:
            >>> ImageProcessorConfig.from_timm("resnet50.a1_in1k").crop_pct
            0.95
        """
        import timm  # noqa: PLC0415 - only when it is asked

        try:
            cfg = timm.get_pretrained_cfg(name)
        except Exception as error:
            message = f"timm knows no images for {shown(name)}: {reason(error)}"
            raise ConfigError(message) from error
        if cfg is None:
            known = [*timm.list_models(), *timm.list_pretrained()]
            message = sentences(f"timm has no network {shown(name)}.", did_you_mean(str(name), known))
            raise ConfigError(message)
        return cls.from_dict(cfg.to_dict(), **overrides)

    def pretrained_cfg(self) -> dict[str, Any]:
        """Return timm's names for the same, as they stand in the `pretrained_cfg` of its files; JSON-ready.

        Read again it gives the same config. Only a `rescale_factor` other than 1 / 255, which timm lacks, goes into
        mean and deviation instead.
        """
        return for_timm(vars(self))

    def transform(
        self, *, training: bool = False, use_test_size: bool = False, **options: Any
    ) -> "Callable[[Image], Tensor]":
        """Return timm's own transform: from one image of Pillow's to a tensor ``(channels, height, width)``.

        An image must have as many channels as this says: ``image.convert("RGB")``.

        Args:
            training: Whether to augment at random, as for training.
            use_test_size: Whether to evaluate at `test_size`, where there is one.
            **options: What else `timm.data.create_transform` takes, such as ``auto_augment="rand-m9"``.

        Raises:
            UnknownOptionError: If `timm.data.create_transform` has no such option.
            ConfigError: If timm refuses its value.

        Example:
            >>> from PIL import Image
            >>> ImageProcessorConfig(size=(64, 64)).transform()(Image.new("RGB", (100, 80))).shape
            torch.Size([3, 64, 64])
        """
        from timm.data import create_transform, resolve_data_config  # noqa: PLC0415 - imports torch and Pillow

        known = inspect.signature(create_transform).parameters.keys() - _FIXED
        for name in options:
            if name not in known:
                message = sentences(f"{name!r} is no option of timm's transform.", did_you_mean(name, known))
                raise UnknownOptionError(message)
        data: dict[str, Any] = resolve_data_config({}, self.pretrained_cfg(), use_test_size=use_test_size)
        try:
            made: Any = create_transform(**{**data, **options}, is_training=training)
        except Exception as error:
            message = f"timm makes no transform of {shown(options)}: {reason(error)}"
            raise ConfigError(message) from error
        return made

    # ---- files and the Hub

    def preprocessor_config(self) -> dict[str, Any]:
        """Return what `save_pretrained` writes: the words of Transformers, and the keys of a file that nobody knew."""
        own = {field.name for field in fields(type(self))}
        kept = {key: value for key, value in self.to_dict().items() if key not in own}
        return {**kept, **for_transformers(vars(self))}

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: Literal[True], **kwargs: Any
    ) -> tuple[Self, dict[str, Any]]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: Literal[False] = False, **kwargs: Any
    ) -> Self: ...

    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Load how the images of a checkpoint are prepared.

        `preprocessor_config.json` counts if there is one. Else it is the `pretrained_cfg` in `config.json`; else timm's
        defaults, for as many channels as `config.json` says.

        Args:
            source: A folder, a JSON file, or the id of a repository.
            return_unused_kwargs: Return ``(config, unused)`` with the arguments that name no field.
            **kwargs: The options of `nameplate_config.typing.HubOptions`, and fields that get another value.

        Raises:
            SourceNotFoundError: If there is no such source, or it has neither file.
            ConfigFileError: If the file cannot be read, or says what timm's transform cannot do.
            ConfigError: If an override does not fit its field.
            UnknownOptionError: If an argument is neither an option nor a field, and is not to be returned.

        Example:
            >>> ImageProcessorConfig(size=(64, 64)).save_pretrained("checkpoint")
            >>> ImageProcessorConfig.from_pretrained("checkpoint")
            ImageProcessorConfig(size=(64, 64))
        """
        options, overrides = split_options(kwargs)
        opened = open_source(source, allow_file=True, **options)
        if opened.file is None and (path := opened.find(PROCESSOR_NAME, largest=LARGEST_CONFIG)) is not None:
            opened = replace(opened, folder=None, file=path)
        if return_unused_kwargs:
            return super().from_pretrained(opened, return_unused_kwargs=True, **overrides)
        return super().from_pretrained(opened, **overrides)

    def save_pretrained(self, folder: StrPath, *, push_to_hub: str = "", **options: Unpack[PublishOptions]) -> None:
        """Write `preprocessor_config.json` into *folder*, created if needed: the old file or the new, never a mix.

        Transformers' `AutoImageProcessor` opens it, with these differences to `transform`. By default torchvision
        resizes, not Pillow, and some bytes differ by one; with ``backend="pil"`` all are the same. Where 3, 7, 11 …
        pixels are cut off a side, its crop begins one pixel earlier. Boxes and Hamming windows need
        ``backend="pil"``. Margins, and crops that are not square from sides that keep their ratio, are beyond its own
        processors: such a file is for ``TimmWrapperImageProcessor.from_pretrained(folder,
        image_processor_filename="preprocessor_config.json")``, which asks timm.

        Args:
            folder: Where to.
            push_to_hub: The id of a repository to publish it in as well.
            **options: How to publish it, see `nameplate_config.typing.PublishOptions`.

        Raises:
            UnsafePathError: If the path is a file, or none.
            OSError: If the system cannot write; the old file is untouched.
        """
        check_publish_options(options)
        target = folder_of(folder)
        make_folder(target)
        replace_file(target / PROCESSOR_NAME, [self._file()])
        if push_to_hub:
            self.push_to_hub(push_to_hub, **options)

    def push_to_hub(self, repository: str, **options: Unpack[PublishOptions]) -> str:
        """Publish `preprocessor_config.json` in one commit.

        Args:
            repository: The id of a repository on the Hub, created if there is none.
            **options: How to publish it, see `nameplate_config.typing.PublishOptions`.

        Returns:
            The address of the commit.

        Raises:
            HubError: If the Hub refused or could not be reached.
        """
        return publish(repository, {PROCESSOR_NAME: self._file()}, "Upload image processor config", **options)

    def _file(self) -> bytes:
        values = self.preprocessor_config()
        text = readable_text({name: values[name] for name in sorted(values)}, where=PROCESSOR_NAME)
        return text.encode()
