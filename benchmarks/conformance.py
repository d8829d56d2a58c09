"""What judging costs: sixteen laws and the ci profile on the reference, and the import of the pytest plugin.

The sixteen are those of the prototype that the suite was designed on; each is judged on fifteen configs. The ci
profile takes minutes, so it is run once and its row says so.
"""

from collections.abc import Iterator, Mapping

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_most, noise

_SIXTEEN = (
    *("C01", "M01", "M02", "M03", "M04", "M05", "M06", "M07", "M08", "M14"),
    *("S01", "S02", "S03", "S04", "S05", "T02"),
)
_JUDGE = """
import json, time
from nameplate_conformance.judging.profiles import PROFILES, Profile
from nameplate_conformance.judging.references import named
from nameplate_conformance.judging.runner import check
reference = named("nameplate_resnet")
PROFILES["bench"] = Profile(name="bench", examples=15, rows=6)
started = time.perf_counter()
report = check(reference, profile={profile!r}, laws={laws!r})
assert report.passed, report.roots()
seconds = time.perf_counter() - started
examples = sum(each.examples for each in report.results)
print(json.dumps({{"seconds": seconds, "examples": examples, "laws": len(report.results)}}))
"""
_PLUGIN = """
import json, sys, time
import pytest
before = set(sys.modules)
started = time.perf_counter()
import nameplate_conformance.plugin
seconds = 1000 * (time.perf_counter() - started)
foreign = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(json.dumps({"milliseconds": seconds, "foreign": len(foreign - {"nameplate_conformance"})}))
"""
_MOST_SECONDS = 20
_MOST_SECONDS_OF_CI = 180
_MOST_MILLISECONDS = 30
_NOTES = ("Seconds of judging, without the import of torch.", "Of the ci profile there is one sample, so no noise.")

Measured = Mapping[str, Figures]


def measure(rounds: int) -> dict[str, Figures]:
    """Return the figures: those of ci from a single run."""
    sixteen = _JUDGE.format(profile="bench", laws=list(_SIXTEEN))
    figures = compare({"sixteen": sixteen, "plugin": _PLUGIN}, rounds=rounds)
    return {**figures, "ci": Figures([run(_JUDGE.format(profile="ci", laws=[]))])}


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("judging the ResNet on the host", "laws", "examples", "seconds", "goal", "noise")
    yield Section("Judging", columns, list(_rows(figures)), _NOTES)
    plugin = figures["plugin"]
    time = plugin.median("milliseconds")
    row = (
        *("import of the pytest plugin", f"{time:.1f} ms", at_most(time, _MOST_MILLISECONDS, "")),
        *(
            f"{plugin.median('foreign'):.0f}",
            at_most(plugin.median("foreign"), 0, ""),
            noise(plugin.spread("milliseconds")),
        ),
    )
    yield Section("The plugin", ("what", "time", "goal, ms", "packages beside Python's", "goal", "noise"), [row])


def _rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    for what, name, goal in (
        ("sixteen laws, fifteen configs each", "sixteen", _MOST_SECONDS),
        ("all laws, ci profile, once", "ci", _MOST_SECONDS_OF_CI),
    ):
        each = figures[name]
        seconds = each.median("seconds")
        counts = (f"{each.median('laws'):.0f}", f"{each.median('examples'):,.0f}")
        yield (what, *counts, f"{seconds:.1f}", at_most(seconds, goal, " s"), noise(each.spread("seconds")))
