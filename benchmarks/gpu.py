"""How fast a file in the page cache gets to a CUDA device, as a share of what pinned memory allows in the same run.

The limit is a copy of pinned memory, again and again, with no file at all. Every way loads the same folders: ours by
itself and with every size of its ring, the safetensors library's own, and Transformers'. Without a device nothing is
measured, and the tables say so.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_least, at_most, noise
from benchmarks.stack import Shape

MIB = 1 << 20
SHAPES = (Shape(64, 4096 * MIB), Shape(4096, 4096 * MIB))
THREADS = (1, 2, 4, 8)
BUFFERS = (16 * MIB, 64 * MIB)

_FOUND = """
import torch
print(float(torch.cuda.is_available()))
"""

_CAN_PREFETCH = """
import safetensors
print(float(hasattr(safetensors.safe_open, "prefetch")))
"""

_WRITE = """
from benchmarks.stack_ours import write
from benchmarks.stack import Shape
print(write({folder!r}, {shape!r}))
"""

_LIMIT = """
from benchmarks.gpu_loading import limit
limit()
"""

_LOAD = """
from benchmarks.gpu_loading import {way}, main
main({way}, {folders!r})
"""

_SAVE = """
from benchmarks.gpu_loading import {way}, save
save({way}, {folder!r})
"""

_SHARE, _FASTER, _PEAK, _PINNED, _HOST = 0.8, 3.0, 1.02, 512, 256
_MB = 1e6

_NOTES = (
    "A share is the rate of a load divided by that of copies from pinned memory.",
    "Device and pinned memory are peaks, of the device as a share of the model's bytes.",
)
_RING_NOTES = ("Threads are those that read; each has two buffers, or one where all would be more than 512 MB.",)
_NOTHING = "not measured: no GPU"


def measure(rounds: int) -> dict[str, Figures]:
    """Write the checkpoints, then return the figures of loading them onto the device; none without a device."""
    if not run(_FOUND).answer:
        return {}
    with tempfile.TemporaryDirectory() as parent:
        folders = {_name(shape): str(Path(parent) / str(place)) for place, shape in enumerate(SHAPES)}
        sums = {
            name: (folder, run(_WRITE.format(folder=folder, shape=shape)).answer)
            for shape, (name, folder) in zip(SHAPES, folders.items(), strict=True)
        }
        ways = ["ours", "ring", "mapped", "load_file"]
        ways += ["prefetch"] * bool(run(_CAN_PREFETCH).answer) + ["transformers"] * (
            find_spec("accelerate") is not None
        )
        programs = {"limit": _LIMIT} | {way: _LOAD.format(way=way, folders=sums) for way in ways}
        first = next(iter(folders.values()))
        saves = [way for way in ("ours", "transformers") if way in ways]
        programs |= {f"{way}, saved": _SAVE.format(way=way, folder=first) for way in saves}
        return compare(programs, rounds=rounds)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    if not figures:
        yield Section("From the page cache to the GPU", ("", "figure"), [("everything", _NOTHING)])
        return
    limit = figures["limit"].median("answer")
    columns = ("float32 tensors, way", "GB/s", "share", "goal", "device", "goal", "pinned", "goal", "noise")
    rows = [
        ("pinned memory, no file", f"{limit:.1f}", "100%", "", "", "", "", "", noise(figures["limit"].spread("answer")))
    ]
    ways = [way for way in ("ours", "mapped", "prefetch", "load_file", "transformers") if way in figures]
    rows += [_row(figures[way], way, _name(shape), limit) for shape in SHAPES for way in ways]
    yield Section("From the page cache to the GPU", columns, rows, _NOTES)
    if "transformers" in figures:
        yield _against_transformers(figures)
    columns = ("tensors, buffer", *(f"{threads} threads" for threads in THREADS))
    yield Section(
        "Shares of the limit by the size of the ring", columns, list(_ring_rows(figures["ring"], limit)), _RING_NOTES
    )
    columns = ("saved from the GPU", "GB/s", "host memory", "goal")
    yield Section("Saving from the GPU", columns, list(_save_rows(figures)))


def _row(figures: Figures, way: str, shape: str, limit: float) -> tuple[str, ...]:
    rate, device, pinned = (figures.median(f"{shape}: {figure}") for figure in ("rate", "device", "pinned"))
    ours = way == "ours"
    return (
        f"{shape}, {way}",
        f"{rate:.1f}",
        f"{rate / limit:.0%}",
        at_least(rate / limit, _SHARE) if ours else "",
        f"{device:.3f}x",
        at_most(device, _PEAK) if ours else "",
        f"{pinned / _MB:,.0f} MB",
        at_most(pinned / _MB, _PINNED, " MB") if ours else "",
        noise(figures.spread(f"{shape}: rate")),
    )


def _against_transformers(figures: Mapping[str, Figures]) -> Section:
    rows: list[Sequence[str]] = []
    for shape in map(_name, SHAPES):
        ours, theirs = (figures[way].median(f"{shape}: rate") for way in ("ours", "transformers"))
        rows.append((shape, f"{ours / theirs:.1f}x", at_least(ours / theirs, _FASTER)))
    return Section("Faster than Transformers' device_map", ("float32 tensors", "faster", "goal"), rows)


def _ring_rows(figures: Figures, limit: float) -> Iterator[tuple[str, ...]]:
    for shape in map(_name, SHAPES):
        for buffer in BUFFERS:
            rates = [figures.median(f"{shape}: {threads} x {buffer // MIB}") for threads in THREADS]
            yield f"{shape}, {buffer // MIB} MiB", *(f"{rate / limit:.0%}" for rate in rates)


def _save_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for way in ("ours", "transformers"):
        if f"{way}, saved" in figures:
            rate, host = (figures[f"{way}, saved"].median(figure) for figure in ("rate", "host"))
            goal = at_most(host / _MB, _HOST, " MB") if way == "ours" else ""
            yield way, f"{rate:.2f}", f"{host / _MB:,.0f} MB", goal


def _name(shape: Shape) -> str:
    return f"{shape.size // MIB:,} MiB in {shape.tensors:,}"
