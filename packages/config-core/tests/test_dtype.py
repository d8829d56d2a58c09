"""Names of dtypes: texts that equal the `torch.dtype`, and torch is never imported for them."""

import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch

from nameplate_config import ConfigError, DType, PreTrainedConfig
from nameplate_config._dtype import DTYPE_NAMES


class Net(PreTrainedConfig):
    """A config with dtypes beside the common one."""

    model_type = "net"

    compute: DType = "float32"
    per_part: dict[str, DType] = {}
    accumulate: torch.dtype = torch.float64


@pytest.mark.parametrize("given", [torch.bfloat16, "bfloat16", "torch.bfloat16"])
@pytest.mark.parametrize("how", ["dtype", "torch_dtype", "compute"])
def test_a_dtype_is_its_name(how: str, given: Any):
    """The object and its name are the same value, in the attribute, in the file and after a load."""
    config = Net(**{how: given})
    loaded = Net.from_dict(json.loads(config.to_json_string()))
    name = "dtype" if how == "torch_dtype" else how

    assert config.to_dict()[name] == "bfloat16"
    for value in (getattr(config, how), getattr(loaded, how)):
        assert value == "bfloat16"
        assert value == torch.bfloat16
        assert torch.bfloat16 == value
        assert value != torch.float32
        assert value in {"bfloat16", "other"}


def test_a_dtype_is_an_ordinary_text():
    """It is hashed, formatted, copied and pickled as its name."""
    value = Net(dtype=torch.float16).dtype

    assert (hash(value), f"{value}", repr(value)) == (hash("float16"), "float16", "'float16'")
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == torch.float16


def test_synonyms_are_one_name():
    """Other names of torch for a dtype are stored as its own."""
    names = ["half", "float", "double", "short", "int", "long", "cfloat", "cdouble"]

    assert [Net(compute=name).compute for name in names] == [getattr(torch, name) for name in names]


def test_every_dtype_of_torch_is_known():
    """Whatever dtype torch has may be given, and the names that need no torch are those that it has."""
    dtypes = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}

    assert all(Net(compute=dtype).compute == dtype for dtype in dtypes)
    assert len(set(DTYPE_NAMES)) == len(DTYPE_NAMES)


def test_a_field_of_dtypes_holds_dtypes():
    """A field that is annotated with `torch.dtype` gives the object back."""
    loaded = Net.from_dict(json.loads(Net(accumulate=torch.float16).to_json_string()))

    assert loaded.accumulate is torch.float16
    assert Net(accumulate="bfloat16").accumulate is torch.bfloat16


def test_containers_hold_dtypes():
    """A dtype may stand wherever a type may."""
    config = Net(per_part={"head": torch.float32, "body": "half"})

    assert config.per_part == {"head": "float32", "body": "float16"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("bfloat61", "found 'bfloat61'. Did you mean 'bfloat16'?"),
        ("auto", "found 'auto'"),
        (32, "found 32"),
        ("torch.nn", "found 'torch.nn'"),
    ],
)
def test_other_texts_are_no_dtypes(value: Any, says: str):
    """What names no dtype is refused, with the nearest that does."""
    with pytest.raises(ConfigError) as caught:
        Net(compute=value)

    assert f"compute: expected the name of a dtype, such as 'float32', {says}" in str(caught.value)


def test_two_names_for_the_dtype_must_agree():
    """A file may hold both, and `dtype` counts, as in Transformers."""
    assert Net.from_dict({"dtype": "float16", "torch_dtype": "float32"}).dtype == "float16"
    assert Net.from_dict({"dtype": None, "torch_dtype": "float32"}).dtype == "float32"


def test_torch_is_not_imported():
    """A process that names, saves and loads a dtype never imports torch."""
    code = """
import sys
from nameplate_config import DType, PreTrainedConfig
class Net(PreTrainedConfig):
    compute: DType = "float32"
config = Net(dtype="bfloat16", compute="torch.half")
assert Net.from_dict(config.to_dict()) == config
assert "torch" not in sys.modules and "huggingface_hub" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
