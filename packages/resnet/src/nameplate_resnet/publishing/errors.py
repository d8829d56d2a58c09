"""The errors of publishing; those of the models are `losses.LabelsError` and the errors of the cores."""

from nameplate_config import NameplateError


class PublishingError(NameplateError, ValueError):
    """What was to be published, measured or certified is not what it must be; says which file, and why."""


PublishingError.__module__ = "nameplate_resnet"
