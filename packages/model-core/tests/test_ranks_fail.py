"""What goes wrong on some ranks of a load or a save: one typed error on all of them, in time, and no folder is torn."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import nameplate_model
from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import PreTrainedModel, load_weights

SOON = 1.5
"""Seconds after which a rank is missed, where one is."""

AT_ONCE = 20.0
"""Seconds in which the others must have given up, which they do after `SOON`; loaded machines are slow."""


class NetConfig(PreTrainedConfig):
    """The sizes of a small network, and a word about it."""

    model_type = "net_that_fails"

    width: int = 6
    word: str = ""


class Net(PreTrainedModel):
    """Two layers."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.up = nn.Linear(config.width, 10)
        self.down = nn.Linear(10, config.width)


class Other(Net):
    """The same layers in another class."""


def _saved(folder: Path, fill: float = 1.0, word: str = "") -> Path:
    model = Net(NetConfig(word=word))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(fill)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a checkpoint that is full of ones."""
    return _saved(tmp_path / "net")


def _level_in(folder: Path) -> float:
    """Return the one number that the checkpoint in a folder is full of, as any reader and as Nameplate see it."""
    found = {
        value for tensor in load_file(folder / "model.safetensors").values() for value in tensor.flatten().tolist()
    }
    (level,) = found | {value for each in Net.from_pretrained(folder).parameters() for value in each.flatten().tolist()}
    return level


def _errors(endings):
    return [(ending.raised.name, ending.raised.text) if ending.raised else None for ending in endings]


def _one_error(endings):
    (found,) = set(_errors(endings))
    return found


def _mesh():
    return init_device_mesh("cpu", (distributed.get_world_size(),))


def _loaded(folder, model_class=Net, **options):
    return model_class.from_pretrained(folder, **{"device_mesh": _mesh(), "plan": "fsdp", "timeout": SOON, **options})


# ---- ranks that see or want different things


def _load_apart(rank, folder, different):
    options = different if rank else {}
    if "version" in options:
        nameplate_model.__version__ = options.pop("version")
    model_class = Other if options.pop("other", None) else Net
    _loaded(options.pop("folder", folder), model_class, **options)


@pytest.mark.parametrize(
    ("different", "names", "shows"),
    [
        ({"version": "9.9"}, "version", "rank 1 has '9.9'"),
        ({"plan": {"up": "colwise"}}, "plan", "rank 0 has 'fsdp', rank 1 has \"'up': 'colwise'\""),
        ({"other": True}, "model", "rank 1 has 'Other'"),
        ({"dtype": "bfloat16"}, "options", "rank 0 has \"'dtype': 'checkpoint'\", rank 1 has \"'dtype': 'bfloat16'\""),
    ],
)
def test_ranks_that_want_different_loads_all_say_so(different, names, shows, folder):
    """Another version, plan, class or option on one rank is an error on all, which names what differs."""
    kind, text = _one_error(run_ranks(_load_apart, 2, folder, different))
    assert kind == "RanksDisagreeError"
    assert text.startswith(f"the ranks cannot load together: they do not agree on the {names}")
    assert shows in text


@pytest.mark.parametrize(("fill", "word", "names"), [(2.0, "", "checkpoint"), (1.0, "new", "config")])
def test_ranks_that_see_different_checkpoints_all_say_so(fill, word, names, folder, tmp_path):
    """Another state of the weights, of the same shapes, or another config on one rank is an error on all."""
    other = _saved(tmp_path / "other", fill, word)
    kind, text = _one_error(run_ranks(_load_apart, 2, folder, {"folder": other}))
    assert kind == "RanksDisagreeError"
    assert names in text.splitlines()[0].removeprefix("the ranks cannot load together: they do not agree on the ")


def test_the_same_checkpoint_may_lie_in_a_folder_of_each_rank(folder, tmp_path):
    """Where a rank finds the checkpoint is its own affair, if it is the same one."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert values(run_ranks(_load_apart, 2, folder, {"folder": copy})) == [None, None]


def _load_into_module(rank, folder, gone):
    model = Net(NetConfig())
    fully_shard(model, mesh=_mesh())
    load_weights(model, gone if rank else folder, timeout=SOON)


@pytest.mark.parametrize("job", [_load_apart, _load_into_module])
def test_a_folder_that_one_rank_does_not_see_is_an_error_of_all(job, folder, tmp_path):
    """Where the folder is absent on one rank, all raise what that one would raise alone."""
    gone = tmp_path / "gone"
    different = {"folder": gone} if job is _load_apart else gone
    kind, text = _one_error(run_ranks(job, 2, folder, different))
    assert kind == "SourceNotFoundError"
    assert text.startswith("rank 1: ")
    assert str(gone) in text


def test_a_torn_file_on_one_rank_is_an_error_of_all(folder, tmp_path):
    """A weight file that is cut off on one rank alone is a corrupt file for all."""
    torn = shutil.copytree(folder, tmp_path / "torn")
    os.truncate(torn / "model.safetensors", 200)
    kind, text = _one_error(run_ranks(_load_apart, 2, folder, {"folder": torn}))
    assert kind == "CorruptFileError"
    assert text.startswith("rank 1: ")


def _save_apart(rank, folder, different):
    model = _loaded(folder)
    model.config = NetConfig(word=different.get("word", "") if rank else "")
    model.save_pretrained(different.get("folder", folder) if rank else folder, timeout=SOON)


def test_ranks_that_save_different_configs_all_say_so(folder):
    """One rank whose config has changed keeps all from saving; the folder holds what it held."""
    kind, text = _one_error(run_ranks(_save_apart, 2, folder, {"word": "mine"}))
    assert kind == "RanksDisagreeError"
    assert text.startswith("the ranks cannot save together: they do not agree on the config\n")
    assert 'rank 1 has \'"word": "mine"' in text
    assert _level_in(folder) == 1.0


def _save_oddly_then_well(rank, folder):
    model = _loaded(folder)
    odd = {"writers": "none", "timeout": "soon"} if rank else {"timeout": AT_ONCE}
    said = ""
    try:
        model.save_pretrained(folder, **odd)
    except UnknownOptionError as error:
        said = str(error)
    model.save_pretrained(folder, timeout=AT_ONCE)
    return said


def test_a_wrong_option_on_one_rank_is_an_error_of_all(folder):
    """What one rank gives wrongly, all hear of at once; the save after it goes well."""
    said = "rank 1: writers must be 'auto', 'shared', 'apart', found 'none'."
    assert values(run_ranks(_save_oddly_then_well, 2, folder)) == [said, said]


def test_ranks_that_save_into_different_folders_all_say_so(folder, tmp_path):
    """A rank that does not see the folder of the first one keeps all from saving; no folder is touched."""
    other = _saved(tmp_path / "other", 3.0)
    before = {path.name for path in folder.iterdir()}
    kind, text = _one_error(run_ranks(_save_apart, 2, folder, {"folder": other}))
    assert kind == "SaveError"
    assert text.startswith("rank 1: ")
    assert str(other) in text
    assert "so it is not the same folder" in text
    assert (_level_in(folder), _level_in(other)) == (1.0, 3.0)
    assert {path.name for path in folder.iterdir()} == before


# ---- ranks that do not come


def _stay_away(rank, folder, what):
    model = _loaded(folder, timeout=AT_ONCE)
    if rank == 1:
        return 0.0
    begun = time.monotonic()
    try:
        _loaded(folder) if what == "load" else model.save_pretrained(folder, timeout=SOON)
    except nameplate_model.MissingRankError as error:
        return [str(error), time.monotonic() - begun < AT_ONCE]


@pytest.mark.parametrize("what", ["load", "save"])
def test_a_rank_that_does_not_come_is_named_in_time(what, folder):
    """When one of three ranks does not load or save, the others say which, within the time that was set."""
    first, _, last = values(run_ranks(_stay_away, 3, folder, what))
    assert first == last
    assert first[0].startswith(f"rank 1 did not come within 1.5 seconds to {what} with the other ranks (phase 0: ")
    assert first[1]
    assert _level_in(folder) == 1.0


class _Fatal(Net):
    """A model whose construction ends the process where the environment says so."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        if os.environ.get("DIES") == os.environ["RANK"]:
            os.kill(os.getpid(), signal.SIGKILL)


def _die_at(event, part):
    """Let this process be killed at the first event of the interpreter whose path has a part."""

    def hook(name, arguments):
        if name == event and arguments and part in str(arguments[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _die_loading(rank, folder, who, moment):
    if rank == who and moment == "opening":
        _die_at("open", "model.safetensors")
    if moment == "building":
        os.environ["DIES"] = str(who)
    _loaded(folder, _Fatal)


@pytest.mark.parametrize(("who", "moment"), [(1, "opening"), (1, "building"), (0, "opening"), (0, "building")])
def test_a_rank_that_is_killed_while_it_loads_is_missed_by_the_others(who, moment, folder):
    """A member or the leader is killed before or after all have agreed: the others raise, none of them hangs."""
    endings = run_ranks(_die_loading, 3, folder, who, moment, patience=AT_ONCE)
    assert endings[who].ended_by == "SIGKILL"
    others = [ending for ending in endings if ending.rank != who]
    assert not any(ending.hung for ending in others)
    assert {name for name, _ in _errors(others)} == {"MissingRankError"}
    if who:
        assert _one_error(others)[1].startswith("rank 1 did not come within 1.5 seconds to load with the other ranks")


def _die_saving(rank, folder, who, event):
    model = _loaded(folder, timeout=AT_ONCE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    if rank == who:
        _die_at(event, ".tmp")
    model.save_pretrained(folder, timeout=SOON)


@pytest.mark.parametrize(("who", "event"), [(1, "open"), (0, "open"), (0, "os.rename")])
def test_a_rank_that_is_killed_while_it_saves_leaves_the_old_checkpoint(who, event, folder):
    """A member or the leader is killed before the commit: the others raise in time, and the folder is the old one."""
    endings = run_ranks(_die_saving, 3, folder, who, event, patience=AT_ONCE)
    assert endings[who].ended_by == "SIGKILL"
    others = [ending for ending in endings if ending.rank != who]
    assert {name for name, _ in _errors(others)} == {"MissingRankError"}
    assert _level_in(folder) == 1.0
    values(run_ranks(_die_saving, 2, folder, None, ""))
    assert _level_in(folder) == 2.0
    assert not list(folder.glob(".*.tmp"))
