"""Level 7, ranks: what befalls one of several processes befalls all of them, and no checkpoint."""

from nameplate_conformance.instruments.bits import weights
from nameplate_conformance.instruments.generations import generations, name_of, seen_or_error
from nameplate_conformance.instruments.slices import (
    CUT_OFF,
    GONE,
    HEALED,
    SAVED,
    home_of,
    killed,
    told,
    values,
)
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Cost, Evidence, Strength, law, require

_WORLD = 2


@law(
    "F08",
    "one rank's damage is everybody's error",
    level=7,
    needs=["K05", "F01"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def damage_of_one_rank_is_everybodys_error(case: Case, evidence: Evidence) -> None:
    """Where the weights that one of several ranks sees are cut off or gone, all of them raise one of our errors, of the
    same class and with the same text, which names that rank; and the next load works. A rank that fails alone leaves
    the others waiting for it until somebody wonders, and of a thousand logs one has the reason."""
    home_of(case)
    weights(case.model())
    values(case, HEALED)
    for number, errand in enumerate((CUT_OFF, GONE)):
        damaged = 0 if (case.seed + number) % _WORLD else 1
        found = told(case, errand)
        silent = [rank for rank, each in enumerate(found) if not each.raised]
        require(not silent, f"{errand}: rank {silent[:1]} raises nothing")
        said = [f"{each.raised}: {each.text}" for each in found]
        require(len(set(said)) == 1, f"{errand}: the ranks raise different errors, {' and '.join(said)}")
        require(found[0].ours, f"{errand}: they raise {said[0]}, which is none of our errors")
        require(f"rank {damaged}" in found[0].text, f"{errand}: the error does not name rank {damaged}: {said[0]}")
        evidence.count("errors", len(found))


@law(
    "F09",
    "a save in slices is all or nothing",
    level=7,
    needs=["K06", "F05"],
    cost=Cost.PROCESS,
)
def save_in_slices_is_all_or_nothing(case: Case, evidence: Evidence) -> None:
    """A save in slices over another checkpoint, of which one rank is killed after any of its changes, the first rank or
    another, and the others soon after it, leaves the old checkpoint or the new one. Of many machines one always
    fails, and it does not wait until nobody saves."""
    home_of(case)
    known = generations(case, 2)
    changes = values(case, SAVED)
    victim = case.seed % _WORLD if changes[case.seed % _WORLD] else 0
    at = changes[victim] * (1 + case.seed) // 5
    with case.folder() as around:
        known[0].save(around / "checkpoint")
        known[1].save(around / "new")
        endings = killed(case, around / "new", around / "checkpoint", victim=victim, at=at)
        found = seen_or_error(case, around / "checkpoint", known)
    came = f"rank {victim} was killed after its change {at} of {changes[victim]}"
    require(endings[victim].ended_by, f"{came}, yet came to an end: {endings[victim]}")
    require(found in {name_of(1), name_of(2)}, f"{came}: there is {found}")
    evidence.count("kills")
