"""What holds on the host holds on a CUDA device: the same bits, in bounded memory of the device and of the host."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel, read_tensors
from nameplate_model._boxes import Box, is_sharded
from nameplate_model._engines.prefetch import prefetch_problem
from nameplate_model._engines.ring import MOST_PINNED, Ring, ring_size
from nameplate_model._engines.source import Range
from nameplate_model._files import WeightFile
from nameplate_model._reading import Engine, Want, fetch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

WEIGHTS = "model.safetensors"
MIB = 1 << 20
CUDA = torch.device("cuda", 0)
ENGINES = [
    "auto",
    "mapped",
    "ring",
    pytest.param("prefetch", marks=pytest.mark.skipif(bool(prefetch_problem()), reason=prefetch_problem())),
]


class WideConfig(PreTrainedConfig):
    """Sizes of a large network."""

    model_type = "wide_on_cuda"
    width: int = 1024
    layers: int = 12


class Wide(PreTrainedModel):
    """Layers of 4 MiB each, a tie, a frozen layer, and buffers of all kinds."""

    config_class = WideConfig

    def __init__(self, config: WideConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(*(nn.Linear(config.width, config.width) for _ in range(config.layers)))
        self.head = nn.Linear(config.width, config.width)
        self.head.weight = self.layers[0].weight
        self.layers[1].requires_grad_(requires_grad=False)
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("small", torch.arange(5.0).to(torch.float8_e4m3fn))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("scalar", torch.tensor(2.5))
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Run the layers."""
        return self.head(self.layers(features))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a checkpoint of 50 MB."""
    path = tmp_path_factory.mktemp("wide")
    Wide(WideConfig()).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a checkpoint of 1 GiB, larger than what may be pinned."""
    path = tmp_path_factory.mktemp("large")
    Wide(WideConfig(width=4096, layers=16)).save_pretrained(path)
    return path


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor, on the host."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models hold the same bits under the same names."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(bits(ours[key]), bits(theirs[key])) for key in ours)


def size_of(model: nn.Module) -> int:
    """Return the bytes of the tensors of a model; tied ones count once."""
    return sum(each.nbytes for each in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("dtype", ["checkpoint", torch.bfloat16])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_brings_the_same_bits(engine: Engine, dtype: torch.dtype | str, folder: Path):
    """On the device there is what there is on the host, cast in the same way; ties and frozen layers included."""
    loaded = Wide.from_pretrained(folder, device=CUDA, engine=engine, dtype=dtype)

    assert {each.device for each in (*loaded.parameters(), *loaded.buffers())} == {CUDA}
    assert same(loaded, Wide.from_pretrained(folder, dtype=dtype))
    assert loaded.head.weight is loaded.layers[0].weight
    assert not loaded.layers[1].weight.requires_grad
    assert loaded.hidden.tolist() == [0, 1, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_boxes_have_the_same_bits(engine: Engine, folder: Path):
    """Rows, columns and empty parts of a tensor arrive as they are."""
    stored = dict(WeightFile(folder / WEIGHTS).tensors)["layers.2.weight"]
    boxes = [Box((5, 0), (1000, 1024)), Box((0, 5), (1024, 1000)), Box((1024, 0), (0, 1024))]
    expected = load_file(folder / WEIGHTS)["layers.2.weight"]
    found = fetch([Want(stored, CUDA, stored.dtype, box) for box in boxes], "auto", engine)

    for box, tensor in zip(boxes, found, strict=True):
        assert tensor.device == CUDA
        assert torch.equal(tensor.cpu(), expected[box.slices])


def test_a_model_may_lie_on_host_and_device(folder: Path):
    """The ring serves each device of a map by itself."""
    loaded = Wide.from_pretrained(folder, device_map={"": "cpu", "layers.3": CUDA}, engine="ring")

    assert loaded.layers[3].weight.device == CUDA
    assert loaded.layers[2].weight.device.type == "cpu"
    assert same(loaded, Wide.from_pretrained(folder))


def test_small_buffers_are_used_again_and_again(folder: Path):
    """A buffer is not read into before the device has copied what was in it."""
    stored = [each for _, each in WeightFile(folder / WEIGHTS).tensors]
    expected = load_file(folder / WEIGHTS)
    for dtype in (None, torch.bfloat16):
        wanted = [Range(each, dtype if dtype and each.dtype == torch.float32 else each.dtype) for each in stored]
        for each, tensor in zip(wanted, Ring(CUDA, threads=3, buffer=64 << 10).bring(wanted), strict=True):
            assert torch.equal(bits(tensor), bits(expected[each.stored.name].to(each.dtype)))


def test_a_part_of_a_checkpoint_goes_to_the_device(folder: Path):
    """What is read without a class arrives whole, and the slab lives as long as one tensor of it."""
    weight = read_tensors(folder, prefix="layers.", device=CUDA)["5.weight"]
    expected = load_file(folder / WEIGHTS)["layers.5.weight"]
    torch.cuda.empty_cache()
    filler = torch.full((16 * MIB,), 7.0, device=CUDA)  # where the other tensors were, had they been freed too early

    assert torch.equal(weight.cpu(), expected)
    assert filler.sum().item() > 0


@pytest.mark.parametrize("dtype", ["checkpoint", torch.bfloat16])
def test_memory_of_a_load_is_bounded(dtype: torch.dtype | str, large: Path):
    """The device holds the model and, for a cast, half of the ring; the host never pins more than 512 MB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loaded = Wide.from_pretrained(large, device=CUDA, engine="ring", dtype=dtype)
    peak = torch.cuda.max_memory_allocated() - before
    threads, buffer, _ = ring_size((large / WEIGHTS).stat().st_size)
    pinned = [size for name, size in torch.cuda.host_memory_stats().items() if name.endswith("bytes.current")]

    assert peak <= 1.02 * size_of(loaded) + (0 if dtype == "checkpoint" else threads * buffer)
    assert max(pinned) <= MOST_PINNED


def figure(name: str) -> int:
    """Return one of the figures in bytes that Linux keeps of this process."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) << 10


def test_a_save_takes_little_of_the_host(large: Path, tmp_path: Path):
    """A model on the device is saved through less than 256 MB of the host, to the same bytes."""
    loaded = Wide.from_pretrained(large, device=CUDA)
    Path("/proc/self/clear_refs").write_text("5")
    before = figure("VmRSS")
    loaded.save_pretrained(tmp_path)
    grown = figure("VmHWM") - before

    assert grown <= 256_000_000
    assert (tmp_path / WEIGHTS).read_bytes() == (large / WEIGHTS).read_bytes()


@pytest.fixture
def group() -> Iterator[None]:
    """Provide a world of one rank that talks over nccl."""
    if not distributed.is_nccl_available():
        pytest.skip("this torch has no nccl")
    distributed.init_process_group("nccl", store=distributed.HashStore(), rank=0, world_size=1, device_id=CUDA)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("plan", ["fsdp", {"layers.*": "colwise", "head": "colwise"}])
def test_a_load_in_slices_and_a_save_of_them_keep_every_bit(plan: object, folder: Path, tmp_path: Path):
    """Over nccl as over gloo, parameters are DTensors with the bits of the file, and a save of them has the same."""
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - only where there is a GPU

    loaded = Wide.from_pretrained(folder, device_mesh=init_device_mesh("cuda", (1,)), plan=plan)
    weight = loaded.layers[2].weight
    loaded.save_pretrained(tmp_path)
    saved, expected = load_file(tmp_path / WEIGHTS), load_file(folder / WEIGHTS)

    assert is_sharded(weight)
    assert weight.device == CUDA
    assert saved.keys() == expected.keys()
    assert all(torch.equal(bits(saved[name]), bits(expected[name])) for name in expected)
