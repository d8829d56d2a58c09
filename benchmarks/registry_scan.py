"""Finding one announced architecture among many installed packages."""

import json
import sys
import time

ARCHITECTURE = {"AutoConfig": "benchmarks.registry_scan:Config"}
"""What every fake package announces."""


def main(folder: str) -> None:
    """Print how long the first look at the metadata takes, and the first read of a name after it."""
    from nameplate_auto import CONFIG_MAPPING  # noqa: PLC0415 - before the folder is known

    sys.path.append(folder)
    started = time.perf_counter()
    names = CONFIG_MAPPING.names()
    scanned = time.perf_counter()
    entry = CONFIG_MAPPING.find("fake_7")
    found = time.perf_counter()
    assert "fake_7" in names, names
    assert entry.lazy, entry
    print(json.dumps({"scan": 1000 * (scanned - started), "resolve": 1000 * (found - scanned)}))
