"""What others check: eight tests in the manner of Transformers' own testers, for `selftest --compare`.

Each follows one of `ModelTesterMixin` or `ConfigTester` (Transformers 5.23, ``tests/test_modeling_common.py`` and
``tests/test_configuration_common.py``): one config, written by hand there and the second covering row here; weights as
they are initialised; outputs compared within a tolerance. They are here to be compared with, and judge nobody.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.drawing.coverage import rows
from nameplate_conformance.instruments.answers import batch_size, named
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.isolation import isolated

_TOLERANCE = 1e-5
_LEAST_GRADIENT = 1e-6
_LARGEST_MEAN = 1.0

Test = Callable[[Case], None]


def rejected(architecture: Architecture) -> list[str]:
    """Return the names of the tests that an architecture fails, or that it raises something in."""
    heads = list(architecture.models)
    if not heads:
        return []
    # Whoever writes one config by hand does not write the simplest, but one in which every part does something.
    case = Case(architecture, heads[0], rows(architecture)[:2][-1], torch.device("cpu"))
    return [name for name, test in TESTS.items() if not _passes(test, case)]


def _passes(test: Test, case: Case) -> bool:
    with isolated():
        try:
            test(case)
        except Exception:  # noqa: BLE001 - whatever is raised, the test has failed
            return False
    return True


def _config(case: Case) -> None:
    """`run_common_tests`: the JSON holds every argument, and a saved config has the same dict."""
    config = case.config()
    values = json.loads(config.to_json_string())
    assert all(values[name] == json.loads(json.dumps(value)) for name, value in case.kwargs.items())
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        assert case.config_class.from_pretrained(folder).to_dict() == config.to_dict()


def _initialization(case: Case) -> None:
    """`test_initialization`: the mean of every trainable parameter is within minus one and one."""
    for parameter in case.model().parameters():
        assert not parameter.requires_grad or -_LARGEST_MEAN <= parameter.data.mean().item() <= _LARGEST_MEAN


def _determinism(case: Case) -> None:
    """`test_determinism`: the first output of two passes differs by little, where it is a number."""
    model = case.model()
    _assert_close(_first(case.answer(model)), _first(case.answer(model)))


def _save_load(case: Case) -> None:
    """`test_save_load`: the first output of the loaded model differs by little."""
    model = case.model()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = case.model_class.from_pretrained(folder)
        _assert_close(_first(case.answer(model)), _first(case.answer(loaded.eval())))


def _safetensors(case: Case) -> None:
    """`test_can_use_safetensors`: nothing is missing, and each parameter of the state dict is close."""
    model = case.model()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        assert any(path.suffix == ".safetensors" for path in Path(folder).iterdir())
        loaded, report = case.model_class.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        after = loaded.state_dict()
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(after[name], tensor, equal_nan=True)


def _training(case: Case) -> None:
    """`test_training`: a step backwards raises nothing."""
    _gradients(case, checkpointing=False)


def _checkpointing(case: Case) -> None:
    """`check_training_gradient_checkpointing`: the same parameters get a gradient that is not tiny."""
    if case.model().supports_gradient_checkpointing:
        assert _gradients(case, checkpointing=False) == _gradients(case, checkpointing=True)


def _batching(case: Case) -> None:
    """`test_batching_equivalence`: the first row alone gives almost what it gives in the batch."""
    model = case.model()
    inputs = case.inputs(model)
    rows = batch_size(inputs)
    alone = {name: value[:1] if value.dim() and len(value) == rows else value for name, value in inputs.items()}
    with torch.no_grad():
        whole, single = named(model(**inputs)), named(model(**alone))
    for name, tensor in single.items():
        _assert_close(whole[name][: len(tensor)] if tensor.dim() else tensor, tensor)


def _gradients(case: Case, *, checkpointing: bool) -> set[str]:
    model = case.model().train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    answer = model(**case.inputs(model))
    sum(tensor.float().mean() for tensor in named(answer).values() if tensor.is_floating_point()).backward()  # type: ignore[union-attr]
    large = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {name for name, gradient in large.items() if bool((gradient.abs() > _LEAST_GRADIENT).any())}


def _first(answer: Any) -> Tensor:
    """Return the first output: theirs is ``outputs[0]``."""
    return next(iter(named(answer).values()))


def _assert_close(one: Tensor, other: Tensor) -> None:
    both = ~(torch.isnan(one.double()) | torch.isnan(other.double()))
    if bool(both.any()):
        assert (one.double()[both] - other.double()[both]).abs().max() <= _TOLERANCE


TESTS: Mapping[str, Test] = {
    "config": _config,
    "initialization": _initialization,
    "determinism": _determinism,
    "save_load": _save_load,
    "safetensors": _safetensors,
    "training": _training,
    "checkpointing": _checkpointing,
    "batching": _batching,
}
"""The tests by name."""
