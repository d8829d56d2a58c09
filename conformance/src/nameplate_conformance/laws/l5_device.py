"""Level 5: devices change where tensors are, never what they are."""

from nameplate_conformance.bits import bits, every_tensor, require_same, state_bits
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, law, require


@law("D02", "moving keeps every bit", level=5, needs=["S01"], per_device=True)
def moving_keeps_every_bit(case: Case, evidence: Evidence) -> None:
    """A model moved to the device and back to the host has the bits that it had: moving is no arithmetic."""
    model = case.poisoned()
    before = state_bits(model)
    moved = model.to(case.device).to("cpu")
    require_same(before, state_bits(moved), evidence, what="tensors", when=f"moved to {case.device.type} and back")


@law("D04", "loading to a device is loading and moving", level=5, needs=["S02", "D02"], per_device=True)
def loading_to_a_device_is_loading_and_moving(case: Case, evidence: Evidence) -> None:
    """Loading straight to a device gives the tensors that loading to the host and moving gives, buffers that are not
    persistent included, and leaves nothing elsewhere."""
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        direct = case.model_class.from_pretrained(folder, device=case.device)
        moved = case.model_class.from_pretrained(folder).to(case.device)
        elsewhere = [name for name, each in every_tensor(direct).items() if each.device.type != case.device.type]
        require(not elsewhere, f"not on {case.device.type}: {', '.join(elsewhere[:4])}")
        one = {name: bits(tensor) for name, tensor in every_tensor(moved).items()}
        other = {name: bits(tensor) for name, tensor in every_tensor(direct).items()}
    require_same(one, other, evidence, what="tensors", when=f"loaded straight to {case.device.type}")
