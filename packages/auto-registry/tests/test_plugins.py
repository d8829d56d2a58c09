"""What installed packages announce: listed from metadata, loaded one at a time, and only when asked for.

Each test lays real distributions (metadata, entry points, modules) into a folder and asks a fresh interpreter
that has this folder on its path.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

CONFIGURATION = """
from nameplate_config import PreTrainedConfig

class Config(PreTrainedConfig):
    model_type = {model_type!r}
    width: int = 8
"""

MODELING = """
from {package}.configuration import Config

class Model:
    config_class = Config

    @classmethod
    def from_config(cls, config):
        return cls.__module__, config.width
"""

ARCHITECTURE = """
ARCHITECTURE = {{
    "AutoConfig": "{package}.configuration:Config",
    "AutoModel": "{package}.modeling:Model",
}}
"""

PROBE = """
import json, sys
sys.path.insert(0, {folder!r})
import nameplate_auto
from nameplate_auto import *

def plugins():
    return sorted(name for name in sys.modules if name.startswith("fake_"))

def names():
    return [name for name in CONFIG_MAPPING.names() if name.startswith("fake")]

def error(ask):
    try:
        ask()
    except Exception as error:
        return [type(error).__name__, str(error)]

{code}
print(json.dumps(answer))
"""


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, model_types: Mapping[str, str], modules: Mapping[str, str]) -> None:
        """Install version 1.0 of a distribution.

        Args:
            name: The distribution's name.
            model_types: The object that is announced for each `model_type`.
            modules: The text of each module, by dotted name; packages are made as needed.
        """
        metadata = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        header = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        (metadata / "METADATA").write_text(header, encoding="utf-8")
        points = [f"{model_type} = {target}\n" for model_type, target in model_types.items()]
        text = "".join(["[nameplate.architectures]\n", *points])
        (metadata / "entry_points.txt").write_text(text, encoding="utf-8")
        for module, source in modules.items():
            file = self.folder / (module.replace(".", "/") + ".py")
            file.parent.mkdir(exist_ok=True)
            (file.parent / "__init__.py").touch()
            file.write_text(source, encoding="utf-8")

    def install_plugin(self, name: str, **replaced: str) -> None:
        """Install a distribution that announces an architecture under its own name.

        Args:
            name: The distribution's name, also the `model_type`.
            **replaced: Texts of the modules `architecture`, `configuration` and `modeling`; else good ones.
        """
        package = name.replace("-", "_")
        texts = {"architecture": ARCHITECTURE, "configuration": CONFIGURATION, "modeling": MODELING}
        good = {module: text.format(package=package, model_type=name) for module, text in texts.items()}
        modules = {f"{package}.{module}": dedent(text) for module, text in {**good, **replaced}.items()}
        self.install(name, {name: f"{package}.architecture:ARCHITECTURE"}, modules)

    def ask(self, code: str) -> Any:
        """Run lines of code that set `answer` in a fresh interpreter, and return the answer."""
        script = PROBE.format(folder=str(self.folder), code=dedent(code))
        command = [sys.executable, "-I", "-W", "error", "-c", script]
        probe = subprocess.run(command, capture_output=True, check=False, text=True)

        assert probe.returncode == 0, probe.stderr
        return json.loads(probe.stdout)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a folder without distributions."""
    return Site(tmp_path)


# ---- what is imported, and when


def test_listing_imports_no_plugin(site: Site) -> None:
    """Names, length and membership come from the metadata alone."""
    site.install_plugin("fake-a")
    site.install_plugin("fake-b")

    answer = site.ask(
        """
        answer = [names(), len(CONFIG_MAPPING) >= 2, "fake-a" in CONFIG_MAPPING, "fake-c" in CONFIG_MAPPING]
        answer.append(plugins())
        """
    )

    assert answer == [["fake-a", "fake-b"], True, True, False, []]


def test_only_the_plugin_that_is_asked_for_is_loaded(site: Site) -> None:
    """Reading a config class imports the modules on its way, not those of its models or of other packages."""
    site.install_plugin("fake-a")
    site.install_plugin("fake-b")

    answer = site.ask('answer = [CONFIG_MAPPING["fake-a"].__module__, plugins()]')

    assert answer == ["fake_a.configuration", ["fake_a", "fake_a.architecture", "fake_a.configuration"]]


def test_an_unknown_name_loads_no_plugin(site: Site) -> None:
    """A name that nobody announces costs nobody an import; the error suggests an announced one."""
    site.install_plugin("fake-a")

    answer = site.ask('answer = [error(lambda: AutoConfig.for_model("fake-aa")), plugins()]')

    assert answer == [
        ["UnknownModelTypeError", "model_type 'fake-aa' is not registered.\n  Did you mean 'fake-a'?"],
        [],
    ]


def test_finding_loads_the_announcement_only(site: Site) -> None:
    """Provenance names the distribution, its version and the entry point; the class itself stays on disk."""
    site.install_plugin("fake-a")

    answer = site.ask('answer = [CONFIG_MAPPING.find("fake-a").origin, plugins()]')

    assert answer == ["fake-a 1.0 (fake_a.architecture:ARCHITECTURE)", ["fake_a", "fake_a.architecture"]]


def test_importing_the_package_scans_nothing(site: Site) -> None:
    """The metadata of installed packages is read on the first question, and once for all of them."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        from nameplate_auto import _metadata
        scans, read = [], _metadata.entry_points
        _metadata.entry_points = lambda: scans.append(None) or read()
        import importlib
        importlib.import_module("nameplate_auto.errors")
        before = list(scans)
        names(), names(), "fake-b" in CONFIG_MAPPING, CONFIG_MAPPING["fake-a"]
        answer = [before, len(scans), nameplate_auto._plugins._points._last is not None]
        """
    )

    assert answer == [[], 1, True]


def test_five_hundred_plugins_are_listed_without_an_import(site: Site) -> None:
    """In a crowded environment, too, the names come from metadata alone."""
    for number in range(500):
        target = f"fake_{number}.architecture:ARCHITECTURE"
        site.install(f"fake-{number}", {f"fake-{number}": target}, {})

    assert site.ask("answer = [len(names()), plugins()]") == [500, []]


# ---- resolving


def test_an_announced_architecture_is_built_by_name(site: Site) -> None:
    """Installing a package is all it takes: config and model are found without an import by hand."""
    site.install_plugin("fake-a")

    answer = site.ask('answer = AutoModel.from_config(AutoConfig.for_model("fake-a", width=3))')

    assert answer == ["fake_a.modeling", 3]


def test_an_announced_checkpoint_is_opened_by_name(site: Site, tmp_path: Path) -> None:
    """`AutoConfig.from_pretrained` finds the class of an installed package by the file alone."""
    site.install_plugin("fake-a")
    (tmp_path / "config.json").write_text('{"model_type": "fake-a", "width": 5}', encoding="utf-8")

    answer = site.ask(
        f"""
        config = AutoConfig.from_pretrained({str(tmp_path)!r})
        answer = [type(config).__module__, config.width]
        """
    )

    assert answer == ["fake_a.configuration", 5]


def test_an_explicit_registration_keeps_the_plugin_unloaded(site: Site) -> None:
    """Who registers an announced name wins, and the announcing package is not even imported."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        from nameplate_config import PreTrainedConfig

        class Mine(PreTrainedConfig):
            model_type = "fake-a"

        said = error(lambda: AutoConfig.register("fake-a", Mine))
        AutoConfig.register("fake-a", Mine, exist_ok=True)
        answer = [said, CONFIG_MAPPING["fake-a"] is Mine, names(), plugins()]
        """
    )

    assert answer == [
        [
            "UserWarning",
            (
                "model_type 'fake-a' stands for __main__.Mine now, not for what "
                "fake-a 1.0 (fake_a.architecture:ARCHITECTURE) announces.\n"
                "  Pass exist_ok=True if that is meant."
            ),
        ],
        True,
        ["fake-a"],
        [],
    ]


@pytest.mark.parametrize(
    "registered", ["'fake_a.configuration:Config'", "__import__('fake_a.configuration').configuration.Config"]
)
def test_a_package_may_register_what_it_announces(site: Site, registered: str) -> None:
    """A class, or its text, that hides nothing but its own announcement is no cause for a warning."""
    site.install_plugin("fake-a")

    answer = site.ask(
        f"""
        CONFIG_MAPPING.register("fake-a", {registered})
        explicit = list(CONFIG_MAPPING.registered())
        found = CONFIG_MAPPING["fake-a"]
        CONFIG_MAPPING.unregister("fake-a")
        answer = [explicit, found is CONFIG_MAPPING["fake-a"], CONFIG_MAPPING.name_of(found)]
        """
    )

    assert answer == [["fake-a"], True, "fake-a"]


def test_another_class_of_the_package_is_a_rival(site: Site) -> None:
    """What counts is the class, not the package that it is from."""
    site.install_plugin("fake-a", configuration=CONFIGURATION.format(model_type="fake-a") + "class Wide(Config): pass")

    answer = site.ask(
        """
        from fake_a.configuration import Wide
        answer = error(lambda: CONFIG_MAPPING.register("fake-a", Wide))
        """
    )

    assert answer[1].splitlines()[0] == (
        "model_type 'fake-a' stands for fake_a.configuration.Wide now, not for what "
        "fake-a 1.0 (fake_a.architecture:ARCHITECTURE) announces."
    )


def test_an_explicit_model_wins_over_the_announced_one(site: Site) -> None:
    """A model class registered for an announced config is the one that is built."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        config = AutoConfig.for_model("fake-a")

        @AutoModel.register(type(config))
        class Mine:
            config_class = type(config)

        answer = AutoModel.model_class(config) is Mine
        """
    )

    assert answer is True


def test_a_namesake_of_an_announced_config_does_not_get_its_model(site: Site) -> None:
    """The announced model belongs to the announced config class; the error does not offer it again."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        from nameplate_config import PreTrainedConfig

        class Namesake(PreTrainedConfig):
            model_type = "fake-a"

        answer = error(lambda: AutoModel.from_config(Namesake()))
        """
    )

    assert answer == [
        "UnknownArchitectureError",
        (
            "AutoModel has no model class for Namesake.\n"
            "  model_type 'fake-a' has one for: none.\n"
            "  Register one with AutoModel.register(Namesake, YourModel)."
        ),
    ]


def test_a_subclass_of_an_announced_config_gets_its_model(site: Site) -> None:
    """A config class derived from an announced one is served by the announced model."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        class Wide(CONFIG_MAPPING["fake-a"]):
            width: int = 64

        answer = AutoModel.from_config(Wide())
        """
    )

    assert answer == ["fake_a.modeling", 64]


def test_a_head_that_is_not_announced_is_unknown(site: Site) -> None:
    """The error of an Auto class without a model names the ones that the package does serve."""
    site.install_plugin("fake-a")

    answer = site.ask(
        'answer = error(lambda: AutoModelForImageClassification.from_config(AutoConfig.for_model("fake-a")))'
    )

    assert answer == [
        "UnknownArchitectureError",
        (
            "AutoModelForImageClassification has no model class for Config.\n"
            "  model_type 'fake-a' has one for: AutoModel.\n"
            "  Register one with AutoModelForImageClassification.register(Config, YourModel)."
        ),
    ]


def test_a_distribution_installed_twice_counts_once(site: Site, tmp_path: Path) -> None:
    """The same distribution in two folders of the path is one owner, that of the first folder."""
    later = tmp_path / "later"
    later.mkdir()
    site.install_plugin("fake-a")
    Site(later).install_plugin("fake-a")

    answer = site.ask(
        f"""
        sys.path.append({str(later)!r})
        answer = CONFIG_MAPPING["fake-a"].__module__
        """
    )

    assert answer == "fake_a.configuration"


# ---- what can be wrong with a plugin


def test_a_broken_plugin_fails_under_its_own_name_only(site: Site) -> None:
    """Beside a package that cannot be imported, everything else is listed and loaded."""
    site.install_plugin("fake-a")
    site.install_plugin("fake-broken", architecture="import a_module_that_is_not_installed")

    answer = site.ask(
        """
        answer = [names(), "fake-broken" in CONFIG_MAPPING, CONFIG_MAPPING["fake-a"].__module__]
        answer.append(error(lambda: CONFIG_MAPPING["no-such-name"])[0])
        answer.append(error(lambda: CONFIG_MAPPING["fake-broken"]))
        """
    )

    assert answer == [
        ["fake-a", "fake-broken"],
        True,
        "fake_a.configuration",
        "UnknownModelTypeError",
        [
            "BrokenPluginError",
            (
                "fake-broken 1.0 (fake_broken.architecture:ARCHITECTURE) announces 'fake-broken' but "
                "cannot be loaded: ModuleNotFoundError: No module named 'a_module_that_is_not_installed'.\n"
                "  Repair or uninstall that package; everything else keeps working."
            ),
        ],
    ]


def test_a_plugin_that_exits_is_a_broken_one(site: Site) -> None:
    """A package that ends the program when it is imported ends it for nobody."""
    site.install_plugin("fake-broken", architecture="raise SystemExit(3)")

    answer = site.ask("answer = error(lambda: CONFIG_MAPPING['fake-broken'])")

    assert answer[0] == "BrokenPluginError"
    assert "cannot be loaded: SystemExit: 3." in answer[1]


def test_a_broken_plugin_can_be_replaced(site: Site) -> None:
    """A name whose package is broken can be registered by hand."""
    site.install_plugin("fake-a")
    site.install_plugin("fake-broken", architecture="1 / 0")

    answer = site.ask(
        """
        class Mine(CONFIG_MAPPING["fake-a"]):
            model_type = "fake-broken"

        AutoConfig.register("fake-broken", Mine, exist_ok=True)
        answer = type(AutoConfig.for_model("fake-broken")).__name__
        """
    )

    assert answer == "Mine"


@pytest.mark.parametrize(
    ("announcement", "shown"),
    [
        ("['AutoConfig']", "['AutoConfig']"),
        ("{'AutoModel': 'fake_a.modeling:Model'}", "{'AutoModel': 'fake_a.modeling:Model'}"),
        ("{'AutoConfig': int}", "{'AutoConfig': <class 'int'>}"),
    ],
)
def test_an_announcement_of_another_shape_is_refused(site: Site, announcement: str, shown: str) -> None:
    """What is no mapping to lazy texts, or lacks the config, is refused; the error names the distribution."""
    site.install_plugin("fake-a", architecture=f"ARCHITECTURE = {announcement}")

    answer = site.ask('answer = error(lambda: CONFIG_MAPPING["fake-a"])')

    assert answer == [
        "BrokenPluginError",
        (
            f"fake-a 1.0 (fake_a.architecture:ARCHITECTURE) announces 'fake-a' as {shown}; expected a "
            "mapping with at least the key 'AutoConfig', to texts such as 'package.module:Class'."
        ),
    ]


def test_a_class_that_the_plugin_lacks_is_a_broken_plugin(site: Site) -> None:
    """An announcement that points nowhere is reported with the distribution that made it."""
    site.install_plugin("fake-a", configuration="")

    answer = site.ask('answer = error(lambda: CONFIG_MAPPING["fake-a"])')

    assert answer == [
        "BrokenPluginError",
        (
            "'fake_a.configuration:Config', registered by fake-a 1.0 (fake_a.architecture:ARCHITECTURE), "
            "cannot be loaded: AttributeError: module 'fake_a.configuration' has no attribute 'Config'.\n"
            "  Repair or uninstall that package; everything else keeps working."
        ),
    ]


def test_a_config_of_another_model_type_is_refused(site: Site) -> None:
    """A package cannot announce a config class under a name that the class does not bear."""
    site.install_plugin("fake-a", configuration=CONFIGURATION.format(model_type="fake-b"))

    answer = site.ask('answer = error(lambda: CONFIG_MAPPING["fake-a"])')

    assert answer == [
        "InconsistentRegistrationError",
        (
            "Config.model_type is 'fake-b', but it is being registered as 'fake-a'.\n"
            "  A checkpoint could not be found again under its own name. Make the two agree."
        ),
    ]


def test_an_announced_model_without_a_config_class_is_refused(site: Site) -> None:
    """An announced model is checked like a registered one before it is used."""
    site.install_plugin("fake-a", modeling="class Model: pass")

    answer = site.ask('answer = error(lambda: AutoModel.from_config(AutoConfig.for_model("fake-a")))')

    assert answer == [
        "InconsistentRegistrationError",
        "<class 'fake_a.modeling.Model'> has no config_class, so it cannot be registered as a model class.",
    ]


def test_two_packages_with_one_name_are_both_named(site: Site) -> None:
    """No package silently replaces another: the name fails, and only that name, until one of them goes."""
    site.install_plugin("fake-a")
    site.install("fake-thief", {"fake-a": "fake_thief.architecture:ARCHITECTURE"}, {})
    site.install_plugin("fake-c")

    answer = site.ask(
        """
        answer = [names(), CONFIG_MAPPING["fake-c"].__module__]
        answer += [error(lambda: CONFIG_MAPPING["fake-a"]), plugins()]
        """
    )

    assert answer == [
        ["fake-a", "fake-c"],
        "fake_c.configuration",
        [
            "DuplicateRegistrationError",
            (
                "model_type 'fake-a' is announced by fake-a 1.0 (fake_a.architecture:ARCHITECTURE), "
                "fake-thief 1.0 (fake_thief.architecture:ARCHITECTURE): nothing says which one counts.\n"
                "  Ask for 'fake-a/fake-a' or 'fake-thief/fake-a', uninstall all but one, "
                "or register the classes that you mean, which then win."
            ),
        ],
        ["fake_c", "fake_c.architecture", "fake_c.configuration"],
    ]


def test_a_registration_settles_which_package_counts(site: Site) -> None:
    """Between two packages with one name, an explicit registration decides."""
    site.install_plugin("fake-a")
    site.install("fake-thief", {"fake-a": "fake_thief.architecture:ARCHITECTURE"}, {})

    answer = site.ask(
        """
        CONFIG_MAPPING.register("fake-a", "fake_a.configuration:Config")
        answer = CONFIG_MAPPING["fake-a"].__module__
        """
    )

    assert answer == "fake_a.configuration"


def test_a_distribution_tells_namesakes_apart(site: Site) -> None:
    """With the name of its distribution in front, each of two architectures of one name is found, models and all."""
    site.install_plugin("fake-a")
    modules = {
        "fake_thief.architecture": ARCHITECTURE.format(package="fake_thief"),
        "fake_thief.configuration": CONFIGURATION.format(model_type="fake-a"),
        "fake_thief.modeling": MODELING.format(package="fake_thief"),
    }
    site.install("Fake_Thief", {"fake-a": "fake_thief.architecture:ARCHITECTURE"}, modules)

    answer = site.ask(
        """
        keys = ["fake-a/fake-a", "fake-thief/fake-a", "Fake_Thief/fake-a"]
        answer = [[key in CONFIG_MAPPING for key in [*keys, "fake-c/fake-a", "fake-a/fake-c"]], plugins()]
        answer += [[CONFIG_MAPPING[key].__module__ for key in keys]]
        answer += [CONFIG_MAPPING.name_of(CONFIG_MAPPING[key]) for key in keys[:2]]
        answer += [AutoModel.from_config(AutoConfig.for_model(key, width=2)) for key in keys[:2]]
        answer += [names(), error(lambda: CONFIG_MAPPING["fake-a"])[0]]
        """
    )

    assert answer == [
        [True, True, True, False, False],
        [],
        ["fake_a.configuration", "fake_thief.configuration", "fake_thief.configuration"],
        "fake-a/fake-a",
        "fake-thief/fake-a",
        ["fake_a.modeling", 2],
        ["fake_thief.modeling", 2],
        ["fake-a"],
        "DuplicateRegistrationError",
    ]


def test_a_distribution_may_stand_before_a_name_that_is_not_ambiguous(site: Site) -> None:
    """The longer spelling finds the same class, which tells the shorter one."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        found = CONFIG_MAPPING["fake-a/fake-a"]
        answer = [found is CONFIG_MAPPING["fake-a"], CONFIG_MAPPING.name_of(found), names()]
        """
    )

    assert answer == [True, "fake-a", ["fake-a"]]


def test_the_allow_list_settles_which_package_counts(site: Site) -> None:
    """A distribution that is not allowed announces nothing, under any spelling, and a hidden name is free."""
    site.install_plugin("fake-a")
    site.install("fake-thief", {"fake-a": "fake_thief.architecture:ARCHITECTURE"}, {})

    answer = site.ask(
        """
        import os
        os.environ["NAMEPLATE_PLUGINS"] = "fake_A"
        answer = [CONFIG_MAPPING["fake-a"].__module__, "fake-thief/fake-a" in CONFIG_MAPPING]
        found = CONFIG_MAPPING["fake-a"]
        os.environ["NAMEPLATE_PLUGINS"] = ""
        answer += [names(), "fake-a" in CONFIG_MAPPING, CONFIG_MAPPING.name_of(found)]
        """
    )

    assert answer == ["fake_a.configuration", False, [], False, None]


def test_provenance_of_an_announced_class_names_its_distribution(site: Site) -> None:
    """The file is found and the distribution named without importing the class."""
    site.install_plugin("fake-a")

    answer = site.ask(
        """
        found = CONFIG_MAPPING.find("fake-a")
        answer = [found.lazy, found.module, found.file, found.line, found.distribution]
        answer.append("fake_a.configuration" in plugins())
        """
    )

    assert answer == [
        True,
        "fake_a.configuration",
        str(site.folder / "fake_a" / "configuration.py"),
        None,
        "fake-a 1.0",
        False,
    ]


def test_an_announced_name_cannot_be_unregistered(site: Site) -> None:
    """What a package announces goes with the package."""
    site.install_plugin("fake-a")

    answer = site.ask('answer = error(lambda: CONFIG_MAPPING.unregister("fake-a"))')

    assert answer == [
        "UnknownModelTypeError",
        (
            "model_type 'fake-a' is announced by an installed package; nobody registered it here.\n"
            "  Register another value under the name, which then wins, or uninstall that package."
        ),
    ]
