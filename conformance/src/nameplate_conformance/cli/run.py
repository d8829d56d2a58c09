"""The command `run`: judges architectures in processes of their own, and writes reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from nameplate_config import NameplateError
from nameplate_conformance.cli.progress import Watch
from nameplate_conformance.cli.trust import granted, trust_option
from nameplate_conformance.judging.bench import Terms
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.references import HUB
from nameplate_conformance.judging.references import names as known_names
from nameplate_conformance.judging.session import Plan, conduct
from nameplate_conformance.law import LEVELS
from nameplate_conformance.records.store import FOLDER

if TYPE_CHECKING:
    from nameplate_conformance.records.circumstances import Circumstances
    from nameplate_conformance.result import Report

_JOURNAL = ".ndjson"
_PAGE = ".html"
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The options of the command, under the names that click gives them."""

    names: tuple[str, ...]
    devices: tuple[str, ...]
    laws: tuple[str, ...]
    level: int | None
    profile: str
    seed: int | None
    workers: int
    reports: tuple[Path, ...]
    html: Path | None
    resume: Path | None
    trust: tuple[str, ...]
    revision: str | None
    store: bool
    spec: str | None

    @property
    def plan(self) -> Plan:
        """What is judged, and how."""
        terms = Terms(
            profile=self.profile,
            seed=self.seed,
            store=FOLDER if self.store else "",
            trust=granted(self.trust),
            revision=self.revision,
        )
        texts = self.names or tuple(known_names())
        return Plan(
            texts=texts,
            devices=self.devices,
            laws=self.laws,
            level=self.level,
            spec=self.spec,
            workers=self.workers,
            terms=terms,
        )

    def refuse_what_has_no_effect(self) -> None:
        """Refuse options that say something about what is not there.

        Raises:
            click.UsageError: If one does.
        """
        if self.revision is not None and not any(text.startswith(HUB) for text in self.names):
            message = f"--revision {self.revision} has no effect: no name is a repository, hub:user/name."
            raise click.UsageError(message)
        if self.html is not None and self.html.suffix != _PAGE:
            message = f"--html {self.html} is no name of a page: it must end in {_PAGE}. --report writes other kinds."
            raise click.UsageError(message)

    @property
    def files(self) -> list[Path]:
        """Every report that is written when the run has come to its end."""
        every = [*self.reports, *([self.html] if self.html is not None else [])]
        return [path for path in dict.fromkeys(every) if path.suffix != _JOURNAL]

    @property
    def journals(self) -> list[Path]:
        """Every report that is written while it goes on."""
        return [path for path in self.reports if path.suffix == _JOURNAL]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--device", "devices", multiple=True, help="A type of device; may be repeated. Default: all known ones.")
@click.option("--law", "laws", multiple=True, help="The id of a law; may be repeated. Default: all of them.")
@click.option("--level", type=click.IntRange(0, len(LEVELS) - 1), help="The highest level. Default: the profile's.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="dev", show_default=True)
@click.option("--seed", type=int, help="Draw other examples than the usual ones.")
@click.option(
    "-j",
    "--jobs",
    "workers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Worker processes; 0 judges in this one.",
)
@click.option(
    "--report", "reports", type=_FILE, multiple=True, help="Write a report; its name says which kind. May be repeated."
)
@click.option("--html", type=_FILE, help="Write a self-contained page.")
@click.option("--resume", type=_FILE, help="Go on with the run whose journal this .ndjson is.")
@trust_option
@click.option("--revision", help="The branch, tag or commit of repositories.")
@click.option("--store/--no-store", default=True, help=f"Keep failures in {FOLDER}, to be replayed.  [default: store]")
@click.option("--spec", metavar="VERSION", help="Judge by this version of the specification. Default: the newest.")
def run(**options: Any) -> None:
    """Judge the architectures that NAMES stand for, or every one that is registered or announced.

    A name is a model_type, the place package.module:NAME of an Architecture, the path of a folder such as
    ./checkpoint, or hub:user/name. Laws are judged in worker processes, so that an architecture which crashes or never
    returns has its verdict, and the others theirs.
    """
    asked = _Asked(**options)
    asked.refuse_what_has_no_effect()
    watch = Watch(asked.journals, resume=asked.resume, later=asked.files)
    try:
        with watch:
            report, circumstances = conduct(asked.plan, watch)
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        _say_where_it_stopped(watch)
        raise
    written = _shown_and_written(asked, report, circumstances, watch)
    raise SystemExit(2 if not written else 0 if report.passed else 1)


def _shown_and_written(asked: _Asked, report: "Report", circumstances: "Circumstances", watch: Watch) -> bool:
    """Print a report and write the files that were asked for; return whether all of them could be."""
    from nameplate_conformance.report import print_report, write_report  # noqa: PLC0415 - their laws need torch

    console = Console()
    print_report(report, console, circumstances)
    troubles = [watch.trouble] if watch.trouble else []
    for path in asked.files:
        try:
            write_report(report, path, circumstances)
        except (OSError, NameplateError) as error:
            troubles.append(f"{path} was not written: {error}")
    for path in (*watch.written, *asked.files):
        if not any(each.startswith(f"{path} ") for each in troubles):
            console.print(f"wrote {path}", soft_wrap=True, markup=False, highlight=False)
    for each in troubles:
        console.print(each, style="red", soft_wrap=True, markup=False, highlight=False)
    return not troubles


def _say_where_it_stopped(watch: Watch) -> None:
    """Say how to go on with a run that somebody has interrupted."""
    journal = next(iter(watch.written), None)
    go_on = f"go on with --resume {journal}" if journal is not None else "give --report FILE.ndjson to be able to go on"
    click.echo(f"interrupted with {watch.known} of {watch.total} results; {go_on}", err=True)
