"""What this package announces: the Auto classes that serve `nameplate_resnet`, as lazy classes.

Read through the entry point ``nameplate.architectures``; imports nothing.
"""

ARCHITECTURE = {
    "AutoBackbone": "nameplate_resnet.modeling_resnet:ResnetBackbone",
    "AutoConfig": "nameplate_resnet.configuration_resnet:ResnetConfig",
    "AutoModel": "nameplate_resnet.modeling_resnet:ResnetModel",
    "AutoModelForImageClassification": "nameplate_resnet.modeling_resnet:ResnetModelForImageClassification",
    "AutoModelForSemanticSegmentation": "nameplate_resnet.modeling_resnet:ResnetForSemanticSegmentation",
}
