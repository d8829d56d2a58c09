"""Any number of threads may build and load at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


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


# ---- threads


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


def test_threads_do_not_mix_dtypes(tmp_path: Path):
    """Threads that load in different dtypes each get their own."""
    saved(Net, tmp_path)
    dtypes = [torch.float32, torch.bfloat16] * 4

    def work(dtype: torch.dtype) -> set[torch.dtype]:
        loaded = [Net.from_pretrained(tmp_path, dtype=dtype) for _ in range(10)]
        return {parameter.dtype for each in loaded for parameter in each.parameters()}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, dtypes))

    assert found == [{dtype} for dtype in dtypes]


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
