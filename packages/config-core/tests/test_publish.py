"""Configs published by the real client of the Hub, in a process of its own, on a Hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import PreTrainedConfig, UnknownOptionError, model_card, publish

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but the loopback Hub
READER = "hf_reader"
NOWHERE = "http://127.0.0.1:9"

BLOCKS = {
    "blocks/__init__.py": "",
    "blocks/configuration.py": """
from nameplate_config import PreTrainedConfig
from .parts.sizes import WIDTH

class BlockConfig(PreTrainedConfig):
    model_type = "block"
    width: int = WIDTH

BlockConfig.register_for_auto_class()
""",
    "blocks/parts/__init__.py": "",
    "blocks/parts/sizes.py": "WIDTH = 8\n",
}

CLIENT = """
import json, os, sys
from pathlib import Path
from nameplate_config import NameplateError, PreTrainedConfig, publish
from blocks.configuration import BlockConfig

class Plain(PreTrainedConfig):
    model_type = "plain"
    width: int = 8

def push(width, repository, coded=False, **options):
    return (BlockConfig if coded else Plain)(width=width).push_to_hub(repository, **options)

def save(width, folder, **options):
    Plain(width=width).save_pretrained(folder, **options)
    return sorted(os.listdir(folder))

def put(repository, files, paths=(), once=(), instead_of="", **options):
    encoded, once = ({name: text.encode() for name, text in dict(each).items()} for each in (files, once))
    paths = {name: Path(path) for name, path in dict(paths).items()}
    return publish(repository, {**encoded, **paths}, "Put", once, instead_of, **options)

def load(source, **options):
    config = Plain.from_pretrained(source, **options)
    return [config.width, config.name_or_path, config.commit_hash]

def answer(verb, **arguments):
    try:
        return globals()[verb](**arguments)
    except NameplateError as error:
        return {"error": type(error).__name__, "text": str(error), "cause": type(error.__cause__).__name__}

for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
"""

Ask = Callable[..., Any]
Talk = Callable[[str, dict[str, str], dict[str, Any]], Any]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a search path with the package that defines a registered class."""
    folder = tmp_path_factory.mktemp("modules")
    for name, text in BLOCKS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def ask(hub: Any, talk: Talk, empty_home: Path, modules: str) -> Ask:
    """Return a function that publishes or loads in a process of its own, logged in unless *env* says otherwise."""
    del empty_home

    def asking(verb: str, *, env: dict[str, str] | None = None, **arguments: Any) -> Any:
        usual = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "PYTHONPATH": modules}
        return talk(CLIENT, {**usual, **(env or {})}, {"verb": verb, **arguments})

    return asking


def pushed(hub: Any, name: str = "user/name", revision: str = "main") -> dict[str, bytes]:
    """Return the files of a repository at a revision, less the one that the Hub itself puts there."""
    repository = hub.repositories[name]
    files = repository.commits[repository.resolve(revision)]
    return {path: data for path, data in files.items() if path != ".gitattributes"}


def messages(hub: Any, name: str = "user/name") -> list[str]:
    """Return what the commits of a repository say, oldest first, less the Hub's own."""
    own, *others = hub.repositories[name].messages.values()
    assert own == "initial commit"
    return others


# ---- what is published


def test_a_config_is_published_in_one_commit(hub: Any, ask: Ask):
    """A push creates the repository, adds one commit that holds the config, and returns the commit's address."""
    address = ask("push", width=16, repository="user/name")
    repository = hub.repositories["user/name"]

    assert pushed(hub) == {"config.json": b'{\n  "model_type": "plain",\n  "width": 16\n}\n'}
    assert messages(hub) == ["Upload config"]
    assert address == f"{hub.endpoint}/user/name/commit/{repository.references['main']}"
    assert not repository.private


def test_the_code_of_a_registered_class_goes_with_it(hub: Any, ask: Ask):
    """The config of a class that is registered for it is published with its source, in the same commit."""
    ask("push", width=16, repository="user/name", coded=True)
    files = pushed(hub)
    values = json.loads(files.pop("config.json"))

    assert values == {"auto_map": {"AutoConfig": "configuration.BlockConfig"}, "model_type": "block", "width": 16}
    assert files == {
        name.removeprefix("blocks/"): text.encode() for name, text in BLOCKS.items() if name != "blocks/__init__.py"
    }
    assert len(messages(hub)) == 1


def test_what_was_published_is_loaded(hub: Any, ask: Ask):
    """A published config is loaded from the Hub, at the commit that the push made."""
    commit = ask("push", width=16, repository="user/name").rpartition("/")[2]

    assert commit in hub.repositories["user/name"].commits
    assert ask("load", source="user/name") == [16, "user/name", commit]


def test_saving_can_publish_as_well(hub: Any, ask: Ask):
    """`save_pretrained` with `push_to_hub` writes the folder and publishes the same bytes."""
    there = ask("save", width=16, folder="here", push_to_hub="user/name", commit_message="Both")

    assert (there, messages(hub)) == (["config.json"], ["Both"])
    assert ask("load", source="here")[0] == ask("load", source="user/name")[0] == 16


def test_publishing_writes_no_folder(ask: Ask, home: Path):
    """A push alone leaves nothing on the disk."""
    ask("push", width=16, repository="user/name")

    assert not list(home.iterdir())


def test_a_second_push_replaces_the_first(hub: Any, ask: Ask):
    """A push to a repository that exists adds a commit, and keeps the files that it does not replace."""
    ask("push", width=16, repository="user/name", coded=True)
    ask("push", width=32, repository="user/name")

    assert json.loads(pushed(hub)["config.json"]) == {"model_type": "plain", "width": 32}
    assert "configuration.py" in pushed(hub)
    assert len(messages(hub)) == 2
    assert ask("load", source="user/name")[0] == 32


def test_a_push_that_changes_nothing_adds_no_commit(hub: Any, ask: Ask):
    """Publishing the same config again returns the address of the commit that holds it."""
    first = ask("push", width=16, repository="user/name")

    assert ask("push", width=16, repository="user/name") == first
    assert len(messages(hub)) == 1


# ---- any files


def test_files_go_from_the_disk(hub: Any, ask: Ask, tmp_path: Path):
    """A file that is given as a path is uploaded from there, and large ones apart from the commit that names them."""
    weights = os.urandom(100_000)
    (tmp_path / "weights").write_bytes(weights)
    ask("put", repository="user/name", files={"a.txt": "a"}, paths={"model.safetensors": str(tmp_path / "weights")})

    assert pushed(hub) == {"a.txt": b"a", "model.safetensors": weights}
    assert [line.partition(" ")[0] for line in hub.requests if "/large/" in line] == ["PUT", "POST"]
    assert messages(hub) == ["Put"]


def test_a_file_can_be_added_only_once(hub: Any, ask: Ask):
    """What the owners of a repository may have edited is added only where there is none."""
    ask("put", repository="user/name", files={"a": "1"}, once={"README.md": "first"})
    hub.commit("user/other", {"README.md": "edited"})
    for name in ("user/name", "user/other"):
        ask("put", repository=name, files={"a": "2"}, once={"README.md": "second"})

    assert pushed(hub) == {"a": b"2", "README.md": b"first"}
    assert pushed(hub, "user/other") == {"a": b"2", "README.md": b"edited"}


def test_files_can_take_the_place_of_others(hub: Any, ask: Ask):
    """What matches the expression, whole, and is not added, is removed in the same commit."""
    hub.commit("user/name", {"part-1": "1", "part-2": "2", "part-3": "3", "part-10x": "x", "deep/part-1": "d"})
    ask("put", repository="user/name", files={"part-2": "two", "index": "i"}, instead_of=r"part-\d+|absent")

    assert pushed(hub) == {"part-2": b"two", "part-10x": b"x", "deep/part-1": b"d", "index": b"i"}
    assert len(hub.repositories["user/name"].commits) == 2


def test_the_branch_is_looked_at(hub: Any, ask: Ask):
    """Which files are there, and which are in the way, is asked of the branch that is committed to."""
    hub.commit("user/name", {"old": "main", "README.md": "main"})
    hub.commit("user/name", {"old": "dev"}, branch="dev")
    ask("put", repository="user/name", files={"a": "1"}, once={"README.md": "x"}, instead_of="old", revision="dev")

    assert pushed(hub, revision="dev") == {"a": b"1", "README.md": b"x"}
    assert pushed(hub) == {"old": b"main", "README.md": b"main"}


def test_a_commit_in_between_is_not_overwritten(hub: Any, ask: Ask):
    """Who commits after we looked and before we commit makes the push fail, and nothing is lost."""
    hub.commit("user/name", {"old": "1"})
    hub.meanwhile = lambda: hub.commit("user/name", {"README.md": "edited"})
    answer = ask("put", repository="user/name", files={"a": "1"}, once={"README.md": "ours"}, instead_of="old")

    assert answer["error"] == "HubError"
    assert "412" in answer["text"]
    assert pushed(hub) == {"README.md": b"edited"}


def test_a_card_is_what_the_hub_reads():
    """A card begins with its data as YAML, and goes on with its text; what is not given is not there."""
    assert model_card("# Title\n\nText.", library_name="nameplate", tags=["a", "b"], license=None).decode() == (
        "---\nlibrary_name: nameplate\ntags:\n- a\n- b\n---\n\n# Title\n\nText.\n"
    )


# ---- how


def test_a_private_repository_is_created(hub: Any, ask: Ask):
    """`private` says who may see a repository that is created; one that exists keeps its visibility."""
    ask("push", width=16, repository="user/name", private=True)
    ask("push", width=32, repository="user/name", private=False)

    assert hub.repositories["user/name"].private
    assert ask("load", source="user/name")[0] == 32


def test_a_name_alone_is_one_of_the_user(hub: Any, ask: Ask):
    """An id without an owner is a repository of whoever publishes."""
    address = ask("push", width=16, repository="name")

    assert address.startswith(f"{hub.endpoint}/user/name/commit/")
    assert list(hub.repositories) == ["user/name"]


def test_a_revision_is_a_branch(hub: Any, ask: Ask):
    """`revision` names the branch, created if there is none; the main branch stays as it is."""
    ask("push", width=1, repository="user/name")
    ask("push", width=2, repository="user/name", revision="dev/two")
    ask("push", width=3, repository="user/name", revision="dev/two")

    assert json.loads(pushed(hub)["config.json"])["width"] == 1
    assert ask("load", source="user/name", revision="dev/two")[0] == 3
    assert len(messages(hub)) == 3


def test_a_commit_says_what_it_is_told(hub: Any, ask: Ask):
    """`commit_message` is what the commit says; an empty one counts as none."""
    ask("push", width=1, repository="user/name", commit_message="Widen")
    ask("push", width=2, repository="user/name", commit_message="")

    assert messages(hub) == ["Widen", "Upload config"]


def test_a_pull_request_leaves_the_branch(hub: Any, ask: Ask):
    """`create_pr` proposes the commit, and whoever names the pull request can load and extend it."""
    ask("push", width=1, repository="user/name")
    address = ask("push", width=2, repository="user/name", create_pr=True)
    ask("push", width=3, repository="user/name", revision="refs/pr/1", commit_message="More")

    assert address.rpartition("/")[2] in hub.repositories["user/name"].commits
    assert [ask("load", source="user/name", revision=each)[0] for each in ("main", "refs/pr/1")] == [1, 3]
    assert sorted(hub.repositories["user/name"].references) == ["main", "refs/pr/1"]


def test_a_token_can_be_given(ask: Ask):
    """`token` is used instead of the stored one."""
    nobody = {"HF_TOKEN": ""}

    assert ask("push", width=16, repository="user/name", token=TOKEN, env=nobody).startswith("http")


# ---- what is refused

LOGIN = "Log in with `hf auth login`, or give a token that may do this."


@pytest.mark.parametrize(
    ("env", "options", "status"),
    [
        ({"HF_TOKEN": ""}, {}, "401"),
        ({}, {"token": "hf_wrong"}, "401"),
        ({}, {"token": False}, "401"),
        ({"HF_TOKEN": READER}, {}, "403"),
    ],
    ids=["no token", "wrong token", "no token wanted", "reading only"],
)
def test_whoever_may_not_write_is_told_so(
    env: dict[str, str], options: dict[str, Any], status: str, hub: Any, ask: Ask
):
    """Without a token that may write, nothing is created, and the error says how to get on."""
    answer = ask("push", width=16, repository="user/name", env=env, **options)

    assert (answer["error"], answer["cause"]) == ("HubError", "HfHubHTTPError")
    assert answer["text"].startswith("the Hub could not be asked about 'user/name': ")
    assert status in answer["text"]
    assert answer["text"].endswith(f"\n  {LOGIN}")
    assert hub.repositories == {}


def test_a_missing_token_is_reported(ask: Ask):
    """`token=True` asks for a stored token; that there is none is said."""
    answer = ask("push", width=16, repository="user/name", token=True, env={"HF_TOKEN": ""})

    assert (answer["error"], answer["cause"]) == ("HubError", "LocalTokenNotFoundError")
    assert "hf auth login" in answer["text"]


def test_a_repository_that_is_only_readable_is_refused(hub: Any, ask: Ask):
    """A repository that others own can be read and not written to."""
    hub.commit("org/name", {"config.json": "{}"})
    answer = ask("push", width=16, repository="org/name", token=READER)

    assert (answer["error"], answer["text"].rpartition("\n  ")[2]) == ("HubError", LOGIN)
    assert len(hub.repositories["org/name"].commits) == 1


def test_a_repository_that_vanishes_is_named(hub: Any, ask: Ask):
    """A repository that the Hub knows, but does not show to whoever publishes, is reported with a way out."""
    hub.commit("org/name", {"config.json": "{}"})
    hub.unseen.add("org/name")

    assert ask("push", width=16, repository="org/name") == {
        "error": "SourceNotFoundError",
        "text": "there is no repository 'org/name' on the Hub that you may write to.\n"
        "  Check the spelling, or log in with `hf auth login`, or give a token that may write.",
        "cause": "RepositoryNotFoundError",
    }


@pytest.mark.parametrize("name", ["a--b", "user/a/b", "user/na me", True])
def test_a_name_that_no_repository_can_have_is_refused(name: Any, hub: Any, ask: Ask):
    """A name that the Hub forbids is refused without a request; so is the flag that Transformers takes."""
    assert ask("push", width=16, repository=name) == {
        "error": "SourceNotFoundError",
        "text": f"no repository can be called {name!r}. Give an id such as 'user/name'.",
        "cause": "HFValidationError",
    }
    assert hub.requests == []


def test_a_missing_pull_request_is_named(hub: Any, ask: Ask):
    """A pull request that does not exist is not created as a branch."""
    answer = ask("push", width=16, repository="user/name", revision="refs/pr/7")

    assert answer["text"] == "the repository 'user/name' has no revision 'refs/pr/7'."
    assert list(hub.repositories["user/name"].references) == ["main"]


def test_a_hub_that_is_down_is_reported(hub: Any, ask: Ask):
    """Where the Hub answers that it is down, the error says so."""
    hub.broken = True
    answer = ask("push", width=16, repository="user/name")

    assert answer["error"] == "HubError"
    assert "503" in answer["text"]
    assert LOGIN not in answer["text"]


@pytest.mark.parametrize("env", [{"HF_ENDPOINT": NOWHERE}, {"HF_HUB_OFFLINE": "1"}], ids=["nobody", "offline"])
def test_a_hub_that_is_not_reached_is_reported(env: dict[str, str], ask: Ask):
    """Where nobody answers or may be asked, the error says so."""
    answer = ask("push", width=16, repository="user/name", env=env)

    assert answer["error"] == "HubError"
    assert answer["text"].startswith("the Hub could not be asked about 'user/name': ")


def test_a_folder_is_written_though_the_hub_refuses(ask: Ask, home: Path):
    """What `save_pretrained` wrote stays where it is when publishing fails."""
    answer = ask("save", width=16, folder="here", push_to_hub="user/name", env={"HF_TOKEN": READER})

    assert (answer["error"], (home / "here" / "config.json").is_file()) == ("HubError", True)


def test_an_unknown_option_is_refused():
    """An option that publishing does not have is an error with the nearest name, before anything is imported."""
    with pytest.raises(UnknownOptionError) as caught:
        publish("user/name", {}, "", comit_message="x")

    assert str(caught.value) == "'comit_message' is no option of publishing.\n  Did you mean 'commit_message'?"


@pytest.mark.parametrize("push", [{}, {"push_to_hub": "user/name"}], ids=["here", "pushed"])
def test_an_unknown_option_is_refused_before_anything_is_written(push: dict[str, str], tmp_path: Path):
    """`save_pretrained` knows the options whether it publishes or not, and looks at them first."""
    with pytest.raises(UnknownOptionError, match="'privat' is no option of publishing"):
        PreTrainedConfig().save_pretrained(tmp_path / "here", **push, privat=True)

    assert not (tmp_path / "here").exists()


def test_saving_needs_no_hub(tmp_path: Path):
    """Saving without publishing imports nothing of huggingface_hub."""
    code = (
        "import sys; from nameplate_config import PreTrainedConfig\n"
        "PreTrainedConfig().save_pretrained(sys.argv[1])\n"
        "print([name for name in sys.modules if name.startswith(('huggingface_hub', 'httpx'))])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
