"""The bridge to Transformers: our architectures found there, its own found here, both as if they were at home.

`bridge/publish.py` and `bridge/adopt.py` do all of it with the installed Transformers, each in a process of its own
without the Hub; the tests here say what must have come of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "bridge"

Facts = dict[str, Any]


def facts_of(script: str, folder: Path) -> Facts:
    """Run a script in a folder that is its home as well, and return what it found out."""
    home = {"HOME": str(folder), "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("HF_")}, **home}
    done = subprocess.run(
        [sys.executable, HERE / script],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What came of publishing our architectures."""
    return facts_of("publish.py", tmp_path_factory.mktemp("publish"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What came of adopting theirs."""
    return facts_of("adopt.py", tmp_path_factory.mktemp("adopt"))


# ---- ours, in Transformers


def test_what_is_registered_or_announced_is_published(there: Facts) -> None:
    """One call registers every architecture with each Auto class that Transformers has by that name, and says so."""
    published = there["first"]["published"]

    assert published["grid"] == ["AutoConfig", "AutoModel", "AutoModelForImageClassification"]
    assert {"AutoConfig", "AutoModel", "AutoModelForImageClassification"} <= set(published["nameplate_resnet"])
    assert there["is_registered"] == [True, True]


def test_a_name_of_transformers_stays_its_own(there: Facts) -> None:
    """A name that is built in there, or that somebody else registered there, is left alone and reported."""
    assert there["first"]["taken"] == {"resnet": "ResNetConfig"}
    assert there["owned"] == {"resnet": "ResNetConfig", "grid": "__main__.TheirNameConfig"}


def test_a_broken_package_fails_alone(there: Facts) -> None:
    """An architecture that cannot be imported is reported, and the others are published."""
    assert there["first"]["failed"] == {"broken": "BrokenPluginError"}


def test_publishing_again_registers_nothing(there: Facts) -> None:
    """What is published already is not registered a second time."""
    assert there["again"]["published"] == {}


def test_publishing_imports_no_model(there: Facts) -> None:
    """The model classes of installed packages are imported when a model is asked for."""
    assert there["modules"] == []


def test_transformers_reads_our_config(there: Facts) -> None:
    """Its `AutoConfig` returns our very class, with the file's values and where they came from."""
    assert there["config"] == [True, 3, {"0": "cat", "1": "dog", "2": "crane"}, "grid"]
    assert there["config_override"] == 5
    assert there["for_model"] == 6


def test_transformers_loads_our_model(there: Facts) -> None:
    """Its Auto classes return models of our very classes, in evaluation mode, whose logits are equal bit for bit."""
    assert there["loaded"] == [True, True, False]
    assert there["body"] is True
    assert there["announced"] == ["ResnetModelForImageClassification", True]


def test_options_of_transformers_reach_our_load(there: Facts) -> None:
    """A dtype is cast to, under both of its names, and the report of the load comes back."""
    assert there["half"] == ["torch.float16", True]
    assert there["old_options"] == ["torch.float32", True]
    assert there["report"] == [[], []]


def test_transformers_reads_the_folders_own_config(there: Facts) -> None:
    """It takes no config of another family for one: what `config=` brings is passed over, as the README says."""
    assert there["config_given"] == {"0": "cat", "1": "dog", "2": "crane"}


def test_transformers_builds_our_model(there: Facts) -> None:
    """`from_config` there builds our class, and casts it to a dtype that is asked for."""
    assert there["fresh"] == [True, [2, 2]]
    assert there["fresh_half"] == "torch.float16"


def test_an_option_that_nobody_takes_is_refused(there: Facts) -> None:
    """A misspelt option, or one without a name, is an error there as here."""
    assert there["unknown_option"] == [
        "UnknownOptionError",
        "GridModel.from_pretrained has no option 'strct'.\n  Did you mean 'strict'?",
    ]
    assert there["unknown_option_fresh"] == [
        "UnknownOptionError",
        "AutoModel.from_config of GridModel has no option 'strct'.",
    ]
    assert there["positional"] == [
        "UnknownOptionError",
        "GridModel takes options by name, found 1 behind the source.",
    ]


def test_a_task_that_we_have_no_model_for_is_refused_there(there: Facts) -> None:
    """An Auto class without a model for our config raises what Transformers raises."""
    assert there["no_head"] == "ValueError"


def test_their_trainer_trains_our_model(there: Facts) -> None:
    """A model that came through the bridge goes through `Trainer`, and its weights change."""
    assert there["trained"] == [2, False]


def test_their_trainer_saves_weights_alone(there: Facts) -> None:
    """`Trainer` writes the weights of a model that is not its own without a config, as the README says."""
    assert there["saved_by_trainer"] == ["model.safetensors"]


def test_their_pipeline_uses_our_model(there: Facts) -> None:
    """`pipeline("image-classification")` loads our class and answers with our labels."""
    assert there["pipeline"] == [True, ["cat", "crane", "dog"]]


def test_a_publication_can_be_withdrawn(there: Facts) -> None:
    """What a call registered is gone after `withdraw`, or after the block, and nothing else is."""
    assert there["withdrawn"] == [False, False]
    assert there["inside"] == [True, True]
    assert there["outside"] == [False, False]


def test_a_name_of_transformers_can_be_taken_for_a_while(there: Facts) -> None:
    """With `exist_ok=True` our class takes the place of theirs, which comes back when it is withdrawn."""
    assert there["forced"] == [{}, True]
    assert there["given_back"] == "transformers.models.resnet.configuration_resnet"


def test_what_was_replaced_since_is_not_withdrawn(there: Facts) -> None:
    """A class that somebody registered there in place of ours stays."""
    assert there["replaced_since"] is True


# ---- theirs, here


def test_adopting_lists_without_importing(here: Facts) -> None:
    """Every name of Transformers is listed beside ours, built in or registered, and no architecture is imported."""
    assert here["listed"] == [True, True, []]
    assert here["found"] == "transformers:ResNetConfig"


def test_an_adoption_ends_with_its_block(here: Facts) -> None:
    """After the block the names are unknown again."""
    assert here["gone"] == [False, False]


def test_only_what_is_named_is_adopted(here: Facts) -> None:
    """With names, those are found and no others."""
    assert here["adopted"] == [["custom", "funnel", "gpt-sw3", "resnet"], False]


def test_their_config_is_read_by_its_own_class(here: Facts) -> None:
    """Our `AutoConfig` returns their very class, with the very values that their own returns."""
    assert here["config"] == [True, True]
    assert here["override"] == 4


def test_their_model_loads_bit_for_bit(here: Facts) -> None:
    """Our Auto classes return models of their very classes, in evaluation mode, with the tensors of their own load."""
    assert here["model"] == [True, True, False]
    assert here["body"] is True
    assert here["half"] == "torch.float16"
    assert here["given"] is True


def test_what_others_registered_there_is_found_here(here: Facts) -> None:
    """A class that somebody registered with Transformers is adopted as well as those built in."""
    assert here["custom"] == [True, True]


def test_their_model_is_built_here(here: Facts) -> None:
    """`from_config` here builds their class."""
    assert here["fresh"] is True


def test_of_several_models_the_architectures_choose(here: Facts) -> None:
    """Where Transformers has several classes for one config, `architectures` choose, else the first is taken."""
    assert here["several"] == ["FunnelModel", "FunnelBaseModel"]


def test_a_second_name_of_their_class_is_found(here: Facts) -> None:
    """A name under which Transformers has a class that calls itself otherwise leads to that class."""
    assert here["second_name"] == "GPT2Config"


def test_their_model_is_saved_and_loads_again(here: Facts) -> None:
    """What was loaded here is saved by its own `save_pretrained`, and loads here again, bit for bit."""
    assert here["again"] is True


def test_a_misspelt_field_or_option_is_refused(here: Facts) -> None:
    """Their classes refuse what they do not know as ours do."""
    assert here["bad_override"] == [
        "UnknownOptionError",
        "ResNetConfig has no field 'num_chanels'.\n  Did you mean 'num_channels'?",
    ]
    kind, text = here["bad_option"]
    assert kind == "UnknownOptionError"
    assert text.startswith("transformers.models.resnet.modeling_resnet.ResNetModel.from_pretrained does not take an")


def test_weights_that_they_would_invent_are_refused(here: Facts) -> None:
    """A checkpoint that lacks tensors of its own class is an error here, unless it is not to be strict."""
    kind, text = here["random"]

    assert kind == "ForeignClassError"
    assert text.startswith("'headless' lacks 2 of the tensors of transformers.models.resnet.modeling_resnet.ResNetFor")
    assert "classifier.1.bias, classifier.1.weight" in text
    assert here["allowed"] is None


def test_their_refusals_are_errors_of_ours(here: Facts) -> None:
    """Shapes that do not fit, and weights that are not there, are typed errors that name the class and the folder."""
    mismatched, weightless = here["mismatched"], here["weightless"]

    assert mismatched[0] == "ForeignClassError"
    assert "ResNetModel.from_pretrained refuses 'resnet': RuntimeError: " in mismatched[1]
    assert weightless[0] == "SourceNotFoundError"
    assert "ResNetModel cannot read 'weightless': OSError: " in weightless[1]


def test_a_task_that_they_have_no_model_for_is_refused(here: Facts) -> None:
    """The error names the Auto classes that Transformers has one for."""
    kind, text = here["no_head"]

    assert kind == "UnknownArchitectureError"
    assert text.startswith("AutoModelForDepthEstimation has no model class for ResNetConfig.\n")
    assert "model_type 'resnet' has one for: AutoModel, AutoModelForImageClassification" in text


def test_what_transformers_does_not_know_is_refused(here: Facts) -> None:
    """A name that is not there is an error with the name that was meant."""
    kind, text = here["unknown"]

    assert kind == "UnknownModelTypeError"
    assert text.endswith(" has no model_type 'resnt'.\n  Did you mean 'resnet'?")


def test_ours_come_first(here: Facts) -> None:
    """A class that is registered here wins over theirs of the same name, as long as it is registered."""
    assert here["ours_first"] is True
    assert here["theirs_then"] is True


def test_nothing_crosses_the_bridge_twice(here: Facts) -> None:
    """What was adopted is not published, and what was published is not adopted."""
    assert "resnet" not in here["published"]
    assert "bert" not in here["published"]
    assert "nameplate_resnet" in here["published"]
    assert here["not_back"] is True


def test_an_adoption_can_be_withdrawn(here: Facts) -> None:
    """After `withdraw` only our own names are known, and the models of the others are not found any more."""
    names, error = here["withdrawn"]

    assert "resnet" not in names
    assert error[0] == "UnknownArchitectureError"


def test_threads_adopt_and_withdraw_at_once(here: Facts) -> None:
    """Each of many threads finds what it adopted, and nothing is left when all are done."""
    assert here["threads"] == [8, False]


# ---- without Transformers


@pytest.mark.parametrize("verb", ["publish", "adopt"])
def test_without_transformers_the_bridge_says_what_to_install(verb: str) -> None:
    """Where Transformers is absent, the module imports, and both verbs name the extra that brings it."""
    code = (
        f"import sys; sys.modules['transformers'] = None\nfrom nameplate_auto.transformers import {verb}\n"
        f"try: {verb}()\nexcept ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)

    assert done.stdout.startswith("BridgeError the bridge to Transformers cannot import it: ")
    assert done.stdout.endswith('\n  Install it with: pip install "nameplate-auto[transformers]"\n')


def test_another_transformers_is_no_bridge_to() -> None:
    """A version that keeps its classes elsewhere is refused with the versions that do not."""
    code = (
        "import sys, types\n"
        "for name in ('', '.models', '.models.auto', '.models.auto.configuration_auto'):\n"
        "    sys.modules['transformers' + name] = types.ModuleType('transformers' + name)\n"
        "sys.modules['transformers'].__version__ = '6.0.0'\n"
        "sys.modules['transformers.models.auto'].configuration_auto = sys.modules[\n"
        "    'transformers.models.auto.configuration_auto']\n"
        "from nameplate_auto.transformers import publish\n"
        "try: publish()\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)

    assert done.stdout.startswith("BridgeError the installed Transformers does not keep its classes where the bridge")
    assert done.stdout.endswith("\n  Install a version from 5.17 on and below 6.\n")


def test_the_bridge_imports_transformers_only_when_it_is_crossed() -> None:
    """Importing the module, with Transformers installed, imports neither it nor torch."""
    code = "import sys, nameplate_auto.transformers\nprint({'transformers', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)

    assert done.stdout == "set()\n"
