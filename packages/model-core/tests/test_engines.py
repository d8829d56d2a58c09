"""Whoever brings the tensors, they are the same, in bounded memory; and whoever cannot, says so.

The ring runs here with the host as its device: the same threads, buffers and slab, but nothing pinned.
"""

import copy
import gc
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import CorruptFileError, PreTrainedModel, read_tensors
from nameplate_model._boxes import Box, is_sharded
from nameplate_model._engines.choice import source_for
from nameplate_model._engines.mapped import Mapped
from nameplate_model._engines.prefetch import prefetch_problem, rows_of
from nameplate_model._engines.ring import MOST_PINNED, Ring, ring_size
from nameplate_model._engines.source import CPU, Engine, Memory, Range
from nameplate_model._files import Stored, WeightFile

WEIGHTS = "model.safetensors"
MIB = 1 << 20
DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64]
CUDA = torch.device("cuda", 0)


class OddsConfig(PreTrainedConfig):
    """A width."""

    model_type = "odds"
    width: int = 40


class Odds(PreTrainedModel):
    """Everything that a tensor of a model can be: tied, frozen, a view of another, empty, a scalar, of any dtype."""

    config_class = OddsConfig

    def __init__(self, config: OddsConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embedding = nn.Embedding(3 * width, width)
        self.head = nn.Linear(width, 3 * width, bias=False)
        self.head.weight = self.embedding.weight
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        self.frozen = nn.Parameter(torch.zeros(width, 7), requires_grad=False)
        both = torch.zeros(2, 64)
        self.register_buffer("both", both)
        self.register_buffer("first", both[0])
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("small", torch.ones(5).to(torch.float8_e4m3fn))
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)


def drawn_model() -> Odds:
    """Return a model with drawn weights."""
    model = Odds(OddsConfig())
    with torch.no_grad():
        for tensor in (*model.parameters(), model.both):
            tensor.copy_(torch.rand(tensor.shape))
    return model


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models hold the same bits under the same names."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(bits(ours[key]), bits(theirs[key])) for key in ours)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[WeightFile]:
    """Provide 24 MiB in tensors of 1 MiB."""
    save_file({f"part.{place}": torch.randn(512, 512) for place in range(24)}, tmp_path / WEIGHTS)
    opened = WeightFile(tmp_path / WEIGHTS)
    yield opened
    opened.close()


def stored_in(file: WeightFile) -> list[Stored]:
    """Return the tensors of a file."""
    return [stored for _, stored in file.tensors]


def ranges(file: WeightFile, dtype: torch.dtype | None = None) -> list[Range]:
    """Return everything in a file as what is wanted."""
    return [Range(stored, dtype or stored.dtype) for stored in stored_in(file)]


# ---- the same tensors


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16, "keep_in_fp32": ["body"]}, {"memory": "copy"}])
def test_the_ring_brings_the_same_model(options: dict[str, Any], tmp_path: Path):
    """Ties, views, frozen parameters, dtypes and hidden buffers are as any other engine leaves them."""
    model = drawn_model()
    model.save_pretrained(tmp_path)
    loaded = Odds.from_pretrained(tmp_path, engine="ring", **options)

    assert same(loaded, Odds.from_pretrained(tmp_path, engine="mapped", **options))
    assert loaded.head.weight is loaded.embedding.weight
    assert loaded.first.data_ptr() == loaded.both.data_ptr()
    assert not loaded.frozen.requires_grad
    assert loaded.hidden.tolist() == [0, 1, 2]
    assert loaded.load_report is not None
    assert loaded.load_report.exact


def test_what_came_through_the_ring_is_saved_as_it_was(tmp_path: Path):
    """Tensors of one slab are no ties and no views of each other: a save of them has the same bytes."""
    drawn_model().save_pretrained(tmp_path / "first")
    Odds.from_pretrained(tmp_path / "first", engine="ring").save_pretrained(tmp_path / "second")

    assert (tmp_path / "second" / WEIGHTS).read_bytes() == (tmp_path / "first" / WEIGHTS).read_bytes()


def test_the_ring_heeds_no_default_device(tmp_path: Path):
    """With a device, everything is there with its values, whatever the default device is."""
    model = drawn_model()
    model.save_pretrained(tmp_path)
    with torch.device("meta"):
        loaded = Odds.from_pretrained(tmp_path, engine="ring", device="cpu")

    assert same(loaded, model)


@settings(deadline=None)
@given(st.data())
def test_windows_of_any_size_bring_the_same_tensors(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """However small the buffers and many the threads, foreign files and casts included, every bit is the file's."""
    shapes = st.lists(st.integers(0, 40), max_size=3)
    tensors: dict[str, torch.Tensor] = {}
    for place in range(data.draw(st.integers(1, 6))):
        shape, dtype = data.draw(shapes), data.draw(st.sampled_from(DTYPES))
        tensors[f"t{place}"] = torch.randn(shape).mul(50).to(dtype)
    path = tmp_path_factory.mktemp("windows") / WEIGHTS
    save_file(tensors, path)
    file = WeightFile(path)
    wanted = [
        Range(stored, torch.bfloat16 if stored.dtype.is_floating_point and data.draw(st.booleans()) else stored.dtype)
        for stored in data.draw(st.permutations(stored_in(file)))
    ]
    ring = Ring(CPU, data.draw(st.integers(1, 4)), 1 << data.draw(st.integers(9, 16)))
    for each, found in zip(wanted, ring.bring(wanted), strict=True):
        assert found.dtype == each.dtype
        assert found.shape == each.stored.shape
        assert torch.equal(bits(found), bits(tensors[each.stored.name].to(each.dtype)))
    file.close()


def test_the_ring_fills_tensors_in_inference_mode(file: WeightFile):
    """Threads write into tensors that were made in inference mode."""
    with torch.inference_mode():
        found = Ring(CPU).bring(ranges(file, torch.bfloat16))

    expected = load_file(file.path)
    assert all(
        torch.equal(one, expected[each.name].bfloat16()) for one, each in zip(found, stored_in(file), strict=True)
    )


def test_a_part_of_a_checkpoint_is_the_same_part(tmp_path: Path):
    """What is read without a class comes from whoever suits the device."""
    model = drawn_model()
    model.save_pretrained(tmp_path)

    assert torch.equal(read_tensors(tmp_path, "frozen", device="cpu")["frozen"], model.frozen)


def in_slices(rank: int, folder: str) -> list[bool]:  # noqa: ARG001 - each rank does the same
    """Load the parts of one rank through the ring, and tell whether each parameter is as the file has it."""
    mesh = init_device_mesh("cpu", (2,))
    loaded = Odds.from_pretrained(
        folder, device_mesh=mesh, plan={"embedding": "rowwise", "head": "colwise"}, engine="ring"
    )
    expected = load_file(Path(folder) / WEIGHTS)
    state = {name: loaded.state_dict()[name] for name in expected}
    sharded = [is_sharded(loaded.embedding.weight), loaded.head.weight is loaded.embedding.weight]
    whole = [each.full_tensor() if isinstance(each, DTensor) else each for each in state.values()]
    return [*sharded, *(torch.equal(bits(one), bits(expected[name])) for name, one in zip(state, whole, strict=True))]


def test_ranks_bring_their_parts_through_the_ring(tmp_path: Path):
    """Parts of tensors, along rows or columns, go through the ring as whole ones do."""
    drawn_model().save_pretrained(tmp_path)

    assert all(all(each) for each in values(run_ranks(in_slices, 2, str(tmp_path))))


# ---- memory


def test_the_slab_lives_as_long_as_one_of_its_tensors(file: WeightFile):
    """A tensor keeps its values when all others are gone, and has no more than its own bytes to copy or pickle."""
    expected = load_file(file.path)
    found = Ring(CPU, threads=2, buffer=MIB).bring(ranges(file))
    last, name = found[7], stored_in(file)[7].name
    del found
    gc.collect()

    assert torch.equal(last, expected[name])
    assert last.untyped_storage().nbytes() == last.nbytes
    assert torch.equal(copy.deepcopy(last), expected[name])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of memory")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_host_holds_the_ring_and_no_more(dtype: torch.dtype, tmp_path: Path):
    """A load takes the memory of its tensors, and of two buffers for each of two threads."""
    save_file({f"part.{place}": torch.randn(1024, 1024) for place in range(32)}, tmp_path / WEIGHTS)
    file = WeightFile(tmp_path / WEIGHTS)
    Path("/proc/self/clear_refs").write_text("5")
    before = figure("VmRSS")
    found = Ring(CPU, threads=2, buffer=MIB).bring(ranges(file, dtype))
    grown = figure("VmHWM") - before

    assert grown <= sum(each.nbytes for each in found) + 4 * MIB + 4 * MIB
    file.close()


def figure(name: str) -> int:
    """Return one of the figures in bytes that Linux keeps of this process."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) << 10


@given(st.integers(0, 1 << 42), st.none() | st.integers(1, 100), st.none() | st.integers(9, 34).map(lambda n: 1 << n))
def test_no_ring_is_larger_than_it_may_be(size: int, threads: int | None, buffer: int | None):
    """Whatever is brought and asked for, all buffers together stay below 512 MB, and there is at least one."""
    found, each, buffers = ring_size(size, threads, buffer)

    assert 0 < found * each * buffers <= MOST_PINNED == 512_000_000


def test_a_small_load_has_a_small_ring():
    """The buffers are not much more than what they are to hold."""
    threads, buffer, buffers = ring_size(45 * MIB, 8)

    assert threads * buffer * buffers <= 64 * MIB


# ---- what goes wrong


def readers() -> list[str]:
    """Return the names of the threads that read."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reading")]


def large_tensors() -> int:
    """Return how many tensors of at least 10 MiB there are."""
    gc.collect()
    every = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return sum(each.untyped_storage().nbytes() >= 10 * MIB for each in every)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_is_cut_short_meanwhile_is_an_error(threads: int, dtype: torch.dtype, file: WeightFile):
    """A reader that fails ends the load with a typed error; no thread goes on, and the slab is given back."""
    before = large_tensors()
    os.truncate(file.path, file.size - 3 * MIB)
    with pytest.raises(CorruptFileError, match="it ends at byte") as caught:
        Ring(CPU, threads, MIB).bring(ranges(file, dtype))
    del caught

    assert readers() == []
    assert large_tensors() == before


def test_a_file_that_is_replaced_meanwhile_is_an_error(file: WeightFile):
    """A closed file is opened again, and must be the very same."""
    file.close()
    file.path.unlink()
    save_file({"part": torch.zeros(1)}, file.path)
    with pytest.raises(CorruptFileError, match=r"was replaced while it was being loaded\. Load it again\.$"):
        Ring(CPU).bring(ranges(file))
    with pytest.raises(CorruptFileError, match="was replaced while it was being loaded"):
        file.check_unchanged()

    assert readers() == []


def test_a_file_that_is_the_same_is_found_so(file: WeightFile):
    """What nobody touched may be opened by others."""
    file.check_unchanged()
    file.close()
    file.check_unchanged()


# ---- who brings what


@pytest.mark.parametrize(
    ("device", "memory", "engine", "expected"),
    [
        (CPU, "auto", "auto", Mapped),
        (CPU, "auto", "ring", Ring),
        (CPU, "auto", "prefetch", Mapped),
        (CUDA, "auto", "auto", Ring),
        (CUDA, "copy", "auto", Ring),
        (CUDA, "mmap", "auto", Mapped),
        (CUDA, "auto", "mapped", Mapped),
        (torch.device("mps"), "auto", "auto", Mapped),
        (torch.device("mps"), "auto", "ring", Mapped),
    ],
)
def test_the_engine_suits_the_device(
    device: torch.device, memory: Memory, engine: Engine, expected: type, file: WeightFile
):
    """The ring serves CUDA devices; what an engine cannot fill beside them is mapped."""
    assert type(source_for(device, ranges(file), memory, engine)) is expected


def test_little_is_not_worth_a_ring(file: WeightFile):
    """A few small tensors go to a CUDA device one by one."""
    assert type(source_for(CUDA, ranges(file)[:4], "auto", "auto")) is Mapped
    assert type(source_for(CUDA, ranges(file)[:4], "auto", "ring")) is Ring


def rows(wanted: Sequence[Range]) -> list[Any]:
    """Return what safetensors would be asked for."""
    return [rows_of(each) for each in wanted]


def test_safetensors_is_asked_for_whole_rows(file: WeightFile):
    """Whole tensors and rows of them are for safetensors; columns, casts and empty parts are for the ring."""
    stored, dtype = stored_in(file)[3], torch.float32
    whole, some = Range(stored, dtype), Range.of(stored, dtype, Box((7, 0), (20, 512)))
    columns, piece = (Range.of(stored, dtype, box) for box in (Box((0, 7), (512, 20)), Box((7, 7), (1, 20))))
    cast, empty = Range(stored, torch.bfloat16), Range.of(stored, dtype, Box((512, 0), (0, 512)))

    assert rows([whole, some]) == [(None,), (slice(7, 27),)]
    assert rows([columns, piece, cast, empty]) == [None] * 4


@pytest.mark.parametrize("engine", ["rings", None, 1, ["ring"]])
def test_the_engine_must_be_one(engine: Any, tmp_path: Path):
    """Anything but the four words is an error that names what was found, and the word that was meant."""
    drawn_model().save_pretrained(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Odds.from_pretrained(tmp_path, engine=engine)

    guess = "\n  Did you mean 'ring'?" if engine == "rings" else ""
    assert str(caught.value) == f"engine must be 'auto', 'mapped', 'ring' or 'prefetch', found {engine!r}.{guess}"


def test_an_engine_without_a_device_to_fill_is_an_error(tmp_path: Path):
    """An engine that does not know the kind of device says which kinds it knows."""
    drawn_model().save_pretrained(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Odds.from_pretrained(tmp_path, engine="ring", device="mps")

    assert str(caught.value) == (
        "engine='ring' fills cuda and cpu devices only, and the model goes to mps.\n"
        "  Pass engine='auto', which takes what works."
    )


def test_an_old_safetensors_has_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the installed safetensors cannot prefetch, the error says which version can."""

    class Opener:
        """What safetensors before 0.9 has."""

    monkeypatch.setattr(safetensors, "safe_open", Opener)
    with pytest.raises(UnknownOptionError) as caught:
        Odds.from_pretrained(tmp_path, engine="prefetch", config=OddsConfig())

    assert str(caught.value) == (
        f"engine='prefetch' needs safetensors 0.9 or newer, found {safetensors.__version__}.\n"
        "  Pass engine='auto', which takes what works."
    )


def test_prefetching_needs_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where there is no CUDA device, or the model goes elsewhere, the error says so."""
    drawn_model().save_pretrained(tmp_path)

    class Opener:
        """What safetensors has from 0.9 on."""

        prefetch = None

    monkeypatch.setattr(safetensors, "safe_open", Opener)
    assert prefetch_problem() == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnknownOptionError, match=r"^engine='prefetch' needs CUDA, which is not there\.\n"):
        Odds.from_pretrained(tmp_path, engine="prefetch", device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UnknownOptionError, match="fills cuda devices only, and the model goes to cpu"):
        Odds.from_pretrained(tmp_path, engine="prefetch", device="cpu")
