"""`SAMPLE_MODELS`: the sample models as architectures, each with one thing that loses weights elsewhere."""

from nameplate_conformance.architecture import Architecture, Tags

_HOME = "nameplate_conformance.samples"


def _sample(place: str, config: str, **tags: bool) -> Architecture:
    model = f"{_HOME}.{place}"
    return Architecture(config=f"{_HOME}.small_configs:{config}", models={"AutoModel": model}, tags=Tags(**tags))


SAMPLE_MODELS: tuple[Architecture, ...] = (
    _sample("model_tensors:TablesModel", "TablesConfig"),
    _sample("model_tensors:FrozenPartsModel", "FrozenPartsConfig"),
    _sample("model_tensors:DTypesModel", "DTypesConfig"),
    _sample("model_tensors:LayoutsModel", "LayoutsConfig"),
    _sample("model_tensors:NothingModel", "NothingConfig"),
    _sample("model_tensors:TiedModel", "TiedConfig"),
    _sample("model_tensors:SharedModuleModel", "SharedModuleConfig"),
    _sample("model_tensors:ViewsModel", "ViewsConfig"),
    _sample("model_tensors:ContainersModel", "ContainersModelConfig"),
    _sample("model_tensors:RecurrentModel", "RecurrentConfig", compilable=False),
    _sample("model_loading:ParametrizedModel", "ParametrizedConfig"),
    _sample("model_loading:ExtraStateModel", "ExtraStateConfig"),
    _sample("model_loading:OverridingModel", "OverridingConfig"),
    _sample("model_loading:HookedModel", "HookedConfig"),
    _sample("model_loading:LazyModel", "LazyConfig", builds_on_meta=False),
    _sample("model_loading:ReadingModel", "ReadingConfig", builds_on_meta=False),
    _sample("model_loading:NestedModel", "NestedModelConfig"),
    _sample("model_loading:TaughtModel", "TaughtConfig", builds_on_meta=False),
)
"""Each has a name of its own."""
