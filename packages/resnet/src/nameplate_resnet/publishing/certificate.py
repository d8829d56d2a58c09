"""The certificate of a conformance run, looked at before it is published, and the badge that goes with it.

Only here does something of this package ask the suite, which need not be installed for anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nameplate_config.wording import sentences
from nameplate_resnet.configuration_resnet import ResnetConfig
from nameplate_resnet.publishing.errors import PublishingError

_DISTRIBUTION = "nameplate-resnet"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate shows of the installed package.

    Attributes:
        content: Its values.
        file: Its bytes.
        badge: The same at a glance, an SVG picture.
    """

    content: Mapping[str, Any]
    file: bytes
    badge: str


def read_certificate(path: Path) -> Certificate:
    """Return a certificate that was issued for the very files of the package that is installed here.

    Args:
        path: What ``nameplate-conformance certify`` has written.

    Raises:
        PublishingError: If the suite is not installed, or the certificate is about another architecture or version, or
            other files.
        NameplateError: If the suite finds that it is none, that it was changed, or that nothing says what is installed.
    """
    try:
        from nameplate_conformance import verify_certificate  # noqa: PLC0415 - only where there is a certificate
        from nameplate_conformance.records.provenance import installed_digest  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        way = f'Install the suite with: pip install "{_DISTRIBUTION}[conformance]"'
        message = sentences(f"{path.name} cannot be checked: {error}.", way)
        raise PublishingError(message) from error
    content = verify_certificate(path)
    package, installed = content["package"], version(_DISTRIBUTION)
    judged = (content["architecture"], package["name"], package["version"])
    if judged != (ResnetConfig.model_type, _DISTRIBUTION, installed):
        found = f"{judged[0]} of {judged[1]} {judged[2]}"
        expected = f"{ResnetConfig.model_type} of {_DISTRIBUTION} {installed}, which is installed here"
        message = sentences(f"{path.name} is about something else.", f"Expected {expected}, found {found}.")
        raise PublishingError(message)
    if package["files"] != installed_digest(_DISTRIBUTION, installed):
        way = "Publish with the wheel installed that was judged, or judge this one."
        message = sentences(f"{path.name} is about other files of {_DISTRIBUTION} {installed} than those here.", way)
        raise PublishingError(message)
    return Certificate(content, path.read_bytes(), _badge(content))


def _badge(content: Mapping[str, Any]) -> str:
    """Return the badge of the run that a certificate is about, as the suite draws it."""
    from nameplate_conformance import Report, Result, Status  # noqa: PLC0415 - as above
    from nameplate_conformance.report.badge import badge_picture  # noqa: PLC0415 - as above

    label = content["architecture"]
    results = [
        Result(law=law["id"], architecture=label, device=device, status=Status(status))
        for law in content["laws"]
        for device, status in law["devices"].items()
    ]
    profile = content["circumstances"]["profile"]
    return badge_picture(Report(spec=content["spec"], profile=profile, versions={}, results=results))
