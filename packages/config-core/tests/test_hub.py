"""Configs in repositories: the real client of the Hub, in a process of its own, against a Hub on loopback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but the loopback Hub
READER = "hf_reader"
CLIENT = """
import copy, json, sys
from nameplate_config import NameplateError, PreTrainedConfig, open_source

class Block(PreTrainedConfig):
    model_type = "block"
    width: int = 8

def place(config):
    return [config.width, config.name_or_path, config.commit_hash]

def answer(source, find=None, verb="load", **options):
    try:
        if verb == "values":
            return Block.get_config_dict(source, **options)
        if verb == "place":
            config = Block.from_pretrained(source, **options)
            config.save_pretrained("saved")
            copies = [config.copy(), config.copy(width=config.width), copy.deepcopy(config)]
            assert all(each == config and place(each) == place(config) for each in copies)
            assert config == Block(width=config.width) and "commit" not in str(config.to_dict())
            return place(config) + [Block.from_pretrained("saved").commit_hash]
        if find is None:
            return Block.from_pretrained(source, **options).width
        opened = open_source(source, **options)
        return [name for name in find if opened.find(name) is not None]
    except NameplateError as error:
        return {"error": type(error).__name__, "text": str(error), "cause": type(error.__cause__).__name__}

for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
"""

Ask = Callable[..., Any]
Talk = Callable[[str, dict[str, str], dict[str, Any]], Any]


def config(width: int) -> dict[str, str]:
    """Return the files of a repository that holds a config."""
    return {"config.json": json.dumps({"model_type": "block", "width": width})}


@pytest.fixture
def ask(hub: Any, talk: Talk, empty_home: Path) -> Ask:
    """Return a function that loads a config in a process of its own, with a cache that is empty at first."""
    del empty_home

    def asking(source: str = "org/name", *, env: dict[str, str] | None = None, **options: Any) -> Any:
        return talk(CLIENT, {"HF_ENDPOINT": hub.endpoint, **(env or {})}, {"source": source, **options})

    return asking


# ---- revisions


def test_a_repository_is_loaded_from_its_main_branch(hub: Any, ask: Ask):
    """Without a revision, the main branch counts, and its latest commit."""
    hub.commit("org/name", config(16))
    hub.commit("org/name", config(32))

    assert ask() == 32


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Any, ask: Ask):
    """Branches, tags and commits lead to their own files."""
    first = hub.commit("org/name", config(1))
    hub.tag("org/name", "v1")
    hub.commit("org/name", config(2), branch="dev")
    hub.commit("org/name", config(3))

    assert [ask(revision=revision) for revision in ("v1", first, "dev", "main")] == [1, 1, 2, 3]


def test_a_branch_that_moves_is_followed(hub: Any, ask: Ask):
    """A branch is looked up at every load, whatever the cache holds."""
    hub.commit("org/name", config(1))
    before = ask()
    hub.commit("org/name", config(2))

    assert (before, ask()) == (1, 2)


def test_all_files_come_from_one_commit(hub: Any, ask: Ask):
    """A branch is resolved once; every file is then asked of that commit."""
    commit = hub.commit("org/name", config(1))
    ask(find=["config.json", "model.safetensors"])

    assert {request.split("/resolve/")[1].split("/")[0] for request in hub.requests if "/resolve/" in request} == {
        commit
    }
    assert len([request for request in hub.requests if "/api/" in request]) == 1


def test_a_commit_in_the_cache_needs_no_request(hub: Any, ask: Ask):
    """A commit that was loaded before is loaded again without asking the Hub."""
    commit = hub.commit("org/name", config(1))
    ask(revision=commit)
    hub.requests.clear()

    assert (ask(revision=commit), hub.requests) == (1, [])


def test_overrides_apply(hub: Any, ask: Ask):
    """Fields may be given another value than that of the repository."""
    hub.commit("org/name", config(1))

    assert ask(width=5) == 5


def test_a_subfolder_of_a_repository_is_loaded(hub: Any, ask: Ask):
    """The checkpoint may lie in a folder of the repository."""
    hub.commit("org/name", {f"encoder/base/{name}": text for name, text in config(7).items()})

    assert (ask(subfolder="encoder/base"), ask(subfolder="encoder/base/")) == (7, 7)


def test_the_cache_may_lie_elsewhere(hub: Any, ask: Ask, home: Path, tmp_path: Path):
    """`cache_dir` holds the downloads, and a later load finds them there."""
    hub.commit("org/name", config(1))
    ask(cache_dir=str(tmp_path / "cache"))
    hub.requests.clear()

    assert ask(cache_dir=str(tmp_path / "cache"), local_files_only=True) == 1
    assert (hub.requests, (home / "hf").exists()) == ([], False)


def test_a_download_can_be_forced(hub: Any, ask: Ask):
    """`force_download` fetches again what the cache holds."""
    hub.commit("org/name", config(1))
    ask()
    hub.requests.clear()
    ask(force_download=True)

    assert [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]


def test_a_forced_download_replaces_a_damaged_one(hub: Any, ask: Ask, home: Path):
    """`force_download` repairs a file in the cache that is no longer what the Hub sent."""
    hub.commit("org/name", config(1))
    ask()
    (cached,) = home.rglob("config.json")
    cached.resolve().write_text("[broken")

    assert (ask()["error"], ask(force_download=True), ask()) == ("ConfigFileError", 1, 1)


# ---- where a config comes from


@pytest.mark.parametrize("revision", ["main", "dev", "v1"])
def test_a_config_knows_its_commit(revision: str, hub: Any, ask: Ask):
    """Repository and commit are those of the load, in every copy; they are neither compared nor saved."""
    hub.commit("org/name", config(1))
    hub.tag("org/name", "v1")
    hub.commit("org/name", config(2), branch="dev")
    hub.commit("org/name", config(3))
    repository = hub.repositories["org/name"]
    commit = repository.references[revision]
    width = json.loads(repository.commits[commit]["config.json"])["width"]

    assert ask(verb="place", revision=revision) == [width, "org/name", commit, None]
    assert ask(verb="place", revision=commit) == [width, "org/name", commit, None]


def test_a_config_from_the_cache_knows_its_commit(hub: Any, ask: Ask):
    """Offline, the commit is the one that the branch had when it was loaded."""
    commit = hub.commit("org/name", config(1))
    ask()
    hub.commit("org/name", config(2))

    assert ask(verb="place", local_files_only=True) == [1, "org/name", commit, None]


def test_the_values_of_a_config_are_fetched(hub: Any, ask: Ask, tmp_path: Path):
    """`get_config_dict` takes the options of the Hub and gives back the rest; it asks as often as a load."""
    hub.commit("org/name", {f"sub/{name}": text for name, text in config(7).items()}, branch="dev")
    given = {"revision": "dev", "subfolder": "sub", "token": False, "width": 9}

    assert ask(verb="values", **given) == [{"model_type": "block", "width": 7}, {"width": 9}]
    asked = len(hub.requests)
    assert ask(cache_dir=str(tmp_path / "another"), **given) == 9
    assert len(hub.requests) == 2 * asked


def test_a_load_asks_four_times(hub: Any, ask: Ask):
    """A load asks which commit a revision is, for the size of the file and its place, and fetches it; then once."""
    commit = hub.commit("org/name", config(1))
    ask()
    first, hub.requests[:] = list(hub.requests), []
    ask()
    file = f"/org/name/resolve/{commit}/config.json"

    assert first == ["GET /api/models/org/name/revision/main", f"HEAD {file}", f"HEAD {file}", f"GET {file}"]
    assert hub.requests == ["GET /api/models/org/name/revision/main"]


def test_an_absent_file_is_asked_for_once(hub: Any, ask: Ask, tmp_path: Path):
    """What a commit does not have is remembered in the cache, wherever that is, and only a forced load asks again."""
    commit = hub.commit("org/name", config(1))
    home = {"HOME": str(tmp_path)}
    asked = []
    for options in ({}, {}, {"cache_dir": "~/cache", "env": home}, {"cache_dir": "~/cache", "env": home}):
        hub.requests.clear()
        assert ask(find=["absent.json"], revision=commit, **options) == []
        asked.append(len(hub.requests))
    assert asked == [1, 0, 1, 0]
    ask(find=["absent.json"], revision=commit, force_download=True)

    assert len(hub.requests) == 1


# ---- what is not there


def no_repository(name: str = "org/name") -> str:
    """Return the message for a repository that cannot be read."""
    return (
        f"there is no folder {name!r} here and no repository {name!r} on the Hub that you may read.\n"
        "  Check the spelling, or give a token if the repository is private."
    )


@pytest.mark.parametrize("token", [False, TOKEN])
def test_a_missing_repository_is_reported(token: bool | str, ask: Ask):
    """A repository that does not exist is reported with the folder that does not exist either."""
    assert ask(token=token) == {
        "error": "SourceNotFoundError",
        "text": no_repository(),
        "cause": "RepositoryNotFoundError",
    }


def test_a_private_repository_needs_a_token(hub: Any, ask: Ask):
    """A private repository is as good as absent without a token, and loaded with one."""
    hub.commit("org/name", config(1), private=True)

    assert ask()["text"] == no_repository()
    assert (ask(token=TOKEN), ask(env={"HF_TOKEN": TOKEN})) == (1, 1)


def test_a_gated_repository_needs_a_token(hub: Any, ask: Ask):
    """What a gated repository holds is for those who were admitted, by branch or by commit; the error says so."""
    commit = hub.commit("org/name", config(1), gated=True)
    refused = {
        "error": "HubError",
        "text": "the repository 'org/name' is gated: only who was granted access may read its files.\n"
        "  Ask for access on its page on the Hub, then log in with `hf auth login`, or give a token that has it.",
        "cause": "GatedRepoError",
    }

    assert [ask(), ask(revision=commit), ask(token=READER)] == [refused] * 3
    assert ask(token=TOKEN) == 1


def test_a_wrong_token_is_reported(hub: Any, ask: Ask):
    """A token that the Hub does not know is an error of the Hub, not an absent repository."""
    hub.commit("org/name", config(1))
    answer = ask(token="hf_wrong")  # noqa: S106

    assert (answer["error"], answer["cause"]) == ("HubError", "HfHubHTTPError")
    assert answer["text"].startswith("the Hub could not be asked about 'org/name': ")


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_a_missing_revision_is_named(revision: str, hub: Any, ask: Ask):
    """A branch, tag or commit that the repository does not have is named."""
    hub.commit("org/name", config(1))

    assert ask(revision=revision) == {
        "error": "SourceNotFoundError",
        "text": f"the repository 'org/name' has no revision {revision!r}.",
        "cause": "RevisionNotFoundError",
    }


def test_a_missing_config_is_named(hub: Any, ask: Ask):
    """A repository without a config is reported with the commit that was searched."""
    commit = hub.commit("org/name", {"README.md": "words"})

    assert ask() == {
        "error": "SourceNotFoundError",
        "text": f"org/name@{commit[:12]}/config.json does not exist.",
        "cause": "NoneType",
    }


def test_a_broken_config_is_named(hub: Any, ask: Ask):
    """A config that cannot be read is reported with repository, commit and subfolder."""
    commit = hub.commit("org/name", {"encoder/config.json": "[1]"})

    assert ask(subfolder="encoder")["text"] == (
        f"org/name@{commit[:12]}/encoder/config.json must hold a JSON object, found [1]."
    )


@pytest.mark.parametrize("name", ["a--b", "a..b", "name.git", "x" * 97])
def test_a_name_that_no_repository_can_have_is_refused(name: str, hub: Any, ask: Ask):
    """A name that the Hub forbids is reported as an absent folder, without a request."""
    assert ask(name) == {
        "error": "SourceNotFoundError",
        "text": f"there is no folder {name!r}, and no repository can have that name.",
        "cause": "HFValidationError",
    }
    assert hub.requests == []


def test_a_file_is_found_or_not(hub: Any, ask: Ask):
    """`find` downloads a file that the commit has and gives None for one that it has not."""
    hub.commit("org/name", config(1))

    assert ask(find=["config.json", "model.safetensors"]) == ["config.json"]


# ---- offline

OFFLINE = [{"local_files_only": True}, {"env": {"HF_HUB_OFFLINE": "1"}}]


@pytest.mark.parametrize("offline", OFFLINE, ids=str)
@pytest.mark.parametrize("revision", ["main", "v1"])
def test_what_was_loaded_is_there_offline(revision: str, offline: dict[str, Any], hub: Any, ask: Ask):
    """A branch or tag that was loaded online is loaded offline, without a request."""
    hub.commit("org/name", config(1))
    hub.tag("org/name", "v1")
    ask(revision=revision)
    hub.commit("org/name", config(2))
    hub.requests.clear()

    assert (ask(revision=revision, **offline), hub.requests) == (1, [])


@pytest.mark.parametrize("offline", OFFLINE, ids=str)
def test_what_was_never_loaded_is_missing_offline(offline: dict[str, Any], hub: Any, ask: Ask):
    """A repository that was never loaded is an error offline, with the way out and without a request."""
    hub.commit("org/name", config(1))

    assert ask(**offline) == {
        "error": "HubError",
        "text": "revision 'main' of 'org/name' is not in the cache, and the Hub is not asked.\n"
        "  Load it once online, or give a local folder.",
        "cause": "RevisionResolutionError",
    }
    assert hub.requests == []


def test_a_file_that_was_never_loaded_is_missing_offline(hub: Any, ask: Ask):
    """Offline, a config that is not in the cache is an error that does not claim it does not exist."""
    commit = hub.commit("org/name", {**config(1), "README.md": "words"})
    ask(find=["README.md"])

    assert ask(local_files_only=True)["text"] == (
        f"org/name@{commit[:12]}/config.json is not in the cache, and the Hub is not asked.\n"
        "  Load it once online, or give a local folder."
    )


def test_a_file_known_to_be_absent_is_absent_offline(hub: Any, ask: Ask):
    """Offline, a config that the Hub once said is not there does not exist."""
    commit = hub.commit("org/name", {"README.md": "words"})
    ask()

    assert ask(local_files_only=True)["text"] == f"org/name@{commit[:12]}/config.json does not exist."


@pytest.mark.parametrize("offline", OFFLINE, ids=str)
def test_optional_files_are_skipped_offline(offline: dict[str, Any], hub: Any, ask: Ask):
    """Offline, `find` gives None for a file that is not in the cache, so that a load goes on with those that are."""
    hub.commit("org/name", {**config(1), "model.safetensors": "", "other.json": ""})
    ask(find=["config.json", "absent.json"])

    assert ask(find=["absent.json", "config.json", "other.json"], **offline) == ["config.json"]


def test_an_unreachable_hub_leaves_the_cache(hub: Any, ask: Ask):
    """Where nobody answers, what was loaded before is loaded, and files known to be absent stay absent."""
    hub.commit("org/name", config(1))
    ask(find=["config.json", "absent.json"])
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}

    assert ask(env=nowhere) == 1


def test_an_unreachable_hub_is_reported(ask: Ask):
    """Where nobody answers and the cache has nothing, the error says both."""
    answer = ask(env={"HF_ENDPOINT": "http://127.0.0.1:9"})

    assert (answer["error"], answer["cause"]) == ("HubError", "RevisionResolutionError")
    assert answer["text"].startswith(
        "revision 'main' of 'org/name' is not in the cache, and the Hub does not give it: "
    )
    assert answer["text"].endswith("Connection refused\n  Try again later, or give a local folder.")


def test_a_hub_that_is_down_leaves_the_cache(hub: Any, ask: Ask):
    """Where the Hub answers that it is down, what was loaded before is loaded."""
    hub.commit("org/name", config(1))
    ask()
    hub.broken = True

    assert ask() == 1


def test_a_hub_that_does_not_answer_is_given_up(hub: Any, ask: Ask):
    """Which commit a branch is, is waited for as long as the client's `HF_HUB_ETAG_TIMEOUT` says."""
    hub.commit("org/name", config(1))
    hub.fail("GET /api/", pause=3)
    answer = ask(env={"HF_HUB_ETAG_TIMEOUT": "1"})

    assert answer["error"] == "HubError"
    assert answer["text"] == (
        "revision 'main' of 'org/name' is not in the cache, and the Hub does not give it: timed out\n"
        "  Try again later, or give a local folder."
    )


def test_a_commit_that_is_refused_is_no_missing_file(hub: Any, ask: Ask):
    """Where the Hub refuses the files of a commit, the error says so, and not that they are not in the cache."""
    commit = hub.commit("org/name", config(1))
    hub.fail("HEAD ", 403)
    answer = ask(revision=commit)

    assert answer["error"] == "HubError"
    assert answer["text"].startswith("the Hub could not be asked about 'org/name': ")
    assert answer["text"].endswith("\n  Log in with `hf auth login`, or give a token that may do this.")


def test_a_note_that_is_torn_is_an_error(hub: Any, ask: Ask, home: Path):
    """Where a crash has emptied the note which commit a branch is, that is said offline, and mended online."""
    hub.commit("org/name", config(1))
    ask()
    (home / "hf" / "hub" / "models--org--name" / "refs" / "main").write_text("", encoding="utf-8")

    assert ask(local_files_only=True) == {
        "error": "HubError",
        "text": "revision 'main' of 'org/name' stands for '', which is no commit.\n"
        "  Load it once online: the cache then holds the right one.",
        "cause": "NoneType",
    }
    assert (ask(), ask(local_files_only=True)) == (1, 1)


def test_a_cache_that_cannot_be_written_is_an_error(hub: Any, ask: Ask, home: Path):
    """Where the cache cannot be, the error is about the folder, and not about the Hub."""
    hub.commit("org/name", config(1))
    (home / "file").mkdir()
    (home / "file" / "cache").write_text("no folder", encoding="utf-8")
    answer = ask(cache_dir=str(home / "file" / "cache"))

    assert answer["error"] == "HubError"
    assert answer["text"].startswith("what the Hub has of 'org/name' cannot be put into the cache: ")
    assert answer["text"].endswith("Make room, or the folder writable, or give another one as cache_dir.")


def test_a_folder_wins_over_a_repository(hub: Any, ask: Ask, home: Path):
    """A folder with the repository's name is loaded, and the Hub is not asked."""
    hub.commit("org/name", config(1))
    (home / "org" / "name").mkdir(parents=True)
    (home / "org" / "name" / "config.json").write_text(config(2)["config.json"])

    assert (ask(), hub.requests) == (2, [])


def test_a_config_that_is_too_large_is_not_downloaded(hub: Any, ask: Ask):
    """The Hub is asked for the size of a config first: what would not be read does not fill the disk either."""
    hub.commit("org/name", {"config.json": b" " * ((4 << 20) + 1)})

    answer = ask()

    assert answer["error"] == "HubError"
    assert "config.json has 4,194,305 bytes; at most 4,194,304 are read, so it is not downloaded." in answer["text"]
    assert not [each for each in hub.requests if each.startswith("GET") and "config.json" in each]
