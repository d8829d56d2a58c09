"""Level 6, histories: a model after any sequence of what is done to models."""

import copy
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nameplate_config import fields
from nameplate_conformance.instruments.bits import bits, every_tensor, output_bits, require_same, weights
from nameplate_conformance.instruments.copies import pickled
from nameplate_conformance.instruments.histories import HistoryMachine, judge_histories
from nameplate_conformance.instruments.overlaps import overlapping, same_objects
from nameplate_conformance.instruments.sharing import ties
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.instruments.training import descend
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Cost, Evidence, law

_HISTORIES, _STEPS = 13, 7
_WIDTHS = (torch.float32, torch.float64)
_COUNTS = ("num_labels", "num_classes")
_NOTED = {"architectures", "dtype"}  # what a save notes of the model in its config
_FEW = 3  # trainable parameters: one of them can be frozen, and there is something to train


@law(
    "Z03",
    "a model is what was done to it",
    level=6,
    needs=["M14", "M17", "M18", "S03", "T03", "T04", "D01"],
    cost=Cost.PROCESS,
)
def model_is_what_was_done_to_it(case: Case, evidence: Evidence) -> None:
    """A model that is trained, evaluated, cast, frozen and thawed, checkpointed or not, given another number of labels,
    and between any of these copied, pickled, or saved and loaded, has the same tensors, ties, config, modes and answers
    as one to which only the same arithmetic was done; a copy goes on as the model was, and what is loaded begins as a
    new model does: in evaluation mode, frozen as its class freezes it, not checkpointed."""
    weights(case.model())
    judge_histories(LifeMachine, case, histories=_HISTORIES, steps=_STEPS, evidence=evidence)


class LifeMachine(HistoryMachine):
    """A model that is moved about, and its twin, which stays where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = self.case.poisoned()
        self.twin: Any = self.case.poisoned()
        self.born = _natures(self.twin)
        self.natures = dict(self.born)
        """Which parameters are trained, by what was done and not by what the twin has become."""
        self.frozen: str | None = None
        self.training = False
        self.checkpointing = False
        self.casts: list[torch.dtype] = []

    @property
    def runs(self) -> bool:
        """Whether its inputs have the dtype of its weights."""
        return not self.casts or self.casts[-1] is torch.float32

    @property
    def learns(self) -> bool:
        """Whether it can be trained."""
        return self.runs and len(self.trainable) >= _FEW - 1

    @property
    def trainable(self) -> list[str]:
        """The names of the parameters that are not frozen."""
        return [name for name, each in self.twin.named_parameters() if each.requires_grad]

    @property
    def casts_exactly(self) -> bool:
        """Whether a cast to the other width and back changes nothing."""
        numbers = [each for each in every_tensor(self.twin).values() if each.is_floating_point() or each.is_complex()]
        return (
            bool(numbers)
            and all(each.dtype in _WIDTHS for each in numbers)
            and (bool(self.casts) or all(each.dtype is torch.float32 for each in numbers))
        )

    # ---- arithmetic, done to both

    @precondition(lambda self: self.learns)
    @rule()
    def train(self) -> None:
        """Make a step of training."""
        self.note("train", "a step of training")
        self.training = True
        for each in (self.model, self.twin):
            descend(self.case, each)

    @rule(training=st.booleans())
    def switch(self, *, training: bool) -> None:
        """Put it into training or evaluation mode."""
        self.note("switch", f"train({training})", training=training)
        self.training = training
        for each in (self.model, self.twin):
            each.train(training)

    @precondition(lambda self: self.casts_exactly)
    @rule(dtype=st.sampled_from(_WIDTHS))
    def cast(self, dtype: torch.dtype) -> None:
        """Cast it to another width."""
        self.note("cast", f"to({dtype})", dtype=dtype)
        self.casts.append(dtype)
        for each in (self.model, self.twin):
            each.to(dtype)

    @precondition(lambda self: self.frozen or len(self.trainable) >= _FEW)
    @rule(place=st.integers(0, 9))
    def freeze(self, place: int) -> None:
        """Freeze a parameter, or thaw the one that was frozen."""
        name = self.frozen or self.trainable[place % len(self.trainable)]
        trained = name == self.frozen
        self.note("freeze", f"{name} {'thawed' if trained else 'frozen'}", place=place)
        self.frozen = None if trained else name
        for each in (self.model, self.twin):
            each.get_parameter(name).requires_grad_(trained)
        self.natures |= dict.fromkeys(self.names_of(name), trained)

    def names_of(self, name: str) -> list[str]:
        """Return all names of a parameter that may have several."""
        tensor = self.twin.get_parameter(name)
        return [other for other, each in self.twin.named_parameters(remove_duplicate=False) if each is tensor]

    # ---- what changes no number, done to one

    @precondition(lambda self: self.model.supports_gradient_checkpointing)
    @rule(on=st.sampled_from([True, True, False]))
    def checkpoint(self, *, on: bool) -> None:
        """Switch gradient checkpointing on or off."""
        self.note("checkpoint", f"gradient checkpointing {'on' if on else 'off'}", on=on)
        self.checkpointing = on
        (self.model.gradient_checkpointing_enable if on else self.model.gradient_checkpointing_disable)()

    @rule(way=st.sampled_from(["deepcopy", "pickle", "save and load"]))
    def move(self, way: str) -> None:
        """Go on with a copy, with what comes out of a pickle, or with what was saved and loaded."""
        if way == "pickle" and any(map(is_parametrized, self.model.modules())):
            way = "deepcopy"  # torch pickles no parametrizations
        if way == "deepcopy" and overlapping(self.twin) != same_objects(self.twin):
            way = "save and load"  # torch copies views of a parameter one by one
        self.note("move", way, way=way)
        if way != "save and load":
            self.model = copy.deepcopy(self.model) if way == "deepcopy" else pickled(self.model)
            return
        self.reload()
        for dtype in self.casts:  # what no file holds is as the constructor makes it
            self.model.to(dtype)

    @precondition(lambda self: not self.casts and _count_field(self.case) is not None)
    @rule(more=st.integers(1, 2))
    def resize(self, more: int) -> None:
        """Load with more labels; the twin takes over what depends on them."""
        name = str(_count_field(self.case))
        changed = {name: getattr(self.model.config, name) + more}
        self.note("resize", f"load with {changed}", more=more)
        self.reload(ignore_mismatched_sizes=True, **changed)
        kept = every_tensor(self.twin)
        self.twin = self.case.model(self.model.config)
        state = nn.Module.state_dict(self.model)
        self.twin.load_state_dict({name: _kept(kept.get(name), each) for name, each in state.items()})

    def reload(self, **options: Any) -> None:
        """Save and load, and let the twin begin as a new model does."""
        with self.case.folder() as folder:
            self.model.save_pretrained(folder)
            self.model = self.case.model_class.from_pretrained(folder, **options)
        self.twin.eval()
        self.training, self.checkpointing, self.frozen = False, False, None
        self.natures = dict(self.born)
        for name, trained in self.born.items():
            self.twin.get_parameter(name).requires_grad_(trained)

    # ---- what must hold

    @invariant()
    def look(self) -> None:
        """The model is as its twin and as it was told to be, and so is a copy of it, which answers as the twin does."""
        self.examine(self.model, "")
        other = copy.deepcopy(self.model)
        self.examine(other, "a copy: ")
        if self.runs:
            twin = copy.deepcopy(self.twin)
            expected, found = (output_bits(self.case.answer(each.eval())) for each in (twin, other))
            self.compare(expected, found, "outputs", "a copy in evaluation mode")

    def examine(self, model: Any, what: str) -> None:
        """Require a model to be what was done to it."""
        expected, found = ({name: bits(each) for name, each in every_tensor(m).items()} for m in (self.twin, model))
        self.compare(expected, found, "tensors", what)
        if ties(model) != ties(self.twin):
            self.complain(f"{what}names that are one tensor are others than before")
        if _natures(model) != self.natures:
            self.complain(f"{what}other parameters are frozen")
        if any(module.training is not self.training for module in model.modules()):
            self.complain(f"{what}a module is in another mode")
        if model.is_gradient_checkpointing is not self.checkpointing:
            self.complain(f"{what}gradient checkpointing is {'off' if self.checkpointing else 'on'}")
        Snapshot.of(_config(self.twin)).require_unchanged(_config(model), f"{self.when}{what}the config changed:")

    def compare(self, expected: Any, found: Any, kind: str, what: str) -> None:
        """Require bits to be the same."""
        require_same(expected, found, self.evidence, what=kind, when=f"{self.when}{what}".rstrip(": "))


def _config(model: Any) -> dict[str, Any]:
    return {name: each for name, each in model.config.to_dict().items() if name not in _NOTED}


def _natures(model: nn.Module) -> dict[str, bool]:
    return {name: each.requires_grad for name, each in model.named_parameters(remove_duplicate=False)}


def _count_field(case: Case) -> str | None:
    return next((each.name for each in fields(case.config_class) if each.name in _COUNTS), None)


def _kept(before: torch.Tensor | None, now: torch.Tensor) -> torch.Tensor:
    """Return the tensor that a twin keeps where another number of labels changes nothing about it."""
    return before if before is not None and before.shape == now.shape else now
