"""The Auto classes: one line for each task. How they find and load a model is `_auto_class`."""

from nameplate_auto._auto_class import AutoClass


class AutoModel(AutoClass):
    """The bare architecture, without a head for a task."""


class AutoModelForPreTraining(AutoClass):
    """Models with the heads that they are trained with before any task."""


class AutoModelForMaskedImageModeling(AutoClass):
    """Models that fill in the hidden parts of images."""


class AutoModelForImageClassification(AutoClass):
    """Models that sort images into classes: they answer with `logits` of shape ``(batch, classes)``."""


class AutoModelForSemanticSegmentation(AutoClass):
    """Models that sort pixels into classes: they answer with `logits` of shape ``(batch, classes, height, width)``."""


class AutoModelForInstanceSegmentation(AutoClass):
    """Models that outline each object of an image."""


class AutoModelForObjectDetection(AutoClass):
    """Models that draw a box around each object of an image."""


class AutoModelForDepthEstimation(AutoClass):
    """Models that tell how far each pixel is away."""


class AutoBackbone(AutoClass):
    """Bodies for other models: they answer with `feature_maps`, one for each stage that their config asks for.

    The stages are fields of the config, so `from_pretrained` and `from_config` take `out_features` and `out_indices`.
    A source is a folder or a repository, never the name of a model of timm.
    """
