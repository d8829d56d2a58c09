"""The whole trip over the Hub: what is published is found by name elsewhere, by those who may, and from nowhere else.

The Hub is a server on loopback, the processes that talk to it run the real client.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
from torch import nn
from nameplate_model import PreTrainedModel
from .configuration import BlockConfig

class Block(PreTrainedModel):
    config_class = BlockConfig

    def __init__(self, config: BlockConfig) -> None:
        super().__init__(config)
        self.one = nn.Linear(config.width, config.width)

Block.register_for_auto_class("AutoModel")
""",
}

Ask = Callable[..., Any]
Saved = Callable[..., dict[str, bytes]]


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of who has the package `blocks`."""
    folder = tmp_path_factory.mktemp("modules")
    for name, text in BLOCKS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def code_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return those of the files of a checkpoint that are code."""
    return {path: data for path, data in files.items() if path.endswith(".py")}


# ---- there and back


def test_a_model_with_its_code_goes_the_whole_trip(hub: Any, ask: Ask, author: dict[str, str]):
    """One commit holds config, weights, code and card; who lacks the package allows the code and has the model."""
    commit, *built = ask("push", repository="user/name", module="blocks.modeling", seed=3, token=TOKEN, env=author)
    own, pushed = hub.repositories["user/name"].messages.items()
    files = hub.repositories["user/name"].commits[commit]

    assert [own[1], pushed] == ["initial commit", (commit, "Upload model")]
    assert files.keys() > {"config.json", "model.safetensors", "README.md", "configuration.py", "modeling.py"}
    assert json.loads(files["config.json"])["auto_map"] == {
        "AutoConfig": "configuration.BlockConfig",
        "AutoModel": "modeling.Block",
    }
    refused = ask("model", source="user/name")
    assert refused["error"] == "RemoteCodeRefusedError"
    assert commit in refused["text"]
    digest = ask("digest", source="user/name")
    assert f'trust_remote_code="{digest}"' in refused["text"]
    assert ask("model", source="user/name", trust_remote_code=digest) == built
    assert ask("model", source="user/name", revision=commit, trust_remote_code=digest) == built


def test_a_registered_model_needs_no_code(hub: Any, ask: Ask):
    """A model that is registered is found by the name in its config; its repository holds no code, and none is run."""
    _, *built = ask("push", repository="user/name", seed=4, token=TOKEN)
    files = hub.repositories["user/name"].commits[hub.repositories["user/name"].references["main"]]

    assert ask("model", source="user/name") == built
    assert not code_of(files)


def test_a_model_is_found_by_every_kind_of_revision(hub: Any, ask: Ask, saved: Saved):
    """Main branch, other branch, tag, commit and pull request lead to their own model."""
    first = hub.commit("org/name", saved(seed=1))
    hub.tag("org/name", "v1")
    hub.commit("org/name", saved(seed=2), branch="team/dev")
    hub.commit("org/name", saved(seed=3), branch="refs/pr/1")
    hub.commit("org/name", saved(seed=4))
    built = [ask("save", folder=f"seed-{seed}", seed=seed) for seed in (1, 2, 3, 4)]

    revisions = [first, "team/dev", "refs/pr/1", "main"]
    assert [ask("model", source="org/name", revision=each) for each in revisions] == built
    assert ask("model", source="org/name", revision="v1") == built[0]
    assert ask("model", source="org/name") == built[3]


def test_a_tag_that_moves_does_not_move_the_pin(hub: Any, ask: Ask, saved: Saved):
    """A commit is the same model for ever; a tag is what it points to now, and its code needs a new approval."""
    files = saved(code="")
    first = hub.commit("org/name", files)
    hub.tag("org/name", "v1")
    digest = ask("digest", source="org/name")
    built = ask("model", source="org/name", revision="v1", trust_remote_code=digest)
    hub.commit("org/name", {**files, "modeling_brought.py": files["modeling_brought.py"] + b"\nEDITED = True\n"})
    hub.tag("org/name", "v1")

    moved = ask("model", source="org/name", revision="v1", trust_remote_code=digest)
    assert moved["error"] == "RemoteCodeRefusedError"
    assert f"its digest is not {digest}" in moved["text"]
    assert ask("model", source="org/name", revision=first, trust_remote_code=digest) == built


# ---- who may


def test_a_private_model_is_for_those_who_may(hub: Any, ask: Ask, saved: Saved):
    """Without a token a private repository is as good as absent, with one it is loaded; so is its code."""
    commit = hub.commit("org/name", saved(code=""), private=True)
    digest = ask("digest", source="org/name", token=TOKEN)
    built = ask("model", source="org/name", token=TOKEN, trust_remote_code=digest, cache_dir="elsewhere")

    assert built[0] == "Brought"
    refused = ask("model", source="org/name", trust_remote_code=digest, cache_dir="nothing")
    assert refused == {
        "error": "SourceNotFoundError",
        "text": "there is no folder 'org/name' here and no repository 'org/name' on the Hub that you may read.\n"
        "  Check the spelling, or give a token if the repository is private.",
    }
    assert ask("model", source="org/name", trust_remote_code=digest, cache_dir="nothing", revision=commit) == refused


@pytest.mark.parametrize("token", [False, READER], ids=["nobody", "not admitted"])
def test_a_gated_model_is_for_those_who_were_admitted(token: bool | str, hub: Any, ask: Ask, saved: Saved):
    """Everybody may see that a gated repository exists, and is told how to be admitted; nothing gets into the cache."""
    commit = hub.commit("org/name", saved(), gated=True)
    refused = {
        "error": "HubError",
        "text": "the repository 'org/name' is gated: only who was granted access may read its files.\n"
        "  Ask for access on its page on the Hub, then log in with `hf auth login`, or give a token that has it.",
    }

    assert ask("model", source="org/name", token=token) == refused
    assert ask("config", source="org/name", token=token, revision=commit) == refused
    assert ask("model", source="org/name", token=TOKEN)[0] == "Plain"


def test_a_wrong_token_is_no_absent_repository(hub: Any, ask: Ask, saved: Saved):
    """A token that the Hub does not know is said to be the reason, also where nobody needs one."""
    hub.commit("org/name", saved())
    answer = ask("model", source="org/name", token="hf_wrong")  # noqa: S106 - that is the point

    assert answer["error"] == "HubError"
    assert answer["text"].startswith("the Hub could not be asked about 'org/name': ")
    assert "401" in answer["text"]
    assert answer["text"].endswith("\n  Log in with `hf auth login`, or give a token that may do this.")


def test_a_token_is_shown_to_the_hub_alone(hub: Any, ask: Ask):
    """Neither the host that keeps the weights sees the token, whichever way they go, nor is one shown if none is to."""
    ask("push", repository="user/name", token=TOKEN)
    ask("model", source="user/name", token=TOKEN)

    assert {(host, token) for host, token, _ in hub.shown} == {("127.0.0.1", TOKEN)}
    assert {line.partition(" ")[0] for line in hub.requests if "/large/" in line} == {"PUT", "POST", "GET"}
    assert not [request for *_, request in hub.shown if "/large/" in request and not request.endswith("/verify")]
    hub.shown.clear()
    ask("model", source="user/name", token=False, force_download=True)
    assert hub.shown == []


# ---- what has become of it


def test_a_renamed_model_is_found_by_both_names(hub: Any, ask: Ask, saved: Saved):
    """Who asks for the former name, by branch or by commit, with or without a token, is sent on."""
    commit = hub.commit("org/former", saved(code=""), private=True)
    digest = ask("digest", source="org/former", token=TOKEN)
    built = ask("model", source="org/former", token=TOKEN, trust_remote_code=digest)
    hub.rename("org/former", "new/name")
    options = {"token": TOKEN, "trust_remote_code": digest}

    for name in ("org/former", "new/name"):
        for revision in ("main", commit):
            assert ask("model", source=name, revision=revision, cache_dir="elsewhere", **options) == built
    assert {host for host, *_ in hub.shown} == {"127.0.0.1"}


def test_a_token_does_not_follow_to_another_hub(hub: Any, ask: Ask, saved: Saved):
    """A Hub that sends on to another host does not send the token along, and what that host has is not taken."""
    commit = hub.commit("org/former", saved())
    hub.rename("org/former", "new/name")
    hub.elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
    answers = [ask("config", source="org/former", token=TOKEN, **each) for each in ({}, {"revision": commit})]

    for answer in answers:
        assert answer["error"] == "HubError"
        assert f"org/former@{commit[:12]}/config.json is not in the cache" in answer["text"]
    assert {host for host, *_ in hub.shown} == {"127.0.0.1"}


def test_a_deleted_model_is_left_in_the_cache(hub: Any, ask: Ask, saved: Saved):
    """A repository that is no more is an error, but what was loaded is still there by its commit, and offline."""
    commit = hub.commit("org/name", saved())
    built = ask("model", source="org/name")
    del hub.repositories["org/name"]

    answer = ask("model", source="org/name")
    assert answer["error"] == "SourceNotFoundError"
    assert "no repository 'org/name' on the Hub that you may read" in answer["text"]
    assert ask("model", source="org/name", revision=commit) == built
    assert ask("model", source="org/name", local_files_only=True) == built


def test_a_deleted_revision_is_named(hub: Any, ask: Ask, saved: Saved):
    """A tag that is no more is named, and so is a commit that never was."""
    hub.commit("org/name", saved())
    hub.tag("org/name", "v1")
    ask("model", source="org/name", revision="v1")
    del hub.repositories["org/name"].references["v1"]

    for revision in ("v1", "0" * 40):
        assert ask("model", source="org/name", revision=revision) == {
            "error": "SourceNotFoundError",
            "text": f"the repository 'org/name' has no revision {revision!r}.",
        }


# ---- whose name it is


def test_a_folder_wins_over_a_repository(hub: Any, ask: Ask, saved: Saved):
    """A folder of a repository's name in the working directory is what is loaded, and the Hub is not asked."""
    hub.commit("org/name", saved(seed=1))
    here = ask("save", folder="org/name", seed=2)

    assert (ask("model", source="org/name"), hub.requests) == (here, [])


def test_code_of_a_repository_never_comes_from_a_folder(hub: Any, ask: Ask, saved: Saved, home: Path):
    """What `auto_map` calls `org/code` is on the Hub, whatever lies in a folder of that name here."""
    code = code_of(saved(code=""))
    hub.commit("org/name", saved(code="org/code--"))
    hub.commit("org/code", code)
    digest = ask("digest", source="org/name")
    built = ask("model", source="org/name", trust_remote_code=digest)
    for path in code:
        there = home / "org" / "code" / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text("raise SystemExit('this is somebody else')\n", encoding="utf-8")

    assert ask("digest", source="org/name") == digest
    assert ask("model", source="org/name", trust_remote_code=digest) == built
    assert ask("model", source="org/name", trust_remote_code=digest, local_files_only=True) == built


def test_code_of_a_repository_that_is_none_is_not_made_up(hub: Any, ask: Ask, saved: Saved, home: Path):
    """If the Hub has no such repository, a folder of its name is no substitute; the error does not deny the folder."""
    hub.commit("org/name", saved(code="org/code--"))
    for path, data in code_of(saved(code="")).items():
        there = home / "org" / "code" / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(data)

    assert ask("config", source="org/name", trust_remote_code=True) == {
        "error": "SourceNotFoundError",
        "text": "there is no repository 'org/code' on the Hub that you may read.\n"
        "  Check the spelling, or give a token if the repository is private.",
    }
