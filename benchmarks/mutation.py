"""Change the libraries at random, one place at a time, and count the changes that the conformance suite notices.

``hatch run bench:mutation [--sample N] [--seed N] [--module NAME] [--output FOLDER]``. Nothing but the suite judges:
no test of a package is run. Each change is judged in a fork of this process, by those laws that run the changed
statement while nothing is changed, and until one is broken. It takes about twenty minutes of one core.
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.mutation_equivalents import reason
from benchmarks.mutation_forks import Ended, forked
from benchmarks.mutation_oracle import Surveyed, judge, survey
from benchmarks.mutation_report import Outcome, Verdict, markdown, sections
from benchmarks.mutation_sites import Mutation, sampled

_SOURCES, _SUITE = Path("packages"), Path("conformance/src")
_RESULTS = Path("benchmarks/results/mutation")
_SAMPLE, _SEED = 2, 0
_LEAST_LINES = 40
_WORDS = {"__init__", "errors", "wording", "_refusals"}
"""Modules that hold names and words."""
_RESNET = "nameplate_resnet"
_LAYOUT = {"INDENT", "DEDENT", "NEWLINE", "NL", "COMMENT", "STRING", "ENDMARKER"}
_WARM = (
    *("hypothesis", "pytest", "safetensors.torch", "timm", "torch", "torch._dynamo", "torch._inductor", "torch.export"),
    *("torch.fx.experimental.proxy_tensor", "torch.testing", "torch.utils.checkpoint", "transformers"),
)
"""Modules of others that the suite imports sooner or later: imported once here, and not in each fork."""
_LIMIT, _LIMIT_OF_SURVEY = 240.0, 1800.0
_WIDTH = 140


@dataclass(slots=True)
class Survey:
    """What the laws run of the libraries while nothing is changed.

    Attributes:
        imported: The lines that importing the suite runs, by file.
        laws: What each law runs.
        broken: What did not hold, so that it could not judge.
    """

    imported: dict[str, list[int]] = field(default_factory=dict)
    laws: list[Surveyed] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def judges_of(self, mutation: Mutation) -> list[Surveyed]:
        """Return who may notice a change, those that surely run the statement first and those with processes last.

        A statement that runs at import may be noticed by any law: each is asked about one architecture at least. The
        ResNet is larger than the others, so it is asked about only where they do not run the statement.
        """
        name, (first, last) = _file_of(mutation.module), mutation.lines
        lines = set(range(first, last + 1))
        at_import = not lines.isdisjoint(self.imported.get(name, ()))
        ours = mutation.module.startswith(_RESNET)
        able = [each for each in self.laws if not ours or _RESNET in each.architecture]
        surely = {each: not lines.isdisjoint(each.reached.get(name, ())) for each in able}
        small = {each.law for each, runs in surely.items() if runs and _RESNET not in each.architecture}
        chosen = [
            each
            for each, runs in surely.items()
            if runs and (each.law not in small or _RESNET not in each.architecture)
        ]
        asked = {each.law for each in chosen}
        others = {each.law: each for each in reversed(able) if each.law not in asked} if at_import else {}
        return sorted([*chosen, *reversed(others.values())], key=lambda each: each.starts_processes)

    def runs(self, mutation: Mutation) -> bool:
        """Whether the changed statement is run at all, as far as that is noted."""
        name, (first, last) = _file_of(mutation.module), mutation.lines
        lines = set(range(first, last + 1))
        return any(
            not lines.isdisjoint(each.get(name, ())) for each in (self.imported, *(x.reached for x in self.laws))
        )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="hatch run bench:mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=_SAMPLE, help="changes of each module, at most")
    parser.add_argument("--seed", type=int, default=_SEED, help="decides which changes")
    parser.add_argument("--module", action="append", help="change this module, and not the others")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="the folder to write into")
    options = parser.parse_args()
    if options.module and options.output == _RESULTS:
        parser.error("--module needs an --output of its own, or it would overwrite the figures of the other modules")
    console = Console(width=_WIDTH)
    modules = {name: path for name, path in _modules() if name in (options.module or [name])}
    mutations = [
        each for name, path in modules.items() for each in sampled(name, path, most=options.sample, seed=options.seed)
    ]
    started = time.monotonic()
    output = options.output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        surveyed, verdicts = _judged(mutations, Path(folder), console)
    output.mkdir(parents=True, exist_ok=True)
    record = {
        "sample": options.sample,
        "seed": options.seed,
        "minutes": (time.monotonic() - started) / 60,
        "versions": {name: version(name) for name in ("cosmic-ray", "torch", "timm", "transformers")},
        "could not judge": surveyed.broken,
        "mutants": [each.record() for each in verdicts],
    }
    (output / "latest.json").write_text(json.dumps(record, indent=1) + "\n")
    (output / "latest.md").write_text("\n".join(markdown(verdicts, record)) + "\n")
    for section in sections(verdicts):
        console.print(section.table())
    console.print(f"wrote {output / 'latest.json'} and latest.md")


def _modules() -> Iterator[tuple[str, Path]]:
    """Yield the names and files of the modules that are changed."""
    for path in sorted(_SOURCES.glob("*/src/*/*.py")):
        if path.stem not in _WORDS and _code_lines(path) >= _LEAST_LINES:
            yield f"{path.parent.name}.{path.stem}", path.resolve()


def _code_lines(path: Path) -> int:
    with path.open("rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if tokenize.tok_name[t.type] not in _LAYOUT]
    return len({token.start[0] for token in tokens})


def _file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def _judged(mutations: Sequence[Mutation], folder: Path, console: Console) -> tuple[Survey, list[Verdict]]:
    """Judge every mutation on a copy of the libraries in a folder that is imported from first."""
    overlay, scratch = _prepared(folder)
    _warm()
    console.print(f"{len(mutations)} changes; noting what each law runs")
    surveyed = _surveyed(overlay)
    console.print(f"{len(surveyed.laws)} pairs of a law and an architecture judge")
    for each in surveyed.broken:
        console.print(f"could not judge: {each}")
    _control(surveyed)
    verdicts: list[Verdict] = []
    for number, mutation in enumerate(mutations, 1):
        verdicts.append(_verdict(mutation, surveyed, overlay))
        console.print(f"{number}/{len(mutations)} {verdicts[-1]}", markup=False, highlight=False)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    _control(surveyed)
    return surveyed, verdicts


def _control(surveyed: Survey) -> None:
    """Let every law judge the unchanged libraries as it judges changed ones.

    Raises:
        RuntimeError: If one is broken: then what is noticed would mean nothing.
    """
    each_once = list({each.law: each for each in reversed(surveyed.laws)}.values())
    ended = forked(lambda tell: judge(each_once, tell), limit=_LIMIT_OF_SURVEY)
    told = {what for each in ended.told for what in each}
    if not ended.finished or "killed" in told:
        message = f"the unchanged libraries were rejected, so nothing can be measured: {ended.told[-2:]}"
        raise RuntimeError(message)


def _prepared(folder: Path) -> tuple[Path, Path]:
    """Copy the libraries, and let this process and all that it starts import the copies, away from the checkout."""
    overlay, scratch = folder.resolve() / "libraries", folder.resolve() / "scratch"
    scratch.mkdir()
    for source in [*sorted(_SOURCES.glob("*/src")), _SUITE]:  # the suite, too: nobody may edit the judge meanwhile
        shutil.copytree(source, overlay, dirs_exist_ok=True)
    home = str(Path.cwd())
    sys.path[:] = [str(overlay), *(path for path in sys.path if path not in {"", home}), home]
    os.environ["PYTHONPATH"] = str(overlay)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    sys.dont_write_bytecode = True
    os.chdir(folder)
    return overlay, scratch


def _warm() -> None:
    """Import what is not ours, with one thread, since a fork has none of the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torch").set_num_threads(1)
        for name in _WARM:
            importlib.import_module(name)
    ours = [name for name in sys.modules if name.startswith("nameplate")]
    assert not ours, f"{ours} are imported already, so that no fork would see a change in them"


def _surveyed(overlay: Path) -> Survey:
    ended = forked(lambda tell: survey(overlay, tell), limit=_LIMIT_OF_SURVEY)
    found = Survey()
    for what in ended.told:
        if "imported" in what:
            found.imported = what["imported"]
        elif "broken" in what:
            found.broken.append(what["broken"])
        elif "law" in what:
            found.laws.append(Surveyed(**what))
    if not ended.finished:
        message = f"the unchanged libraries could not be surveyed: {ended.told[-1:]}"
        raise RuntimeError(message)
    return found


def _verdict(mutation: Mutation, surveyed: Survey, overlay: Path) -> Verdict:
    judges = surveyed.judges_of(mutation)
    if not surveyed.runs(mutation):
        return Verdict(mutation, Outcome.UNREACHED, why=reason(mutation))
    path = overlay / _file_of(mutation.module)
    before = path.read_text(encoding="utf-8")
    path.write_text(mutation.source, encoding="utf-8")
    started = time.monotonic()
    try:
        ended = forked(lambda tell: judge(judges, tell), limit=_LIMIT)
    finally:
        path.write_text(before, encoding="utf-8")
    return _concluded(mutation, ended, time.monotonic() - started)


def _concluded(mutation: Mutation, ended: Ended, seconds: float) -> Verdict:
    """Return the verdict on a mutation from what its fork has sent."""
    told: dict[str, Any] = {}
    for what in ended.told:
        told |= what
    law = told.get("asked", "import")
    told = {name: str(each).replace(f"{Path.cwd()}/", "") for name, each in told.items()}  # no folder of this run
    if "killed" in told:
        return Verdict(mutation, Outcome.KILLED, law, f"{told['status']}: {told['message']}", seconds)
    if ended.overran:
        return Verdict(mutation, Outcome.OVERRAN, law, "did not end", seconds)
    if not ended.finished:
        outcome = Outcome.UNIMPORTABLE if law == "import" else Outcome.CRASHED
        return Verdict(mutation, outcome, law, told.get("raised", "the process ended"), seconds)
    return Verdict(mutation, Outcome.SURVIVED, "", "", seconds, reason(mutation))


if __name__ == "__main__":
    main()
