"""What it costs to find an architecture by its name: from a folder, in a list, in an error, among many packages."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_least, at_most, duration, noise

PACKAGES = (10, 100, 1_000, 10_000)
"""How many installed packages announce an architecture, in the curve of the scan."""

_LESS_CPU = 20
_MORE_MEMORY = 25
_MOST_TIME = 1
_MIB = 1 << 20

_SAVE = {
    "nameplate_auto": "from nameplate_resnet import ResnetConfig; ResnetConfig().save_pretrained({folder!r})",
    "transformers": "from transformers import ResNetConfig; ResNetConfig().save_pretrained({folder!r})",
}

_PEAK = """
with open("/proc/self/status") as status:  # what a parent hands down counts in the system's own figure
    print(1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""

_FROM_A_FOLDER = "from {library} import AutoConfig; AutoConfig.from_pretrained({folder!r})" + _PEAK

_OPERATIONS = "from benchmarks.registry_{side} import main; main()"

_SCAN = "from benchmarks.registry_scan import main; main({folder!r})"

_TITLES = {
    "listing": "list every name",
    "error": "the error about an unknown type",
    "register": "register one more",
    "resolving": "resolve a registered name",
}
_NOTES = (
    "Ours with 1,000 explicit entries.",
    "Transformers' list is that of the configs of `AutoModel`, its error that of `from_config` with an unknown one.",
    "Modules are those that the first such call imports.",
)
_SCAN_NOTES = (
    "Fake distributions, one entry point each, in a folder of their own.",
    "The scan is the first look at the metadata of everything on `sys.path`, with the page cache warm.",
    "Resolving is the first look-up of one announced name after it, without importing its class.",
    "Growth is against the row before, after the smallest row was taken off as what the other packages cost.",
)

Measured = Mapping[str, Figures]


def measure(rounds: int) -> dict[str, Figures]:
    """Write the folders and packages, then return the figures of everything."""
    with tempfile.TemporaryDirectory() as folder:
        for library in ("nameplate_auto", "transformers"):
            run(_SAVE[library].format(folder=f"{folder}/{library}"))
        programs = {"python": "pass" + _PEAK}
        programs |= {
            each: _FROM_A_FOLDER.format(library=each, folder=f"{folder}/{each}")
            for each in ("nameplate_auto", "transformers")
        }
        programs |= {side: _OPERATIONS.format(side=side) for side in ("ours", "theirs")}
        for count in PACKAGES:
            packages = Path(folder, str(count))
            _install(packages, count)
            programs[str(count)] = _SCAN.format(folder=str(packages))
        return compare(programs, rounds=rounds)


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("a whole process", "CPU", "peak", "above bare Python", "goal", "noise")
    yield Section("AutoConfig.from_pretrained of a local folder", columns, list(_process_rows(figures)))
    columns = ("a registry", "ours", "modules", "goal", "Transformers", "modules", "ratio", "noise")
    yield Section("Asking for names", columns, list(_operation_rows(figures)), _NOTES)
    columns = ("packages", "scan", "growth", "noise", "resolve one", "noise")
    yield Section("Among many installed packages", columns, list(_scan_rows(figures)), _SCAN_NOTES)


def _process_rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    python, ours, theirs = (figures[name] for name in ("python", "nameplate_auto", "transformers"))
    for title, each in (("python -c pass", python), ("nameplate-auto", ours), ("Transformers", theirs)):
        more = (each.median("answer") - python.median("answer")) / _MIB
        yield (
            title,
            duration(1000 * each.median("cpu")),
            f"{each.median('answer') / _MIB:.0f} MiB",
            f"{more:.1f} MiB",
            at_most(more, _MORE_MEMORY, " MiB") if each is ours else "",
            noise(each.spread("cpu")),
        )
    ratio = theirs.median("cpu") / ours.median("cpu")
    yield "Transformers / ours", f"{ratio:.0f}x", "", "", at_least(ratio, _LESS_CPU), ""


def _operation_rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    ours, theirs = figures["ours"], figures["theirs"]
    for name, title in _TITLES.items():
        mine, modules = ours.median(name), ours.median(f"{name} modules")
        other = theirs.median(name)
        yield (
            title,
            duration(mine),
            f"{modules:.0f}",
            f"{at_most(mine, _MOST_TIME, ' ms')}, {at_most(modules, 0, '')}",
            duration(other),
            f"{theirs.median(f'{name} modules'):.0f}",
            f"{other / mine:.0f}x",
            noise(max(ours.spread(name), theirs.spread(name))),
        )


def _scan_rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    least = figures[str(PACKAGES[0])].median("scan")
    before = 0.0
    for count in PACKAGES:
        each = figures[str(count)]
        own = each.median("scan") - least
        growth = f"{own / before:.1f}x" if before > 0 else ""
        before = own
        scan, resolve = each.median("scan"), each.median("resolve")
        yield (
            f"{count:,}",
            duration(scan),
            growth,
            noise(each.spread("scan")),
            duration(resolve),
            noise(each.spread("resolve")),
        )


def _install(folder: Path, count: int) -> None:
    """Write the metadata of packages that announce one architecture each."""
    for number in range(count):
        info = folder / f"fake_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{number}\nVersion: 1.0\n")
        point = f"fake_{number} = benchmarks.registry_scan:ARCHITECTURE"
        (info / "entry_points.txt").write_text(f"[nameplate.architectures]\n{point}\n")
