"""Level 3, the trip: what is saved is what is loaded, and neither saving nor loading does anything else."""

import hashlib
from pathlib import Path

import torch

from nameplate_conformance.instruments.bits import output_bits, require_same, same_bytes, state_bits, weights
from nameplate_conformance.instruments.oracle import read_checkpoint
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, law, require


@law("S01", "weights survive", level=3, needs=["A03", "C02", "M02", "M08", "S05"], per_device=True)
def weights_survive(case: Case, evidence: Evidence) -> None:
    """Every parameter and persistent buffer of a model whose values initialisation could not give comes back bit for
    bit, under the same keys; the file holds exactly them, read by an independent reader; and the loaded model is
    in evaluation mode."""
    model = case.poisoned()
    state = weights(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        stored = read_checkpoint(folder)
        loaded = case.model_class.from_pretrained(folder)
        require_same(state, state_bits(loaded), evidence, what="tensors", when="saved and loaded")
    foreign = sorted(set(stored) - set(state))
    require(not foreign, f"the file holds keys that the model lacks: {', '.join(foreign[:4])}")
    wrong = [name for name, kept in stored.items() if not same_bytes(state[name], kept.data)]
    require(not wrong, f"the file holds other bytes for: {', '.join(wrong[:4])}")
    require(not loaded.training, "the loaded model is in training mode")


@law("S02", "a loaded model computes the same", level=3, needs=["S01", "M05", "M06", "M09"], per_device=True)
def loaded_model_computes_the_same(case: Case, evidence: Evidence) -> None:
    """A loaded model answers with the same bits. What no file holds, such as a buffer that is not persistent, must
    follow from the config."""
    model = case.poisoned()
    with case.folder() as folder:
        model.save_pretrained(folder)
        loaded = case.model_class.from_pretrained(folder, device=case.device)
        before, after = output_bits(case.answer(model)), output_bits(case.answer(loaded))
    require_same(before, after, evidence, what="outputs", when="saved, loaded and run")


@law("S05", "saving changes nothing", level=3, needs=["C01", "M01"])
def saving_changes_nothing(case: Case, evidence: Evidence) -> None:
    """Saving a model does not change its tensors, its config, its mode, the random state, or any file outside the
    folder that it is saved into."""
    model = case.poisoned().train()
    state, config, random = state_bits(model), Snapshot.of(model.config.to_dict()), torch.get_rng_state()
    with case.folder() as around:
        (around / "bystander").write_text("untouched")
        model.save_pretrained(around / "checkpoint")
        left = sorted(entry.name for entry in around.iterdir())
        require(left == ["bystander", "checkpoint"], f"saving left {left} beside the folder")
    require_same(state, state_bits(model), evidence, what="tensors", when="saved")
    config.require_unchanged(model.config.to_dict(), "saving changed the model's config:")
    require(torch.equal(random, torch.get_rng_state()), "saving drew from the global random state")
    require(all(module.training for module in model.modules()), "saving changed the mode of a module")
    evidence.count("values", len(config.texts))


@law("S06", "loading changes nothing", level=3, needs=["S01"])
def loading_changes_nothing(case: Case, evidence: Evidence) -> None:
    """Loading a model does not change the folder that it is loaded from, a config that is passed in, the global
    random state, or torch's default dtype and device."""
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        config = case.config()
        values, files, random = Snapshot.of(config.to_dict()), _fingerprint(folder), torch.get_rng_state()
        defaults = (torch.get_default_dtype(), torch.get_default_device())
        case.model_class.from_pretrained(folder, config=config)
        require(_fingerprint(folder) == files, "loading changed the folder that it loaded from")
    values.require_unchanged(config.to_dict(), "loading changed the config that was passed in:")
    require(torch.equal(random, torch.get_rng_state()), "loading drew from the global random state")
    require(defaults == (torch.get_default_dtype(), torch.get_default_device()), "loading changed torch's defaults")
    evidence.count("files", len(files))


def _fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        entry.name: (hashlib.sha256(entry.read_bytes()).hexdigest(), entry.stat().st_mtime_ns)
        for entry in sorted(folder.iterdir())
    }
