"""Mutants of level 7, honesty: architectures that say what is not so, and draws that nobody can repeat."""

from dataclasses import replace
from itertools import count
from typing import Annotated

from annotated_types import Ge
from hypothesis import strategies as st

from nameplate_config import Tiny
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.judging.admission import Known
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, reference

_ISSUE = "https://example.org/issues/12"


def _stale_tag() -> Architecture:
    healthy = reference()
    return replace(healthy, tags=replace(healthy.tags, batch_independent=False), name="StaleTag")


def _says_it_is_wide() -> Architecture:
    healthy = reference()
    return replace(healthy, tags=replace(healthy.tags, half_precision=False), name="SaysItIsWide")


def _spares_what_is_trained() -> Architecture:
    healthy = reference()
    return replace(healthy, tags=replace(healthy.tags, unused_parameters=("head.*",)), name="SparesWhatIsTrained")


def _admitting(name: str, law_id: str, known: Known) -> Architecture:
    return replace(reference(), known={law_id: known}, name=name)


def _admits_what_does_not_exist() -> Architecture:
    return _admitting("AdmitsWhatDoesNotExist", "M99", Known("it was renamed", _ISSUE))


def _admits_for_ever() -> Architecture:
    return _admitting("AdmitsForEver", "M13", Known("it centres its inputs", _ISSUE, expires="2024-01-31"))


def _admits_dishonesty() -> Architecture:
    return _admitting("AdmitsDishonesty", "H02", Known("nobody has looked", "ask around"))


def _draws_from_a_counter() -> Architecture:
    numbers = count()
    widths = st.builds(lambda: next(numbers) % 7 + 1)
    return replace(reference(), fields={"width": widths}, name="DrawsFromACounter")


_ODD = (hash("zoo") & 0xFFFF_FFFF) / 2**33
"""Another number in every process, below 0.5."""


class HashingConfig(ZooConfig):
    """A config that can be drawn in as many ways as there are processes."""

    model_type = "zoo_hashing"

    dropout: Annotated[float, Ge(0), Tiny(0.0, _ODD)] = 0.0


class HashingModel(ZooModel):
    """The healthy model of that config."""

    config_class = HashingConfig


def _draws_from_a_hash() -> Architecture:
    return of(HashingModel)


HONESTY_MUTANTS = (
    Mutant("StaleTag", "H01", "the rows are independent, and a tag says that they are not", _stale_tag),
    Mutant("SaysItIsWide", "H01", "it computes in half precision, and a tag says that it cannot", _says_it_is_wide),
    Mutant("SparesWhatIsTrained", "H01", "a pattern of unused parameters covers none", _spares_what_is_trained),
    Mutant("AdmitsWhatDoesNotExist", "H02", "the law of an admission was renamed", _admits_what_does_not_exist),
    Mutant("AdmitsForEver", "H02", "the day until which it was admitted is past", _admits_for_ever),
    Mutant("AdmitsDishonesty", "H02", "the law about admissions is admitted to fail", _admits_dishonesty),
    Mutant("DrawsFromACounter", "H03", "what is drawn depends on what was drawn before", _draws_from_a_counter),
    Mutant("DrawsFromAHash", "H03", "what is drawn depends on the hash of a text", _draws_from_a_hash),
)
