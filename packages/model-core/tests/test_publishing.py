"""Models published by the real client of the Hub, in a process of its own, on a Hub on loopback, and loaded back."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but the loopback Hub
READER = "hf_reader"

BLOCKS = {
    "blocks/__init__.py": "",
    "blocks/sizes.py": "WIDTH = 8\n",
    "blocks/configuration.py": """
from nameplate_config import PreTrainedConfig
from .sizes import WIDTH

class BlockConfig(PreTrainedConfig):
    model_type = "block"
    width: int = WIDTH

BlockConfig.register_for_auto_class()
""",
    "blocks/modeling.py": """
import torch
from torch import nn
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel
from .configuration import BlockConfig

class PlainConfig(PreTrainedConfig):
    model_type = "plain"
    width: int = 8

class Plain(PreTrainedModel):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(config.width)
        self.frozen = nn.Parameter(torch.rand(config.width, dtype=torch.bfloat16), requires_grad=False)

class Block(Plain):
    config_class = BlockConfig
""",
}

CLIENT = """
import hashlib, json, sys
import torch
from nameplate_config import NameplateError
from blocks.modeling import Block, BlockConfig, Plain, PlainConfig

def digest(model):
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    every = [(name, str(each.dtype), each.requires_grad, each.detach().flatten().view(torch.uint8).tolist())
             for name, each in tensors]
    return hashlib.sha256(repr(every).encode()).hexdigest()

def built(seed=0, width=8, coded=False):
    torch.manual_seed(seed)
    return Block(BlockConfig(width=width)) if coded else Plain(PlainConfig(width=width))

def push(repository, seed=0, width=8, coded=False, **options):
    model = built(seed, width, coded)
    before, config = digest(model), model.config
    address = model.push_to_hub(repository, **options)
    assert model.config is config and not config.auto_map
    assert digest(model) == before
    return [address, before]

def share(repository, seed=0):
    Block.register_for_auto_class()
    try:
        return push(repository, seed, coded=True)
    finally:
        del Block._auto_classes

def load(source, coded=False, **options):
    model = (Block if coded else Plain).from_pretrained(source, **options)
    return [digest(model), model.load_report.exact, model.two.weight is model.one.weight]

def save(folder, seed=0):
    built(seed).save_pretrained(folder)

def answer(verb, **arguments):
    try:
        return globals()[verb](**arguments)
    except NameplateError as error:
        return {"error": type(error).__name__, "text": str(error)}

for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
"""

Ask = Callable[..., Any]
Talk = Callable[[str, dict[str, str], dict[str, Any]], Any]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a search path with the package that defines the models."""
    folder = tmp_path_factory.mktemp("modules")
    for name, text in BLOCKS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def ask(hub: Any, talk: Talk, empty_home: Path, modules: str) -> Ask:
    """Return a function that publishes or loads in a process of its own, logged in."""
    del empty_home
    env = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "PYTHONPATH": modules}
    return lambda verb, **arguments: talk(CLIENT, env, {"verb": verb, **arguments})


def pushed(hub: Any, name: str = "user/name", revision: str = "main") -> dict[str, bytes]:
    """Return the files of a repository at a revision, less the one that the Hub itself puts there."""
    repository = hub.repositories[name]
    files = repository.commits[repository.resolve(revision)]
    return {path: data for path, data in files.items() if path != ".gitattributes"}


def messages(hub: Any, name: str = "user/name") -> list[str]:
    """Return what the commits of a repository say, oldest first, less the Hub's own."""
    return [message for message in hub.repositories[name].messages.values() if message not in {"", "initial commit"}]


# ---- what is published


def test_a_model_is_published_in_one_commit(hub: Any, ask: Ask, home: Path):
    """A push creates the repository and adds one commit: the files that saving writes, to the byte, and a card."""
    address, _ = ask("push", repository="user/name")
    ask("save", folder="here")
    files = pushed(hub)
    card = files.pop("README.md")

    assert files == {file.name: file.read_bytes() for file in (home / "here").iterdir()}
    assert card.startswith(b"---\nlibrary_name: nameplate\n")
    assert messages(hub) == ["Upload model"]
    assert address == f"{hub.endpoint}/user/name/commit/{hub.repositories['user/name'].references['main']}"


def test_what_was_published_is_loaded(ask: Ask):
    """A published model is loaded from the Hub by its name, with every bit, tie, dtype and frozen parameter."""
    _, digest = ask("push", repository="user/name", seed=3, width=5)

    assert ask("load", source="user/name") == [digest, True, True]


def test_weights_are_uploaded_apart(hub: Any, ask: Ask):
    """Weights go to the store of large files first; the commit names them, so a reader never sees half of a push."""
    ask("push", repository="user/name")
    stored = [number for number, line in enumerate(hub.requests) if line.startswith("PUT /large/")]
    committed = [number for number, line in enumerate(hub.requests) if "/commit/" in line]

    assert len(stored) == len(committed) == 1
    assert stored < committed


def test_the_card_says_how_to_load(hub: Any, ask: Ask):
    """The card names library and architecture as data, and shows the code that loads the model."""
    ask("push", repository="user/name")
    _, data, text = pushed(hub)["README.md"].decode().split("---\n", 2)

    assert yaml.safe_load(data) == {"library_name": "nameplate", "tags": ["plain"]}
    assert text == (
        "\n# name\n\n"
        "Plain of the architecture `plain`, with 104 parameters.\n"
        "Saved by [nameplate](https://pypi.org/project/nameplate-model/):\n\n"
        '```python\nfrom blocks.modeling import Plain\n\nmodel = Plain.from_pretrained("user/name")\n```\n'
    )


def test_a_card_that_is_there_stays(hub: Any, ask: Ask):
    """A `README.md` that somebody wrote is never replaced."""
    hub.commit("user/name", {"README.md": "# Mine\n", "notes.txt": "x"})
    ask("push", repository="user/name")

    assert pushed(hub)["README.md"] == b"# Mine\n"
    assert pushed(hub)["notes.txt"] == b"x"


def test_the_code_of_a_registered_config_goes_with_it(hub: Any, ask: Ask):
    """The source of a config class that is registered for it is in the same commit, and the config names it."""
    _, digest = ask("push", repository="user/name", coded=True)
    files = pushed(hub)

    assert json.loads(files["config.json"])["auto_map"] == {"AutoConfig": "configuration.BlockConfig"}
    assert {name: files[name].decode() for name in files if name.endswith(".py")} == {
        name: BLOCKS[f"blocks/{name}"] for name in ("configuration.py", "sizes.py")
    }
    assert messages(hub) == ["Upload model"]
    assert ask("load", source="user/name", coded=True) == [digest, True, True]


def test_the_code_of_a_registered_model_goes_with_it(hub: Any, ask: Ask):
    """Weights, config, card and the source of model and config are one commit; code that is there already stays."""
    hub.commit("user/name", {"modeling.py": "# old", "modeling_old.py": "# theirs"})
    _, digest = ask("share", repository="user/name")
    files = pushed(hub)

    assert json.loads(files["config.json"])["auto_map"] == {
        "AutoConfig": "configuration.BlockConfig",
        "AutoModel": "modeling.Block",
    }
    assert {name: files[name].decode() for name in files if name.endswith(".py")} == {
        **{name: BLOCKS[f"blocks/{name}"] for name in ("configuration.py", "modeling.py", "sizes.py")},
        "modeling_old.py": "# theirs",
    }
    assert {"README.md", "model.safetensors"} < files.keys()
    assert messages(hub) == ["Upload model"]
    assert ask("load", source="user/name", coded=True) == [digest, True, True]


# ---- again


def test_a_second_push_replaces_the_first(hub: Any, ask: Ask):
    """A push to a repository that has a model adds a commit; readers of the old commit still get the old model."""
    first, old = ask("push", repository="user/name", seed=1)
    _, new = ask("push", repository="user/name", seed=2)

    assert ask("load", source="user/name")[0] == new != old
    assert ask("load", source="user/name", revision=first.rpartition("/")[2])[0] == old
    assert len(messages(hub)) == 2


def test_a_push_that_changes_nothing_adds_no_commit(hub: Any, ask: Ask):
    """Publishing the same model again uploads nothing and returns the address of the commit that holds it."""
    first = ask("push", repository="user/name")
    hub.requests.clear()

    assert ask("push", repository="user/name") == first
    assert len(messages(hub)) == 1
    assert not any(line.startswith("PUT") for line in hub.requests)


@pytest.mark.parametrize(
    "options",
    [[{}, {"max_shard_size": 200}], [{"max_shard_size": 200}, {}], [{"max_shard_size": 200}, {"max_shard_size": 150}]],
    ids=["sharded later", "sharded before", "sharded anew"],
)
def test_weights_that_are_replaced_leave(options: list[dict[str, Any]], hub: Any, ask: Ask):
    """Weights in other files than the new ones are removed in the same commit, so one checkpoint is there."""
    ask("push", repository="user/name", seed=1, **options[0])
    _, digest = ask("push", repository="user/name", seed=2, **options[1])
    ask("push", repository="user/clean", seed=2, **options[1])

    assert pushed(hub).keys() == pushed(hub, "user/clean").keys()
    assert len(messages(hub)) == 2
    assert ask("load", source="user/name")[0] == digest


def test_weights_of_others_leave(hub: Any, ask: Ask):
    """Shards and an index that another library wrote are replaced too; other variants and files are not."""
    theirs = {
        "model-00001-of-00002.safetensors": "1",
        "model-00002-of-00002.safetensors": "2",
        "model.safetensors.index.json": "{}",
    }
    kept = {"model.fp16.safetensors": "x", "pytorch_model.bin": "x", "onnx/model.safetensors": "x", "model.txt": "x"}
    hub.commit("user/name", theirs | kept)
    _, digest = ask("push", repository="user/name")

    assert pushed(hub).keys() == {"README.md", "config.json", "model.safetensors", *kept}
    assert ask("load", source="user/name")[0] == digest


def test_a_variant_stands_beside_the_others(hub: Any, ask: Ask):
    """The weights of a variant leave those of others, and are loaded by its name."""
    _, plain = ask("push", repository="user/name", seed=1)
    _, other = ask("push", repository="user/name", seed=2, variant="ema")

    assert {"model.safetensors", "model.ema.safetensors"} < pushed(hub).keys()
    assert ask("load", source="user/name")[0] == plain
    assert ask("load", source="user/name", variant="ema")[0] == other


# ---- how


def test_it_is_published_as_asked(hub: Any, ask: Ask):
    """Branch, message and privacy are those of the options."""
    options = {"revision": "dev", "commit_message": "Widen", "private": True}
    _, digest = ask("push", repository="user/name", **options)

    assert (hub.repositories["user/name"].private, messages(hub)) == (True, ["Widen"])
    assert pushed(hub) == {}
    assert ask("load", source="user/name", revision="dev")[0] == digest


def test_a_pull_request_is_proposed(hub: Any, ask: Ask):
    """With `create_pr` the main branch stays, and the proposal is loaded by its name."""
    _, old = ask("push", repository="user/name", seed=1)
    _, new = ask("push", repository="user/name", seed=2, create_pr=True)

    assert [ask("load", source="user/name", revision=each)[0] for each in ("main", "refs/pr/1")] == [old, new]
    assert len(messages(hub)) == 2


def test_whoever_may_not_write_is_told_so(hub: Any, ask: Ask):
    """Without a token that may write, nothing is created, and the error says how to get on."""
    answer = ask("push", repository="user/name", token=READER)

    assert answer["error"] == "HubError"
    assert answer["text"].endswith("Log in with `hf auth login`, or give a token that may do this.")
    assert hub.repositories == {}


def test_an_unknown_option_is_refused():
    """An option that publishing does not have is an error with the nearest name, before anything is written."""

    class Nothing(PreTrainedModel):
        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            self.register_buffer("sparse", torch.eye(2).to_sparse())  # could not be saved

    with pytest.raises(UnknownOptionError) as caught:
        Nothing(PreTrainedConfig()).push_to_hub("user/name", comit_message="x")

    assert str(caught.value) == "'comit_message' is no option of publishing.\n  Did you mean 'commit_message'?"
