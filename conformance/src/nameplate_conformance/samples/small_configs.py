"""The configs of the sample models: each the same two fields under a name of its own."""

from typing import Annotated

from annotated_types import Ge

from nameplate_config import PreTrainedConfig, Tiny


class SmallConfig(PreTrainedConfig):
    """What all of them have."""

    model_type = "sample_small"

    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 8
    bias: bool = True


class TablesConfig(SmallConfig):
    """Of a model with tables that no file holds."""

    model_type = "sample_tables"


class FrozenPartsConfig(SmallConfig):
    """Of a model in which not everything is trained."""

    model_type = "sample_frozen_parts"


class DTypesConfig(SmallConfig):
    """Of a model of many dtypes and shapes."""

    model_type = "sample_dtypes"


class LayoutsConfig(SmallConfig):
    """Of a model whose tensors do not lie row after row."""

    model_type = "sample_layouts"


class NothingConfig(SmallConfig):
    """Of a model without a tensor."""

    model_type = "sample_nothing"


class TiedConfig(SmallConfig):
    """Of a model whose embedding is its decoder."""

    model_type = "sample_tied"


class SharedModuleConfig(SmallConfig):
    """Of a model that has one module in three places."""

    model_type = "sample_shared_module"


class ViewsConfig(SmallConfig):
    """Of a model whose tensors overlap."""

    model_type = "sample_views"


class ContainersModelConfig(SmallConfig):
    """Of a model that keeps its parameters in torch's containers."""

    model_type = "sample_parameter_containers"


class RecurrentConfig(SmallConfig):
    """Of a model with a recurrent layer."""

    model_type = "sample_recurrent"


class ParametrizedConfig(SmallConfig):
    """Of a model whose weights are computed from others."""

    model_type = "sample_parametrized"


class ExtraStateConfig(SmallConfig):
    """Of a model with state that is no tensor of a module."""

    model_type = "sample_extra_state"


class OverridingConfig(SmallConfig):
    """Of a model with a module that loads in its own way."""

    model_type = "sample_overriding"


class HookedConfig(SmallConfig):
    """Of a model that reads and mends what it is about to load."""

    model_type = "sample_hooked"


class LazyConfig(SmallConfig):
    """Of a model that learns its shapes from its inputs."""

    model_type = "sample_lazy"


class ReadingConfig(SmallConfig):
    """Of a model whose constructor reads values out of tensors."""

    model_type = "sample_reading"


class NestedModelConfig(SmallConfig):
    """Of a model with a model inside."""

    model_type = "sample_nested_model"


class TaughtConfig(SmallConfig):
    """Of a model that loads another one in its constructor."""

    model_type = "sample_taught"
