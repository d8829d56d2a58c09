"""Generations of a checkpoint: models of one architecture that cannot be taken for one another, nor for a mix.

Every weight differs from generation to generation, and the config carries the number. So a load says of which saves
its parts are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nameplate_config import PreTrainedConfig
from nameplate_conformance.faults.film import Film, Recorder, filmed, lay_out
from nameplate_conformance.faults.forks import Ending
from nameplate_conformance.faults.ptrace import unsupported
from nameplate_conformance.instruments.bits import Bits, state_bits, weights
from nameplate_conformance.instruments.poison import poison
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import broken, inapplicable
from nameplate_model import PreTrainedModel

NUMBER = "conformance_generation"
"""The key of the config that holds the number."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A model that is saved.

    Attributes:
        number: Tells it from others.
        model: The model.
        weights: The bits of its state.
    """

    number: int
    model: PreTrainedModel
    weights: Mapping[str, Bits]

    def save(self, folder: Path, *, shards: bool = False, variant: str | None = None) -> None:
        """Save the model as its class does, in one file or in about three."""
        options: dict[str, Any] = {} if variant is None else {"variant": variant}
        if shards:
            options["max_shard_size"] = max(1, sum(each.data.numel() for each in self.weights.values()) // 3)
        self.model.save_pretrained(folder, **options)


def generations(case: Case, count: int, *, first: int = 1) -> list[Generation]:
    """Return so many generations, in order. A law that asks does not apply to a model without weights."""
    return list(_generations(case, range(first, first + count)))


def _generations(case: Case, numbers: Iterable[int]) -> Iterator[Generation]:
    for number in numbers:
        model = case.model(numbered(case, number))
        poison(model, 4 * number + case.seed)
        yield Generation(number, model, weights(model))


def numbered(case: Case, number: int) -> PreTrainedConfig:
    """Return the config of the case with a number in it."""
    return case.config_class.from_dict({**case.config().to_dict(), NUMBER: number})


def name_of(number: object) -> str:
    """Return what `seen` says of a generation that is there whole."""
    return f"generation {number}"


def seen(case: Case, folder: Path, known: Sequence[Generation], **options: Any) -> str:
    """Load a folder and say which generation it holds, or of which its parts are.

    Args:
        case: Whose model is loaded.
        folder: From where.
        known: Everything that was ever saved there.
        **options: Of the load.

    Raises:
        Exception: Whatever the load raises.
    """
    loaded = case.model_class.from_pretrained(folder, **options)
    number, found = getattr(loaded.config, NUMBER, None), state_bits(loaded)
    whole = [each.number for each in known if each.weights == found]
    if number in whole:
        return name_of(number)
    return f"the config of {name_of(number)} and {_parts(found, known)}"


def seen_or_error(case: Case, folder: Path, known: Sequence[Generation], **options: Any) -> str:
    """Do what `seen` does, and say of a load that failed how it did."""
    try:
        return seen(case, folder, known, **options)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is seen
        return f"nothing that loads ({type(error).__name__}: {error})"


def film_of_save(generation: Generation, folder: Path, *, shards: bool) -> Film:
    """Save a generation and return a film of it, or of another save from the same start if much stayed unseen."""
    recorder = Recorder(folder)
    start = recorder.film().frames[0].held
    film = filmed(lambda: generation.save(folder, shards=shards), folder)
    if not film.unseen:
        return film
    if unsupported() is not None:
        if not film.calls:
            inapplicable("its save changes files in a way that can only be seen by ptrace, which is not to be had here")
        return film
    lay_out(folder, start)
    return _traced(generation, folder, shards=shards)


def _traced(generation: Generation, folder: Path, *, shards: bool) -> Film:
    from nameplate_conformance.faults.tracer import run_traced  # noqa: PLC0415 - Linux only

    def work() -> str:
        generation.save(folder, shards=shards)
        return ""

    recorder = Recorder(folder)
    ending: Ending
    _, ending = run_traced(work, folder, watch=recorder.note)
    if ending.answer is None:
        broken(f"saved in a process of its own, it fails: {ending.sentence}")
    return recorder.film()


def _parts(found: Mapping[str, Bits], known: Sequence[Generation]) -> str:
    """Say of which generations the tensors are."""
    parts = []
    for each in known:
        count = sum(each.weights.get(name) == tensor for name, tensor in found.items())
        if count:
            parts.append(f"{count} of {len(found)} tensors of {name_of(each.number)}")
    return ", ".join(parts) or "tensors that nobody saved"
