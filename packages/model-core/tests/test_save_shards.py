"""Saving in several files: any limit splits, an index is the record, and only what it takes the place of goes."""

import errno
import json
import os
import re
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError, UnsafePathError
from nameplate_config.record import check_digest
from nameplate_model import CheckpointError, CommittedError, PreTrainedModel, SaveError, read_tensors
from nameplate_model._aliases import stored
from nameplate_model._shards import split

INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-([0-9a-f]{16})-(\d{5})-of-(\d{5})\.safetensors")


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Four layers, of which two are tied."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([nn.Linear(config.width, config.width) for _ in range(4)])
        self.layers[3].weight = self.layers[0].weight
        self.register_buffer("empty", torch.zeros(0))


def names_in(folder: Path) -> list[str]:
    """Return the names of everything in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def index_in(folder: Path, name: str = INDEX) -> dict[str, Any]:
    """Return the index of a folder."""
    return json.loads((folder / name).read_text())


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def save_like_transformers(folder: Path, model: Net) -> None:
    """Write a sharded checkpoint as Transformers does: numbered shards, an index, a config."""
    folder.mkdir(exist_ok=True)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items() if key != "layers.3.weight"}
    keys = sorted(state)
    shards = {"model-00001-of-00002.safetensors": keys[:4], "model-00002-of-00002.safetensors": keys[4:]}
    for name, held in shards.items():
        save_file({key: state[key] for key in held}, folder / name, {"format": "pt"})
    weight_map = {key: name for name, held in shards.items() for key in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    (folder / "config.json").write_text(model.config.to_json_string())


# ---- what is written


def test_weights_over_the_limit_are_split(tmp_path: Path):
    """Each shard has at most so many bytes of tensors, in the order of the state dict, and the index names them all."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=150)
    index = index_in(tmp_path)
    shards = [load_file(tmp_path / name) for name in names_in(tmp_path) if SHARD.fullmatch(name)]

    assert len(shards) == 2
    assert all(sum(tensor.nbytes for tensor in shard.values()) <= 150 for shard in shards)
    assert index["weight_map"] == {
        key: name for name in names_in(tmp_path) if SHARD.fullmatch(name) for key in load_file(tmp_path / name)
    }
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for shard in shards for tensor in shard.values())
    assert index["metadata"]["total_parameters"] == model.num_parameters()


def test_a_shard_is_called_after_its_content(tmp_path: Path):
    """The name of a shard holds the first digits of its digest, its number and the number of all."""
    Net(NetConfig()).save_pretrained(tmp_path, max_shard_size=150)
    files = index_in(tmp_path)["metadata"]["nameplate.files"]
    for place, (name, said) in enumerate(files.items(), 1):
        found = SHARD.fullmatch(name)
        data = (tmp_path / name).read_bytes()
        length = struct.unpack("<Q", data[:8])[0]

        assert found is not None
        assert (found[1], int(found[2]), int(found[3])) == (said["digest"][:16], place, len(files))
        assert (len(data), check_digest(data[: 8 + length])) == (said["size"], True)
        assert json.loads(data[8 : 8 + length])["__metadata__"]["nameplate"] == f"- - {said['digest']}"


def test_an_index_is_sealed(tmp_path: Path):
    """The index holds the config and the ties, and a digest of all that."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=150)
    data = (tmp_path / INDEX).read_bytes()
    metadata = json.loads(data)["metadata"]

    assert data.startswith(b'{"metadata": {"nameplate": "')
    assert check_digest(data)
    assert metadata["nameplate.config"] == (tmp_path / "config.json").read_text()
    assert json.loads(metadata["nameplate.tied"]) == {"layers.3.weight": "layers.0.weight"}


@pytest.mark.parametrize("limit", [1, 7, 64, 100, 10_000, "1B", "0.1KB", "1KiB", "50GB", " 5 gib "])
def test_any_limit_gives_the_same_model(limit: int | str, tmp_path: Path):
    """However small the files, what is loaded is what was saved, ties included."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=limit)
    loaded = Net.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.layers[3].weight is loaded.layers[0].weight


def test_equal_states_are_equal_shards(tmp_path: Path):
    """Two models with equal weights are written as the same files, wherever they come from."""
    Net(NetConfig()).save_pretrained(tmp_path / "one", max_shard_size=100)
    Net.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two", max_shard_size=100)

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_fits_into_one_file_is_one_file(tmp_path: Path):
    """Weights of exactly the limit need no index."""
    size = sum(each.nbytes for each in Net(NetConfig()).parameters())
    Net(NetConfig()).save_pretrained(tmp_path, max_shard_size=size)

    assert names_in(tmp_path) == ["config.json", "model.safetensors"]


def test_overlapping_tensors_may_be_in_several_shards(tmp_path: Path):
    """Tensors that share memory are stored by value, each where its turn comes, and overlap again after a load."""
    model = Net(NetConfig())
    base = torch.arange(64.0)
    model.register_buffer("first", base[:40])
    model.register_buffer("between", torch.zeros(40))
    model.register_buffer("last", base[20:])
    model.save_pretrained(tmp_path, max_shard_size=200)
    place = index_in(tmp_path)["weight_map"]

    assert len({place["first"], place["between"], place["last"]}) == 3
    state = read_tensors(tmp_path)
    assert torch.equal(state["first"], base[:40])
    assert torch.equal(state["last"], base[20:])


@pytest.mark.parametrize("size", [1, 3 << 20])
def test_shards_are_written_side_by_side(size: int, tmp_path: Path):
    """Large shards, which several threads write, are the same files as small ones: whole and of any device's order."""
    model = Net(NetConfig())
    for number in range(5):
        model.register_buffer(f"large{number}", torch.arange(size, dtype=torch.int32) + number)
    model.save_pretrained(tmp_path, max_shard_size=4 * size)
    index = index_in(tmp_path)

    for number in range(5):
        key = f"large{number}"
        assert torch.equal(load_file(tmp_path / index["weight_map"][key])[key], model.get_buffer(key))


@pytest.mark.parametrize(
    "limit", [0, -1, True, 1.5, None, "", "5", "GB", "5XB", "-5GB", "0.1B", "5GBs", "5 G B"], ids=repr
)
def test_a_limit_that_is_none_is_an_error(limit: Any, tmp_path: Path):
    """What is no size is refused before anything is made."""
    with pytest.raises(UnknownOptionError) as caught:
        Net(NetConfig()).save_pretrained(tmp_path / "model", max_shard_size=limit)

    assert str(caught.value) == (
        f"max_shard_size is at least one byte, such as 1000, '5GB' or '5GiB', found {limit!r}."
    )
    assert not (tmp_path / "model").exists()


def test_too_many_shards_are_an_error(tmp_path: Path):
    """More files than are ever opened are refused."""
    state = {str(number): torch.zeros(1) for number in range(10_001)}
    with pytest.raises(CheckpointError) as caught:
        Net(NetConfig()).save_pretrained(tmp_path / "model", max_shard_size=1, state_dict=state)

    assert str(caught.value) == (
        "a max_shard_size of 1 bytes gives 10,001 files; at most 10,000 are loaded.\n  Give a larger one."
    )


# ---- what stays and what goes


SAVES: dict[str, Callable[[Path, Net], object]] = {
    "single": lambda folder, model: model.save_pretrained(folder),
    "shards": lambda folder, model: model.save_pretrained(folder, max_shard_size=100),
    "more shards": lambda folder, model: model.save_pretrained(folder, max_shard_size=1),
    "theirs": save_like_transformers,
    "their file": lambda folder, model: (
        folder.mkdir(exist_ok=True),
        save_file({key: each.clone() for key, each in model.state_dict().items()}, folder / "model.safetensors"),
        (folder / "config.json").write_text(model.config.to_json_string()),
    ),
}


@pytest.mark.parametrize("first", SAVES)
@pytest.mark.parametrize("then", ["single", "shards", "more shards"])
def test_a_save_leaves_only_itself(first: str, then: str, tmp_path: Path):
    """Whatever kind of checkpoint was there, a save leaves the files of a save into an empty folder, and loads."""
    old, new = Net(NetConfig(width=4)), Net(NetConfig(width=5))
    SAVES[first](tmp_path / "over", old)
    SAVES[then](tmp_path / "over", new)
    SAVES[then](tmp_path / "empty", new)
    shards = [[name for name in names_in(tmp_path / each) if SHARD.fullmatch(name)] for each in ("over", "empty")]

    assert names_in(tmp_path / "over") == names_in(tmp_path / "empty")
    assert shards[0] == shards[1]
    assert same(Net.from_pretrained(tmp_path / "over"), new)


FOREIGN = (
    "pytorch_model.bin",
    "adapter_model.safetensors",
    "model.fp16.safetensors",
    "model.fp16-00001-of-00002.safetensors",
    "model.fp16-0123456789abcdef-00001-of-00002.safetensors",
    "model.safetensors.index.fp16.json",
    "model-00007-of-00009.safetensors",
    "model-mine.safetensors",
    ".model.safetensors.tmp",
    ".other.0123456789ab.tmp",
    "preprocessor_config.json",
    "README.md",
)


@pytest.mark.parametrize("first", ["single", "shards", "theirs"])
@pytest.mark.parametrize("then", ["single", "shards"])
def test_other_files_stay(first: str, then: str, tmp_path: Path):
    """What no record of this variant named belongs to somebody else, whatever it is called."""
    SAVES[first](tmp_path, Net(NetConfig()))
    for name in FOREIGN:
        (tmp_path / name).write_text(name)
    SAVES[then](tmp_path, Net(NetConfig(width=5)))

    assert {name: (tmp_path / name).read_text() for name in FOREIGN} == {name: name for name in FOREIGN}


@pytest.mark.parametrize("name", ["../outside.safetensors", "config.json", "adapter_model.safetensors", "model-a\\b.x"])
def test_an_index_cannot_have_other_files_removed(name: str, tmp_path: Path):
    """A name in a foreign index that no shard can have is left alone."""
    folder = tmp_path / "folder"
    save_like_transformers(folder, Net(NetConfig()))
    index = index_in(folder)
    index["weight_map"]["layers.0.bias"] = name
    (folder / INDEX).write_text(json.dumps(index))
    if name != "config.json":
        (folder / name).write_text("mine")
    Net(NetConfig()).save_pretrained(folder)

    assert (folder / name).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"weight_map": 5}', '{"weight_map": {"a": 5}}', "[" * 99_999])
@pytest.mark.parametrize("then", ["single", "shards"])
def test_a_broken_index_gives_way(text: str, then: str, tmp_path: Path):
    """An index that nobody can read is replaced like any other."""
    (tmp_path / INDEX).write_text(text)
    model = Net(NetConfig())
    SAVES[then](tmp_path, model)

    assert same(Net.from_pretrained(tmp_path), model)
    assert (INDEX in names_in(tmp_path)) == (then == "shards")


def test_litter_of_a_killed_save_goes(tmp_path: Path):
    """Drafts, and shards of ours that no record names, are removed by the next save."""
    Net(NetConfig()).save_pretrained(tmp_path, max_shard_size=100)
    before = names_in(tmp_path)
    for name in (
        ".model.safetensors.0123456789ab.tmp",
        ".model.fp16.safetensors-3.0123456789ab.tmp",
        ".model.safetensors.index.json.0123456789ab.tmp",
        ".model.config.json.0123456789ab.tmp",
        "model-0123456789abcdef-00001-of-00007.safetensors",
    ):
        (tmp_path / name).write_text("half")
    Net.from_pretrained(tmp_path).save_pretrained(tmp_path, max_shard_size=100)

    assert names_in(tmp_path) == before


def test_without_a_lock_nothing_is_taken_for_litter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where folders cannot be locked, another save may be at work: its drafts and shards stay."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    names = [".model.safetensors.0123456789ab.tmp", "model-0123456789abcdef-00001-of-00007.safetensors"]
    for name in names:
        (tmp_path / name).write_text("half")
    monkeypatch.setattr(fcntl, "flock", refuse)
    Net(NetConfig()).save_pretrained(tmp_path)

    assert set(names) < set(names_in(tmp_path))


def test_shards_that_another_index_left_are_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Foreign shards that a failure left behind the commit go with the next save: the index says whose they are."""
    save_like_transformers(tmp_path, Net(NetConfig()))
    new = Net(NetConfig(width=5))
    with monkeypatch.context() as patch:
        fail(patch, "unlink", 1)
        with pytest.raises(CommittedError):
            new.save_pretrained(tmp_path, max_shard_size=100)
    left = [name for name in names_in(tmp_path) if name.startswith("model-0000")]
    new.save_pretrained(tmp_path, max_shard_size=100)

    assert left == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert not [name for name in names_in(tmp_path) if name.startswith("model-0000")]


# ---- variants


@pytest.mark.parametrize("limit", ["50GB", 100])
def test_a_variant_stands_beside_the_others(limit: int | str, tmp_path: Path):
    """The files of a variant have it in their names, and neither save touches the other's."""
    plain, half = Net(NetConfig()), Net(NetConfig()).half()
    plain.save_pretrained(tmp_path, max_shard_size=100)
    before = {name: data for name, data in contents(tmp_path).items() if name != "config.json"}
    half.save_pretrained(tmp_path, variant="fp16", max_shard_size=limit)

    assert before.items() <= contents(tmp_path).items()
    assert all(".fp16" in name for name in set(names_in(tmp_path)) - {*before, "config.json"})
    assert same(Net.from_pretrained(tmp_path), plain)
    assert same(Net.from_pretrained(tmp_path, variant="fp16"), half)


def test_an_index_of_a_variant_has_its_name_at_the_end(tmp_path: Path):
    """The index of a variant is called as Transformers calls it."""
    Net(NetConfig()).save_pretrained(tmp_path, variant="fp16", max_shard_size=100)

    assert "model.safetensors.index.fp16.json" in names_in(tmp_path)
    assert INDEX not in names_in(tmp_path)


def test_the_config_of_a_variant_counts(tmp_path: Path):
    """The config saved last is the folder's, also where the plain weights take just that one for stale."""
    first, second = Net(NetConfig(width=4)), Net(NetConfig(width=5))
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path)
    first.save_pretrained(tmp_path, variant="fp16")

    assert NetConfig.from_pretrained(tmp_path).width == 4
    assert same(Net.from_pretrained(tmp_path, variant="fp16"), first)


def test_the_config_saved_last_counts_for_every_variant(tmp_path: Path):
    """A save of the plain weights counts for a variant as well, where its record takes just that config for stale."""
    first, second = (Net(NetConfig.from_dict({"width": 4, "note": note})) for note in (1, 2))
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path, variant="fp16")
    first.save_pretrained(tmp_path)

    assert Net.from_pretrained(tmp_path, variant="fp16").config.note == first.config.note == 1


@pytest.mark.parametrize("variant", ["", "../x", "a/b", "a-00001-of-00002"])
def test_a_variant_that_is_no_word_is_an_error(variant: str, tmp_path: Path):
    """A variant that would make a path, or the name of another's shard, is refused before anything is made."""
    with pytest.raises(UnsafePathError) as caught:
        Net(NetConfig()).save_pretrained(tmp_path / "model", variant=variant)

    assert str(caught.value).startswith("a variant is a word such as 'fp16'")
    assert not (tmp_path / "model").exists()


# ---- what is there already


@pytest.mark.parametrize("limit", ["50GB", 100])
def test_what_is_there_already_is_not_written(limit: int | str, tmp_path: Path):
    """Saving the same model again leaves every file as it is, inode and time included."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=limit)
    before = stamps(tmp_path)
    model.save_pretrained(tmp_path, max_shard_size=limit)
    Net.from_pretrained(tmp_path).save_pretrained(tmp_path, max_shard_size=limit)

    assert stamps(tmp_path) == before


def test_only_changed_shards_are_written(tmp_path: Path):
    """Where one tensor changed, the shards of the others stay the files that they are."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=1)
    before = stamps(tmp_path)
    with torch.no_grad():
        model.layers[1].bias += 1
    model.save_pretrained(tmp_path, max_shard_size=1)
    stayed = before.items() & stamps(tmp_path).items()

    assert len(stayed) == len(before) - 3  # a shard, the index, the mirror
    assert same(Net.from_pretrained(tmp_path), model)


@pytest.mark.parametrize("limit", ["50GB", 100])
def test_a_config_edited_by_hand_is_replaced_alone(limit: int | str, tmp_path: Path):
    """Where only `config.json` differs, only that is written, and it is what was saved."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=limit)
    before, text = stamps(tmp_path), (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("4", "5"))
    model.save_pretrained(tmp_path, max_shard_size=limit)

    assert (tmp_path / "config.json").read_text() == text
    assert {name for name, stamp in stamps(tmp_path).items() if before[name] != stamp} == {"config.json"}


@pytest.mark.parametrize("limit", ["50GB", 100])
def test_a_file_in_which_a_bit_flipped_is_written(limit: int | str, tmp_path: Path):
    """A file that does not hold what is in memory is replaced, wherever the difference is."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path, max_shard_size=limit)
    whole = contents(tmp_path)
    for name, data in whole.items():
        torn = bytearray(data)
        torn[-3] ^= 4
        (tmp_path / name).write_bytes(torn)
    model.save_pretrained(tmp_path, max_shard_size=limit)

    assert {name: data for name, data in contents(tmp_path).items() if SHARD.fullmatch(name)} == {
        name: data for name, data in whole.items() if SHARD.fullmatch(name)
    }
    assert same(Net.from_pretrained(tmp_path, verify="full"), model)


def test_a_link_is_not_taken_for_a_shard(tmp_path: Path):
    """A link in the place of a shard becomes a file, and what it points to stays."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path / "model", max_shard_size=100)
    name = next(name for name in names_in(tmp_path / "model") if SHARD.fullmatch(name))
    (tmp_path / "model" / name).rename(tmp_path / "blob")
    (tmp_path / "model" / name).symlink_to(tmp_path / "blob")
    model.save_pretrained(tmp_path / "model", max_shard_size=100)

    assert not (tmp_path / "model" / name).is_symlink()
    assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "blob").read_bytes()


# ---- failures


def fail(monkeypatch: pytest.MonkeyPatch, name: str, count: int, error: BaseException | None = None) -> list[int]:
    """Let the *count*-th call of a function of `os`, and all after it, find the disk full; return the calls made."""
    calls: list[int] = []
    real = getattr(os, name)

    def failing(*arguments: Any, **keywords: Any) -> Any:
        calls.append(len(calls) + 1)
        if len(calls) == count:
            raise error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, name, failing)
    return calls


@pytest.mark.parametrize("name", ["open", "write", "pwrite", "fsync", "replace", "unlink"])
@pytest.mark.parametrize(
    ("first", "then"), [("single", "single"), ("single", "shards"), ("shards", "single"), ("theirs", "shards")]
)
def test_a_failure_anywhere_is_all_or_nothing(
    name: str, first: str, then: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Wherever the system fails, a `SaveError` means nothing changed, a `CommittedError` that the new counts."""
    old, new = Net(NetConfig(width=4)), Net(NetConfig(width=5))
    SAVES[then](tmp_path / "new", new)
    for count in range(1, 200):
        folder = tmp_path / str(count)
        SAVES[first](folder, old)
        before = contents(folder)
        with monkeypatch.context() as patch:
            calls = fail(patch, name, count)
            error = failure_of(lambda: SAVES[then](folder, new))  # noqa: B023 - called at once
        if isinstance(error, CommittedError):
            assert str(error).startswith(f"'{folder}' holds the new checkpoint, but the save was not finished: ")
        elif error is not None:
            assert str(error).startswith(f"'{folder}' could not be written: ")
            assert contents(folder) == before
        if error is None or isinstance(error, CommittedError):
            assert same(Net.from_pretrained(folder), new)
        if len(calls) < count:
            return
        SAVES[then](folder, new)
        assert names_in(folder) == names_in(tmp_path / "new")
    pytest.fail("it never came to the end")


def failure_of(save: Callable[[], object]) -> SaveError | None:
    """Return the error that a save ended with, or None."""
    try:
        save()
    except SaveError as error:
        return error
    return None


@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
def test_an_interrupt_leaves_no_shards(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A keyboard interrupt goes through; before the commit every byte is as it was, and no draft or shard is left."""
    old, new = Net(NetConfig(width=4)), Net(NetConfig(width=5))
    old.save_pretrained(tmp_path, max_shard_size=100)
    before = contents(tmp_path)
    fail(monkeypatch, name, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        new.save_pretrained(tmp_path, max_shard_size=100)

    assert contents(tmp_path) == before


def test_a_failing_thread_stops_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where one of many large shards cannot be written, the save fails with that, and leaves nothing."""
    model = Net(NetConfig())
    for number in range(6):
        model.register_buffer(f"large{number}", torch.ones(1 << 20) * number)
    fail(monkeypatch, "write", 5)
    with pytest.raises(SaveError) as caught:
        model.save_pretrained(tmp_path, max_shard_size=4 << 20)

    assert "No space left on device." in str(caught.value)
    assert names_in(tmp_path) == []


# ---- properties


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    limit=st.integers(1, 300),
    aliases=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=3),
)
def test_shards_are_greedy_and_complete(sizes: list[int], limit: int, aliases: list[tuple[int, int]]):
    """Every tensor is in one shard; a shard over the limit holds one tensor; two neighbours never fit into one."""
    state = {str(number): torch.zeros(size) for number, size in enumerate(sizes)}
    for alias, kept in aliases:
        if str(kept) in state:
            state[f"alias{alias}"] = state[str(kept)]
    parts = split(stored(state), limit)
    totals = [sum(tensor.nbytes for tensor in part.values()) for part in parts]
    small = [total for total in totals if total <= limit]

    assert [key for part in parts for key in part if state[key].nbytes <= limit] == [
        key for key in stored(state).tensors if state[key].nbytes <= limit
    ]
    assert sorted(key for part in parts for key in part) == sorted(stored(state).tensors)
    assert all(len(part) == 1 for part, total in zip(parts, totals, strict=True) if total > limit)
    assert all(sum(pair) > limit for pair in pairwise(small) if 0 not in pair)
