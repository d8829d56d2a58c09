"""`SAMPLE_MODELS`: the sample models as architectures, each with one thing that loses weights elsewhere."""

from nameplate_conformance.architecture import Architecture, Tags

_HOME = "nameplate_conformance.samples"


_NOT_ON_META = Tags(builds_on_meta=False)


def _sample(place: str, config: str, tags: Tags = Tags()) -> Architecture:  # noqa: B008 - frozen
    return Architecture(config=f"{_HOME}.small_configs:{config}", models={"AutoModel": f"{_HOME}.{place}"}, tags=tags)


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
    _sample("model_tensors:RecurrentModel", "RecurrentConfig", Tags(compilable=False)),
    _sample("model_loading:ParametrizedModel", "ParametrizedConfig"),
    _sample("model_loading:ExtraStateModel", "ExtraStateConfig"),
    _sample("model_loading:OverridingModel", "OverridingConfig"),
    _sample("model_loading:HookedModel", "HookedConfig"),
    _sample("model_loading:LazyModel", "LazyConfig", _NOT_ON_META),
    _sample("model_loading:ReadingModel", "ReadingConfig", _NOT_ON_META),
    _sample("model_loading:NestedModel", "NestedModelConfig"),
    _sample("model_loading:TaughtModel", "TaughtConfig", _NOT_ON_META),
)
"""Each has a name of its own."""
