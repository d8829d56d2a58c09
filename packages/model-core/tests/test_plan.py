"""A plan says what a load would do, and reads no more than headers, locally and from the Hub."""

import dataclasses
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, SourceNotFoundError, UnknownOptionError
from nameplate_model import CorruptFileError, LoadPlan, MismatchError, PreTrainedModel, _device_map

WEIGHTS = "model.safetensors"


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"
    width: int = 4
    classes: int = 3


class Net(PreTrainedModel):
    """Two layers with one weight, a head, tensors of other dtypes, and a hidden buffer."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)
        self.two.weight = self.one.weight
        self.fc = nn.Linear(config.width, config.classes)
        self.narrow = nn.Parameter(torch.rand(5, dtype=torch.bfloat16))
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("hidden", torch.arange(7.0), persistent=False)


def saved(folder: Path, **options: Any) -> Net:
    """Save a model and return it."""
    model = Net(NetConfig())
    model.save_pretrained(folder, **options)
    return model


def as_others(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any] = dict) -> None:
    """Rewrite the weights as another library would, changed."""
    path = folder / WEIGHTS
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors), path)


# ---- what it says


def test_a_plan_of_a_whole_load(tmp_path: Path):
    """The plan has the report of the load, the sizes of the files, and the bytes as stored and as they will lie."""
    saved(tmp_path)
    plan = Net.plan_load(tmp_path)

    assert plan == LoadPlan(
        report=Net.from_pretrained(tmp_path).load_report,
        allowed=True,
        where=str(tmp_path / WEIGHTS),
        files={WEIGHTS: (tmp_path / WEIGHTS).stat().st_size},
        bytes=64 + 16 + 16 + 48 + 12 + 10 + 24,
        memory={"cpu": 190},
        dtypes={"float32": 156, "bfloat16": 10, "int64": 24},
    )
    assert (plan.missing, plan.unexpected) == ((), ())


def test_a_plan_can_be_read(tmp_path: Path):
    """As text it is what would be loaded, and then the differences as an error has them."""
    saved(tmp_path)
    whole = str(Net.plan_load(tmp_path))
    as_others(tmp_path, lambda tensors: {"tail": tensors.pop("fc.bias"), **tensors})

    assert whole == (
        f"{tmp_path / WEIGHTS}: 190 bytes in 1 files would be loaded (10 of bfloat16, 24 of int64, 156 of float32)."
    )
    assert str(Net.plan_load(tmp_path)).splitlines()[1:] == [
        "  missing from the file: fc.bias",
        "  in the file only: tail",
    ]


def test_a_plan_cannot_be_changed(tmp_path: Path):
    """A plan is a frozen record."""
    saved(tmp_path)
    plan = Net.plan_load(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.bytes = 0


def test_a_plan_of_shards(tmp_path: Path):
    """Every shard is listed with its size, and the report is that of the load."""
    saved(tmp_path, max_shard_size=60)
    plan = Net.plan_load(tmp_path)

    assert len(plan.files) > 2
    assert plan.files == {path.name: path.stat().st_size for path in tmp_path.glob("*.safetensors")}
    assert plan.report == Net.from_pretrained(tmp_path).load_report


def test_a_plan_casts(tmp_path: Path):
    """The memory is that of the dtypes which the model would have; what is stored stays what it is."""
    saved(tmp_path)
    plan = Net.plan_load(tmp_path, dtype=torch.float64, keep_in_fp32=["fc"])

    assert (plan.bytes, plan.memory) == (190, {"cpu": (64 + 16 + 16) * 2 + 48 + 12 + 10 * 4 + 24})


def test_a_plan_spreads_over_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With `device_map="auto"` the plan says how much each device would get, though none of them is there."""
    saved(tmp_path)
    room = {torch.device("cuda", 0): 100, torch.device("cuda", 1): 100, torch.device("cpu"): 10_000}
    monkeypatch.setattr(_device_map, "_free_memory", lambda: room)

    assert Net.plan_load(tmp_path, device_map="auto").memory == {
        "cuda:0": 64 + 16 + 16,
        "cuda:1": 48 + 12,
        "cpu": 10 + 24,
    }


def test_a_plan_does_not_refuse(tmp_path: Path):
    """What would be an error is a plan that says so, with the same report."""
    saved(tmp_path)
    as_others(tmp_path, lambda tensors: {**tensors, "fc.weight": torch.ones(9, 9)})
    plan = Net.plan_load(tmp_path)
    with pytest.raises(MismatchError) as caught:
        Net.from_pretrained(tmp_path)

    assert not plan.allowed
    assert plan.report == caught.value.report
    assert Net.plan_load(tmp_path, ignore_mismatched_sizes=True).allowed


def test_a_plan_says_why_a_model_is_built_for_real(tmp_path: Path):
    """A constructor that needs real parameters is told in advance, and the random state stays where it was."""

    class Reading(Net):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.level = self.fc.weight.sum().item()

    Reading(NetConfig()).save_pretrained(tmp_path)
    before = torch.get_rng_state()
    plan = Reading.plan_load(tmp_path)

    assert plan.report.built_for_real is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert plan.report == Reading.from_pretrained(tmp_path).load_report


def test_a_plan_of_given_tensors():
    """A state dict that is given can be planned as well."""
    state = Net(NetConfig()).state_dict()
    plan = Net.plan_load(None, config=NetConfig(), state_dict=state)

    assert (plan.allowed, plan.bytes, plan.files) == (True, 190, {})


@pytest.mark.parametrize(("options", "error"), [({"memroy": "copy"}, UnknownOptionError), ({"variant": "fp16"}, None)])
def test_a_plan_has_the_options_of_a_load(options: dict[str, Any], error: type[Exception] | None, tmp_path: Path):
    """What a load would refuse to begin with, a plan refuses too."""
    saved(tmp_path)
    with pytest.raises(error or SourceNotFoundError) as plan:
        Net.plan_load(tmp_path, **options)
    with pytest.raises(error or SourceNotFoundError) as load:
        Net.from_pretrained(tmp_path, **options)

    assert str(plan.value) == str(load.value)


def test_a_torn_file_has_no_plan(tmp_path: Path):
    """A plan checks headers and sizes as a load does."""
    saved(tmp_path)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError):
        Net.plan_load(tmp_path)


KEYS = sorted(Net(NetConfig()).state_dict())


@settings(deadline=None, max_examples=60)
@given(
    dropped=st.sets(st.sampled_from(KEYS), max_size=4),
    added=st.sets(st.sampled_from(["tail", "one.more", "fc"])),
    reshaped=st.sets(st.sampled_from(KEYS), max_size=2),
    options=st.fixed_dictionaries(
        {},
        optional={
            "strict": st.booleans(),
            "ignore_mismatched_sizes": st.booleans(),
            "allow_missing": st.sampled_from(["fc.*", ["one.*", "two.*"]]),
            "key_mapping": st.sampled_from([{r"^one\.more": "more"}, {"fc": "head"}]),
            "dtype": st.sampled_from(["auto", torch.float16]),
        },
    ),
)
def test_a_plan_is_what_the_load_does(
    dropped: set[str],
    added: set[str],
    reshaped: set[str],
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
):
    """Report, refusal and bytes of a plan are those of the load with the same arguments."""
    folder = tmp_path_factory.mktemp("net")
    saved(folder)

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
        tensors |= {name: torch.ones(9, 2) for name in reshaped}
        return tensors | {name: torch.ones(2) for name in added}

    as_others(folder, change)
    plan = Net.plan_load(folder, **options)
    try:
        loaded, report = Net.from_pretrained(folder, output_loading_info=True, **options)
    except MismatchError as error:
        assert (plan.allowed, plan.report) == (False, error.report)  # noqa: PT017 - either outcome is right
        return

    unique = {id(tensor): tensor for tensor in (loaded.state_dict(keep_vars=True)[key] for key in report.loaded)}
    assert (plan.allowed, plan.report) == (True, report)
    assert sum(plan.memory.values()) == sum(tensor.nbytes for tensor in unique.values())


# ---- what it reads


def write_sparse(folder: Path, gibibytes: int) -> None:
    """Write a checkpoint of which nothing but the header takes room on the disk."""
    folder.mkdir(exist_ok=True)
    size = gibibytes << 30
    header = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    (folder / "config.json").write_text(json.dumps({"model_type": "net", "width": size // 4}))


class Huge(PreTrainedModel):
    """One parameter of any size."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.weight = nn.Parameter(torch.empty(config.width, device="meta"))


def bytes_read() -> int:
    """Return how many bytes this process has read, from wherever."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")
def test_a_plan_reads_no_tensor(tmp_path: Path):
    """The plan of 64 GiB reads a few kilobytes."""
    write_sparse(tmp_path, 64)
    Huge.plan_load(tmp_path)
    before = bytes_read()
    plan = Huge.plan_load(tmp_path)

    assert plan.bytes == 64 << 30
    assert bytes_read() - before < 1 << 20


# ---- from the Hub


NET = """
import json, sys, torch
from torch import nn
from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_model import PreTrainedModel

class NetConfig(PreTrainedConfig):
    model_type = "net"
    width: int = 512

class Net(PreTrainedModel):
    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one = nn.Linear(config.width, config.width)
        self.two = nn.Linear(config.width, config.width)
        self.two.weight = self.one.weight

def save(folder, **options):
    Net(NetConfig()).save_pretrained(folder, **options)

def plan(source, **options):
    plan = Net.plan_load(source, **options)
    return [plan.bytes, plan.files, plan.memory, list(plan.report.loaded), list(plan.missing), plan.allowed]

def load(source, **options):
    return list(Net.from_pretrained(source, **options).load_report.loaded)

def answer(verb, **arguments):
    try:
        return globals()[verb](**arguments)
    except NameplateError as error:
        return {"error": type(error).__name__, "text": str(error)}

for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
"""


@pytest.fixture
def ask(hub: Any, talk: Callable[..., Any], empty_home: Path) -> Callable[..., Any]:
    """Return a function that saves, plans or loads in a process whose Hub is the loopback one."""
    del empty_home
    return lambda verb, **arguments: talk(NET, {"HF_ENDPOINT": hub.endpoint}, {"verb": verb, **arguments})


def publish(hub: Any, home: Path, ask: Callable[..., Any], **options: Any) -> dict[str, bytes]:
    """Put a saved folder on the Hub and return its files."""
    ask("save", folder="here", **options)
    files = {path.name: path.read_bytes() for path in (home / "here").iterdir()}
    hub.commit("user/net", files)
    hub.sent = 0
    return files


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 10_000}], ids=["single", "sharded"])
def test_a_plan_from_the_hub_is_that_of_the_folder(
    options: dict[str, Any], hub: Any, home: Path, ask: Callable[..., Any]
):
    """Bytes, files, memory and report are the same from a repository as from the folder that was published."""
    publish(hub, home, ask, **options)

    assert ask("plan", source="user/net") == ask("plan", source="here")


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 10_000}], ids=["single", "sharded"])
def test_a_plan_fetches_headers_alone(options: dict[str, Any], hub: Any, home: Path, ask: Callable[..., Any]):
    """No weight file gets into the cache: what is asked of each is its size and the beginning."""
    files = publish(hub, home, ask, **options)
    ask("plan", source="user/net")
    cached = {path.name for path in (home / "hf").rglob("*") if path.is_symlink() or path.is_file()}

    assert not any(name.endswith(".safetensors") for name in cached)
    assert hub.sent < sum(len(data) for data in files.values()) // 2


def test_a_plan_of_an_absent_repository_is_an_error(ask: Callable[..., Any]):
    """A repository that does not exist has no plan."""
    assert ask("plan", source="user/nothing")["error"] == "SourceNotFoundError"


def test_a_plan_of_a_repository_without_weights_is_an_error(hub: Any, ask: Callable[..., Any]):
    """A config alone is no checkpoint; the error says what was looked for."""
    hub.commit("user/net", {"config.json": '{"model_type": "net"}'})
    answer = ask("plan", source="user/net")

    assert answer["error"] == "SourceNotFoundError"
    assert "looked for model.safetensors and model.safetensors.index.json" in answer["text"]


def test_a_plan_of_shards_that_are_absent_is_an_error(hub: Any, home: Path, ask: Callable[..., Any]):
    """A file that the index names and the repository lacks is named."""
    files = publish(hub, home, ask, max_shard_size=10_000)
    shard = next(name for name in files if "-00001-of-" in name)
    hub.commit("user/net", {name: data for name, data in files.items() if name != shard})
    answer = ask("plan", source="user/net")

    assert answer["error"] == "ShardError"
    assert f"names the file '{shard}', which is not there." in answer["text"]
