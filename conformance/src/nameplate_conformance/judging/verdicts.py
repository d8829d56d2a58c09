"""What the processes of one run have judged, in a folder that they share: what one knows, no other judges again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nameplate_config.files import locked, replace_file
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.records.journal import result_from_json, result_to_json
from nameplate_conformance.result import Result, Status

_DIED = "the process that judged it died, or was ended because it took too long"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A folder of verdicts.

    Attributes:
        folder: The folder, which must exist.
    """

    folder: Path

    def judge(self, cell: Cell, attempt: Callable[[Cell], Result]) -> Result:
        """Return the verdict on a cell: the one in the folder, or that of an attempt, which is put there.

        Whoever asks while another process attempts the same cell waits for it. A cell whose attempt ended a process
        is not attempted again: it would end this one too.

        Args:
            cell: What is judged.
            attempt: Judges it.
        """
        place = self.folder / hashlib.sha256("\0".join(cell.key).encode()).hexdigest()[:16]
        place.mkdir(exist_ok=True)
        verdict, begun = place / "verdict.json", place / "begun"
        with locked(place) as alone:
            if verdict.exists():
                return result_from_json(json.loads(verdict.read_bytes()))
            if alone and begun.exists():
                return cell.result(Status.ERROR, message=_DIED)
            begun.touch()
            result = attempt(cell)
            replace_file(verdict, [json.dumps(result_to_json(result)).encode()])
            return result
