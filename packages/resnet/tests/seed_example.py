# ruff: noqa: B006, D101, D102, EM101, PLR0913, PLR0917, TRY003 - as users write, not as we do
"""A user's script, written for Transformers: only its import lines name other packages.

`test_seed_example.py` runs it in an empty folder. The classes and calls must stay as they are.
"""

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

from nameplate_auto import CONFIG_MAPPING, AutoConfig, AutoModel, AutoModelForImageClassification
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


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


BLOCK_MAPPING = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResnetModel(PreTrainedModel):
    """Backbone that returns hidden features."""

    config_class = ResnetConfig  # Links model to configuration

    def __init__(self, config: ResnetConfig):
        super().__init__(config)
        block = BLOCK_MAPPING[config.block_type]
        self.model = ResNet(
            block,
            config.layers,
            num_classes=config.num_classes,
            in_chans=config.input_channels,
            cardinality=config.cardinality,
            base_width=config.base_width,
            stem_width=config.stem_width,
            stem_type=config.stem_type,
            avg_down=config.avg_down,
        )

    def forward(self, pixel_values):
        return self.model.forward_features(pixel_values)


class ResnetModelForImageClassification(PreTrainedModel):
    """Classification head on top of the backbone."""

    config_class = ResnetConfig

    def __init__(self, config: ResnetConfig):
        super().__init__(config)
        block = BLOCK_MAPPING[config.block_type]
        self.model = ResNet(
            block,
            config.layers,
            num_classes=config.num_classes,
            in_chans=config.input_channels,
            cardinality=config.cardinality,
            base_width=config.base_width,
            stem_width=config.stem_width,
            stem_type=config.stem_type,
            avg_down=config.avg_down,
        )

    def forward(self, pixel_values, labels=None):
        logits = self.model(pixel_values)
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits, labels)
            return {"loss": loss, "logits": logits}
        return {"logits": logits}


AutoConfig.register("resnet", ResnetConfig)
AutoModel.register(ResnetConfig, ResnetModel)
AutoModelForImageClassification.register(ResnetConfig, ResnetModelForImageClassification)

config = ResnetConfig()
config.save_pretrained("custom_resnet")
model = ResnetModelForImageClassification(config)
model.save_pretrained("custom_resnet")
local_model = AutoModelForImageClassification.from_pretrained("custom_resnet", trust_remote_code=True)


class MyModelConfig(PreTrainedConfig):
    model_type = "my_model"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(self, hidden_size=768, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size


CONFIG_MAPPING.register("my_model", MyModelConfig)

MyModelConfig(hidden_size=512).save_pretrained("my_model")
loaded, unused = AutoConfig.from_pretrained(
    "my_model",
    hidden_size=640,
    not_a_field=1,
    return_unused_kwargs=True,
)
