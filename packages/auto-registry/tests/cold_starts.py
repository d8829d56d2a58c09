"""Starts many processes at once that load the same code for the first time, round after round, and counts failures.

Run as a script with a folder and a number of rounds, it writes one line of JSON. Its children are forks of a process
that has imported everything but that code: there is nothing on the disk that a second start could find.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from nameplate_auto import AutoConfig, read_remote_code

PROCESSES = 8

FILES = {
    "conf.py": (
        "from nameplate_config import PreTrainedConfig\nfrom .sizes import WIDTH\nfrom .deep.part import DEPTH\n\n\n"
        "class C(PreTrainedConfig):\n    model_type = 'cold'\n    width: int = WIDTH\n    depth: int = DEPTH\n"
    ),
    "sizes.py": "from . import deep\n\nWIDTH = 8\n",
    "deep/__init__.py": "",
    "deep/part.py": "from ..sizes import WIDTH\n\nDEPTH = WIDTH // 2\n",
}
EXPECTED = [8, 4]


def write(folder: Path, number: int) -> str:
    """Write a checkpoint whose code nobody has seen yet, and return its digest."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{text}# {number}\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "cold", "auto_map": {"AutoConfig": "conf.C"}}))
    return read_remote_code(folder).digest


def load(folder: Path, digest: str) -> None:
    """Load the checkpoint; fail if anything about it is wrong."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=digest)
    assert [config.width, config.depth] == EXPECTED, config


def failures_of(folder: Path, digest: str) -> int:
    """Return how many of the processes of one round fail; they wait until all are there."""
    reading, writing = os.pipe()
    children = []
    for _ in range(PROCESSES):
        child = os.fork()
        if not child:
            status = 1
            try:
                os.close(writing)
                os.read(reading, 1)  # returns as soon as the last end for writing is closed
                load(folder, digest)
                status = 0
            except BaseException:  # noqa: BLE001 - it is counted, and shown
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    os.close(reading)
    os.close(writing)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def main() -> None:
    """Run the rounds."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    found = [failures_of(folder, write(folder, number)) for number in range(rounds)]
    sys.stdout.write(json.dumps({"rounds": rounds, "loads": rounds * PROCESSES, "failures": sum(found)}))


if __name__ == "__main__":
    main()
