"""The reference ResNet of the nameplate family, built on timm.

Importing this package costs next to nothing: the config is loaded when it is named, torch and timm when a model is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nameplate_resnet.configuration_resnet import BlockArgs as BlockArgs
    from nameplate_resnet.configuration_resnet import ResnetConfig as ResnetConfig
    from nameplate_resnet.image_processing_resnet import ImageProcessorConfig as ImageProcessorConfig
    from nameplate_resnet.losses import LabelsError as LabelsError
    from nameplate_resnet.modeling_resnet import ImageClassification as ImageClassification
    from nameplate_resnet.modeling_resnet import ImageFeatures as ImageFeatures
    from nameplate_resnet.modeling_resnet import ResnetBackbone as ResnetBackbone
    from nameplate_resnet.modeling_resnet import ResnetForSemanticSegmentation as ResnetForSemanticSegmentation
    from nameplate_resnet.modeling_resnet import ResnetModel as ResnetModel
    from nameplate_resnet.modeling_resnet import ResnetModelForImageClassification as ResnetModelForImageClassification
    from nameplate_resnet.modeling_resnet import SemanticSegmentation as SemanticSegmentation
    from nameplate_resnet.publishing.errors import PublishingError as PublishingError

_HOMES = {
    "BlockArgs": "configuration_resnet",
    "ImageClassification": "modeling_resnet",
    "ImageFeatures": "modeling_resnet",
    "ImageProcessorConfig": "image_processing_resnet",
    "LabelsError": "losses",
    "PublishingError": "publishing.errors",
    "ResnetBackbone": "modeling_resnet",
    "ResnetConfig": "configuration_resnet",
    "ResnetForSemanticSegmentation": "modeling_resnet",
    "ResnetModel": "modeling_resnet",
    "ResnetModelForImageClassification": "modeling_resnet",
    "SemanticSegmentation": "modeling_resnet",
}

__all__ = [
    "BlockArgs",
    "ImageClassification",
    "ImageFeatures",
    "ImageProcessorConfig",
    "LabelsError",
    "PublishingError",
    "ResnetBackbone",
    "ResnetConfig",
    "ResnetForSemanticSegmentation",
    "ResnetModel",
    "ResnetModelForImageClassification",
    "SemanticSegmentation",
]


def __getattr__(name: str) -> Any:
    """Import a public class from its module, or answer `__version__` from the installed metadata."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("nameplate-resnet")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
