"""Going on with a run that was cut short: what its journal must agree on with the run that goes on."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nameplate_config.wording import listed, sentences, shown
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.records.circumstances import Circumstances
from nameplate_conformance.result import Result

if TYPE_CHECKING:
    from nameplate_conformance.judging.cell import Cell

_WAY_OUT = "Give the options of the run that wrote it, or leave out --resume to judge everything."


def resumed(path: Path, circumstances: Circumstances, wanted: "Iterable[Cell]") -> list[Result]:
    """Return the results of an earlier run that a run need not find again.

    Args:
        path: The journal of the earlier run.
        circumstances: Those of the run that goes on.
        wanted: What it is asked for.

    Raises:
        ConformanceError: If something that results depend on is not the same, or the journal has results that nobody
            asks for now.
        RecordError: If the file is no journal.
    """
    from nameplate_conformance.judging.schedule import with_needs  # noqa: PLC0415 - torch takes seconds
    from nameplate_conformance.records.journal import read_journal  # noqa: PLC0415 - only whoever goes on needs it

    journal = read_journal(path)
    before, now = _decisive(journal.circumstances), _decisive(circumstances)
    for what in {**before, **now}:
        if before.get(what) != now.get(what):
            said = f"there {what} is {_said(before.get(what))}, here it is {_said(now.get(what))}."
            raise ConformanceError(sentences(f"{path} cannot be resumed: {said}", _WAY_OUT))
    keys = with_needs(wanted).keys()
    extra = [each for each in journal.report.results if (each.architecture, each.law, each.device) not in keys]
    if extra:
        found = listed(f"{each.law} of {each.architecture} on {each.device}" for each in extra)
        message = sentences(f"{path} cannot be resumed: it has results that are not asked for here: {found}.", _WAY_OUT)
        raise ConformanceError(message)
    return list(journal.report.results)


def _decisive(circumstances: Circumstances) -> dict[str, object]:
    """Return what results depend on, by how messages call it."""
    architectures = {
        f"the architecture {each.label}": " ".join(filter(None, (each.reference, each.distribution, each.version)))
        for each in circumstances.subjects
    }
    return {
        "the specification": circumstances.spec,
        "the profile": circumstances.profile,
        "the seed": circumstances.seed,
        **{f"the version of {name}": found for name, found in circumstances.versions.items()},
        **architectures,
    }


def _said(value: object) -> str:
    return "not given" if value is None else shown(value)
