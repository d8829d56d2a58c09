"""Dtypes, devices, and the memory that tensors come to lie in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel, _device_map, read_tensors
from nameplate_model._placement import Placement


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"

    width: int = 4
    classes: int = 3


class Body(PreTrainedModel):
    """Two layers; what it has of the head's keys belongs to `Classifier`."""

    config_class = NetConfig
    head_prefixes = ("fc.",)

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)


def saved(model_class: type[PreTrainedModel], folder: Path, **fields: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it."""
    model = model_class(model_class.config_class(**fields))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 100).to(tensor.dtype))
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Replace the weights in a folder by what *change* makes of them, as another library would write them."""
    path = folder / "model.safetensors"
    save_file(change({key: tensor.clone() for key, tensor in load_file(path).items()}), path, {"format": "pt"})


def without(*keys: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return a change that removes keys."""
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in keys}


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


KINDS = {
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "of_bool": torch.tensor([True, False, True]),
    "of_uint8": torch.tensor([0, 255], dtype=torch.uint8),
    "of_int16": torch.tensor([-5], dtype=torch.int16),
    "of_uint64": torch.tensor([2**64 - 1], dtype=torch.uint64),
    "of_int64": torch.tensor(2**62),
    "of_complex64": torch.tensor([1 - 2j]),
    "of_float16": torch.tensor([1.5], dtype=torch.float16),
    "of_bfloat16": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "of_float64": torch.tensor([1 / 3], dtype=torch.float64),
    "of_float8_e4m3fn": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
    "of_float8_e5m2": torch.tensor([1.5, -2.0]).to(torch.float8_e5m2),
    "not_a_number": torch.tensor([float("nan"), float("inf"), -0.0]),
}


class Kinds(PreTrainedModel):
    """A buffer of every kind."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        for name, tensor in KINDS.items():
            self.register_buffer(name, torch.zeros_like(tensor))


# ---- dtypes


def test_a_dtype_is_given_to_floating_tensors_only(tmp_path: Path):
    """Parameters and floating buffers are cast, persistent or not; integers, bools and complex ones are not."""
    model = Kinds(NetConfig())
    model.save_pretrained(tmp_path)
    loaded = Kinds.from_pretrained(tmp_path, dtype=torch.float16)

    assert {name: tensor.dtype for name, tensor in loaded.named_buffers()} == {
        name: torch.float16 if tensor.is_floating_point() else tensor.dtype for name, tensor in model.named_buffers()
    }


def test_a_dtype_is_given_to_what_no_file_holds(tmp_path: Path):
    """Buffers that the constructor computed, and parameters that the file lacks, get the dtype as well."""

    class Hiding(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.register_buffer("steps", torch.arange(3.0), persistent=False)
            self.register_buffer("indices", torch.arange(3), persistent=False)

    saved(Hiding, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    loaded = Hiding.from_pretrained(tmp_path, dtype=torch.float16, allow_missing="linear.bias")

    assert (loaded.steps.dtype, loaded.indices.dtype) == (torch.float16, torch.int64)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float16}


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_may_be_a_text(dtype: Any, tmp_path: Path):
    """A dtype is torch's, or its name."""
    saved(Body, tmp_path)

    assert Body.from_pretrained(tmp_path, dtype=dtype).linear.weight.dtype is torch.bfloat16


def test_the_old_name_of_a_dtype_means_the_same(tmp_path: Path):
    """`torch_dtype` casts the weights, as `dtype` does; both at once are an error."""
    saved(Body, tmp_path)

    loaded = Body.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    with pytest.raises(UnknownOptionError, match="dtype and torch_dtype are both given; they mean the same"):
        Body.from_pretrained(tmp_path, torch_dtype=torch.bfloat16, dtype=torch.float16)


@pytest.mark.parametrize("dtype", [None, "checkpoint"])
def test_without_a_dtype_each_tensor_keeps_the_files(dtype: Any, tmp_path: Path):
    """Tensors of different widths come back as they were stored, whatever the constructor uses."""
    model = saved(Body, tmp_path)
    model.linear.double()
    model.norm.half()
    model.save_pretrained(tmp_path)

    assert same(Body.from_pretrained(tmp_path, dtype=dtype), model)


@pytest.mark.parametrize("dtype", ["float33", "int32", torch.int8, 16])
def test_a_dtype_must_be_a_floating_one(dtype: Any, tmp_path: Path):
    """Anything but a floating dtype is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, dtype=dtype)

    assert str(caught.value) == (
        f"dtype must be 'checkpoint', 'auto' or a floating dtype such as torch.bfloat16, found {dtype!r}."
    )


class Rooms(PreTrainedModel):
    """Modules to be named, one below another."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.bodyguard = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)


ROOMS = ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "bodyguard.weight", "bodyguard.bias"]
KEPT = {
    "body": ROOMS[:4],
    "body.1": ROOMS[2:4],
    "*.bias": ["body.0.bias", "body.1.bias", "bodyguard.bias"],
    "scale": ["scale"],
    "hidden": ["hidden"],
    "0": ROOMS[:2],
    "bodyguard.weight": ["bodyguard.weight"],
    "od": [],
    "guard": [],
}


def kept_by(loaded: nn.Module) -> set[str]:
    """Return the names of the tensors that are float32."""
    tensors = [*loaded.named_parameters(), *loaded.named_buffers()]
    return {name for name, tensor in tensors if tensor.dtype == torch.float32}


@pytest.mark.parametrize("pattern", KEPT)
@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_some_tensors_stay_in_float32(pattern: str, memory: str, tmp_path: Path):
    """A shell pattern of a key, or the name of a module or tensor in it, spares what it means a cast."""
    saved(Rooms, tmp_path)
    loaded = Rooms.from_pretrained(tmp_path, dtype=torch.bfloat16, keep_in_fp32=pattern, memory=memory)

    assert kept_by(loaded) == set(KEPT[pattern])


@pytest.mark.parametrize("name", ["keep_in_fp32", "_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"])
@pytest.mark.parametrize("hook", [False, True])
def test_a_class_may_keep_tensors_in_float32(name: str, *, hook: bool, tmp_path: Path):
    """A class declares what stays float32, in our words or in those of Transformers, whichever way it is loaded."""

    class Keeping(Rooms):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            if hook:
                self.register_load_state_dict_post_hook(lambda _module, _keys: None)

    setattr(Keeping, name, ["body"])
    saved(Keeping, tmp_path)
    loaded = Keeping.from_pretrained(tmp_path, dtype=torch.float16, keep_in_fp32=["scale"])

    assert kept_by(loaded) == {*ROOMS[:4], "scale"}


def test_what_stays_in_float32_is_widened(tmp_path: Path):
    """A tensor that is to be float32 is that, also where the file has it narrower; without a cast nothing changes."""
    model = saved(Rooms, tmp_path)
    model.half().save_pretrained(tmp_path)

    assert kept_by(Rooms.from_pretrained(tmp_path, dtype=torch.bfloat16, keep_in_fp32=["body"])) == set(ROOMS[:4])
    assert kept_by(Rooms.from_pretrained(tmp_path, keep_in_fp32=["body"])) == {"hidden"}


def test_a_cast_is_that_of_torch(tmp_path: Path):
    """Every bit of a cast tensor is what `Tensor.to` gives, rounding, infinities and all."""
    values = torch.tensor([1 / 3, 65504.0, 65519.0, 65520.0, 1e-8, -1e-8, -0.0, float("inf"), float("nan"), 3.4e38])
    save_file({"weight": values.repeat(70_000)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")

    class Flat(PreTrainedModel):
        config_class = PreTrainedConfig

        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            self.weight = nn.Parameter(torch.zeros(700_000))

    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn):
        loaded = Flat.from_pretrained(tmp_path, dtype=dtype).weight.detach()
        expected = values.repeat(70_000).to(dtype)

        assert torch.equal(loaded.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("named", ["bfloat16", None])
def test_an_automatic_dtype_is_the_checkpoints(named: str | None, tmp_path: Path):
    """With `dtype="auto"` it is the one that the config names, else that of the first floating tensor in the file."""
    model = saved(Body, tmp_path)
    model.linear.double()
    state = {"norm.num_batches_tracked": torch.tensor(3), **model.state_dict()}
    save_file(state, tmp_path / "model.safetensors")
    config = {"model_type": "net"} | ({"torch_dtype": named} if named else {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    first = next(each for each in read_tensors(tmp_path).values() if each.is_floating_point())
    loaded = Body.from_pretrained(tmp_path, dtype="auto")

    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16 if named else first.dtype}
    assert loaded.norm.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize("default", [torch.float16, torch.float64])
def test_the_default_dtype_does_not_matter(default: torch.dtype, tmp_path: Path):
    """Tensors of the file keep their dtype whatever new tensors would have, and the default is what it was."""
    model = saved(Body, tmp_path)
    torch.set_default_dtype(default)
    try:
        loaded = Body.from_pretrained(tmp_path)
        after = torch.get_default_dtype()
    finally:
        torch.set_default_dtype(torch.float32)

    assert same(loaded, model)
    assert after == default


def test_new_tensors_have_the_default_dtype(tmp_path: Path):
    """What the file lacks is what a plain construction gives under the same default dtype."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    torch.set_default_dtype(torch.float64)
    try:
        loaded = Body.from_pretrained(tmp_path, allow_missing="linear.bias")
    finally:
        torch.set_default_dtype(torch.float32)

    assert (loaded.linear.bias.dtype, loaded.linear.weight.dtype) == (torch.float64, torch.float32)


# ---- devices


@pytest.mark.parametrize("device", ["abacus", 1.5, object])
def test_a_device_must_be_one(device: Any, tmp_path: Path):
    """Anything but a device is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, device=device)

    assert str(caught.value) == f"device must be one such as 'cpu' or 'cuda:0', found {device!r}."


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_the_default_device_is_honoured(device: str, tmp_path: Path):
    """Without a device, every tensor is on the default device."""
    model = saved(Kinds, tmp_path)
    with torch.device(device):
        loaded = Kinds.from_pretrained(tmp_path)

    assert {tensor.device.type for tensor in loaded.buffers()} == {device}
    assert same(loaded.cpu(), model)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory", ["mmap", "copy"])
@pytest.mark.parametrize("name", ["device", "device_map"])
def test_a_device_wins_over_the_default_one(device: str, memory: str, name: str, tmp_path: Path):
    """With a device, every tensor is there with its values, hidden buffers included, whatever the default is."""
    model = saved(Rooms, tmp_path)
    with torch.device("meta"):
        loaded = Rooms.from_pretrained(tmp_path, memory=memory, **{name: device})

    assert {tensor.device.type for tensor in [*loaded.parameters(), *loaded.buffers()]} == {device}
    assert same(loaded.cpu(), model)
    assert loaded.hidden.tolist() == [0, 1, 2]


META = (
    "the device is 'meta', which holds no values, so nothing could be loaded. "
    "Give another one as device=, or call plan_load() to learn what a load would take."
)


@pytest.mark.parametrize("options", [{"device": "meta"}, {"device_map": "meta"}, {"device_map": {"body": "meta"}}, {}])
def test_nothing_is_loaded_without_values(options: dict[str, Any], tmp_path: Path):
    """The meta device, given or by default, is refused, because a model without values is none."""
    saved(Rooms, tmp_path)
    with torch.device("cpu" if options else "meta"), pytest.raises(UnknownOptionError) as caught:
        Rooms.from_pretrained(tmp_path, **options)

    assert str(caught.value) == META


def test_a_device_and_a_map_exclude_each_other(tmp_path: Path):
    """Both would say the same thing twice, or two things."""
    saved(Rooms, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Rooms.from_pretrained(tmp_path, device="cpu", device_map="auto")

    assert str(caught.value) == (
        "device and device_map are both given; a device is a device_map of the whole model, so give one."
    )


MAPS = ["cpu", torch.device("cpu"), "auto", {"": "cpu"}, {"body": "cpu", "body.1": "cpu"}, {}]


@pytest.mark.parametrize("device_map", MAPS, ids=str)
def test_a_map_on_one_device_is_a_plain_load(device_map: Any, tmp_path: Path):
    """Where every module is on one device, the model is the saved one and no hook is needed to run it."""
    model = saved(Rooms, tmp_path)
    with torch.device("cpu"):
        loaded = Rooms.from_pretrained(tmp_path, device_map=device_map)

    assert same(loaded, model) or torch.cuda.is_available()
    assert loaded.load_report.exact


def test_a_map_of_what_is_not_there_is_an_error(tmp_path: Path):
    """A path that is no module's is named, with the nearest one."""
    saved(Rooms, tmp_path)
    for load in (Rooms.from_pretrained, Rooms.plan_load):
        with pytest.raises(UnknownOptionError) as caught:
            load(tmp_path, device_map={"bodyguards": "cpu"})

        assert str(caught.value) == (
            "device_map names 'bodyguards', but Rooms has no such module.\n  Did you mean 'bodyguard'?"
        )


@pytest.mark.parametrize("device_map", [{3: "cpu"}, {"body": "abacus"}, ["cpu"], "everywhere"])
def test_a_map_must_be_one(device_map: Any, tmp_path: Path):
    """Anything but devices by path is an error that shows what was found."""
    saved(Rooms, tmp_path)
    with pytest.raises(UnknownOptionError, match="found "):
        Rooms.from_pretrained(tmp_path, device_map=device_map)


GPU, OTHER, HOST = torch.device("cuda", 0), torch.device("cuda", 1), torch.device("cpu")


def test_the_longest_path_counts():
    """A tensor is on the device of the innermost module that the map names, and else on the device of the rest."""
    placement = Placement(HOST, device_map={"body": GPU, "body.1": OTHER})
    keys = ["body.0.weight", "body.1.weight", "body.10.weight", "bodyguard.weight", "scale"]

    assert [placement.device_of(key) for key in keys] == [GPU, OTHER, GPU, HOST, HOST]


class Blocks(PreTrainedModel):
    """An embedding, blocks in a list, and a head that is tied to the embedding."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(10, 10)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(10, 10)) for _ in range(3))
        self.fc = nn.Linear(10, 10, bias=False)
        self.fc.weight = self.words.weight


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ({HOST: 10_000}, [HOST] * 5),
        ({GPU: 10_000, HOST: 10_000}, [GPU] * 5),
        ({GPU: 500, OTHER: 10_000, HOST: 10_000}, [OTHER] * 5),
        ({GPU: 900, OTHER: 900, HOST: 10_000}, [GPU, GPU, OTHER, OTHER, GPU]),
        ({GPU: 900, HOST: 100}, [GPU, GPU, HOST, HOST, GPU]),
        ({GPU: 0, HOST: 100}, [HOST] * 5),
    ],
)
def test_a_model_is_spread_over_the_devices_present(
    room: dict[torch.device, int], expected: list[torch.device], monkeypatch: pytest.MonkeyPatch
):
    """Accelerators are filled in order, blocks stay whole, ties stay together, and the host takes what is left."""
    monkeypatch.setattr(_device_map, "_free_memory", lambda: room)
    placement = _device_map.spread(Blocks(NetConfig()), Placement(HOST))
    keys = ["words.weight", *(f"layers.{number}.0.weight" for number in range(3)), "fc.weight"]

    assert [placement.device_of(key) for key in keys] == expected


def test_a_cast_makes_room(monkeypatch: pytest.MonkeyPatch):
    """What is planned with is the size after the cast."""
    monkeypatch.setattr(_device_map, "_free_memory", lambda: {GPU: 900, HOST: 10_000})

    assert _device_map.spread(Blocks(NetConfig()), Placement(HOST, torch.bfloat16)).device == GPU
