"""A box of a stored tensor is read by itself, with the bits of the same part of the whole."""

import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from nameplate_model import CorruptFileError, _mounts
from nameplate_model._boxes import Box
from nameplate_model._engines.mapped import Mapped
from nameplate_model._engines.source import CPU, Range
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._reading import Engine, Memory, Want, fetch

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")

MEMORIES: list[Memory] = ["auto", "mmap", "copy"]
ENGINES: list[Engine] = ["mapped", "ring"]
SHAPE = (48, 40, 33)
"""Of a tensor that makes its file large enough to be mapped."""


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor whose elements differ."""
    return torch.arange(prod(shape)).remainder(251).reshape(shape).to(dtype)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Stored, torch.Tensor]]]:
    """Provide tensors in a file, each with its values. The file is another library's, so nothing is aligned to much."""
    path = tmp_path_factory.mktemp("boxes") / "model.safetensors"
    dtypes = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64]
    tensors = {str(dtype): drawn(SHAPE, dtype) for dtype in dtypes}
    save_file(tensors, path)
    file = WeightFile(path)
    yield {name: (each, tensors[name]) for name, each in file.tensors}
    file.close()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor."""
    return tensor.contiguous().view(-1).view(torch.uint8)


@settings(deadline=None)
@given(st.data())
def test_a_box_has_the_bits_of_that_part(stored: dict[str, tuple[Stored, torch.Tensor]], data: st.DataObject):
    """Whatever the box, the dtype, the way into memory and the engine, a box is that part of the tensor, contiguous."""
    name = data.draw(st.sampled_from(sorted(stored)))
    each, tensor = stored[name]
    offsets = tuple(data.draw(st.integers(0, size)) for size in SHAPE)
    sizes = tuple(data.draw(st.integers(0, size - at)) for size, at in zip(SHAPE, offsets, strict=True))
    box = Box(offsets, sizes)
    dtype = data.draw(st.sampled_from([each.dtype, torch.float64])) if each.dtype.is_floating_point else each.dtype
    memory, engine = data.draw(st.sampled_from(MEMORIES)), data.draw(st.sampled_from(ENGINES))
    (found,) = fetch([Want(each, CPU, dtype, box)], memory, engine)

    assert (found.dtype, found.shape) == (dtype, sizes)
    assert found.is_contiguous()
    assert torch.equal(bits(found), bits(tensor[box.slices].to(dtype)))


@linux
def test_whole_rows_are_a_view_of_the_file(stored: dict[str, tuple[Stored, torch.Tensor]]):
    """A box that lies in one place costs no memory, as the whole tensor would not."""
    each, _ = stored["torch.float32"]
    (whole,) = fetch([Want(each, CPU, each.dtype)], "auto")
    (rows,) = fetch([Want(each, CPU, each.dtype, Box((8, 0, 0), (8, *SHAPE[1:])))], "auto")

    assert rows.data_ptr() - whole.data_ptr() == 8 * SHAPE[1] * SHAPE[2] * 4


def bytes_read() -> int:
    """Return how many bytes this process has read in all its life."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


@linux
@pytest.mark.parametrize(
    "box", [Box((7, 0, 0), (9, *SHAPE[1:])), Box((0, 7, 0), (48, 9, 33)), Box((0, 0, 3), (48, 40, 16))]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_but_the_box_is_read(stored: dict[str, tuple[Stored, torch.Tensor]], engine: Engine, box: Box):
    """With memory="copy", exactly the bytes of the box are read, along whichever axis the tensor was cut."""
    each, _ = stored["torch.int64"]
    before = bytes_read()
    looked = bytes_read() - before
    before = bytes_read()
    fetch([Want(each, CPU, each.dtype, box)], "copy", engine)

    assert bytes_read() - before - looked == pytest.approx(8 * box.numel, abs=200)  # digits of the counters


@linux
def test_a_box_behind_a_network_is_read(
    stored: dict[str, tuple[Stored, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
):
    """A box in several places is not mapped where each page would be a question to a server."""
    each, tensor = stored["torch.float32"]
    device = each.file.path.stat().st_dev
    monkeypatch.setattr(_mounts, "_kinds", lambda: {device: True})
    file = WeightFile(each.file.path)
    box = Box((0, 5, 0), (48, 10, 33))
    (found,) = fetch([Want(each._replace(file=file), CPU, each.dtype, box)], "auto")

    assert torch.equal(found, tensor[box.slices])
    assert "pages" not in vars(file)
    file.close()


def test_tensors_off_the_grid_of_their_elements_are_read(tmp_path: Path):
    """Where a file leaves elements on odd addresses, boxes of them come out right all the same."""
    tensors = {"a": drawn((3,), torch.uint8), "b": drawn((200, 300), torch.float32)}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes((length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" " + data[8 + length :])
    each = dict(WeightFile(path).tensors)["b"]
    box = Box((0, 100), (200, 50))

    assert each.begin % 4
    for engine in ENGINES:
        (found,) = fetch([Want(each, CPU, torch.float32, box)], "mmap", engine)
        assert torch.equal(found, tensors["b"][box.slices])


@pytest.mark.parametrize("lent", [True, False])
def test_a_box_of_a_tensor_in_memory_is_a_copy(lent: bool):
    """A box of a tensor in memory does not keep the rest of it."""
    tensor = torch.arange(12.0).reshape(4, 3)
    held = Held.of(tensor, lent=lent)
    (part,) = fetch([Want(held, CPU, torch.float32, Box((1, 0), (2, 3)))], "auto")
    (whole,) = fetch([Want(held, CPU, torch.float32, Box((0, 0), (4, 3)))], "auto")

    assert part.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.untyped_storage().nbytes() == part.nbytes
    assert (whole.data_ptr() == tensor.data_ptr()) is not lent


@pytest.mark.parametrize("engine", ENGINES)
def test_a_box_of_a_file_that_was_cut_short_is_an_error(engine: Engine, tmp_path: Path):
    """A file that has become shorter after its header was read is torn, and the error says where it ends."""
    path = tmp_path / "model.safetensors"
    save_file({"a": drawn((512, 512), torch.float32)}, path)
    each = dict(WeightFile(path).tensors)["a"]
    with path.open("r+b") as file:
        file.truncate(each.begin + 5000)
    with pytest.raises(CorruptFileError, match="it ends at byte"):
        fetch([Want(each, CPU, each.dtype, Box((0, 8), (512, 8)))], "copy", engine)


def test_large_tensors_are_cast_in_inference_mode(tmp_path: Path):
    """Several threads fill tensors that were made in inference mode, whole ones and boxes."""
    path = tmp_path / "model.safetensors"
    tensor = drawn((3 << 10, 2 << 10), torch.float32)
    save_file({"a": tensor}, path)
    each = dict(WeightFile(path).tensors)["a"]
    box = Box((0, 1), (3 << 10, 2 << 9))
    with torch.inference_mode():
        for memory in MEMORIES:
            whole, part = Mapped(CPU, memory).bring([Range(each, torch.bfloat16), Range(each, torch.bfloat16, box)])
            assert torch.equal(whole, tensor.bfloat16())
            assert torch.equal(part, tensor[box.slices].bfloat16())
