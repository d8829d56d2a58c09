"""`SAMPLES`: the sample configs as architectures without a model."""

from hypothesis import strategies as st

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.samples.annotated import Ratio

_HOME = "nameplate_conformance.samples"


def _sample(place: str, name: str = "", **drawn: st.SearchStrategy[object]) -> Architecture:
    return Architecture(config=f"{_HOME}.{place}", fields=drawn, name=name)


_LAYERS = st.lists(st.integers(1, 3), min_size=1, max_size=4)

SAMPLES: tuple[Architecture, ...] = (
    _sample(
        "annotated:EveryKindConfig",
        anything=st.sampled_from([None, 1, "text", [1, {"a": None}]]),
        ratio=st.builds(Ratio, st.integers(0, 2), st.integers(1, 2)),
    ),
    _sample("annotated:ContainersConfig"),
    _sample("annotated:UnionsConfig"),
    _sample("annotated:BoundedConfig"),
    _sample("annotated:VersionedConfig"),
    _sample("annotated:GrandchildConfig"),
    _sample("annotated:LabelledConfig"),
    _sample("annotated:RenamedLabelsConfig"),
    _sample("nested:BranchConfig"),
    _sample("nested:TreeConfig"),
    _sample("nested:TwoTowersConfig"),
    _sample("nested:NodeConfig"),
    _sample("plain:BaseLastConfig"),
    _sample(
        "plain:BaseForgottenConfig",
        layers=_LAYERS,
        names=st.dictionaries(st.sampled_from(["a", "b"]), st.lists(st.integers(0, 1)), max_size=2),
        by_index=st.dictionaries(st.integers(0, 2), st.just("x"), max_size=2),
        sizes=_LAYERS.map(tuple),
    ),
    _sample("plain:BaseFirstConfig"),
    _sample("plain:PlainOverAnnotatedConfig"),
    _sample("plain:AnnotatedOverPlainConfig"),
    _sample("plain:RequiredArgumentConfig", block=st.sampled_from(["basic", "bottleneck"])),
)
"""Each has a name of its own."""
