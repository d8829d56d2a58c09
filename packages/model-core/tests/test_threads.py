"""Any number of threads may build and load at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel, load_weights, read_tensors


class BoxConfig(PreTrainedConfig):
    """A config with one size."""

    model_type = "box"
    width: int = 4


class Box(PreTrainedModel):
    """What the models below have in common."""

    config_class = BoxConfig


class Net(Box):
    """Layers with every common initialiser, and buffers of both kinds."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(8, config.width, padding_idx=0)
        self.conv = nn.Conv1d(config.width, config.width, 3, padding=1)
        self.norm = nn.BatchNorm1d(config.width)
        self.attention = nn.MultiheadAttention(config.width, 2)
        self.scale = nn.Parameter(torch.full((config.width,), 0.5))
        self.register_buffer("steps", torch.arange(3.0))
        self.register_buffer("hidden", torch.arange(1.0, 9.0), persistent=False)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(tensor=self.conv.bias)


def saved(model_class: type[PreTrainedModel], folder: Path) -> PreTrainedModel:
    """Save a model with drawn weights and return it in evaluation mode."""
    model = model_class(BoxConfig()).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.rand(tensor.shape))
    model.save_pretrained(folder)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_threads_build_and_load_at_once(tmp_path: Path):
    """Of eight threads, four build plain models and four load: each has real, initialised or loaded weights."""
    model = saved(Net, tmp_path)
    start = threading.Barrier(8)

    def work(worker: int) -> bool:
        start.wait()
        if worker % 2:
            return all(same(Net.from_pretrained(tmp_path), model) for _ in range(15))
        plain = [nn.Linear(4, 4) for _ in range(200)] + [Net(BoxConfig()).conv for _ in range(15)]
        return all(not each.weight.is_meta and bool(each.weight.any()) for each in plain)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(8)))

    assert answers == [True] * 8


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64] * 4


@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_threads_do_not_mix_dtypes(memory: str, tmp_path: Path):
    """Sixteen threads that load in different dtypes at once each get their own, with the right values."""
    model = saved(Net, tmp_path)
    expected = {dtype: {name: each.to(dtype) for name, each in model.named_parameters()} for dtype in set(DTYPES)}
    start = threading.Barrier(16)

    def work(dtype: torch.dtype) -> bool:
        start.wait()
        loads = [dict(Net.from_pretrained(tmp_path, dtype=dtype, memory=memory).named_parameters()) for _ in range(5)]
        return all(
            loaded[name].dtype == dtype and torch.equal(loaded[name], tensor)
            for loaded in loads
            for name, tensor in expected[dtype].items()
        )

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(work, DTYPES))

    assert answers == [True] * 16


def test_threads_leave_no_state(tmp_path: Path):
    """After sixteen threads have loaded at once, torch's defaults, random state and functions are what they were."""
    saved(Net, tmp_path)
    names = sorted(name for name in dir(nn.init) if not name.startswith("_"))

    def state() -> list[object]:
        defaults = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        return [*defaults, nn.Module.register_parameter, nn.Parameter.__new__, *(getattr(nn.init, n) for n in names)]

    before, random = state(), torch.get_rng_state()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda dtype: Net.from_pretrained(tmp_path, dtype=dtype), DTYPES * 2))

    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)
    assert not torch.overrides._get_current_function_mode_stack()
    assert nn.Linear(2, 2).weight.any()


def test_threads_with_devices_of_their_own(tmp_path: Path):
    """A default device belongs to the thread that set it: loads beside it are not refused or moved."""
    model = saved(Net, tmp_path)
    start = threading.Barrier(8)

    def work(worker: int) -> str:
        start.wait()
        for _ in range(10):
            if worker % 2:
                if not same(Net.from_pretrained(tmp_path), model):
                    return "wrong"
                continue
            with torch.device("meta"), pytest.raises(UnknownOptionError, match="the device is 'meta'"):
                Net.from_pretrained(tmp_path)
        return "right"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == ["right"] * 8


def test_threads_read_parts_and_fill_modules(tmp_path: Path):
    """Reading tensors, planning and filling modules beside loads does no harm to any of them."""
    model = saved(Net, tmp_path)
    state = model.state_dict()

    def work(worker: int) -> bool:
        if worker % 4 == 0:
            return same(Net.from_pretrained(tmp_path), model)
        if worker % 4 == 1:
            module = Net(BoxConfig())
            return load_weights(module, tmp_path).exact and same(module, model)
        if worker % 4 == 2:
            return Net.plan_load(tmp_path).allowed
        return all(torch.equal(tensor, state[name]) for name, tensor in read_tensors(tmp_path, "conv.*").items())

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(64))) == [True] * 64


def test_plain_models_do_not_repeat_while_another_thread_loads(tmp_path: Path):
    """No two layers that are initialised during loads have the same weights."""
    saved(Net, tmp_path)
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            Net.from_pretrained(tmp_path)

    thread = threading.Thread(target=load)
    thread.start()
    weights = {tuple(nn.Linear(4, 4).weight.flatten().tolist()) for _ in range(1000)}
    done.set()
    thread.join()

    assert len(weights) == 1000
