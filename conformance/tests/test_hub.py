"""The Hub on the loopback interface is believed by the real client, and the client is put back as it was."""

import importlib
from pathlib import Path

import pytest

from nameplate_config import SourceNotFoundError
from nameplate_conformance.instruments.hub import TOKEN, Repository, loopback_hub
from nameplate_conformance.zoo.veteran import VeteranConfig, VeteranModel

CLIENT = importlib.import_module("huggingface_hub.constants")


def test_a_model_goes_there_and_comes_back(tmp_path: Path):
    """What is pushed is what a load by the id finds, commit by commit; a second push removes what it replaces."""
    with loopback_hub(CLIENT) as hub:
        for width, limit in ((2, None), (3, 1)):
            VeteranModel(VeteranConfig(width=width)).push_to_hub("a/b", token=TOKEN, max_shard_size=limit)
        first, second = list(hub.repositories["a/b"].commits)[1:]
        found = [
            VeteranModel.from_pretrained("a/b", revision=revision, cache_dir=tmp_path, token=False).config.width
            for revision in (first, second, "main")
        ]

    assert found == [2, 3, 3]
    assert "model.safetensors" in hub.repositories["a/b"].commits[first]
    assert "model.safetensors" not in hub.repositories["a/b"].commits[second]


def test_what_is_not_there_is_not_found(tmp_path: Path):
    """The codes of its refusals are those of the Hub, by which the client tells a repository from a revision."""
    with loopback_hub(CLIENT) as hub:
        VeteranModel(VeteranConfig()).push_to_hub("a/b", token=TOKEN)
        with pytest.raises(SourceNotFoundError, match=r"there is .*no repository 'a/c' on the Hub"):
            VeteranModel.from_pretrained("a/c", cache_dir=tmp_path, token=False)
        with pytest.raises(SourceNotFoundError, match=r"the repository 'a/b' has no revision 'v9'"):
            VeteranModel.from_pretrained("a/b", revision="v9", cache_dir=tmp_path, token=False)

    assert list(hub.repositories) == ["a/b"]


def test_the_client_is_put_back():
    """After the block, and after an error in it, the client asks whom it asked before; every block begins empty."""
    before = dict(vars(CLIENT))
    with loopback_hub(CLIENT) as hub:
        hub.repositories["a/b"] = Repository()
        assert vars(CLIENT)["ENDPOINT"] == hub.endpoint
    with pytest.raises(KeyError), loopback_hub(CLIENT) as hub:
        del hub.repositories["a/c"]

    assert dict(vars(CLIENT)) == before
    with loopback_hub(CLIENT) as again:
        assert again.repositories == {}
