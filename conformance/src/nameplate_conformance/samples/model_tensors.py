"""Sample models by what their tensors are: unsaved, frozen, of odd dtypes and layouts, shared, or not there."""

import torch
from torch import Tensor, nn

from nameplate_conformance.samples.small_configs import (
    ContainersModelConfig,
    DTypesConfig,
    FrozenPartsConfig,
    LayoutsConfig,
    NothingConfig,
    RecurrentConfig,
    SharedModuleConfig,
    SmallConfig,
    TablesConfig,
    TiedConfig,
    ViewsConfig,
)
from nameplate_model import PreTrainedModel

_FREQUENCIES = 10_000.0


class SmallModel(PreTrainedModel):
    """What most of them have: one linear layer, and two rows as inputs."""

    config: SmallConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width, bias=config.bias)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two rows, always the same."""
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}


class TablesModel(SmallModel):
    """Has tables that follow from the config and are not saved."""

    config_class = TablesConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        positions = torch.arange(config.width, dtype=torch.float32)
        self.register_buffer("angles", positions / _FREQUENCIES ** (positions / config.width), persistent=False)
        self.register_buffer("mask", torch.ones(config.width, config.width).tril().bool(), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        rotated = self.linear(x) + self.get_buffer("angles").sin()
        return {"y": rotated @ self.get_buffer("mask").to(rotated.dtype)}


class FrozenPartsModel(SmallModel):
    """Trains one of three parameters of a part, and nothing of another."""

    config_class = FrozenPartsConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.body = nn.Sequential(nn.Linear(config.width, config.width), nn.LayerNorm(config.width))
        self.body.requires_grad_(requires_grad=False)
        self.scale = nn.Parameter(torch.full((config.width,), 2.0), requires_grad=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.linear(self.body(x)) * self.scale}


class DTypesModel(SmallModel):
    """Has a tensor of each kind: of no axis, of no element, of numbers narrow, wide, whole, complex and true."""

    config_class = DTypesConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        width = config.width
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.prompts = nn.Parameter(torch.empty(0, width))
        self.phase = nn.Parameter(torch.ones(width, dtype=torch.complex64))
        self.short = nn.Parameter(torch.ones(width, dtype=torch.float16))
        self.brain = nn.Parameter(torch.ones(width, dtype=torch.bfloat16))
        self.wide = nn.Parameter(torch.ones(width, dtype=torch.float64))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("keep", torch.ones(width, dtype=torch.bool))
        self.register_buffer("levels", torch.arange(width, dtype=torch.uint8))
        self.register_buffer("offsets", torch.arange(width, dtype=torch.int8))
        self.register_buffer("ranks", torch.arange(width, dtype=torch.int16))
        self.register_buffer("places", torch.arange(width, dtype=torch.int32))
        for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
            self.register_buffer(str(dtype).removeprefix("torch."), torch.ones(width).to(dtype))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the answers as real, complex and whole numbers."""
        y = self.linear(x) * self.temperature + self.prompts.sum(0)
        y = y * self.short.float() * self.brain.float() * self.wide.float()
        y = y * self.get_buffer("float8_e4m3fn").float() / self.get_buffer("float8_e5m2").float()
        y = torch.where(self.get_buffer("keep"), y, -y) + self.get_buffer("steps")
        whole = (x * 4).to(torch.int32) + self.get_buffer("levels") - self.get_buffer("offsets")
        whole = whole + self.get_buffer("ranks") * self.get_buffer("places")
        return {"y": y, "spectrum": y * self.phase, "whole": whole}


class LayoutsModel(PreTrainedModel):
    """Has weights with the channels last, a transposed one, and a buffer that is one number seen many times."""

    config_class = LayoutsConfig

    config: LayoutsConfig

    def __init__(self, config: LayoutsConfig) -> None:
        super().__init__(config)
        self.conv = nn.Conv2d(config.width, config.width + 1, 3, padding=1, bias=config.bias)
        self.conv.to(memory_format=torch.channels_last)
        self.mix = nn.Parameter(torch.rand(config.width, config.width + 1).t())
        self.register_buffer("every_other", torch.arange(2.0 * config.width)[::2])
        self.register_buffer("floor", torch.zeros(1).expand(config.width), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}`` for images of shape ``(batch, width, height, width)``."""
        pooled = self.conv(image).mean((2, 3)) @ self.mix
        return {"y": pooled + self.get_buffer("every_other") + self.get_buffer("floor")}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two images, always the same."""
        return {"image": torch.rand(2, self.config.width, 4, 4, generator=torch.Generator().manual_seed(0))}


class NothingModel(PreTrainedModel):
    """Has neither a parameter nor a buffer."""

    config_class = NothingConfig

    config: NothingConfig

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": x.cumsum(1) + float(self.config.bias)}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two rows, always the same."""
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}


class TiedModel(PreTrainedModel):
    """Decodes with the weight that it embeds with, and declares that nowhere."""

    config_class = TiedConfig

    config: TiedConfig

    def __init__(self, config: TiedConfig) -> None:
        super().__init__(config)
        words = config.width + 2
        self.embedding = nn.Embedding(words, config.width)
        self.decoder = nn.Linear(config.width, words, bias=config.bias)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, length, words)}`` for tokens of shape ``(batch, length)``."""
        return {"y": self.decoder(self.embedding(tokens))}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two sentences, always the same."""
        return {"tokens": torch.arange(6, device="cpu").reshape(2, 3) % (self.config.width + 2)}


class SharedModuleModel(SmallModel):
    """Runs through one module three times, which it has under three names."""

    config_class = SharedModuleConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        block = nn.Sequential(nn.Linear(config.width, config.width), nn.BatchNorm1d(config.width))
        self.blocks = nn.ModuleList([block, block])
        self.last = block

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        for block in (*self.blocks, self.last):
            x = block(x)
        return {"y": self.linear(x)}


class ViewsModel(SmallModel):
    """Has a frozen matrix, of which one half is trained, and two buffers that overlap."""

    config_class = ViewsConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        both = torch.rand(2 * config.width, config.width)
        self.both = nn.Parameter(both, requires_grad=False)
        self.upper = nn.Parameter(both[: config.width])
        history = torch.zeros(3, config.width)
        self.register_buffer("older", history[:2])
        self.register_buffer("newer", history[1:])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``; in training, remember the inputs."""
        y = self.linear(x @ self.upper.t()) + x @ self.both[self.config.width :].t().detach()
        y = y + self.get_buffer("older").sum(0) - self.get_buffer("newer")[1]
        if self.training:
            with torch.no_grad():
                self.get_buffer("newer").add_(x.mean(0))
        return {"y": y}


class ContainersModel(SmallModel):
    """Keeps parameters in a list and a dict of torch, and modules in a dict."""

    config_class = ContainersModelConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.gains = nn.ParameterList([torch.ones(config.width), torch.full((config.width,), 2.0)])
        self.shifts = nn.ParameterDict({"left": torch.zeros(config.width), "right": torch.ones(config.width)})
        self.norms = nn.ModuleDict({"inner": nn.LayerNorm(config.width), "outer": nn.LayerNorm(config.width)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        y = self.norms["inner"](self.linear(x)) * self.gains[0] + self.shifts["left"]
        return {"y": self.norms["outer"](y) * self.gains[1] + self.shifts["right"]}


class RecurrentModel(PreTrainedModel):
    """Has a recurrent layer, which keeps a list of its own parameters."""

    config_class = RecurrentConfig

    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.recurrent = nn.GRU(config.width, config.width, bias=config.bias, batch_first=True, bidirectional=True)

    def forward(self, steps: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, length, 2 * width)}`` for steps of shape ``(batch, length, width)``."""
        return {"y": self.recurrent(steps)[0]}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two series, always the same."""
        return {"steps": torch.rand(2, 3, self.config.width, generator=torch.Generator().manual_seed(0))}
