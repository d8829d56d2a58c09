"""How long it takes two ranks to save and to load what they share, against one process and torch's own ways.

Every sample is a world of fresh processes on this machine, which talk over gloo and have one thread each; the time is
that of the rank that takes longest. Ours and some of the others wait until what they save is on the disk, and others do
not, so all of it is done twice: on the disk and in memory, where there is nothing to wait for.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import Figures, Sample
from benchmarks.ranks_start import run
from benchmarks.report import Section, at_least, at_most, duration, noise
from benchmarks.stack import Shape

MIB = 1 << 20
RANKS = 2
SHAPES = {"small": Shape(2, 2 * MIB), "large": Shape(64, 512 * MIB)}
_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory is what is wanted
_PATIENCE = 300.0
_OF_ALL = {"disk", "written"}
_NOT_A_NUMBER = float("nan")


class Way(NamedTuple):
    """A way to save or to load, as the tables call it.

    Attributes:
        title: In a table.
        name: That of its function.
        cut: How the layers are cut.
    """

    title: str
    name: str
    cut: str = "rows"


_OURS = Way("ours", "ours")
_RAW, _FLUSHED = Way("raw write, one process", "raw"), Way("raw write, one process, flushed", "raw_flushed")
_GATHER, _SHARDED = Way("gather, then safetensors", "gather"), Way("DCP, safetensors of each rank", "sharded")
_NATIVE = Way("DCP, its own format", "native")
_CONSOLIDATED = Way("DCP, consolidated into one file", "consolidated")
SAVES = (
    *(_RAW, _FLUSHED, _OURS, Way("ours, cut by columns", "ours", "columns")),
    *(_GATHER, _NATIVE, _SHARDED, _CONSOLIDATED),
)

_MAPPED, _READER = Way("ours", "mapped"), Way("DCP's reader of safetensors", "reader")
_COPIED, _COPIED_COLUMNS = Way("ours, copied", "copied"), Way("ours, copied, cut by columns", "copied", "columns")
_COUNTED = (_MAPPED, _COPIED, _COPIED_COLUMNS)
LOADS = (
    *(_MAPPED, Way("ours, cut by columns", "mapped", "columns"), _COPIED, _COPIED_COLUMNS),
    *(_READER, Way("one rank reads and scatters", "scatter")),
)

_OF_RAW, _FASTER, _FASTER_THAN_CONSOLIDATED, _LOADS_FASTER, _SPARE, _OF_SHARE = 1.3, 3.0, 6.0, 5.0, 64.0, 1.05
_BARS = {_GATHER: _FASTER, _NATIVE: _FASTER, _SHARDED: _FASTER, _CONSOLIDATED: _FASTER_THAN_CONSOLIDATED}

_SAVE_NOTES = (
    "Returned is when the call is over on every rank; on the disk is when what it wrote has been flushed, too.",
    "Against a raw write of one process that is flushed, where there is a disk. Memory is what a rank takes at most on",
    "top of the model; written is what both ranks hand to the disk, of the model.",
)
_LOAD_NOTES = (
    "Read is the time to look at every page of what was loaded: nobody gets a fast load for nothing. DCP's reader and",
    "the scattering fill a model that is there already; ours also makes it. Bytes are what the rank that reads most",
    "reads by calls, or the pages of the file that its parts lie on where these are mapped, of its share. From the",
    "disk is what it reads for both ranks if nothing is in the page cache, of the checkpoint. Memory is what a rank",
    "takes at most.",
)


def measure(rounds: int) -> dict[str, Figures]:
    """Write the checkpoint, then return the figures of every way."""
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=_MEMORY) as memory:
        sources = _written(Path(disk))
        worlds = dict(_worlds(sources, {"disk": disk, "memory": memory}))
        samples: dict[str, list[Sample]] = {name: [] for name in worlds}
        once = {name: counted() for name, (_, counted) in worlds.items()}
        for _ in range(rounds):
            for name, (timed, _) in worlds.items():
                sample = timed()
                answers = {**once[name].answers, **sample.answers}
                samples[name].append(replace(sample, answers=answers))
        return {name: Figures(taken) for name, taken in samples.items()}


def _written(folder: Path) -> dict[str, str]:
    """Write the stacks that are loaded, and return their folders."""
    from benchmarks.stack_ours import write  # noqa: PLC0415 - slow to import, as all that measures here

    folders = {name: folder / name for name in SHAPES}
    for name, shape in SHAPES.items():
        write(str(folders[name]), shape)
    return {name: str(each) for name, each in folders.items()}


_World = Callable[[], Sample]


def _worlds(sources: Mapping[str, str], places: Mapping[str, str]) -> Iterator[tuple[str, tuple[_World, _World]]]:
    """Yield how to take a sample of each way: of its time, and of what it takes otherwise."""
    for place, folder in places.items():
        for way in SAVES:
            asked = way.name, way.cut, sources, folder
            yield f"save, {place}: {way.title}", _pair("benchmarks.ranks_saving", asked)
    for way in LOADS:
        yield f"load: {way.title}", _pair("benchmarks.ranks_loading", (way.name, way.cut, sources))


def _pair(module: str, asked: Sequence[Any]) -> tuple[_World, _World]:
    return lambda: _sample(f"{module}:timed", asked), lambda: _sample(f"{module}:counted", asked)


def _sample(job: str, asked: Sequence[Any]) -> Sample:
    """Run a world, and return the most that any rank says of each figure, or what all of them say together."""
    started = time.perf_counter()
    every = run(job, RANKS, asked, _PATIENCE)
    wall = time.perf_counter() - started
    answers = {name: max(each[name] for each in every) for name in every[0]}
    for name in _OF_ALL & answers.keys():
        answers[name] = sum(each[name] for each in every)
    return Sample(wall=wall, cpu=_NOT_A_NUMBER, memory=_NOT_A_NUMBER, answer=_NOT_A_NUMBER, answers=answers)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    size = f"{SHAPES['large'].size // MIB:,} MiB of float32 on {RANKS} ranks"
    columns = ("with", "returned", "on the disk", "of a raw write", "ours is faster", "goal", "memory", "goal", "noise")
    for place, where in {"disk": "on the disk", "memory": "in memory"}.items():
        found = {way: figures[f"save, {place}: {way.title}"] for way in SAVES}
        yield Section(f"Saving {size}, {where}", (*columns, "written"), list(_saves(found, place)), _SAVE_NOTES)
    found = {way: figures[f"load: {way.title}"] for way in LOADS}
    columns = ("with", "load", "read", "ours is faster", "goal", "bytes of its share", "goal", "from the disk")
    yield Section(f"Loading {size}", (*columns, "memory", "noise"), list(_loads(found)), _LOAD_NOTES)


def _saves(found: Mapping[Way, Figures], place: str) -> Iterator[tuple[str, ...]]:
    raw = found[_FLUSHED if place == "disk" else _RAW].median("save")
    ours = found[_OURS].median("save")
    for way, each in found.items():
        taken = each.median("save")
        times = duration(taken), duration(taken + each.median("flush")), f"{taken / raw:.2f}x"
        memory = each.median("memory") / MIB
        written = f"{each.median('written') / SHAPES['large'].size:.2f}x" if place == "disk" else ""
        if way.name == "ours":
            goals = "", at_most(taken / raw, _OF_RAW) if way is _OURS else "", f"{memory:.0f} MiB"
            goals = (*goals, at_most(memory, _SPARE, " MiB"))
        else:
            bar = _BARS.get(way)
            faster = f"{taken / ours:.1f}x" if bar else ""
            goals = faster, at_least(taken / ours, bar) if bar else "", f"{memory:.0f} MiB", ""
        yield way.title, *times, *goals, noise(each.spread("save")), written


def _loads(found: Mapping[Way, Figures]) -> Iterator[tuple[str, ...]]:
    ours = found[_MAPPED].median("load")
    for way, each in found.items():
        taken = each.median("load")
        faster = "" if way is _MAPPED else f"{taken / ours:.1f}x"
        goal = at_least(taken / ours, _LOADS_FASTER) if way is _READER else ""
        share, share_goal = "", ""
        if way in _COUNTED:
            read = each.median("calls") + (each.median("pages") if way is _MAPPED else 0)
            share = f"{read / each.median('share'):.3f}x"
            share_goal = at_most(read / each.median("share"), _OF_SHARE)
        disk = f"{each.median('disk') / SHAPES['large'].size:.2f}x"
        times = duration(taken), duration(each.median("read"))
        memory = f"{each.median('memory') / MIB:.0f} MiB"
        yield way.title, *times, faster, goal, share, share_goal, disk, memory, noise(each.spread("load"))
