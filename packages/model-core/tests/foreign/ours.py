"""The same models as in the golden folders, wrapped here: their names and configs are those that others write."""

import torch
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel

from .modules import Odd, furnish


class ResNetConfig(PreTrainedConfig):
    """Some fields of Transformers' ResNet; the others are kept as extras."""

    model_type = "resnet"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"


class ResNet(PreTrainedModel):
    """The body of Transformers' ResNet, as far as its state goes: one basic layer in each stage."""

    config_class = ResNetConfig
    base_model_prefix = "resnet"

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        sizes = (config.embedding_size, *config.hidden_sizes)
        self.embedder = nn.ModuleDict({"embedder": _unit(config.num_channels, config.embedding_size, 7)})
        self.encoder = nn.ModuleDict({"stages": nn.ModuleList(map(_stage, sizes, sizes[1:]))})


class ResNetForImageClassification(PreTrainedModel):
    """The body with a head."""

    config_class = ResNetConfig
    base_model_prefix = "resnet"
    head_prefixes = ("classifier.",)

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.resnet = ResNet(config)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(config.hidden_sizes[-1], config.num_labels))


def _unit(channels: int, size: int, width: int) -> nn.Module:
    convolution = nn.Conv2d(channels, size, width, bias=False)
    return nn.ModuleDict({"convolution": convolution, "normalization": nn.BatchNorm2d(size)})


def _stage(channels: int, size: int) -> nn.Module:
    parts = {"layer": nn.Sequential(_unit(channels, size, 3), _unit(size, size, 3))}
    if channels != size:
        parts = {"shortcut": _unit(channels, size, 1), **parts}
    return nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict(parts)])})


class GPT2Config(PreTrainedConfig):
    """Some fields of Transformers' GPT-2; the others are kept as extras."""

    model_type = "gpt2"

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    tie_word_embeddings: bool = True


class Rows(nn.Module):
    """A linear layer as GPT-2 stores it: transposed."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, out))
        self.bias = nn.Parameter(torch.zeros(out))


class GPT2LMHeadModel(PreTrainedModel):
    """Transformers' GPT-2, as far as its state goes."""

    config_class = GPT2Config
    base_model_prefix = "transformer"

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        width = config.n_embd
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, width),
                "wpe": nn.Embedding(config.n_positions, width),
                "h": nn.ModuleList(_block(width) for _ in range(config.n_layer)),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer["wte"].weight


def _block(width: int) -> nn.Module:
    attention = nn.ModuleDict({"c_attn": Rows(width, 3 * width), "c_proj": Rows(width, width)})
    mlp = nn.ModuleDict({"c_fc": Rows(width, 4 * width), "c_proj": Rows(4 * width, width)})
    return nn.ModuleDict({"ln_1": nn.LayerNorm(width), "attn": attention, "ln_2": nn.LayerNorm(width), "mlp": mlp})


class OddConfig(PreTrainedConfig):
    """The width of an odd model."""

    model_type = "odd"

    width: int = 4


class OddModel(PreTrainedModel):
    """What loaders trip over."""

    config_class = OddConfig

    def __init__(self, config: OddConfig) -> None:
        super().__init__(config)
        self.net = Odd(config.width)


class SpeakerConfig(PreTrainedConfig):
    """The sizes of a speaker."""

    model_type = "speaker"

    words: int = 12
    width: int = 4


class SpeakerModel(PreTrainedModel):
    """A speaker that ties its tables itself."""

    config_class = SpeakerConfig

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__(config)
        furnish(self, config.words, config.width)


class LooseSpeakerModel(SpeakerModel):
    """A speaker whose tables are two, unless the checkpoint says otherwise."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__(config)
        self.out.weight = nn.Parameter(torch.zeros(config.words, config.width))
