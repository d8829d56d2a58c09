"""What becomes of a law: every status, and what a result says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch

from nameplate_config import PreTrainedConfig, Tiny
from nameplate_conformance import Architecture, ConformanceError, Known, Status, check, registered
from nameplate_conformance import law as law_module
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import Runner
from nameplate_conformance.law import Cost, Evidence, Law, all_laws, broken, inapplicable, require
from nameplate_conformance.zoo import MUTANTS, reference
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel, of
from nameplate_conformance.zoo.traveller.modeling import TravellerModel


def bred(name: str) -> Architecture:
    return next(mutant for mutant in MUTANTS if mutant.name == name).breed()


@contextmanager
def defined(law: Law) -> Iterator[None]:
    law_module._laws[law.id] = law
    try:
        yield
    finally:
        del law_module._laws[law.id]


def nothing(_case: Case, _evidence: Evidence) -> None:
    """Compare nothing."""


def test_reference_passes_with_evidence():
    """A law that holds passes and counts what it has compared."""
    (result,) = [r for r in check(reference(), laws=["S01"], profile="smoke").results if r.law == "S01"]

    assert result.status is Status.PASS
    assert result.evidence["tensors"] >= 4 * 6


def test_law_without_evidence_is_vacuous():
    """A law that compares nothing has shown nothing, and that is a failure."""
    with defined(Law("T99", 0, "empty", "It compares nothing.", nothing)):
        report = check(reference(), laws=["T99"], profile="smoke")

    assert report.results[0].status is Status.VACUOUS
    assert not report.passed


def test_failure_blocks_what_needs_it():
    """Laws that need a failed one are blocked, and name the root."""
    report = check(bred("ForgetsAField"), laws=["C01", "C02", "S01"], profile="smoke")

    assert {r.law: r.status for r in report.results}["C01"] is Status.FAIL
    assert {r.law: r.blocked_by for r in report.results}["C02"] == ("C01",)
    assert {r.law: r.status for r in report.results}["S01"] is Status.BLOCKED
    assert report.roots() == {"C01"}


def test_counterexample_is_the_smallest():
    """A failing law reports the smallest arguments that break it."""
    (result,) = check(bred("FailsForSomeConfigs"), laws=["M01"]).results

    assert result.kwargs is not None
    assert (result.kwargs["width"], result.kwargs["depth"], result.kwargs["act"]) == (1, 1, "tanh")
    assert "act='tanh'" in result.counterexample


def test_crash_is_the_verdict_of_the_architecture():
    """Whatever a model raises fails the law at hand and is quoted, and the run goes on."""

    class Crashing(ZooModel):
        def forward(self, **_inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            message = "boom"
            raise ZeroDivisionError(message)

    report = check(of(Crashing), laws=["A02", "C01"], profile="smoke")

    assert report.results[0].status is Status.FAIL
    assert report.results[0].message == "raised ZeroDivisionError: boom"
    assert report.results[1].status is Status.PASS


def test_an_exception_that_cannot_be_shown_is_a_verdict_too():
    """An exception whose own text raises fails the law at hand; marks that a terminal would obey are spelt out."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            message = "\x1b[31mred"
            raise ValueError(message) from None

    class Crashing(ZooModel):
        def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            if self.config.width > 1:
                raise UnspeakableError
            return super().forward(**inputs)

    class Red(ZooModel):
        def forward(self, **_inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            message = "\x1b[31mred"
            raise ValueError(message)

    (crashed,) = check(of(Crashing), laws=["M01"], profile="glance").results[-1:]
    (red,) = check(of(Red), laws=["A02"], profile="glance").results

    assert (crashed.status, crashed.message) == (Status.FAIL, "raised UnspeakableError: (it cannot be shown)")
    assert red.message == "raised ValueError: \\x1b[31mred"


def test_a_failure_that_comes_and_goes_is_shown_as_it_was_seen():
    """Where no smaller example fails, nor the same one again, the counterexample is the row that did."""
    seen: list[int] = []

    class Moody(ZooModel):
        def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            if self.config.width > 1 and not seen:
                seen.append(self.config.width)
                message = "not in the mood"
                raise ValueError(message)
            return super().forward(**inputs)

    result = Runner(profile="glance").attempt(Cell(of(Moody), all_laws()["M01"], "cpu"))

    assert (result.status, result.message) == (Status.FAIL, "raised ValueError: not in the mood")
    assert result.kwargs is not None
    assert [result.kwargs["width"]] == seen


def test_a_head_that_is_no_auto_class_is_refused():
    """A model for a name that no Auto class has is an error with the nearest one."""
    architecture = Architecture(config=ZooConfig, models={"AutoModle": ZooModel})

    result = Runner(profile="glance").attempt(Cell(architecture, all_laws()["A02"], "cpu"))

    assert result.status is Status.ERROR
    assert result.message == (
        "ConformanceError: the Architecture has a model for 'AutoModle', which is no Auto class.\n"
        "  Did you mean 'AutoModel'?"
    )


def test_missing_inputs_are_an_error_of_the_harness():
    """An architecture that does not say what its inputs are is told so, and not blamed."""

    class Mute(ZooModel):
        dummy_inputs = None  # type: ignore[assignment]

    (result,) = check(of(Mute), laws=["A02"], profile="smoke").results

    assert result.status is Status.ERROR
    assert "Give the model a property `dummy_inputs`" in result.message


def test_admitted_failure_is_known():
    """A failure that the architecture admits does not fail the run, and carries the reason."""
    admitted = replace(bred("PlainTensor"), known={"M06": Known("anchors are constant", "https://example.org/1")})

    report = check(admitted, laws=["M06"], profile="smoke")

    assert report.results[0].status is Status.KNOWN
    assert report.results[0].message == "anchors are constant (https://example.org/1)"
    assert report.passed


def test_admission_that_no_longer_holds_is_stale():
    """An admitted failure that does not fail is reported as one."""
    admitted = replace(reference(), known={"M06": Known("anchors are constant", "https://example.org/1")})

    report = check(admitted, laws=["M06"], profile="smoke")

    assert report.results[0].status is Status.STALE
    assert not report.passed


def test_an_admission_of_what_cannot_be_judged_stays_an_error():
    """An error shows neither that what is admitted still fails, nor that it no longer does."""

    class Mute(ZooModel):
        dummy_inputs = None  # type: ignore[assignment]

    admitted = replace(of(Mute), known={"A02": Known("it is large", "https://example.org/1")})
    (result,) = check(admitted, laws=["A02"], profile="glance").results

    assert result.status is Status.ERROR
    assert "nothing says what Mute.forward takes" in result.message


def test_absent_device_is_not_run():
    """A device that the machine lacks is reported as not run, never as passed."""
    report = check(reference(), laws=["M01"], devices=["cpu", "xpu"], profile="smoke")

    assert [(r.device, r.status) for r in report.results] == [("cpu", Status.PASS), ("xpu", Status.NOT_RUN)]
    assert report.passed


def test_a_run_with_nothing_judged_has_not_passed():
    """A report without results claims nothing."""
    assert not check(profile="smoke").passed


def test_same_run_gives_the_same_report():
    """Without a seed the same examples are drawn again: everything but the time is equal."""
    one, two = (check(bred("DropsAKey"), laws=["S01"], profile="smoke") for _ in range(2))

    assert [replace(r, seconds=0) for r in one.results] == [replace(r, seconds=0) for r in two.results]


def test_a_seed_draws_other_examples():
    """Another seed still finds the mistake."""
    report = check(bred("FailsForSomeConfigs"), laws=["M01"], seed=7)

    assert report.roots() == {"M01"}


def test_unknown_law_is_refused():
    """A law that does not exist is an error, not an empty run."""
    with pytest.raises(ConformanceError, match=r"there is no law 'Z99'"):
        check(reference(), laws=["Z99"])


def test_unknown_architecture_is_refused():
    """A name that nothing is registered under is refused with the nearest one."""
    with pytest.raises(ConformanceError, match=r"Did you mean 'nameplate_resnet'\?"):
        registered("nameplate_resnt")


def test_registered_architecture_has_all_its_heads():
    """Deriving the declaration finds every Auto class that has a model."""
    heads = {"AutoModel", "AutoModelForImageClassification", "AutoModelForSemanticSegmentation", "AutoBackbone"}
    assert set(registered("nameplate_resnet").models) == heads


def test_lazy_classes_are_imported_when_judged():
    """An architecture may name its classes by module; the config is then checked to import no torch."""
    lazy = Architecture(
        config="nameplate_resnet.configuration_resnet:ResnetConfig",
        models={"AutoModel": "nameplate_resnet.modeling_resnet:ResnetModel"},
    )

    (result,) = check(lazy, laws=["C16"], profile="smoke").results

    assert result.status is Status.PASS
    assert result.evidence["modules"] == 2


def test_a_law_that_speaks_of_nothing_is_not_applicable():
    """A law about aliases says so of a config without any, and neither passes nor fails."""
    report = check(reference(), laws=["C11"], profile="smoke")

    assert report.results[0].status is Status.NOT_APPLICABLE
    assert report.results[0].message == "no field has another name"


def test_a_law_that_applies_to_some_configs_is_judged_on_them():
    """Configs that have nothing the law speaks of do not hide those that break it."""

    def narrow_only(case: Case, evidence: Evidence) -> None:
        if case.kwargs["width"] == 1:
            inapplicable("the width is one")
        evidence.count("widths")
        require(case.kwargs["width"] != 3, "a width of three")

    law = Law("Y1", 2, "narrow", "", narrow_only)
    result = Runner(profile="dev").judge(Cell(reference(), law, "cpu"))

    assert (result.status, result.message) == (Status.FAIL, "a width of three")


def test_running_a_law_leaves_the_process_alone():
    """After a run the seed, the threads and the determinism of the process are what they were."""
    torch.manual_seed(3)
    before = (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    one_of_each_level = {each.level: each.id for each in all_laws().values() if each.cost is Cost.CHEAP}
    check(reference(), laws=one_of_each_level.values(), profile="glance")

    after = (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert before == after


def test_broken_law_carries_its_message():
    """What a law says becomes the message of the result."""

    def always(_case: Case, _evidence: Evidence) -> None:
        broken("never holds")

    with defined(Law("T98", 0, "impossible", "It never holds.", always)):
        (result,) = check(reference(), laws=["T98"], profile="smoke").results

    assert (result.status, result.message) == (Status.FAIL, "never holds")


def test_architecture_of_another_kind_conforms():
    """A config in the plain style, without annotations, is judged by its defaults and its own strategies."""

    class PlainConfig(PreTrainedConfig):
        model_type = "plain_style"

        def __init__(self, bias=True, gated=False, cased=True, **kwargs):
            self.bias, self.gated, self.cased = bias, gated, cased
            super().__init__(**kwargs)

    class PlainModel(ZooModel):
        config_class = PlainConfig

        def __init__(self, config: PlainConfig) -> None:
            super(ZooModel, self).__init__(config)
            self.layer = torch.nn.Linear(2, 2, bias=config.bias)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": self.layer(x)}

        @property
        def dummy_inputs(self) -> dict[str, torch.Tensor]:
            return {"x": torch.ones(2, 2)}

    report = check(of(PlainModel), profile="smoke")

    assert report.passed, [(r.law, r.message) for r in report.results if r.message]


def test_inputs_may_be_given_beside_the_model():
    """`Architecture(inputs=…)` replaces the model's own dummy inputs."""

    class Wide(ZooConfig):
        width: Annotated[int, Tiny(2, 3)] = 2

    architecture = Architecture(
        config=Wide,
        models={"AutoModel": type("WideModel", (ZooModel,), {"config_class": Wide})},
        inputs=lambda model: {"x": torch.ones(5, model.config.width)},
    )

    (result,) = check(architecture, laws=["A02"], profile="smoke").results

    assert result.status is Status.PASS


def test_a_class_that_registers_itself_saves_plain_checkpoints(monkeypatch: pytest.MonkeyPatch):
    """A module that calls `register_for_auto_class` conforms as it would without, and stays registered."""
    monkeypatch.setattr(TravellerModel, "_auto_classes", (), raising=False)
    TravellerModel.register_for_auto_class("AutoModel")
    report = check(of(TravellerModel), laws=["S03", "S05", "S06", "S09"], profile="glance")

    assert report.passed, [(each.law, each.message) for each in report.results if each.message]
    assert TravellerModel._auto_classes == ("AutoModel",)


def test_a_process_that_ends_itself_fails_its_law():
    """A model that raises SystemExit, or skips the test that it is run by, fails the law at hand."""

    class Leaving(ZooModel):
        def forward(self, **_inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            pytest.skip("not today")

    (result,) = check(of(Leaving), laws=["A02"], profile="glance").results

    assert (result.status, result.message) == (Status.FAIL, "tried to end the process: Skipped not today")


def test_a_config_that_ends_the_process_fails_its_law():
    """A constructor that leaves while examples are looked for fails the law, and the run goes on."""

    class LeavingConfig(ZooConfig):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            raise SystemExit(3)

    report = check(Architecture(config=LeavingConfig), laws=["A01"], profile="glance")

    assert [(r.status, r.message) for r in report.results] == [(Status.FAIL, "tried to end the process: SystemExit 3")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits of file sizes")
def test_a_full_disk_is_no_verdict_on_the_architecture():
    """Where files cannot grow, a law has said nothing: the result is an error, not a failure."""
    import resource  # noqa: PLC0415 - Unix alone has it

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        (result,) = check(reference(), laws=["C02"], profile="glance").results
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert result.status is Status.ERROR
    assert "File too large" in result.message


@pytest.mark.parametrize("level", [-1, 8])
def test_a_level_that_does_not_exist_is_refused(level: int):
    """Levels are 0 to 7; another one is an error, not an empty run."""
    with pytest.raises(ConformanceError, match=f"there is no level {level}; there are 0 to 7"):
        check(reference(), level=level)


def test_a_module_with_a_syntax_error_is_no_verdict_on_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A class whose module cannot be compiled is an error that names module and line."""
    (tmp_path / "half_typed.py").write_text("clas X")
    monkeypatch.syspath_prepend(str(tmp_path))
    (result,) = check(Architecture(config="half_typed:X", models={}, name="x"), laws=["A01"], profile="glance").results

    assert result.status is Status.ERROR
    assert "'half_typed:X' cannot be imported: invalid syntax (half_typed.py, line 1)" in result.message
