"""Loading through torch's own `load_state_dict`, for models in which a module has a say.

Load hooks, an overridden `_load_from_state_dict`, extra state and lazy parameters are honoured as torch does, by
calling it. Here is only what torch leaves out: a verdict on every key, ties, and the nature of parameters.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nameplate_model._report import Mismatch, Verdict
from nameplate_model._state import Sized, Slot, adopt, difference, discord, refill, slots, twins_of
from nameplate_model._weights import Weights
from nameplate_model.errors import CheckpointError


class UnfilledError(CheckpointError):
    """A module's own way of loading left parameters without a value.

    Attributes:
        keys: Their keys.
    """

    def __init__(self, model: nn.Module, keys: Sequence[str]) -> None:
        super().__init__(f"{type(model).__name__}'s own way of loading left {keys[0]!r} without a value.")
        self.keys = keys


def offer(model: nn.Module, tensors: Mapping[str, torch.Tensor], weights: Weights, *, in_place: bool) -> Verdict:
    """Let a model take tensors in its own way.

    Args:
        model: Keeps the tensors that it takes; only its own code may copy them.
        tensors: Those of the file, placed.
        weights: The file, for its ties and its name.
        in_place: Whether the parameters that are there are filled, and not replaced.

    Raises:
        CheckpointError: If the model refuses them for another reason than their shapes.
        UnfilledError: If a parameter without memory is still that: a module may have copied values into it.
    """
    places = {slot.key: slot for slot in slots(model)}
    refused = _discords(places, tensors)
    state = _with_aliases(places, {key: tensors[key] for key in tensors if key not in refused}, weights)
    stored = {id(tensor): weights.tensors[key] for key, tensor in tensors.items()}
    fits = {
        key: difference(places[key].tensor, stored.get(id(tensor), tensor))
        for key, tensor in state.items()
        if key in places
    }
    try:
        answer = model.load_state_dict(of_this_version(model, state), strict=False, assign=True)
    except Exception as error:
        differing = {key: Mismatch(key, *sides) for key, sides in fits.items() if sides is not None}
        if differing.keys().isdisjoint(tensors):
            message = f"{type(model).__name__} could not load {weights.where} in its own way: {error}"
            raise CheckpointError(message) from error
        for slot in places.values():
            slot.put(slot.tensor)  # torch stops nowhere: it has assigned all that fits
        fitting = {key: tensor for key, tensor in tensors.items() if key not in differing}
        return _without(offer(model, fitting, weights, in_place=in_place), {**refused, **differing})
    refused |= _silently_changed(model, places, stored)
    _settle(model, places, in_place=in_place)
    missing: list[str] = list(getattr(answer, "missing_keys", ()))  # an override may answer nothing
    unexpected = [key for key in getattr(answer, "unexpected_keys", ()) if key in tensors]
    _refuse_gaps(model, missing)
    extra = {key for key in state if key.endswith("_extra_state")}
    loaded = (places.keys() | extra).difference(missing, unexpected)
    return _without(Verdict(list(loaded), missing, unexpected, []), refused)


def of_this_version(model: nn.Module, state: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """Return a state dict that says that the model's modules saved it as they are now, not before versions were noted.

    Else batch norms, for one, would not miss what files of 2018 lacked.
    """
    noted: OrderedDict[str, torch.Tensor] = OrderedDict(state)
    modules = model.named_modules(remove_duplicate=False)
    noted._metadata = {path: {"version": module._version} for path, module in modules}  # type: ignore[attr-defined]  # noqa: SLF001
    return noted


def _discords(places: Mapping[str, Slot], tensors: Mapping[str, torch.Tensor]) -> dict[str, Mismatch]:
    """Return the keys for which the file has another value than for the tensor they are tied to."""
    found: dict[str, Mismatch] = {}
    for twins in twins_of(places.values()).values():
        first, *others = [key for key in twins if key in tensors] or [""]
        for key in others:
            sides = discord(first, tensors[first], tensors[key])
            if sides is not None:
                found[key] = Mismatch(key, *sides)
    return found


def _with_aliases(
    places: Mapping[str, Slot], tensors: Mapping[str, torch.Tensor], weights: Weights
) -> dict[str, torch.Tensor]:
    """Return *tensors* and, under every name of a tied tensor, that same tensor."""
    state = {alias: tensors[kept] for alias, kept in weights.tied.items() if kept in tensors} | dict(tensors)
    for twins in twins_of(places.values()).values():
        stored = next((state[key] for key in twins if key in state), None)
        state |= {key: stored for key in twins if stored is not None}
    return state


def _silently_changed(model: nn.Module, places: Mapping[str, Slot], stored: Mapping[int, Sized]) -> dict[str, Mismatch]:
    """Return what torch assigns without a word although it is, say, integers in the place of floats.

    Args:
        model: Has been given its tensors.
        places: What it had before.
        stored: What each tensor was in the file, before a cast, by its `id`.
    """
    found: dict[str, Mismatch] = {}
    for slot in slots(model):
        old = places.get(slot.key)
        if old is not None and not is_lazy(old.tensor) and old.tensor.shape == slot.tensor.shape:
            sides = difference(old.tensor, stored.get(id(slot.tensor), slot.tensor))
            found |= {} if sides is None else {slot.key: Mismatch(slot.key, *sides)}
    return found


def _settle(model: nn.Module, places: Mapping[str, Slot], *, in_place: bool) -> None:
    """Give parameters back what torch's assigning drops: attributes, ties and, if *in_place*, their identity."""
    settle = refill if in_place else adopt
    twins = twins_of(places.values())
    settled: dict[tuple[object, ...], torch.Tensor] = {}
    for slot in list(slots(model)):
        old = places.get(slot.key)
        if old is None or slot.tensor is old.tensor or slot.tensor.is_meta or type(slot.tensor) is not nn.Parameter:
            continue
        tied = id(old.tensor) if id(old.tensor) in twins or not slot.tensor.numel() else None
        nature = tied, tied is None and slot.tensor.data_ptr(), slot.tensor.shape, slot.tensor.requires_grad
        if nature not in settled:
            settled[nature] = settle(old, slot.tensor)
        slot.put(settled[nature])


def _refuse_gaps(model: nn.Module, missing: list[str]) -> None:
    left = [slot.key for slot in slots(model) if slot.tensor.is_meta and slot.key not in missing]
    if left:
        raise UnfilledError(model, left)


def _without(verdict: Verdict, refused: Mapping[str, Mismatch]) -> Verdict:
    """Return a verdict in which *refused* keys count as mismatched, whatever they counted as."""
    loaded, missing = ([key for key in keys if key not in refused] for keys in (verdict.loaded, verdict.missing))
    mismatched = {each.name: each for each in verdict.mismatched} | dict(refused)
    return Verdict(loaded, missing, verdict.unexpected, list(mismatched.values()))
