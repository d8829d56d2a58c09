"""Publishing a model by itself: everything that its repository holds, composed in a folder and sent in one commit.

The weights are in timm's layout where timm has such a model, which Transformers and this package read as well, and in
ours elsewhere. What the card says of them is `card`, what is measured `evaluation`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from nameplate_config import ConfigError, Source, check_repository_id, publish
from nameplate_config.code import SourceFiles, digest_of, drafted_code, source_files
from nameplate_config.files import make_folder, replace_file
from nameplate_config.typing import PublishOptions
from nameplate_config.wording import listed, sentences
from nameplate_resnet import modeling_resnet
from nameplate_resnet.architecture import ARCHITECTURE
from nameplate_resnet.configuration_resnet import ResnetConfig
from nameplate_resnet.image_processing_resnet import ImageProcessorConfig
from nameplate_resnet.modeling_resnet import ResnetModel, ResnetModelForImageClassification, ResnetPreTrainedModel
from nameplate_resnet.publishing.card import BADGE_NAME, CERTIFICATE_NAME, Facts, card
from nameplate_resnet.publishing.certificate import Certificate
from nameplate_resnet.publishing.errors import PublishingError
from nameplate_resnet.publishing.metrics import METRICS_NAME, Metrics
from nameplate_resnet.variants import nearest

CARD_NAME = "README.md"

_CLASSES = {auto_class: place.rpartition(":")[2] for auto_class, place in ARCHITECTURE.items()}
_HEADS = {name: auto_class for auto_class, name in _CLASSES.items() if auto_class not in {"AutoConfig", "AutoBackbone"}}
_BESIDE_ANY = ("AutoBackbone", "AutoConfig", "AutoModel")
"""The Auto classes that have something to make of every checkpoint."""

_STALE = (
    r"(?:model|pytorch_model)(?:-[^/]+)?\.(?:safetensors|bin)|(?:model\.safetensors|pytorch_model\.bin)\.index\.json"
    rf"|{METRICS_NAME}|{CERTIFICATE_NAME}|{BADGE_NAME}"
)
"""What must not stay in a repository from an earlier commit: other weights, and what was said of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What is said of a model besides what its files show.

    Attributes:
        metrics: What was measured.
        certificate: What was proven of the code.
        license: The licence of the weights, as the Hub calls it.
    """

    metrics: Metrics | None = None
    certificate: Certificate | None = None
    license: str = ""


def open_model(source: Source) -> ResnetPreTrainedModel:
    """Return the model of a checkpoint, of the class that it names; for a backbone the body, for none a classifier.

    Args:
        source: Its place, as `nameplate_config.open_source` answers it; in any format that the package reads.

    Raises:
        NameplateError: If it cannot be loaded, or lacks a tensor of that class.
    """
    config = ResnetConfig.from_pretrained(source)
    named = next(iter(config.architectures or ()), "")
    name = _CLASSES["AutoModel"] if named == _CLASSES["AutoBackbone"] else named
    cls = getattr(modeling_resnet, name) if name in _HEADS else ResnetModelForImageClassification
    model: ResnetPreTrainedModel = cls.from_pretrained(source)
    report: Any = model.load_report  # which every model has that was loaded
    if report.missing:
        found = f"{source.name} has no {listed(report.missing)}, so {cls.__name__} would begin at random."
        message = sentences(found, f"Its architectures say {named!r}." if named else "")
        raise PublishingError(message)
    return model


def compose(
    model: ResnetPreTrainedModel,
    processor: ImageProcessorConfig,
    folder: Path,
    *,
    repository: str,
    revision: str = "",
    claims: Claims | None = None,
) -> str | None:
    """Write into a folder everything that the repository of a model is to hold.

    Args:
        model: The model; its config is told which code goes with it.
        processor: How its images are prepared.
        folder: Where to; empty, or not there yet.
        repository: The id of the repository, for the card.
        revision: Its branch, likewise; empty for the main one.
        claims: What is said of the model besides.

    Returns:
        ``"timm"``, or None where timm has no such model and does not read the folder.

    Raises:
        PublishingError: If something lies in the folder, the id is none, or the model is of no class that others could
            load.
        NameplateError: If the model cannot be saved.
    """
    claims = claims or Claims()
    check_repository_id(repository)  # which stands in the code of the card
    auto_class = _HEADS.get(type(model).__name__)
    if auto_class is None:
        message = f"{type(model).__name__} is not published by itself: expected {listed(_HEADS)}."
        raise PublishingError(message)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder} is not empty. Give a folder that is, or that is not there yet."
        raise PublishingError(message)
    make_folder(folder)
    code, auto_map = _code(auto_class)
    config: Any = model.config  # also keeps what no field of it says
    config.auto_map = auto_map
    layout = _layout(model)
    if layout == "timm":
        tell_timm(model, processor)
    elif hasattr(config, "pretrained_cfg"):
        del config.pretrained_cfg  # for which Transformers takes a folder for timm's
    model.save_pretrained(folder, max_shard_size="1TB", layout=layout)
    with drafted_code(folder, code.files) as write:
        write()
    processor.save_pretrained(folder)
    facts = Facts(
        repository=repository,
        cls=type(model).__name__,
        auto_class=auto_class,
        config=json.loads((folder / "config.json").read_bytes()),
        parameters=model.num_parameters(),
        pin=digest_of(code.files),
        processor=processor,
        metrics=claims.metrics,
        certificate=claims.certificate,
        license=claims.license,
        revision=revision,
    )
    for name, data in _said(facts).items():
        replace_file(folder / name, [data])
    return layout


def tell_timm(model: ResnetPreTrainedModel, processor: ImageProcessorConfig) -> None:
    """Put how images are prepared into the config of a model, from where it gets into timm's file."""
    config: Any = model.config  # also keeps what no field of it says
    config.pretrained_cfg = {**(getattr(config, "pretrained_cfg", None) or {}), **processor.pretrained_cfg()}


def send(folder: Path, repository: str, *, keep_card: bool = False, **options: Unpack[PublishOptions]) -> str:
    """Publish what `compose` has written, in one commit; a reader sees all of it or nothing.

    Weights, measurements and certificates of earlier commits leave the repository with it.

    Args:
        folder: What was composed.
        repository: The id of the repository, created if there is none.
        keep_card: Whether a card that is there already stays as its owner has edited it.
        **options: How to publish, see `nameplate_config.typing.PublishOptions`.

    Returns:
        The address of the commit.

    Raises:
        HubError: If the Hub refused or could not be reached.
        SourceNotFoundError: If the id is none, or the repository may not be written to.
    """
    files: dict[str, bytes | Path] = {path.name: path for path in sorted(folder.iterdir())}
    once = {CARD_NAME: (folder / CARD_NAME).read_bytes()} if keep_card else {}
    if keep_card:
        del files[CARD_NAME]
    return publish(repository, files, "Publish model", once, _STALE, **options)


def _layout(model: ResnetPreTrainedModel) -> str | None:
    if not isinstance(model, (ResnetModel, ResnetModelForImageClassification)):
        return None
    try:
        nearest(model.config)
    except ConfigError:
        return None
    return "timm"


def _code(auto_class: str) -> tuple[SourceFiles, dict[str, Any]]:
    """Return the code that goes with a model, and what `auto_map` says of it."""
    served = sorted({*_BESIDE_ANY, auto_class})
    classes = [getattr(modeling_resnet, _CLASSES[name]) for name in served]
    code = source_files(*classes)
    nested = [path for path in code.files if "/" in path]
    if nested:
        message = sentences(
            f"the code of the models does not lie flat: {listed(nested)}.",
            "Transformers loads only modules that lie side by side.",
        )
        raise PublishingError(message)
    return code, dict(zip(served, code.references, strict=True))


def _said(facts: Facts) -> dict[str, bytes]:
    """Return the files that say something of a model: its card, what was measured and what was proven."""
    files = {CARD_NAME: card(facts)}
    if facts.metrics is not None:
        files[METRICS_NAME] = f"{json.dumps(facts.metrics.as_file(), indent=2)}\n".encode()
    if facts.certificate is not None:
        files |= {CERTIFICATE_NAME: facts.certificate.file, BADGE_NAME: facts.certificate.badge.encode()}
    return files
