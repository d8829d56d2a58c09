# ruff: noqa: B006, D101, EM101, PLR0913, PLR0917, TRY003
"""The two config classes of the documents that this project began with, as they stand there."""

from nameplate_config import PreTrainedConfig


class ResnetConfig(PreTrainedConfig):
    """Configuration for a custom ResNet model."""

    model_type = "resnet"  # Unique identifier for AutoConfig

    def __init__(
        self,
        block_type="bottleneck",
        layers=[3, 4, 6, 3],
        num_classes=1000,
        input_channels=3,
        cardinality=1,
        base_width=64,
        stem_width=64,
        stem_type="",
        avg_down=False,
        **kwargs,
    ):
        if block_type not in ["basic", "bottleneck"]:
            raise ValueError("`block_type` must be 'basic' or 'bottleneck'")
        self.block_type = block_type
        self.layers = layers
        self.num_classes = num_classes
        self.input_channels = input_channels
        self.cardinality = cardinality
        self.base_width = base_width
        self.stem_width = stem_width
        self.stem_type = stem_type
        self.avg_down = avg_down
        super().__init__(**kwargs)  # Preserve parent configuration fields


class MyModelConfig(PreTrainedConfig):
    model_type = "my_model"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(self, hidden_size=768, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
