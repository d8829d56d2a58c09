"""Conformance as pytest tests: the three lines of a third party. What pytest makes of them is in `items`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nameplate_conformance.plugin import ARCHITECTURES

if TYPE_CHECKING:
    from nameplate_conformance.architecture import Architecture


def conformance_tests(*architectures: "Architecture") -> Callable[[], None]:
    """Return a test function that stands for one test of each architecture, law and device.

    Args:
        *architectures: What is judged; what ``--arch`` names, or all that are registered, if there are none.

    Returns:
        A function to be given a name that pytest collects. Called by somebody who knows nothing of this package's
        plugin, it judges everything and fails if something does not conform.

    Example:
        >>> from nameplate_conformance import Architecture
        >>> ARCHITECTURE = Architecture(config="my_package:MyConfig", models={"AutoModel": "my_package:MyModel"})
        >>> test_conformance = conformance_tests(ARCHITECTURE)
    """

    def test_conformance() -> None:
        from nameplate_conformance.judging.references import named, names  # noqa: PLC0415 - torch takes seconds
        from nameplate_conformance.judging.runner import check  # noqa: PLC0415

        report = check(*(architectures or map(named, names())))
        bad = [f"{each.law} of {each.architecture}: {each.message}" for each in report.results if each.is_root]
        assert report.passed, "\n".join(bad)

    setattr(test_conformance, ARCHITECTURES, architectures)
    return test_conformance
