"""The instruments of the laws about names: modules that were never imported, fresh processes, what stands where."""

import importlib
import sys
from pathlib import Path

import pytest

from nameplate_auto import CONFIG_MAPPING, Registry, UnknownModelTypeError
from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.fresh import ask, importable, install, place
from nameplate_conformance.instruments.handover import unimported
from nameplate_conformance.instruments.naming import Announcing, providing, require_refused, require_standing, standing
from nameplate_conformance.zoo.reference import ZooConfig


def test_a_module_is_handed_over_once_it_is_imported():
    """A text stands for its object, whose module is executed when it is imported and not before."""
    value = object()
    with unimported(value) as (handover, (text,)):
        module, _, name = text.partition(":")
        before = list(handover.imported)
        found = getattr(importlib.import_module(module), name)

    assert before == []
    assert found is value
    assert handover.imported == [module]


def test_handed_over_modules_are_gone_afterwards():
    """After the block neither the module nor what finds it is left."""
    finders = list(sys.meta_path)
    with unimported(object()) as (_, (text,)):
        module = text.partition(":")[0]
        importlib.import_module(module)

    assert module not in sys.modules
    assert sys.meta_path == finders


def test_a_fresh_process_answers():
    """Lines run in another interpreter, and errors there come back as texts."""
    answer = ask("answer = [1 + 1, said(lambda: 1 / 0)]")

    assert answer == [2, ["ZeroDivisionError", "division by zero"]]


def test_a_fresh_process_that_fails_breaks_the_law():
    """What the lines raise is said by the law that asked."""
    with pytest.raises(LawBrokenError, match="RuntimeError: no such luck"):
        ask("raise RuntimeError('no such luck')")


def test_an_installed_distribution_is_found_by_a_fresh_process(tmp_path: Path):
    """A laid out distribution announces its names, and its modules can be imported."""
    module = f"ARCHITECTURE = {{'AutoConfig': {place(dict)!r}}}\n"
    install(tmp_path, "laid-out", {"laid_out_kite": "laid_out:ARCHITECTURE"}, {"laid_out": module})
    lines = """
    from importlib.metadata import entry_points
    (point,) = entry_points(group="nameplate.architectures", name="laid_out_kite")
    answer = [point.dist.name, point.load()["AutoConfig"]]
    """

    assert ask("\n".join(map(str.strip, lines.splitlines())), tmp_path) == ["laid-out", "builtins:dict"]


def test_classes_of_functions_are_not_importable():
    """A class is importable if its module holds it under its name."""

    class Local(ZooConfig):
        pass

    assert importable(ZooConfig)
    assert not importable(Local)


def test_what_stands_under_a_name_is_compared():
    """A name that stands for something else than before is named."""
    registry: Registry[str, int] = Registry("number")
    registry.register("one", 1)
    before = standing(registry)
    registry.register("one", 2, exist_ok=True)

    with pytest.raises(LawBrokenError, match="looked at: one stands for something else than before"):
        require_standing(before, registry, "looked at")


def test_announcements_end_with_their_block():
    """A provider of a law is asked inside its block and forgotten after it."""
    with providing(CONFIG_MAPPING, Announcing({ZooConfig.model_type: ZooConfig})):
        found = CONFIG_MAPPING[ZooConfig.model_type]

    assert found is ZooConfig
    assert ZooConfig.model_type not in CONFIG_MAPPING


def test_a_refusal_of_another_kind_breaks_the_law():
    """Only the promised error counts as a refusal."""
    with pytest.raises(LawBrokenError, match="asking raises ZeroDivisionError instead of UnknownModelTypeError"):
        require_refused(lambda: 1 / 0, UnknownModelTypeError, "asking")
    with pytest.raises(LawBrokenError, match="asking is not refused"):
        require_refused(lambda: None, UnknownModelTypeError, "asking")
