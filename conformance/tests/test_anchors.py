"""Small values for architectures whose fields say nothing of size."""

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from nameplate_config import PreTrainedConfig, Tiny
from nameplate_conformance import Architecture, Tags
from nameplate_conformance.drawing.anchors import MOST_PARAMETERS, Anchors, anchors_of
from nameplate_conformance.drawing.coverage import rows
from nameplate_conformance.drawing.remembered import once_per_architecture
from nameplate_conformance.zoo import reference
from nameplate_model import PreTrainedModel


class PlainConfig(PreTrainedConfig):
    """What somebody writes who has never heard of marks."""

    model_type = "plain_encoder"

    vocab_size: int = 30_000
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    pad_token_id: int = 0
    kernel_sizes: tuple[int, ...] = (9, 5)
    window: int | None = 512
    dropout: float = 0.1


class PlainModel(PreTrainedModel):
    """Its heads share the width, its ids lie within the vocabulary, its kernels are two; that much is fixed."""

    config_class = PlainConfig

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        if config.hidden_size % config.num_heads:
            message = "the heads must share the width"
            raise ValueError(message)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.layers = nn.Sequential(
            *(nn.Linear(config.hidden_size, config.hidden_size) for _ in range(config.num_layers))
        )
        first, second = config.kernel_sizes
        self.kernels = nn.Parameter(torch.ones(first, second))
        self.mask = nn.Parameter(torch.ones(config.window or 1))

    def forward(self, ids: Tensor) -> Mapping[str, Tensor]:
        """Return what the layers make of embedded ids."""
        return {"y": self.layers(self.embedding(ids)) * self.mask[0]}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Ids of which the largest is 3."""
        return {"ids": torch.tensor([[1, 3, 2]])}


PLAIN = Architecture(config=PlainConfig, models={"AutoModel": PlainModel})


def _parameters(architecture: Architecture, kwargs: dict[str, Any]) -> int:
    model = architecture.model_class("AutoModel")(architecture.config_class(**kwargs))
    model(**model.dummy_inputs)
    return sum(parameter.numel() for parameter in model.parameters())


def test_an_architecture_without_a_mark_is_judged_on_small_models():
    """Every covering row of plain integers with large defaults builds a small model, which answers."""
    found = rows(PLAIN)

    assert len(found) > 10
    assert max(_parameters(PLAIN, row) for row in found) < 2_000


def test_every_field_without_a_mark_has_two_values():
    """A field that fits no second value makes room for one: the width grows until two heads share it."""
    values = anchors_of(PLAIN).values

    assert {name for name, found in values.items() if len(found) < 2} == set()
    assert values["num_heads"] == (1, 2)
    assert all(width % 2 == 0 for width in values["hidden_size"])
    assert values["vocab_size"][0] == 4
    assert values["window"][0] is None
    assert {len(sizes) for sizes in values["kernel_sizes"]} == {2}


def test_what_was_decided_is_not_decided_again():
    """The models are built once for each architecture; what came of it can be asked for."""
    found = anchors_of(PLAIN)

    assert anchors_of(PLAIN) is found
    assert 0 < found.built <= 400
    assert found.reason == ""


@pytest.mark.parametrize(
    "architecture",
    [reference(), Architecture(config=PlainConfig)],
    ids=["every size is marked", "no model"],
)
def test_nothing_is_built_without_need(architecture: Architecture):
    """Fields that say what is small are not touched, and a config alone is of any size."""
    assert anchors_of(architecture) == Anchors()


def test_small_defaults_are_left_alone():
    """If the default model is small, unmarked fields are drawn as their annotations say, and laws see what fails."""

    class SmallConfig(PlainConfig):
        vocab_size = 8
        hidden_size = 4
        num_layers = 1
        num_heads = 2

    class SmallModel(PlainModel):
        config_class = SmallConfig

    architecture = Architecture(config=SmallConfig, models={"AutoModel": SmallModel})

    assert anchors_of(architecture).values == {}
    assert {row["hidden_size"] for row in rows(architecture)} == {1, 2, 3, 4}


def test_a_strategy_of_the_architecture_wins():
    """A field for which the architecture says what to draw is no anchor's business."""
    architecture = Architecture(
        config=PlainConfig, models={"AutoModel": PlainModel}, fields={"hidden_size": st.sampled_from([12, 24])}
    )

    assert {row["hidden_size"] for row in rows(architecture)} == {12, 24}
    assert {row["num_layers"] for row in rows(architecture)} == {1, 2, 3}


def test_a_model_that_is_never_small_says_so():
    """Where nothing small works, the fields keep their values and the reason is kept."""

    class HugeModel(PlainModel):
        def __init__(self, config: PlainConfig) -> None:
            super().__init__(config)
            self.table = nn.Parameter(torch.empty(MOST_PARAMETERS))

    found = anchors_of(Architecture(config=PlainConfig, models={"AutoModel": HugeModel}))

    assert found.values == {}
    assert found.reason == "no model of fewer than 200,000 parameters was found"


def test_a_model_that_cannot_be_built_on_meta_is_built_on_the_host():
    """The tag that keeps laws off the meta device keeps the search off it too."""

    class ReadingModel(PlainModel):
        def __init__(self, config: PlainConfig) -> None:
            super().__init__(config)
            self.mask.data.fill_(float(self.kernels.sum().item()))

    tags = Tags(builds_on_meta=False)

    class MediumConfig(PlainConfig):
        vocab_size = 1_000
        num_layers = 1

    class MediumModel(ReadingModel):
        config_class = MediumConfig

    architecture = Architecture(config=MediumConfig, models={"AutoModel": MediumModel}, tags=tags)

    assert max(_parameters(architecture, row) for row in rows(architecture)) < 2_000


def test_a_bare_parameter_is_anchored_by_its_default():
    """A parameter without an annotation, whose default is a large integer, is cut down too."""

    class BareConfig(PreTrainedConfig):
        model_type = "bare_encoder"

        def __init__(self, width=1024, bias=True, **kwargs):
            super().__init__(**kwargs)
            self.width, self.bias = width, bias

    class BareModel(PreTrainedModel):
        config_class = BareConfig

        def __init__(self, config: BareConfig) -> None:
            super().__init__(config)
            self.layer = nn.Linear(config.width, config.width, bias=config.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

        @property
        def dummy_inputs(self) -> dict[str, Tensor]:
            return {"x": torch.ones(1, self.config.width)}

    found = rows(Architecture(config=BareConfig, models={"AutoModel": BareModel}))

    assert {row["width"] for row in found} == {1, 2, 3}


def test_an_answer_is_remembered_for_one_architecture_only():
    """Equal architectures are not the same; and what raised is tried again."""
    asked: list[str] = []

    @once_per_architecture
    def label(architecture: Architecture, ending: str = "") -> str:
        asked.append(architecture.label)
        if len(asked) == 1:
            raise ValueError
        return architecture.label + ending

    one, other = Architecture(config=PlainConfig, name="one"), Architecture(config=PlainConfig, name="one")
    with pytest.raises(ValueError, match=r"^$"):
        label(one)

    assert [label(one), label(one), label(one, "!"), label(other)] == ["one", "one", "one!", "one"]
    assert len(asked) == 4


class MarkedConfig(PreTrainedConfig):
    """A mark inside of a sequence counts."""

    layers: tuple[Annotated[int, Tiny(1, 2)], ...] = (300, 400)


class MarkedModel(PlainModel):
    """Large by default."""

    config_class = MarkedConfig

    def __init__(self, config: MarkedConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.weight = nn.Parameter(torch.ones(1000 * sum(config.layers)))


def test_a_mark_on_the_elements_of_a_sequence_counts():
    """A sequence whose elements say what is small is not touched."""
    assert anchors_of(Architecture(config=MarkedConfig, models={"AutoModel": MarkedModel})) == Anchors()
