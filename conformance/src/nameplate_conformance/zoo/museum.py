"""The museum: which mutants are mistakes that somebody has really made, where they were reported, and some more."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of

_TRANSFORMERS = "https://github.com/huggingface/transformers"


def _saving_marks_the_config() -> Architecture:
    class MarkingModel(ZooModel):
        def save_pretrained(self, folder: Any, **options: Any) -> None:
            marked: Any = self.config
            marked.stored_as = str(self.norm.weight.dtype)
            super().save_pretrained(folder, **options)

    return of(MarkingModel)


def _initialises_what_it_loaded() -> Architecture:
    class ForgetfulModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
            return model

    return of(ForgetfulModel)


MUSEUM_MUTANTS = (
    Mutant(
        "SavingMarksTheConfig",
        "S05",
        "saving writes the dtype into the live config",
        _saving_marks_the_config,
        museum=f"{_TRANSFORMERS}/issues/31861",
    ),
    Mutant(
        "InitialisesWhatItLoaded",
        "S01",
        "weights that were loaded are initialised again",
        _initialises_what_it_loaded,
        museum=f"{_TRANSFORMERS}/issues/46620",
    ),
)
"""Mutants that were bred for the museum alone."""

REPORTED = MappingProxyType(
    {
        "CopiesWhatIsNeeded": f"{_TRANSFORMERS}/issues/36653",
        "CountsBatchesTwice": "https://github.com/pytorch/pytorch/issues/96136",
        "FindsCodeByName": f"{_TRANSFORMERS}/issues/45632",
        "FollowsAnyPath": f"{_TRANSFORMERS}/issues/46097",
        "FollowsTheDefaultDtype": "https://github.com/vectorize-io/hindsight/pull/2167",
        "HidesAChange": f"{_TRANSFORMERS}/pull/7943",
        "LeavesTheSingleFile": "https://github.com/huggingface/diffusers/issues/14769",
        "LoadingThaws": "https://github.com/vllm-project/speculators/pull/594",
        "MakesItsOwnFloat32": f"{_TRANSFORMERS}/issues/47743",
        "MasksWithAHugeNumber": f"{_TRANSFORMERS}/pull/4436",
        "MissesNoShard": "https://github.com/vllm-project/vllm/issues/34859",
        "NeverStrict": f"{_TRANSFORMERS}/issues/32067",
        "PadsWhatIsCut": "https://github.com/osaurus-ai/vmlx-swift/pull/217",
        "TerseError": f"{_TRANSFORMERS}/issues/36386",
        "UninitialisedBuffer": f"{_TRANSFORMERS}/issues/45902",
        "UninitialisedBuffers": f"{_TRANSFORMERS}/issues/48892",
        "WritesIntoTheOldFile": "https://github.com/safetensors/safetensors/issues/762",
        "WritesOnlyTheDifference": f"{_TRANSFORMERS}/pull/25237",
    }
)
"""Where the mistakes of other mutants were reported, by the mutant's name."""


def exhibited(mutants: Iterable[Mutant]) -> Iterator[Mutant]:
    """Yield mutants, those that are mistakes which were reported with their links."""
    for mutant in mutants:
        yield replace(mutant, museum=mutant.museum or REPORTED.get(mutant.name, ""))
