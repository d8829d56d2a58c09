"""How often the Hub is asked: counted at a server on loopback, for caches that are empty, full or not to be written."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., Any]
Saved = Callable[..., dict[str, bytes]]

LATER = {"UNPRIVILEGED": "1"}
"""Another process than the one that has filled the cache. Not even root may write there what nobody may."""

RESOLVE = "resolve"
CONFIG = ["HEAD config.json", "HEAD config.json", "GET config.json"]  # the first one asks for the size
CODE = [
    *("HEAD configuration_brought.py", "HEAD configuration_brought.py", "GET configuration_brought.py"),
    *("HEAD modeling_brought.py", "HEAD modeling_brought.py", "GET modeling_brought.py"),
    *("HEAD parts/sizes.py", "HEAD parts/sizes.py", "GET parts/sizes.py"),
    "HEAD parts/__init__.py",  # which is absent
]
SINGLE = [
    "HEAD model.safetensors.index.json",  # which is absent
    *("HEAD model.safetensors", "GET large"),  # whose HEAD says at which host it lies
]
SHARDED = [
    *("HEAD model.safetensors.index.json", "GET model.safetensors.index.json"),
    "HEAD model.safetensors",  # which is absent
    *("HEAD shard", "GET large"),
    *("HEAD shard", "GET large"),
]

NO_BRANCH = (
    "revision 'main' of 'org/name' is not in the cache, and the Hub is not asked.\n"
    "  Load it once online, or give a local folder."
)

LOADS = {
    "config": ({}, "config", CONFIG),
    "single": ({}, "model", CONFIG + SINGLE),
    "sharded": ({"max_shard_size": 300}, "model", CONFIG + SHARDED),
    "config with code": ({"code": ""}, "config", CONFIG + CODE),
    "single with code": ({"code": ""}, "model", CONFIG + CODE + SINGLE),
    "sharded with code": ({"code": "", "max_shard_size": 300}, "model", CONFIG + CODE + SHARDED),
}
"""How a checkpoint is saved, what is loaded of it, and what a cold cache is asked for once the commit is known."""


def asked(hub: Any) -> list[str]:
    """Return what was asked for since the last time, in few words."""
    words = {
        r"GET /api/models/(\S+)/revision/\S+": RESOLVE,
        r"(\w+) /\w+/\w+/resolve/[0-9a-f]{40}/": r"\1 ",
        r"model-\w+-\d+-of-\d+\.safetensors": "shard",
        r"/large/\w+": "large",
    }
    found, hub.requests[:] = list(hub.requests), []
    for pattern, word in words.items():
        found = [re.sub(pattern, word, each) for each in found]
    return found


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder, or to one inside it."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
    for each in folders:
        each.chmod(0o555)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


@pytest.mark.parametrize("name", LOADS)
def test_a_warm_load_asks_at_most_once(name: str, hub: Any, ask: Ask, saved: Saved):
    """A cold load asks for each file once; after it, a pinned one asks nothing, and another only for the commit."""
    options, verb, requests = LOADS[name]
    commit = hub.commit("org/name", saved(**options))
    trust = ask("digest", source="org/name", cache_dir="elsewhere") if "code" in options else None
    asked(hub)

    found = ask(verb, source="org/name", trust_remote_code=trust)
    assert asked(hub) == [RESOLVE, *requests]
    assert ask(verb, source="org/name", trust_remote_code=trust, env=LATER) == found
    assert asked(hub) == [RESOLVE]
    assert ask(verb, source="org/name", trust_remote_code=trust, revision=commit, env=LATER) == found
    assert asked(hub) == []


@pytest.mark.parametrize("name", ["sharded", "single with code"])
def test_a_pinned_load_asks_for_no_commit(name: str, hub: Any, ask: Ask, saved: Saved):
    """A cold load of a commit asks for its files alone."""
    options, verb, requests = LOADS[name]
    commit = hub.commit("org/name", saved(**options))
    trust = ask("digest", source="org/name", cache_dir="elsewhere") if "code" in options else None
    asked(hub)
    ask(verb, source="org/name", trust_remote_code=trust, revision=commit)

    assert asked(hub) == requests


def test_a_config_spares_the_model_its_files(hub: Any, ask: Ask, saved: Saved):
    """What a load has put into the cache, absences included, another one of the same commit does not ask for."""
    commit = hub.commit("org/name", saved(code=""))
    trust = ask("digest", source="org/name", revision=commit)
    asked(hub)
    ask("model", source="org/name", trust_remote_code=trust, revision=commit)

    assert asked(hub) == SINGLE


def test_code_elsewhere_is_pinned_apart(hub: Any, ask: Ask, saved: Saved):
    """Where the code lies in another repository, each of both that is not pinned is asked about once."""
    commit = hub.commit("org/name", saved(code="org/code--"))
    of_code = hub.commit("org/code", {path: data for path, data in saved(code="").items() if path.endswith(".py")})
    trust = ask("digest", source="org/name")
    found = ask("model", source="org/name", trust_remote_code=trust)
    asked(hub)
    pins = [{}, {"code_revision": of_code}, {"revision": commit}, {"revision": commit, "code_revision": of_code}]
    counts = []
    for pin in pins:
        ask("model", source="org/name", trust_remote_code=trust, env=LATER, **pin)
        counts.append(asked(hub))

    assert counts == [[RESOLVE, RESOLVE], [RESOLVE], [RESOLVE], []]
    assert ask("model", source="org/name", trust_remote_code=trust, env=LATER, **pins[-1]) == found
    assert asked(hub) == []


@pytest.mark.parametrize("name", ["single", "sharded"])
def test_a_plan_of_a_cached_model_asks_nothing(name: str, hub: Any, ask: Ask, saved: Saved):
    """A load that is only planned reads the headers of what the cache holds."""
    commit = hub.commit("org/name", saved(**LOADS[name][0]))
    planned = ask("plan", source="org/name", revision=commit)
    ask("model", source="org/name", revision=commit)
    asked(hub)

    assert ask("plan", source="org/name", revision=commit) == planned
    assert ask("plan", source="org/name", local_files_only=True) == {"error": "HubError", "text": NO_BRANCH}
    assert asked(hub) == []


def test_a_renamed_repository_is_asked_for_twice(hub: Any, ask: Ask, saved: Saved):
    """Under a former name, a warm load is sent on once; the pinned one still asks nothing."""
    commit = hub.commit("org/former", saved())
    hub.rename("org/former", "org/name")
    found = ask("model", source="org/former")
    asked(hub)

    assert ask("model", source="org/former") == found
    assert asked(hub) == [RESOLVE, RESOLVE]
    assert ask("model", source="org/former", revision=commit) == found
    assert asked(hub) == []


def test_an_absent_file_is_asked_for_again_if_forced(hub: Any, ask: Ask, saved: Saved):
    """`force_download` believes nothing that the cache says, not even that a file is absent."""
    commit = hub.commit("org/name", saved())
    ask("model", source="org/name", revision=commit)
    asked(hub)
    ask("model", source="org/name", revision=commit, force_download=True)

    assert "HEAD model.safetensors.index.json" in asked(hub)


# ---- a cache that cannot be written


@pytest.mark.parametrize("name", ["sharded", "single with code"])
def test_a_cache_that_cannot_be_written_is_read(name: str, hub: Any, ask: Ask, saved: Saved, home: Path):
    """What is in a cache that nobody may write to is loaded, as seldom asking as from any other."""
    options, verb, _ = LOADS[name]
    commit = hub.commit("org/name", saved(**options))
    trust = ask("digest", source="org/name") if "code" in options else None
    found = ask(verb, source="org/name", trust_remote_code=trust)
    asked(hub)
    with unwritable(home / "hf"):
        assert ask(verb, source="org/name", trust_remote_code=trust, env=LATER) == found
        assert ask(verb, source="org/name", trust_remote_code=trust, revision=commit, env=LATER) == found

    assert asked(hub) == [RESOLVE]


def test_what_cannot_be_put_into_the_cache_is_an_error(hub: Any, ask: Ask, saved: Saved, home: Path):
    """A file that is not in such a cache is one clear error; with another `cache_dir` it is loaded."""
    hub.commit("org/name", saved())
    ask("config", source="org/name")
    with unwritable(home / "hf"):
        answer = ask("model", source="org/name", env=LATER)
        elsewhere = ask("model", source="org/name", env=LATER, cache_dir=str(home / "elsewhere"))

    assert answer["error"] == "HubError"
    assert answer["text"].startswith("what the Hub has of 'org/name' cannot be put into the cache: ")
    assert "Permission denied" in answer["text"]
    assert answer["text"].endswith("Make room, or the folder writable, or give another one as cache_dir.")
    assert elsewhere == ask("model", source="org/name")
