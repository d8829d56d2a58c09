"""Finding an architecture: by a name, in a module, in a folder that brings its code, in a repository on the Hub."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoModel,
    RemoteCodeRefusedError,
    TrustPolicy,
    TrustRule,
    UnknownModelTypeError,
    read_remote_code,
)
from nameplate_config import SourceNotFoundError
from nameplate_conformance import ConformanceError, check
from nameplate_conformance.instruments.fresh import importable
from nameplate_conformance.judging.references import GROUP, named, names
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel
from nameplate_conformance.zoo.traveller.configuration import TravellerConfig
from nameplate_conformance.zoo.traveller.modeling import TravellerModel

DECLARED = """
from nameplate_conformance import Architecture
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel
DECLARED = Architecture(config=ZooConfig, models={"AutoModel": ZooModel}, name="declared")
"""

Announce = Callable[..., None]


@pytest.fixture
def announce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Announce]:
    """Return a function that installs a distribution which announces how an architecture is judged."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def announcing(name: str, text: str, *, distribution: str = "zoo-keeper", attribute: str = "DECLARED") -> None:
        module = distribution.replace("-", "_")
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}:{attribute}\n")
        (tmp_path / f"{module}.py").write_text(text)
        importlib.invalidate_caches()

    yield announcing
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def registered_zoo() -> Iterator[None]:
    """Register the zoo's model in this process."""
    with CONFIG_MAPPING.override("zoo", ZooConfig), AutoModel.model_mapping.override(ZooConfig, ZooModel):
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the traveller's weights and code."""
    folder = tmp_path_factory.mktemp("saved") / "traveller"
    with pytest.MonkeyPatch.context() as patch:
        for cls, auto_class in ((TravellerConfig, "AutoConfig"), (TravellerModel, "AutoModel")):
            patch.setattr(cls, "_auto_classes", (), raising=False)
            cls.register_for_auto_class(auto_class)
        TravellerModel(TravellerConfig()).save_pretrained(folder)
    return folder


# ---- by a name


def test_a_registered_name_is_found(registered_zoo: None):
    """What somebody registers in this process has a name, by which no other process finds it."""
    del registered_zoo
    found = named("zoo")

    assert "zoo" in names()
    assert (found.config_class, found.model_class("AutoModel"), found.reference) == (ZooConfig, ZooModel, "")


def test_an_installed_name_is_its_own_reference():
    """What an installed package registers is found under the same name everywhere."""
    assert named("nameplate_resnet").reference == "nameplate_resnet"


def test_an_announced_architecture_is_taken_as_it_was_declared(announce: Announce):
    """What a package says of how it is judged goes before what the registry knows."""
    announce("zoo", DECLARED)
    found = named("zoo")

    assert (found.label, found.reference) == ("declared", "zoo")
    assert "zoo" in names()


@pytest.mark.parametrize("deed", ["raise RuntimeError('half installed')", "raise SystemExit('half installed')"])
def test_a_package_that_raises_is_named(announce: Announce, deed: str):
    """One that cannot be imported is an error with its distribution, its module and what it raised."""
    announce("zoo", deed)

    kind = deed.split()[1].partition("(")[0]
    said = f"zoo-keeper 1.0 (zoo_keeper:DECLARED) announces how 'zoo' is judged but cannot be loaded: {kind}: half inst"
    with pytest.raises(ConformanceError) as caught:
        named("zoo")
    assert str(caught.value).startswith(said)
    assert "Repair or uninstall that package" in str(caught.value)


def test_what_is_announced_must_be_an_architecture(announce: Announce):
    """An entry point that names something else is an error that shows what it is."""
    announce("zoo", "DECLARED = 3")

    with pytest.raises(ConformanceError, match=r"zoo_keeper:DECLARED\) announces 'zoo' as 3; expected an Architecture"):
        named("zoo")


def test_two_packages_that_announce_one_name_are_both_named(announce: Announce):
    """Nothing says which of two counts, so neither does."""
    announce("zoo", DECLARED)
    announce("zoo", DECLARED, distribution="other-zoo")

    with pytest.raises(ConformanceError, match=r"announced by other-zoo 1.0 \(.*\) and|announced by other-zoo 1.0 "):
        named("zoo")


def test_only_packages_that_may_announce_are_believed(announce: Announce, monkeypatch: pytest.MonkeyPatch):
    """The variable that limits the registry limits this too, however the distribution is spelt."""
    announce("zoo", DECLARED)
    monkeypatch.setenv("NAMEPLATE_PLUGINS", "")
    assert "zoo" not in names()

    monkeypatch.setenv("NAMEPLATE_PLUGINS", "Zoo_Keeper")
    assert "zoo" in names()


def test_an_unknown_name_is_refused_with_the_nearest():
    """A mistyped name is an error with the one that was meant."""
    with pytest.raises(ConformanceError) as caught:
        named("nameplate_resnt")
    assert str(caught.value) == (
        "no architecture is registered as 'nameplate_resnt'.\n  Did you mean 'nameplate_resnet'?"
    )


def test_a_folder_that_looks_like_a_name_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a folder has the name that nobody registered, the error says how to name the folder."""
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConformanceError, match=r"If the folder is meant, write './checkpoint'\."):
        named("checkpoint")


def test_a_package_that_announces_nothing_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where an installed package has the name that nobody announced, the error says how to announce or name it."""
    (tmp_path / "mute_package").mkdir()
    (tmp_path / "mute_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConformanceError) as caught:
        named("mute_package")

    assert "announce its Architecture as an entry point of the group 'nameplate.conformance'" in str(caught.value)
    assert str(caught.value).endswith("or name the place of it, such as 'mute_package.conformance:ARCHITECTURE'.")


# ---- in a module


def test_an_attribute_of_a_module_is_found(announce: Announce):
    """A module and the name of an Architecture in it are a reference for every process that can import it."""
    announce("other", DECLARED)

    assert named("zoo_keeper:DECLARED").reference == "zoo_keeper:DECLARED"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "zoo_keeper:DECLARD",
            "'zoo_keeper:DECLARD' does not exist; expected an Architecture.\n  Did you mean 'DECLARED'?",
        ),
        ("zoo_keeper:ZooModel", "expected an Architecture.\n  The module holds: DECLARED."),
        ("no_such_zoo:A", "ModuleNotFoundError: No module named 'no_such_zoo'.\n  Run from the folder that holds"),
    ],
)
def test_what_is_not_in_a_module_is_said(announce: Announce, text: str, said: str):
    """An attribute that is absent or something else, and a module that is absent, are errors with the way out."""
    announce("other", DECLARED)

    with pytest.raises(ConformanceError) as caught:
        named(text)
    assert said in str(caught.value)


# ---- in a folder


def test_code_that_nobody_allowed_is_refused(checkpoint: Path):
    """The refusal of an Auto class stands as it is, with the digest that would allow it, and nothing was run."""
    digest = read_remote_code(checkpoint).digest

    for trust in (False, None, TrustPolicy(), "sha256:" + 64 * "0"):
        with pytest.raises(RemoteCodeRefusedError, match=r"can only be loaded with code that it brings") as caught:
            named(str(checkpoint), trust_remote_code=trust)
        assert digest in str(caught.value)


def test_the_environment_can_forbid_all_code(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the user has forbidden code of checkpoints, no argument allows it."""
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", "never")

    with pytest.raises(RemoteCodeRefusedError, match="NAMEPLATE_REMOTE_CODE=never forbids that"):
        named(str(checkpoint), trust_remote_code=True)


def test_allowed_code_is_judged_like_any_other(checkpoint: Path):
    """Allowed in any of the ways, the classes can be imported, and laws about files and about code hold."""
    digest = read_remote_code(checkpoint).digest
    found = [
        named(str(checkpoint), trust_remote_code=trust)
        for trust in (True, digest, [digest], TrustPolicy((TrustRule(sha256=digest),)))
    ]

    assert {each.config_class for each in found} == {found[0].config_class}
    assert (found[0].label, found[0].reference) == ("zoo_traveller", str(checkpoint))
    assert importable(found[0].model_class("AutoModel"))
    report = check(found[0], laws=["C02", "S02", "X03"], profile="glance")
    assert report.passed, [(each.law, each.message) for each in report.results]


def test_a_registration_by_its_own_module_does_not_count(checkpoint: Path, tmp_path: Path):
    """Code that registers itself to be copied is judged by plain checkpoints too, as if it had not."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (path for path in checkpoint.rglob("*") if path.is_file()):
        (copy / file.relative_to(checkpoint)).parent.mkdir(exist_ok=True)
        (copy / file.relative_to(checkpoint)).write_bytes(file.read_bytes())
    with (copy / "modeling.py").open("a") as file:
        file.write('\n\nTravellerModel.register_for_auto_class("AutoModel")\n')
    found = named(str(copy), trust_remote_code=True)

    assert check(found, laws=["C02"], profile="glance").passed


def test_a_folder_of_a_registered_architecture_needs_no_code(tmp_path: Path):
    """A config of a registered name leads to what is registered."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nameplate_resnet"}))
    found = named(str(tmp_path))

    assert (found.label, found.reference) == ("nameplate_resnet", str(tmp_path))
    assert found.config_class is named("nameplate_resnet").config_class


def test_a_folder_that_names_nothing_known_is_refused(tmp_path: Path):
    """A config that no class reads, and that brings none, is refused as by AutoConfig."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobodys"}))

    with pytest.raises(UnknownModelTypeError, match=r"model_type 'nobodys' in .* is not registered"):
        named(str(tmp_path))


def test_broken_code_is_an_error_of_the_folder(checkpoint: Path, tmp_path: Path):
    """Code that cannot be imported is an error with the folder, the class and what was raised."""
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "configuration.py").write_text("raise RuntimeError('half written')\nclass TravellerConfig: pass")
    (tmp_path / "modeling.py").write_text("class TravellerModel: pass")

    with pytest.raises(ConformanceError, match=r"has no configuration.TravellerConfig: RuntimeError: half written"):
        named(str(tmp_path), trust_remote_code=True)


def test_an_absent_folder_is_refused_with_its_neighbours(checkpoint: Path):
    """A mistyped path is an error with the folder that was meant."""
    with pytest.raises(SourceNotFoundError, match="Did you mean 'traveller'"):
        named(str(checkpoint.with_name("traveler")))


# ---- in a repository


def test_a_revision_is_one_of_a_repository():
    """A revision of something else, or a second one, is an error: it could have no effect."""
    with pytest.raises(ConformanceError, match="revision='v1' has no effect on 'nameplate_resnet'"):
        named("nameplate_resnet", revision="v1")
    with pytest.raises(ConformanceError, match="names a revision, and revision='v2' another"):
        named("hub:user/name@v1", revision="v2")


def _fixtures() -> Any:
    source = Path(__file__).parents[2] / "packages" / "config-core" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("loopback_fixtures", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hub_server, hub, home, talk = (getattr(_fixtures(), name) for name in ("hub_server", "hub", "home", "talk"))

CLIENT = """
import json, sys
from nameplate_config import NameplateError
from nameplate_conformance.judging.references import named
for line in sys.stdin:
    try:
        found = named(**json.loads(line))
        answer = [found.label, found.reference, sorted(found.models)]
    except NameplateError as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


def test_a_repository_is_found_at_its_commit(hub: Any, talk: Callable[..., Any], checkpoint: Path):
    """A repository is refused or judged like a folder, and its reference names the commit that was judged."""
    paths = [path for path in checkpoint.rglob("*") if path.is_file()]
    files = {path.relative_to(checkpoint).as_posix(): path.read_bytes() for path in paths}
    commit = hub.commit("user/traveller", files)
    hub.commit("user/traveller", {**files, "config.json": b"{}"}, branch="broken")

    def ask(**question: Any) -> Any:
        return talk(CLIENT, {"HF_ENDPOINT": hub.endpoint}, question)

    kind, said = ask(text="hub:user/traveller")
    digest = read_remote_code(checkpoint).digest
    assert (kind, commit in said, digest in said) == ("RemoteCodeRefusedError", True, True)
    expected = ["zoo_traveller", f"hub:user/traveller@{commit}", ["AutoModel"]]
    assert ask(text="hub:user/traveller", trust_remote_code=digest) == expected
    assert ask(text=f"hub:user/traveller@{commit}", trust_remote_code=digest) == expected
    assert ask(text="hub:user/traveller", revision="broken")[0] == "UnknownModelTypeError"
    assert ask(text="hub:user/traveler")[0] == "SourceNotFoundError"
