"""What a type checker sees: nothing here runs; `hatch run types` reads it."""  # noqa: INP001 - no package

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import torch
from torch import nn

from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_model import (
    BackboneOutput,
    LoadPlan,
    LoadReport,
    Mismatch,
    MismatchError,
    ModelOutput,
    PreTrainedModel,
    SaveError,
    load_weights,
    migrates_state,
    read_tensors,
)


class LineConfig(PreTrainedConfig):
    """A config with a typed field."""

    model_type = "line"
    width: int = 3


class Line(PreTrainedModel):
    """A model that narrows its config."""

    config: LineConfig

    def __init__(self, config: LineConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, 1)


@dataclass
class Scores(ModelOutput):
    """An answer with an entry that may be None."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class LongLine(Line):
    """A subclass that inherits the constructor."""


def check_construction(config: LineConfig) -> None:
    """A constructor returns its class, and its arguments are checked."""
    assert_type(Line(config), Line)
    assert_type(LongLine(config=config), LongLine)
    assert_type(Line.from_config(config), Line)
    Line(3)  # pyrefly: ignore[bad-argument-type]
    Line()  # pyrefly: ignore[missing-argument]


def check_attributes(model: Line) -> None:
    """A model is a torch module with a config, a report and a count."""
    module: nn.Module = model
    assert_type(module.training, bool)
    assert_type(model.config, LineConfig)
    assert_type(model.config.width, int)
    assert_type(model.load_report, LoadReport | None)
    assert_type(model.num_parameters(only_trainable=True), int)


def check_loading(folder: Path, *, flag: bool) -> None:
    """A load returns the class, and the report beside it if that is asked for."""
    assert_type(Line.from_pretrained(folder), Line)
    assert_type(LongLine.from_pretrained("org/line", dtype=torch.bfloat16, width=4), LongLine)
    assert_type(Line.from_pretrained(folder, output_loading_info=False), Line)
    assert_type(Line.from_pretrained(folder, output_loading_info=True), tuple[Line, LoadReport])
    assert_type(Line.from_pretrained(folder, output_loading_info=flag), Line | tuple[Line, LoadReport])
    assert_type(Line.from_pretrained(None, config=LineConfig(), state_dict={}), Line)
    Line.from_pretrained(3)  # pyrefly: ignore[bad-argument-type]


def check_parts(folder: Path, module: nn.Module) -> None:
    """A plan is a typed record, a part a dict of tensors, and filling a module gives its report."""
    plan = Line.plan_load(folder)
    assert_type(plan, LoadPlan)
    assert_type(plan.bytes, int)
    assert_type(plan.missing, tuple[str, ...])
    assert_type(read_tensors(folder, "linear.*"), dict[str, torch.Tensor])
    assert_type(load_weights(module, folder), LoadReport)
    plan.bytes = 3  # pyrefly: ignore[read-only]


@migrates_state(1, 2)
def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what it was given; the mark keeps its type."""
    return state


def check_marks(state: dict[str, torch.Tensor]) -> None:
    """A marked migration is still the function that it was."""
    assert_type(renamed(state), dict[str, torch.Tensor])


def check_saving(model: Line, folder: Path) -> None:
    """A folder is a path or a text."""
    assert_type(model.save_pretrained(folder), None)
    model.save_pretrained("line")
    model.save_pretrained(3)  # pyrefly: ignore[bad-argument-type]


def check_report(report: LoadReport) -> None:
    """A report is a typed record that cannot be changed, and a mapping of Transformers' keys."""
    assert_type(report.missing, tuple[str, ...])
    assert_type(report.mismatched, tuple[Mismatch, ...])
    assert_type(report.exact, bool)
    assert_type(report.verdict("linear.weight"), str)
    assert_type(report.renamed, tuple[tuple[str, str], ...])
    assert_type(report.built_for_real, str | None)
    assert_type(report.keys(), Iterator[str])
    assert_type(dict(report), dict[str, Any])
    report.missing = ()  # pyrefly: ignore[read-only]


def check_errors(error: MismatchError) -> None:
    """The error tree can be caught at any level, by our name or by the builtin's."""
    root: NameplateError = error
    builtin: RuntimeError = error
    system: type[OSError] = SaveError
    assert_type(error.report, LoadReport | None)
    print(root, builtin, system)  # noqa: T201 - so that they are used


def check_outputs(scores: Scores, backbone: BackboneOutput, logits: torch.Tensor) -> None:
    """An answer has the attributes that its class declares, and is a dict."""
    assert_type(scores.logits, torch.Tensor)
    assert_type(scores.loss, torch.Tensor | None)
    assert_type(scores.copy(), Scores)
    assert_type(scores[:1], tuple[Any, ...])
    assert_type(backbone.feature_maps, tuple[torch.Tensor, ...])
    entries: dict[str, Any] = scores
    assert_type(entries["logits"], Any)
    Scores(logits, loss=None)
    Scores(logit=logits)  # pyrefly: ignore[missing-argument, unexpected-keyword]
    Scores("logits")  # pyrefly: ignore[bad-argument-type]
    scores.loss = 3  # pyrefly: ignore[bad-assignment]
