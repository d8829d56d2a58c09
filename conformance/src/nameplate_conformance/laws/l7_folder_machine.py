"""Level 7, histories: a folder after any sequence of saves, crashes and refusals."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar
from zlib import crc32

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nameplate_config import ConfigError, NameplateError
from nameplate_conformance.bits import state_bits
from nameplate_conformance.case import Case, drawn_kwargs
from nameplate_conformance.faults import LASTING_ENOSPC
from nameplate_conformance.faults.film import filmed, lay_out
from nameplate_conformance.faults.patcher import patched
from nameplate_conformance.generations import NUMBER, Generation, generations, name_of
from nameplate_conformance.law import Cost, Evidence, broken, law, require
from nameplate_model import CommittedError

_HISTORIES, _STEPS = 4, 10
_ALIKE = 3  # generations of one config; the last one is of another
_DRAWN = 12

Whole = tuple[int, int]
"""What a load should give: the weights of one generation, and the number in the config."""

numbers = st.integers(1, _ALIKE + 1)
variants = st.sampled_from([None, "ema"])
moments = st.integers(0, 99)


@law("Z02", "a folder is its last save", level=7, needs=["F05", "S10", "S16"], cost=Cost.PROCESS)
def folder_is_its_last_save(case: Case, evidence: Evidence) -> None:
    """After any sequence of saves into one folder, in one file and in shards, of variants beside the default, of the
    same model, another and one of another shape, of a config alone, of what was loaded from there, killed, on a full
    disk or refused, a load gives what the last save that came to its end has saved under that variant's name. Folders
    live longer than the scripts that write to them, and a stale file is loaded without a word."""
    known = tuple(_known(case))
    body = {"case": case, "known": known, "evidence": evidence}
    machine: Callable[[], FolderMachine] = type("Machine", (FolderMachine,), body)
    hypothesis.seed(crc32(f"{case.kwargs} {case.seed}".encode()))(machine)
    run_state_machine_as_test(machine, settings=_settings())  # type: ignore[no-untyped-call]


def _settings() -> settings:
    return settings(
        max_examples=_HISTORIES,
        stateful_step_count=_STEPS,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )


def _known(case: Case) -> list[Generation]:
    """Return generations of the case's config, and one of another shape if the architecture has another."""
    alike = generations(case, _ALIKE)
    for kwargs in drawn_kwargs(case.architecture, _DRAWN):
        try:
            (other,) = generations(replace(case, kwargs=kwargs), 1, first=_ALIKE + 1)
        except ConfigError:
            continue
        if not _alike(other, alike[0]):
            return [*alike, other]
    return [*alike, *generations(case, 1, first=_ALIKE + 1)]


def _alike(one: Generation, other: Generation) -> bool:
    """Whether the weights of one fit a model of the other."""
    return _shapes(one) == _shapes(other)


def _shapes(generation: Generation) -> dict[str, tuple[int, ...]]:
    return {name: each.shape for name, each in generation.weights.items()}


class FolderMachine(RuleBasedStateMachine):
    """A folder, and beside it what a load of each variant should give.

    Attributes:
        case: Whose models are saved.
        known: What is saved, numbered from 1.
        evidence: Counts the loads.
    """

    case: ClassVar[Case]
    known: ClassVar[tuple[Generation, ...]]
    evidence: ClassVar[Evidence]

    def __init__(self) -> None:
        super().__init__()
        self.block = self.case.folder()
        self.folder = self.block.__enter__()
        self.saved: dict[str | None, Whole] = {}
        """By variant."""
        self.history: list[str] = []

    def teardown(self) -> None:
        """Remove the folder."""
        self.block.__exit__(None, None, None)

    # ---- what a load gives

    def fits(self, whole: Whole) -> bool:
        """Whether such weights can be loaded under such a config."""
        return _alike(self.known[whole[0] - 1], self.known[whole[1] - 1])

    def differs(self, variant: str | None, whole: Whole | None) -> str:
        """Load a variant; return what is wrong with it, or nothing if it is what it should be."""
        self.evidence.count("loads")
        refused = whole is None or not self.fits(whole)
        try:
            loaded = self.load(variant)
        except NameplateError as error:
            return "" if refused else f"it is refused: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is seen
            return f"loading it raises {type(error).__name__}: {error}"
        if whole is None or refused:
            return "it is loaded, though nothing that fits was saved under its name"
        if getattr(loaded.config, NUMBER, None) != whole[1]:
            return f"its config is of {name_of(getattr(loaded.config, NUMBER, None))}, not of {name_of(whole[1])}"
        right = state_bits(loaded) == self.known[whole[0] - 1].weights
        return "" if right else f"its weights are not those of {name_of(whole[0])}"

    def load(self, variant: str | None) -> Any:
        """Load a variant."""
        options: dict[str, Any] = {} if variant is None else {"variant": variant}
        return self.case.model_class.from_pretrained(self.folder, **options)

    def completed(self, variant: str | None, whole: Whole) -> None:
        """Remember a save that came to its end: every variant has its config from then on."""
        self.saved = {each: (weights, whole[1]) for each, (weights, _) in self.saved.items()} | {variant: whole}

    def interrupted(self, variant: str | None, number: int) -> None:
        """Find out whether a save that did not come to its end has come to its commit; the law allows both."""
        before, after = self.saved.get(variant), (number, number)
        wrong = self.differs(variant, before)
        if not wrong:
            return
        if self.differs(variant, after):
            self.complain(variant, f"{wrong}; nor is it {name_of(number)}")
        self.saved[variant] = after
        for other, (weights, config) in self.saved.items():
            if self.differs(other, (weights, config)):
                self.saved[other] = (weights, number)

    # ---- what is done

    def note(self, step: str) -> None:
        """Remember a step, for the message."""
        self.history.append(step)

    def complain(self, variant: str | None, wrong: str) -> None:
        """Say that the law does not hold, and after which steps."""
        broken(f"after {', '.join(self.history) or 'nothing'}: the {variant or 'default'} variant: {wrong}")

    @rule(number=numbers, shards=st.booleans(), variant=variants)
    def save(self, number: int, *, shards: bool, variant: str | None) -> None:
        """Save a model over whatever is there."""
        self.note(f"save({_told(number, shards, variant)})")
        self.known[number - 1].save(self.folder, shards=shards, variant=variant)
        self.completed(variant, (number, number))

    @rule(number=numbers)
    def save_config(self, number: int) -> None:
        """Save a config alone."""
        self.note(f"save_config({number})")
        self.known[number - 1].model.config.save_pretrained(self.folder)
        self.saved = {variant: (weights, number) for variant, (weights, _) in self.saved.items()}

    @precondition(lambda self: any(map(self.fits, self.saved.values())))
    @rule(place=st.integers(0, 1), shards=st.booleans(), variant=variants)
    def save_what_was_loaded(self, place: int, *, shards: bool, variant: str | None) -> None:
        """Load a variant and save it over one that is there, or over itself."""
        there = [each for each, whole in self.saved.items() if self.fits(whole)]
        source = there[place % len(there)]
        weights, config = self.saved[source]
        self.note(f"save({_told(source or 'default', shards, variant)}, as it was loaded)")
        loaded = self.load(source)
        Generation(weights, loaded, self.known[weights - 1].weights).save(self.folder, shards=shards, variant=variant)
        self.completed(variant, (weights, config))

    @rule(number=numbers, shards=st.booleans(), variant=variants, moment=moments)
    def crash(self, number: int, *, shards: bool, variant: str | None, moment: int) -> None:
        """Be killed in a save."""
        save = partial(self.known[number - 1].save, self.folder, shards=shards, variant=variant)
        left = list(filmed(save, self.folder).killed())
        if not left:
            self.note(f"save({_told(number, shards, variant)})")
            self.completed(variant, (number, number))
            return
        when, held = left[moment % len(left)]
        self.note(f"save({_told(number, shards, variant)}, {when})")
        lay_out(self.folder, held)
        self.interrupted(variant, number)

    @rule(number=numbers, shards=st.booleans(), variant=variants, moment=moments)
    def fill_the_disk(self, number: int, *, shards: bool, variant: str | None, moment: int) -> None:
        """Save on a disk that becomes full."""
        self.note(f"save({_told(number, shards, variant)}, on a disk full from change {moment} on)")
        with patched(self.folder, LASTING_ENOSPC, moment) as failed:
            try:
                self.known[number - 1].save(self.folder, shards=shards, variant=variant)
            except CommittedError:
                pass
            except NameplateError:
                require(failed, f"after {', '.join(self.history)}: the save fails, and no call of it has failed")
        if failed:
            self.interrupted(variant, number)
        else:
            self.completed(variant, (number, number))

    @rule(number=numbers, variant=variants)
    def refuse(self, number: int, variant: str | None) -> None:
        """Try to save what is no tensor."""
        self.note(f"save(no tensor{'' if variant is None else f', variant={variant!r}'})")
        options: dict[str, Any] = {"state_dict": {"weight": None}, "variant": variant}
        try:
            self.known[number - 1].model.save_pretrained(self.folder, **options)
        except NameplateError:
            return
        self.complain(variant, "a save of what is no tensor is not refused")

    @invariant()
    def loads_what_was_saved(self) -> None:
        """Every variant is what was saved last under its name, and one that nobody saved is refused."""
        for variant in (None, "ema", "absent"):
            wrong = self.differs(variant, self.saved.get(variant))
            if wrong:
                self.complain(variant, wrong)


def _told(what: object, shards: bool, variant: str | None) -> str:  # noqa: FBT001 - as it is drawn
    return f"{what}{', shards' if shards else ''}{'' if variant is None else f', variant={variant!r}'}"
