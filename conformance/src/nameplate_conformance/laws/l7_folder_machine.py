"""Level 7, histories: a folder after any sequence of saves, crashes and refusals."""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from nameplate_config import ConfigError, NameplateError
from nameplate_conformance.faults import LASTING_ENOSPC
from nameplate_conformance.faults.film import filmed, lay_out
from nameplate_conformance.faults.patcher import patched
from nameplate_conformance.instruments.bits import state_bits
from nameplate_conformance.instruments.generations import NUMBER, Generation, generations, name_of
from nameplate_conformance.instruments.histories import HistoryMachine, judge_histories
from nameplate_conformance.judging.case import Case, drawn_kwargs
from nameplate_conformance.law import Cost, Evidence, law
from nameplate_model import CommittedError

_HISTORIES, _STEPS = 6, 10
_ALIKE = 2  # generations of one config; the last one is of another
_DRAWN = 12

Whole = tuple[int, int]
"""What a load should give: the weights of one generation, and the number in the config."""

numbers = st.integers(1, _ALIKE + 1)
variants = st.sampled_from([None, "ema"])
moments = st.integers(0, 99)


@law("Z02", "a folder is its last save", level=7, needs=["F06", "S10", "S16"], cost=Cost.PROCESS)
def folder_is_its_last_save(case: Case, evidence: Evidence) -> None:
    """After any sequence of saves into one folder, in one file and in shards, of variants beside the default, of the
    same model, another and one of another shape, of a config alone, of what was loaded from there, killed, on a full
    disk or refused, a load gives what the last save that came to its end has saved under that variant's name. Folders
    live longer than the scripts that write to them, and a stale file is loaded without a word."""
    another = _another_shape(case)
    judge_histories(FolderMachine, case, histories=_HISTORIES, steps=_STEPS, another=another, evidence=evidence)


def _another_shape(case: Case) -> Case:
    """Return a case whose weights do not fit a model of this one, or this one if the architecture has none."""
    (mine,) = generations(case, 1)
    for kwargs in drawn_kwargs(case.architecture, _DRAWN):
        other = replace(case, kwargs=kwargs)
        try:
            (theirs,) = generations(other, 1)
        except ConfigError:
            continue
        if not _alike(theirs, mine):
            return other
    return case


def _alike(one: Generation, other: Generation) -> bool:
    """Whether the weights of one fit a model of the other."""
    return _shapes(one) == _shapes(other)


def _shapes(generation: Generation) -> dict[str, tuple[int, ...]]:
    return {name: each.shape for name, each in generation.weights.items()}


class FolderMachine(HistoryMachine):
    """A folder, and beside it what a load of each variant should give.

    Attributes:
        another: A case of another shape.
    """

    another: ClassVar[Case]

    def __init__(self) -> None:
        super().__init__()
        self.block = self.case.folder()
        self.folder = self.block.__enter__()
        # New ones for each history, because a save may leave something in a model.
        self.known = [*generations(self.case, _ALIKE), *generations(self.another, 1, first=_ALIKE + 1)]
        self.saved: dict[str | None, Whole] = {}
        """By variant."""

    def teardown(self) -> None:
        """Remove the folder."""
        self.block.__exit__(None, None, None)

    # ---- what a load gives

    def fits(self, whole: Whole) -> bool:
        """Whether such weights can be loaded under such a config."""
        return _alike(self.known[whole[0] - 1], self.known[whole[1] - 1])

    def differs(self, variant: str | None, whole: Whole | None) -> str:
        """Load a variant; return what is wrong with it, or nothing if it is what it should be."""
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
        if not wrong and before != after:
            return
        if wrong and self.differs(variant, after):
            self.complain(f"{_title(variant)}: {wrong}; nor is it {name_of(number)}")
        self.saved[variant] = after
        for other, (weights, config) in self.saved.items():
            if self.differs(other, (weights, config)):
                self.saved[other] = (weights, number)

    # ---- what is done

    @rule(number=numbers, shards=st.booleans(), variant=variants)
    def save(self, number: int, *, shards: bool, variant: str | None) -> None:
        """Save a model over whatever is there."""
        self.note("save", _told(number, shards, variant), number=number, shards=shards, variant=variant)
        self.known[number - 1].save(self.folder, shards=shards, variant=variant)
        self.completed(variant, (number, number))

    @rule(number=numbers)
    def save_config(self, number: int) -> None:
        """Save a config alone."""
        self.note("save_config", f"save_config({number})", number=number)
        self.known[number - 1].model.config.save_pretrained(self.folder)
        self.saved = {variant: (weights, number) for variant, (weights, _) in self.saved.items()}

    @precondition(lambda self: any(map(self.fits, self.saved.values())))
    @rule(place=st.integers(0, 1), shards=st.booleans(), variant=variants)
    def save_what_was_loaded(self, place: int, *, shards: bool, variant: str | None) -> None:
        """Load a variant and save it over one that is there, or over itself."""
        there = [each for each, whole in self.saved.items() if self.fits(whole)]
        source = there[place % len(there)]
        weights, config = self.saved[source]
        what = _told(f"what {_title(source)} loads", shards, variant)
        self.note("save_what_was_loaded", what, place=place, shards=shards, variant=variant)
        loaded = self.load(source)
        Generation(weights, loaded, self.known[weights - 1].weights).save(self.folder, shards=shards, variant=variant)
        self.completed(variant, (weights, config))

    @rule(number=numbers, shards=st.booleans(), variant=variants, moment=moments)
    def crash(self, number: int, *, shards: bool, variant: str | None, moment: int) -> None:
        """Be killed in a save."""
        save = partial(self.known[number - 1].save, self.folder, shards=shards, variant=variant)
        left = list(filmed(save, self.folder).killed())
        when, held = left[moment % len(left)] if left else ("unchanged", None)
        what = f"{_told(number, shards, variant)} {when}"
        self.note("crash", what, number=number, shards=shards, variant=variant, moment=moment)
        if held is None:
            self.completed(variant, (number, number))
            return
        lay_out(self.folder, held)
        self.interrupted(variant, number)

    @rule(number=numbers, shards=st.booleans(), variant=variants, moment=moments)
    def fill_the_disk(self, number: int, *, shards: bool, variant: str | None, moment: int) -> None:
        """Save on a disk that becomes full."""
        what = f"{_told(number, shards, variant)} on a disk full from change {moment} on"
        self.note("fill_the_disk", what, number=number, shards=shards, variant=variant, moment=moment)
        with patched(self.folder, LASTING_ENOSPC, moment) as failed:
            try:
                self.known[number - 1].save(self.folder, shards=shards, variant=variant)
            except CommittedError:
                pass
            except NameplateError:
                if not failed:
                    self.complain("the save fails, and no call of it has failed")
        if failed:
            self.interrupted(variant, number)
        else:
            self.completed(variant, (number, number))

    @rule(number=numbers, variant=variants)
    def refuse(self, number: int, variant: str | None) -> None:
        """Try to save what is no tensor."""
        self.note("refuse", _told("no tensor", shards=False, variant=variant), number=number, variant=variant)
        options: dict[str, Any] = {"state_dict": {"weight": None}, "variant": variant}
        try:
            self.known[number - 1].model.save_pretrained(self.folder, **options)
        except NameplateError:
            return
        self.complain("a save of what is no tensor is not refused")

    @invariant()
    def look(self) -> None:
        """Every variant is what was saved last under its name, and one that nobody saved is refused."""
        for variant in (None, "ema", "absent"):
            wrong = self.differs(variant, self.saved.get(variant))
            self.evidence.count("loads")
            if wrong:
                self.complain(f"{_title(variant)}: {wrong}")


def _title(variant: str | None) -> str:
    return "the default" if variant is None else f"variant {variant!r}"


def _told(what: object, shards: bool, variant: str | None) -> str:
    return f"save({what}{', shards' if shards else ''}{'' if variant is None else f', variant={variant!r}'})"
