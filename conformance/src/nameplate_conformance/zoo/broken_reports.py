"""Mutants of level 3, the report: loads that hide what differs, or do half of what they should."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import nameplate_model
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of, reference
from nameplate_model import MismatchError


def _never_strict() -> Architecture:
    class LenientModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("strict", False)
            return super().from_pretrained(source, **kwargs)

    return of(LenientModel)


def _zeros_for_other_shapes() -> Architecture:
    class ZeroingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            for each in model.load_report.mismatched:
                torch.nn.Module.state_dict(model)[each.name].zero_()
            return model

    return of(ZeroingModel)


def _everything_is_head() -> Architecture:
    class HeadlessModel(ZooModel):
        head_prefixes = ("layers.", "norm.", "offset", "")

    return of(HeadlessModel)


def _initialises_the_body() -> Architecture:
    class EagerModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if model.load_report.transferred:
                model.norm.reset_parameters()
            return model

    return of(EagerModel)


def _saves_the_old_names() -> Architecture:
    class NostalgicModel(ZooModel):
        old_names: tuple[tuple[str, str], ...] = ()

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if "key_mapping" in kwargs:
                model.old_names = model.load_report.renamed
            return model

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            state = super().state_dict(*args, **kwargs)
            for new, old in self.old_names:
                state[old] = state.pop(new)
            return state

    return of(NostalgicModel)


@contextmanager
def _fills_until_it_fails() -> Iterator[None]:
    """Break `load_weights` as torch's `load_state_dict` is: what fits has been copied when it raises."""
    load = nameplate_model.load_weights

    def fill(module: Any, source: Any, **policy: Any) -> Any:
        try:
            return load(module, source, **policy)
        except MismatchError as error:
            load(module, source, **{**policy, "strict": False, "ignore_mismatched_sizes": True})
            raise error from None

    nameplate_model.load_weights = fill
    try:
        yield
    finally:
        nameplate_model.load_weights = load


REPORT_MUTANTS = (
    Mutant("NeverStrict", "S09", "differences are allowed unless somebody forbids them", _never_strict),
    Mutant("ZerosForOtherShapes", "S09", "what has another shape in the file is zero", _zeros_for_other_shapes),
    Mutant("EverythingIsHead", "S10", "head_prefixes cover the body", _everything_is_head),
    Mutant("InitialisesTheBody", "S10", "a swap of heads initialises the norm of the body", _initialises_the_body),
    Mutant("FillsUntilItFails", "S11", "load_weights has copied half when it raises", reference, _fills_until_it_fails),
    Mutant("SavesTheOldNames", "S19", "what was loaded under old names is saved under them", _saves_the_old_names),
)
