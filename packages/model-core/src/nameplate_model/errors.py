"""What can go wrong with weights: the branch of the error tree that grows from `nameplate_config.NameplateError`.

NameplateError
├─ NotCheckpointableError (ValueError)  a model in which gradient checkpointing finds nothing to do
├─ OutputDefinitionError  (TypeError)   an output class that is no dataclass, or has a field that cannot be an entry
├─ UnknownEntryError      (KeyError)    an entry that an output does not have
├─ ShardingPlanError      (ValueError)  a plan that does not say how to cut this model on this mesh
└─ CheckpointError     (RuntimeError)   weights that cannot be read, do not fit, or cannot be written
├─ MismatchError                     keys or shapes that do not fit the model; `.report` has all of them
├─ CorruptFileError                  a weight file that is torn or no safetensors file
├─ ShardError                        an index that names a file or tensor which is not there
├─ AmbiguousCheckpointError          a folder with two checkpoints and nothing that says which counts
├─ RanksDisagreeError                ranks that load or save together, but not the same
├─ MissingRankError (TimeoutError)   a rank that did not come in time to what the others do together
└─ SaveError        (OSError)        the system could not write; the old checkpoint is there, whole
   └─ CommittedError                 it could not finish; the new checkpoint is there, whole
"""

from typing import TYPE_CHECKING

from nameplate_config import NameplateError

if TYPE_CHECKING:
    from nameplate_model._report import LoadReport


class CheckpointError(NameplateError, RuntimeError):
    """Weights that cannot be read, do not fit the model, or cannot be written."""


class MismatchError(CheckpointError):
    """The tensors of a checkpoint do not fit the model. No model is returned.

    Attributes:
        report: The verdict on every key.
    """

    def __init__(self, message: str, report: "LoadReport | None" = None) -> None:
        super().__init__(message)
        self.report = report


class CorruptFileError(CheckpointError):
    """A weight file is torn, or no safetensors file at all."""


class ShardError(CheckpointError):
    """An index names a file that is not there, or a tensor that its file does not hold."""


class AmbiguousCheckpointError(CheckpointError):
    """A folder holds two checkpoints, and nothing says which one counts."""


class RanksDisagreeError(CheckpointError):
    """Ranks that load or save together see different checkpoints, run different versions or want different things."""


class MissingRankError(CheckpointError, TimeoutError):
    """A rank did not come in time to what the others do together, or the store through which they agree is gone."""


class SaveError(CheckpointError, OSError):
    """The system could not write. The folder holds the checkpoint from before, whole, and nothing of the new one."""


class CommittedError(SaveError):
    """The system failed after the commit. The folder holds the new checkpoint, whole; saving again tidies up."""


class NotCheckpointableError(NameplateError, ValueError):
    """Gradient checkpointing was asked for in a model that has nothing to checkpoint."""


class ShardingPlanError(NameplateError, ValueError):
    """A plan does not say how to cut this model on this mesh: it matches nothing, contradicts itself, cuts too far."""


class OutputDefinitionError(NameplateError, TypeError):
    """A subclass of `ModelOutput` is no dataclass, or has a field that cannot be an entry."""


class UnknownEntryError(NameplateError, KeyError, AttributeError):
    """An output has no such entry. A `KeyError` and an `AttributeError`: entries are read and set in both ways."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError would show the quoted repr of the text


for _error in (
    CheckpointError,
    MismatchError,
    CorruptFileError,
    ShardError,
    AmbiguousCheckpointError,
    RanksDisagreeError,
    MissingRankError,
    SaveError,
    CommittedError,
    NotCheckpointableError,
    ShardingPlanError,
    OutputDefinitionError,
    UnknownEntryError,
):
    _error.__module__ = "nameplate_model"  # tracebacks show the name that users import
