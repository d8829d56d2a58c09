"""Code that does not end is given up, and the run goes on."""

import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.deadline import OverrunError, within
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.trial import Trial
from nameplate_conformance.law import all_laws
from nameplate_conformance.result import Status
from nameplate_conformance.zoo.reference import ZooModel, of

SOON = 0.05


class Endless(ZooModel):
    """A model whose forward never ends, and which takes every exception for its own."""

    def forward(self, **_inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Go on."""
        while True:
            with suppress(Exception):
                time.sleep(SOON / 10)


def loop() -> None:
    while True:
        pass


def test_a_loop_is_interrupted():
    """A block that does not end raises after its seconds."""
    with pytest.raises(OverrunError), within(SOON):
        loop()


def test_a_loop_in_another_thread_is_interrupted():
    """Where there is no alarm, another thread interrupts."""
    found: list[type[BaseException]] = []

    def observe() -> None:
        try:
            with within(SOON):
                loop()
        except OverrunError as error:
            found.append(type(error))

    thread = threading.Thread(target=observe)
    thread.start()
    thread.join(30)

    assert found == [OverrunError]


def test_a_block_that_ends_is_left_alone():
    """After a block that ended in time, no alarm is set and the handler is whose it was."""
    before = signal.getsignal(signal.SIGALRM)
    with within(30):
        pass

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_block_around_others_ends_when_it_should():
    """What blocks inside take counts for the one around them, though each of them ends in time."""

    def patient_loop() -> None:
        while True:
            with within(30):
                time.sleep(SOON / 10)

    with pytest.raises(OverrunError), within(SOON):
        patient_loop()


def test_an_endless_forward_fails_its_law():
    """A forward that never ends fails the law at hand with the seconds that it was given."""
    hasty = replace(PROFILES["glance"], patience=SOON)
    result = Trial(Cell(of(Endless), all_laws()["M01"], "cpu"), hasty).result()

    assert (result.status, result.message) == (Status.FAIL, "did not end within 0.05 seconds")
    assert "AutoModel: width=1" in result.counterexample
