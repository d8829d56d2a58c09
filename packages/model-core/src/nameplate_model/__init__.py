"""Save and load any torch module: no weight lost, invented or torn."""

from nameplate_model._backbone_output import BackboneOutput as BackboneOutput
from nameplate_model._into import load_weights as load_weights
from nameplate_model._model import PreTrainedModel as PreTrainedModel
from nameplate_model._model_output import ModelOutput as ModelOutput
from nameplate_model._names import migrates_state as migrates_state
from nameplate_model._parts import read_tensors as read_tensors
from nameplate_model._plan import LoadPlan as LoadPlan
from nameplate_model._report import LoadReport as LoadReport
from nameplate_model._report import Mismatch as Mismatch
from nameplate_model._request import LOAD_OPTIONS as LOAD_OPTIONS
from nameplate_model.errors import AmbiguousCheckpointError as AmbiguousCheckpointError
from nameplate_model.errors import CheckpointError as CheckpointError
from nameplate_model.errors import CommittedError as CommittedError
from nameplate_model.errors import CorruptFileError as CorruptFileError
from nameplate_model.errors import MismatchError as MismatchError
from nameplate_model.errors import MissingRankError as MissingRankError
from nameplate_model.errors import NotCheckpointableError as NotCheckpointableError
from nameplate_model.errors import OutputDefinitionError as OutputDefinitionError
from nameplate_model.errors import RanksDisagreeError as RanksDisagreeError
from nameplate_model.errors import SaveError as SaveError
from nameplate_model.errors import ShardError as ShardError
from nameplate_model.errors import ShardingPlanError as ShardingPlanError
from nameplate_model.errors import UnknownEntryError as UnknownEntryError

__all__ = [
    "LOAD_OPTIONS",
    "AmbiguousCheckpointError",
    "BackboneOutput",
    "CheckpointError",
    "CommittedError",
    "CorruptFileError",
    "LoadPlan",
    "LoadReport",
    "Mismatch",
    "MismatchError",
    "MissingRankError",
    "ModelOutput",
    "NotCheckpointableError",
    "OutputDefinitionError",
    "PreTrainedModel",
    "RanksDisagreeError",
    "SaveError",
    "ShardError",
    "ShardingPlanError",
    "UnknownEntryError",
    "load_weights",
    "migrates_state",
    "read_tensors",
]


def __getattr__(name: str) -> str:
    """Answer `__version__` from the installed metadata, which is the only place it is written."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only when somebody asks

        return version("nameplate-model")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
