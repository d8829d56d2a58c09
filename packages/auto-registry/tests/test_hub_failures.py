"""A Hub that fails on the way: one error of ours, nothing half done, and what the cache holds is still loaded.

The Hub is a server on loopback; the processes that talk to it run the real client, which does not pause between two
tries here.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., Any]
Saved = Callable[..., dict[str, bytes]]

HASTY = {"PATIENCE": "0.5"}
"""A client that waits half a second for an answer, and not for ever."""

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but the loopback Hub

ERRORS = {"HubError", "SourceNotFoundError", "ShardError"}
"""What a request that fails may lead to; the last one where a repository vanishes between an index and its shards."""

FAILURES = {
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404},
    "404 of the repository": {"status": 404, "code": "RepoNotFound"},
    "429": {"status": 429},
    "503": {"status": 503},
    "nothing": {"cut": 0},
}


def leftovers(home: Path) -> list[str]:
    """Return what is in the cache and no whole file."""
    return [path.name for path in home.rglob("*.incomplete")]


def cached(home: Path, name: str) -> Path:
    """Return the place of a file in the cache."""
    (found,) = home.glob(f"hf/hub/models--org--name/*/*/{name}")
    return found


def missing(commit: str, name: str) -> dict[str, str]:
    """Return the answer where a file is not in the cache and nobody may be asked."""
    return {
        "error": "HubError",
        "text": f"org/name@{commit[:12]}/{name} is not in the cache, and the Hub is not asked.\n"
        "  Load it once online, or give a local folder.",
    }


# ---- errors of the Hub


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("options", [{"code": ""}, {"max_shard_size": 300}], ids=["with code", "sharded"])
def test_each_request_of_a_load_may_fail(
    failure: str, options: dict[str, Any], hub: Any, ask: Ask, saved: Saved, home: Path
):
    """Whichever request fails, the error is ours, names repository and way out, and the next load goes on there."""
    hub.commit("org/name", saved(**options))
    trust = ask("digest", source="org/name", cache_dir="elsewhere") if "code" in options else None
    hub.requests.clear()
    whole = ask("model", source="org/name", trust_remote_code=trust)
    requests = [each for each in hub.requests if each.startswith("GET") or "cut" not in FAILURES[failure]]
    shutil.rmtree(home / "hf")

    for request in requests:  # all before it were answered the last time, and what they brought is in the cache
        hub.fail(re.escape(request) + "$", **FAILURES[failure])
        answer = ask("model", source="org/name", trust_remote_code=trust)
        assert answer.get("error") in ERRORS, (request, answer)
        what, _, way_out = answer["text"].partition("\n  ")
        assert "org/name" in what
        assert way_out
        assert leftovers(home) == []
        hub.faults.clear()
    assert ask("model", source="org/name", trust_remote_code=trust) == whole


@pytest.mark.parametrize("failure", ["403", "404 of the repository", "503"])
def test_each_request_of_a_push_may_fail(failure: str, hub: Any, ask: Ask):
    """Whichever request fails, nothing of the model is in the repository; the next push publishes it all."""
    ask("push", repository="user/name", token=TOKEN)
    requests, hub.requests[:] = list(hub.requests), []

    for request in requests:
        hub.repositories.clear()
        hub.large.clear()
        hub.fail(re.escape(request) + "$", **FAILURES[failure])
        answer = ask("push", repository="user/name", token=TOKEN)
        assert answer.get("error") in ERRORS, (request, answer)
        assert "'user/name'" in answer["text"]
        assert "\n  " in answer["text"]
        assert all(len(each.commits) == 1 for each in hub.repositories.values())  # the Hub's own
        hub.faults.clear()
    commit, *built = ask("push", repository="user/name", token=TOKEN)
    assert ask("model", source="user/name", revision=commit) == built


def test_a_failure_that_passes_is_not_noticed(hub: Any, ask: Ask, saved: Saved):
    """The client asks again for a file whose place was not told at once, and the load goes on."""
    hub.commit("org/name", saved())
    built = ask("model", source="org/name", cache_dir="elsewhere")
    hub.fail(r"HEAD .*/config\.json", 503, times=3)
    hub.fail(r"HEAD .*/model\.safetensors$", 429, times=2)

    assert ask("model", source="org/name") == built


def test_a_download_that_breaks_off_is_begun_again(hub: Any, ask: Ask, saved: Saved):
    """Where the connection breaks while a file is sent, it is asked for again, and the whole is what was saved."""
    hub.commit("org/name", saved())
    built = ask("model", source="org/name", cache_dir="elsewhere")
    hub.requests.clear()
    hub.fail("GET /large/", cut=300, times=2)

    assert ask("model", source="org/name") == built
    assert sum("GET /large/" in request for request in hub.requests) == 3


def test_a_hub_that_is_down_leaves_what_was_loaded(hub: Any, ask: Ask, saved: Saved):
    """Where the Hub only fails, the commit that a branch had is taken, and all of it comes from the cache."""
    hub.commit("org/name", saved(code=""))
    digest = ask("digest", source="org/name")
    built = ask("model", source="org/name", trust_remote_code=digest)
    hub.broken = True

    assert ask("model", source="org/name", trust_remote_code=digest) == built


def test_a_hub_that_is_down_is_the_reason(hub: Any, ask: Ask, saved: Saved):
    """Where the cache holds nothing, the error says what the Hub answered, and not that nobody asked it."""
    commit = hub.commit("org/name", saved())
    hub.broken = True
    of_branch = ask("model", source="org/name")["text"]
    of_commit = ask("model", source="org/name", revision=commit)["text"]

    assert of_branch.startswith("revision 'main' of 'org/name' is not in the cache, and the Hub does not give it: ")
    assert of_commit.startswith(f"org/name@{commit[:12]}/config.json is not in the cache, and the Hub does not give it")
    for text in (of_branch, of_commit):
        assert "503" in text
        assert text.endswith("\n  Try again later, or give a local folder.")


# ---- a Hub that is slow


def test_a_hub_that_does_not_answer_is_given_up(hub: Any, ask: Ask, saved: Saved):
    """Each request is waited for as long as the client is set to, and then the error says that it was."""
    commit = hub.commit("org/name", saved())
    whole = ask("model", source="org/name", cache_dir="elsewhere")
    slow = {
        "GET /api/": "revision 'main' of 'org/name' is not in the cache, and the Hub does not give it: ",
        "HEAD .*index": f"org/name@{commit[:12]}/model.safetensors.index.json is not in the cache, and the Hub does ",
        "GET /large/": "the Hub could not be asked about 'org/name': ",
    }
    for request, reason in slow.items():
        hub.fail(request, pause=1.5)
        answer = ask("model", source="org/name", env=HASTY)
        hub.faults.clear()

        assert answer["error"] == "HubError"
        assert answer["text"].startswith(reason)
        assert "timed out" in answer["text"]
        assert "\n  Try again later" in answer["text"]
    assert ask("model", source="org/name") == whole


def test_a_hub_that_is_only_slow_is_waited_for(hub: Any, ask: Ask, saved: Saved):
    """A file that comes byte by byte is loaded, as long as the next byte does come."""
    hub.commit("org/name", saved())
    whole = ask("model", source="org/name", cache_dir="elsewhere")
    hub.fail(r"GET .*/config\.json", trickle=0.01)

    assert ask("model", source="org/name") == whole


# ---- nobody to ask


def test_what_is_not_in_the_cache_is_not_denied(hub: Any, ask: Ask, saved: Saved):
    """Offline, weights that were never loaded are said to be missing from the cache, and not from the repository."""
    commit = hub.commit("org/name", saved())
    ask("config", source="org/name")
    hub.requests.clear()

    for options in ({}, {"revision": commit}, {"use_safetensors": True}):
        answer = ask("model", source="org/name", local_files_only=True, **options)
        assert answer == missing(commit, "model.safetensors")
    assert ask("plan", source="org/name", local_files_only=True) == missing(commit, "model.safetensors")
    assert ask("config", source="org/name", local_files_only=True)[0] == "PlainConfig"
    assert hub.requests == []


def test_weights_that_are_known_to_be_absent_are_denied(hub: Any, ask: Ask, saved: Saved):
    """Offline, weights that the Hub once said are not there are not there."""
    files = saved()
    hub.commit("org/name", {"config.json": files["config.json"]})
    online = ask("model", source="org/name")

    assert online["error"] == "SourceNotFoundError"
    assert "looked for model.safetensors and model.safetensors.index.json" in online["text"]
    assert ask("model", source="org/name", local_files_only=True) == online


def test_a_shard_that_is_not_in_the_cache_is_named(hub: Any, ask: Ask, saved: Saved, home: Path):
    """Offline, the shard that was never loaded is named; online, it alone is fetched."""
    commit = hub.commit("org/name", saved(max_shard_size=300))
    whole = ask("model", source="org/name")
    shard = cached(home, "model-*-00002-of-*.safetensors")
    shard.resolve().unlink()
    shard.unlink()
    hub.requests.clear()

    assert ask("model", source="org/name", local_files_only=True) == missing(commit, shard.name)
    assert hub.requests == []
    assert ask("model", source="org/name", revision=commit) == whole
    assert len(hub.requests) == 2


@pytest.mark.parametrize("name", ["configuration_brought.py", "parts/sizes.py", "parts/__init__.py"])
def test_code_that_is_not_in_the_cache_is_named(name: str, hub: Any, ask: Ask, saved: Saved, home: Path):
    """Offline, code of which a file was never loaded is not run in part; the file is named."""
    commit = hub.commit("org/name", {**saved(code=""), "parts/__init__.py": b"FOUND = True\n"})
    digest = ask("digest", source="org/name")
    whole = ask("model", source="org/name", trust_remote_code=digest)
    cached(home, name).unlink()

    for trust in (digest, True):
        answer = ask("model", source="org/name", trust_remote_code=trust, local_files_only=True)
        assert answer == missing(commit, name)
    assert ask("model", source="org/name", trust_remote_code=digest) == whole
    assert ask("model", source="org/name", trust_remote_code=digest, local_files_only=True) == whole


def test_offline_mode_asks_nothing(hub: Any, ask: Ask, saved: Saved):
    """With `HF_HUB_OFFLINE` set, what was loaded is loaded with its code, and the rest is an error, with no request."""
    commit = hub.commit("org/name", saved(code=""))
    digest = ask("digest", source="org/name")
    offline = {"HF_HUB_OFFLINE": "1"}
    hub.requests.clear()

    assert ask("config", source="org/name", trust_remote_code=digest, env=offline) == ["BroughtConfig", 8]
    answer = ask("model", source="org/name", trust_remote_code=digest, env=offline)
    assert answer == missing(commit, "model.safetensors")
    assert ask("config", source="org/other", env=offline) == {
        "error": "HubError",
        "text": "revision 'main' of 'org/other' is not in the cache, and the Hub is not asked.\n"
        "  Load it once online, or give a local folder.",
    }
    assert hub.requests == []
