"""The instruments of the laws: bits, poison, oracle, isolation, snapshots."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.bits import Bits, bits, output_bits, require_same, same_bytes, state_bits
from nameplate_conformance.instruments.oracle import read_safetensors
from nameplate_conformance.instruments.poison import poison
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.judging.isolation import isolated, process_state
from nameplate_conformance.law import Evidence
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel


def test_bits_tell_zero_from_minus_zero():
    """Equal numbers with other bits differ."""
    assert bits(torch.tensor([0.0])) != bits(torch.tensor([-0.0]))


def test_bits_of_nan_are_equal():
    """The same NaN is the same."""
    assert bits(torch.tensor([float("nan")])) == bits(torch.tensor([float("nan")]))


def test_bits_tell_dtypes_and_shapes():
    """The same bytes in another shape or dtype differ."""
    assert bits(torch.zeros(2, 3)) != bits(torch.zeros(3, 2))
    assert bits(torch.zeros(2, dtype=torch.int32)) != bits(torch.zeros(2))


def test_bits_are_a_copy():
    """Changing a tensor afterwards does not change what was noted."""
    tensor = torch.ones(2)
    noted = bits(tensor)
    tensor.zero_()

    assert noted == bits(torch.ones(2))


ONE = bits(torch.ones(1))


@pytest.mark.parametrize(
    ("after", "said"),
    [({"a": bits(torch.zeros(1))}, "differ: a of 1"), ({}, "lost: a"), ({"a": ONE, "b": ONE}, "added: b")],
)
def test_require_same_notices_every_difference(after: dict[str, Bits], said: str):
    """A changed, a lost and an added tensor each break the law."""
    with pytest.raises(LawBrokenError, match=f"looked at: tensors {said}"):
        require_same({"a": ONE}, after, Evidence(), what="tensors", when="looked at")


def test_outputs_are_found_in_nested_answers():
    """Dicts, lists and tuples are searched, and each tensor keeps its path."""
    answer = {"a": torch.ones(1), "b": [torch.ones(2), (torch.ones(3),)]}

    assert list(output_bits(answer)) == ["output['a']", "output['b'][0]", "output['b'][1][0]"]


def test_poison_changes_every_tensor():
    """After poisoning, every parameter and persistent buffer differs from its initial value."""
    model = ZooModel(ZooConfig(width=3))
    before = state_bits(model)
    poison(model, 0)
    after = state_bits(model)

    assert [name for name in before if before[name] == after[name]] == []


def test_poison_depends_on_seed_and_name_alone():
    """The same seed poisons two models alike; another seed does not."""
    models = [ZooModel(ZooConfig(width=3)) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        poison(model, seed)
    one, same, other = map(state_bits, models)

    assert one == same
    assert one != other


def test_poison_keeps_indices_within_their_range():
    """Integer buffers are permuted, not filled: they may be indices."""
    model = torch.nn.Module()
    model.register_buffer("index", torch.arange(4))
    poison(model, 0)

    assert model.get_buffer("index").tolist() == [3, 2, 1, 0]


def test_oracle_reads_what_safetensors_writes(tmp_path: Path):
    """The independent reader agrees with the library on names, shapes and bytes."""
    tensors = {"a": torch.arange(6, dtype=torch.int16).reshape(2, 3), "b": torch.ones(0)}
    save_file(tensors, tmp_path / "x.safetensors")
    read = read_safetensors(tmp_path / "x.safetensors")

    assert {name: each.shape for name, each in read.items()} == {"a": (2, 3), "b": (0,)}
    assert all(same_bytes(bits(tensors[name]), each.data) for name, each in read.items())


def test_isolation_puts_everything_back():
    """Whatever a block changes of the process is undone at its end."""
    before = process_state()
    with isolated():
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(mode=False)
        os.environ["CONFORMANCE_TEST"] = "1"
        os.chdir("/")

    assert process_state() == before


def test_isolation_fills_fresh_memory():
    """Inside the block uninitialised memory is NaN, so that reading it cannot look right."""
    with isolated():
        fresh = torch.empty(3)

    assert fresh.isnan().all()


def test_snapshot_notices_a_change():
    """A value that is no longer what it was breaks the law and is named."""
    noted = Snapshot.of({"a": [1], "b": 2})

    with pytest.raises(LawBrokenError, match=r"it changed a \(\[1\] → \[1, 2\]\)"):
        noted.require_unchanged({"a": [1, 2], "b": 2}, "it changed")
