"""The command line: publish, convert and evaluate a checkpoint, and list timm's names.

Exit code 0 if it is done, 1 if it cannot be done, with the reason in one line, 2 if the command makes no sense. What
takes long to import is imported by the command that needs it.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from nameplate_config import NameplateError, Source, open_source
from nameplate_config.wording import did_you_mean
from nameplate_resnet.configuration_resnet import ResnetConfig
from nameplate_resnet.publishing.metrics import METRICS_NAME, read_metrics
from nameplate_resnet.variants import TIMM_NETWORKS

if TYPE_CHECKING:
    from nameplate_resnet.modeling_resnet import ResnetPreTrainedModel
    from nameplate_resnet.publishing.metrics import Metrics

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_LAYOUTS = {"ours": None, "timm": "timm", "transformers": "transformers"}


class Commands(click.Group):
    """The commands; what one of them cannot do is told in one line, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (NameplateError, OSError) as error:
            reason = " ".join(str(error).split())
            click.echo(f"{ctx.info_name}: {reason}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nameplate-resnet")
def main() -> None:
    """Publish residual networks, and turn their checkpoints into each other's formats.

    SOURCE is a folder, or the id of a repository on the Hub: of this package, timm, Transformers' own ResNet, or the
    tutorial on custom models.
    """


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of measuring to a command."""
    for option in (
        click.option("--split", default="", help="What this part of the data is called, such as test."),
        click.option("--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Images at once."),
        click.option("--device", default="cpu", show_default=True, help="Where the network runs, such as cuda."),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("source")
@click.argument("repository")
@click.option("--evaluate", "images", type=_FOLDER, help="Measure on this folder of images, a sub-folder a class.")
@click.option("--license", "license_", default="", help="The licence of the weights, such as apache-2.0.")
@click.option("--certificate", type=_FILE, help="What `nameplate-conformance certify` wrote; for these very files.")
@click.option("--dry-run", type=_FOLDER, help="Write the files into this folder and publish nothing.")
@click.option("--keep-card", is_flag=True, help="Leave a README.md that is there as it is.")
@click.option("--private", is_flag=True, help="Let nobody else see a repository that is created.")
@click.option("--revision", "--branch", help="The branch to commit to, created if there is none.")
@click.option("--token", help="An access token; that of `hf auth login` if not given.")
@click.option("--message", "commit_message", help="What the commit says.")
@_measuring
def publish(source: str, repository: str, **options: Any) -> None:
    """Publish the model of SOURCE in REPOSITORY: weights, config, code, image processor and card, in one commit.

    Who loads it needs this package, or only the cores, or Transformers, or timm: the card shows how. The card has what
    was measured: by --evaluate, or by the metrics.json beside the checkpoint.
    """
    from nameplate_resnet.image_processing_resnet import ImageProcessorConfig  # noqa: PLC0415
    from nameplate_resnet.publishing.certificate import read_certificate  # noqa: PLC0415 - as the docstring says
    from nameplate_resnet.publishing.repository import Claims, open_model, send  # noqa: PLC0415

    opened = open_source(source)
    certificate = None if options["certificate"] is None else read_certificate(options["certificate"])
    model = open_model(opened)
    processor = ImageProcessorConfig.from_pretrained(opened)
    metrics = _measured(opened, model, options) if options["images"] else read_metrics(opened)
    claims = Claims(metrics=metrics, certificate=certificate, license=options["license_"])
    said = {"repository": repository, "revision": options["revision"] or "", "claims": claims}
    if options["dry_run"] is not None:
        _compose(model, processor, options["dry_run"], **said)
        click.echo(f"wrote {options['dry_run']}, and published nothing")
        return
    names = ("revision", "token", "commit_message", "private")
    how: Any = {name: options[name] for name in names if options[name]}
    with TemporaryDirectory() as folder:
        _compose(model, processor, Path(folder), **said)
        address = send(Path(folder), repository, keep_card=options["keep_card"], **how)
    click.echo(f"published {address}")


def _compose(*parts: Any, **claims: Any) -> None:
    from nameplate_resnet.publishing.repository import compose  # noqa: PLC0415 - as the docstring says

    if compose(*parts, **claims) is None:
        click.echo("timm has no such model, so only the other ways to load it are open", err=True)


@main.command()
@click.argument("source")
@click.argument("images", type=_FOLDER)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help=f"Write a {METRICS_NAME} as well."
)
@_measuring
def evaluate(source: str, images: Path, output: Path | None, **options: Any) -> None:
    """Measure how often the classifier of SOURCE is right about IMAGES, a folder with a sub-folder for each class."""
    import json  # noqa: PLC0415 - as the docstring says

    from nameplate_config.files import make_folder, replace_file  # noqa: PLC0415
    from nameplate_resnet.publishing.repository import open_model  # noqa: PLC0415

    opened = open_source(source)
    if output is not None:
        make_folder(output.parent)  # before the work, not after it
    metrics = _measured(opened, open_model(opened), {**options, "images": images})
    for name, value in metrics.values.items():
        click.echo(f"{name} {value:.4f}")
    if output is not None:
        replace_file(output, [f"{json.dumps(metrics.as_file(), indent=2)}\n".encode()])


@main.command()
@click.argument("source")
@click.argument("folder", type=_FOLDER)
@click.option("--layout", type=click.Choice(list(_LAYOUTS)), default="ours", show_default=True, help="Whose words.")
def convert(source: str, folder: Path, layout: str) -> None:
    """Write the model of SOURCE into FOLDER, as we, timm or Transformers lay it out."""
    from nameplate_resnet.image_processing_resnet import ImageProcessorConfig  # noqa: PLC0415 - as the docstring says
    from nameplate_resnet.publishing.repository import open_model, tell_timm  # noqa: PLC0415

    opened = open_source(source)
    processor = ImageProcessorConfig.from_pretrained(opened)
    model = open_model(opened)
    if layout == "timm":
        tell_timm(model, processor)
    model.save_pretrained(folder, layout=_LAYOUTS[layout])
    processor.save_pretrained(folder)
    click.echo(f"wrote {folder}")


@main.command("list")
@click.argument("pattern", default="*")
def list_networks(pattern: str) -> None:
    """List the networks of timm whose names match PATTERN, such as "resnet50*", with their parameters."""
    names = [name for name in TIMM_NETWORKS if fnmatchcase(name, pattern)]
    if not names:
        near = did_you_mean(pattern, TIMM_NETWORKS)
        message = f"no network of timm is called like {pattern!r}. {near}".rstrip()
        raise click.UsageError(message)
    import torch  # noqa: PLC0415 - as the docstring says

    from nameplate_resnet.network_resnet import build_resnet  # noqa: PLC0415

    widest = max(map(len, names))
    for name in names:
        config = ResnetConfig.from_timm(name)
        with torch.device("meta"):
            network = build_resnet(config, num_classes=config.num_classes)
        millions = sum(each.numel() for each in network.parameters()) / 1e6
        click.echo(f"{name:{widest}}  {millions:6.1f} M")


def _measured(source: Source, model: "ResnetPreTrainedModel", options: dict[str, Any]) -> "Metrics":
    """Return what is measured now, on the device that was asked for."""
    import torch  # noqa: PLC0415 - as the docstring says

    from nameplate_resnet.image_processing_resnet import ImageProcessorConfig  # noqa: PLC0415
    from nameplate_resnet.publishing.evaluation import evaluate as measure  # noqa: PLC0415

    try:
        model.to(torch.device(options["device"]))
        next(model.parameters()).cpu()  # which a device without memory of its own, such as meta, refuses
    except (RuntimeError, AssertionError, ImportError) as error:  # torch without CUDA asserts
        message = f"there is no device {options['device']!r} here: {str(error).partition(chr(10))[0]}"
        raise click.UsageError(message) from error
    how = {name: options[name] for name in ("split", "batch_size")}
    metrics = measure(model, ImageProcessorConfig.from_pretrained(source), options["images"], **how, progress=True)
    model.to("cpu")
    return metrics
