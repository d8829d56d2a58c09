"""Generations of a checkpoint are told apart, and a mix of them is called one."""

from pathlib import Path

import pytest
import torch

from nameplate_conformance.instruments.generations import film_of_save, generations, numbered, seen, seen_or_error
from nameplate_conformance.instruments.oracle import INDEX
from nameplate_conformance.judging.case import Case, simplest_kwargs
from nameplate_conformance.zoo import reference


@pytest.fixture(scope="module")
def case() -> Case:
    """Return a small case."""
    architecture = reference()
    return Case(architecture, "AutoModel", simplest_kwargs(architecture), torch.device("cpu"))


@pytest.mark.parametrize("shards", [False, True])
def test_a_generation_is_seen_as_itself(shards: bool, case: Case, tmp_path: Path):
    """What was saved last is what is seen, in one file or in several."""
    first, second = generations(case, 2)
    first.save(tmp_path, shards=not shards)
    second.save(tmp_path, shards=shards)

    assert (tmp_path / INDEX).exists() is shards
    assert seen(case, tmp_path, [first, second]) == "generation 2"


def test_a_config_of_another_generation_is_seen(case: Case, tmp_path: Path):
    """Weights of one generation beside the config of another are neither."""
    first, second = generations(case, 2)
    first.save(tmp_path)
    numbered(case, 2).save_pretrained(tmp_path)

    assert seen(case, tmp_path, [first, second]).startswith(
        "the config of generation 2 and 7 of 7 tensors of generation 1"
    )


def test_what_does_not_load_is_told_with_its_error(case: Case, tmp_path: Path):
    """A folder without weights is told with the error of the load."""
    assert seen_or_error(case, tmp_path, generations(case, 1)).startswith("nothing that loads (SourceNotFoundError: ")


def test_a_save_is_filmed_to_its_end(case: Case, tmp_path: Path):
    """The film ends with what the folder holds, and none of it stayed unseen."""
    film = film_of_save(generations(case, 1)[0], tmp_path, shards=True)

    assert film.unseen == ()
    assert film.frames[-1].held == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
