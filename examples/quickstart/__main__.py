"""Train, save, load in a fresh process, judge every registered architecture, write the report."""

import argparse
import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from time import perf_counter

from examples.quickstart.digits import Split, load_splits
from examples.quickstart.pictures import contact_sheet
from examples.quickstart.training import CONFIG, Evaluation, best_device, evaluate, train
from rich.console import Console

from nameplate_conformance import Report, Section, print_report, render_page
from nameplate_conformance.cli.progress import judge_with_progress
from nameplate_conformance.judging.references import names
from nameplate_resnet import ResnetModelForImageClassification

_GOAL = 0.97
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that the report shows.

    Attributes:
        evaluation: What the trained model makes of the held-out digits.
        seconds: How long the training took.
        images: How many images the model was trained on.
        parameters: How many parameters it has.
        reloaded: What the fresh process printed.
        conformance: What the suite found.
    """

    evaluation: Evaluation
    seconds: float
    images: int
    parameters: int
    reloaded: dict[str, str | float]
    conformance: Report

    @property
    def same_bits(self) -> bool:
        """Whether the fresh process computed the very same logits."""
        return self.reloaded["fingerprint"] == self.evaluation.fingerprint

    @property
    def good(self) -> bool:
        """Whether everything that the quickstart promises came true."""
        return self.evaluation.accuracy >= _GOAL and self.same_bits and self.conformance.passed


def main() -> int:
    """Do the main job; return the exit code."""
    parser = argparse.ArgumentParser(prog="hatch run quickstart", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("quickstart-output"), help="the folder to write into")
    folder: Path = parser.parse_args().output
    console = Console()
    images, held_out = load_splits()
    device = best_device()
    started = perf_counter()
    model = train(images, device)
    seconds = perf_counter() - started
    evaluation = evaluate(model, held_out, device)
    console.print(f"accuracy on {len(held_out)} held-out digits: {evaluation.accuracy:.2%} (goal: {_GOAL:.0%})")
    model.save_pretrained(folder / "model")
    reloaded = _reload(folder / "model", console)
    report = judge_with_progress(names())
    print_report(report, console)
    outcome = Outcome(evaluation, seconds, len(images), model.num_parameters(), reloaded, report)
    _say_whether_bits_agree(outcome, console)
    _write(outcome, held_out, folder, model, console)
    return 0 if outcome.good else 1


def _reload(folder: Path, console: Console) -> dict[str, str | float]:
    """Start a process that knows only the folder, and return what it says of the model in it."""
    command = [sys.executable, "-m", "examples.quickstart.reload", str(folder.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    if done.returncode:
        console.print(done.stderr)
        message = f"the fresh process failed to load {folder}"
        raise SystemExit(message)
    answer: dict[str, str | float] = json.loads(done.stdout)
    console.print(f"a fresh process found {answer['class']} and says: {answer['report']}")
    return answer


def _say_whether_bits_agree(outcome: Outcome, console: Console) -> None:
    agree = "bit-equal" if outcome.same_bits else "DIFFERENT"
    console.print(f"logits in the fresh process: {agree}; accuracy there: {outcome.reloaded['accuracy']:.2%}")


def _write(
    outcome: Outcome, held_out: Split, folder: Path, model: ResnetModelForImageClassification, console: Console
) -> None:
    sheet = contact_sheet(held_out, outcome.evaluation.logits)
    (folder / "digits.png").write_bytes(sheet)
    sections = [_training_section(outcome, held_out, sheet), _reload_section(outcome, model)]
    page = render_page(outcome.conformance, title="Nameplate quickstart", sections=sections)
    (folder / "report.html").write_text(page, encoding="utf-8")
    for name in ("report.html", "digits.png", "model"):
        console.print(f"wrote {folder / name}", soft_wrap=True)


def _training_section(outcome: Outcome, held_out: Split, sheet: bytes) -> Section:
    figures = {
        "accuracy on held-out digits": f"{outcome.evaluation.accuracy:.2%}",
        "held-out digits": f"{len(held_out):,}",
        "training images": f"{outcome.images:,}",
        "parameters": f"{outcome.parameters:,}",
        "training": f"{outcome.seconds:.0f} s",
    }
    cards = "".join(f'<div class="figure"><b>{value}</b><span>{name}</span></div>' for name, value in figures.items())
    picture = base64.b64encode(sheet).decode()
    body = (
        "<p>A small residual network, trained on real scans of handwritten digits and judged on a third of them "
        "that it has not seen.</p>"
        f'<div class="figures">{cards}</div><pre>{escape(repr(CONFIG))}</pre>'
        f'<img alt="Held-out digits with predictions; mistakes are marked" src="data:image/png;base64,{picture}">'
    )
    return Section("Handwritten digits", body)


def _reload_section(outcome: Outcome, model: ResnetModelForImageClassification) -> Section:
    tone, word = ("good", "bit-equal") if outcome.same_bits else ("bad", "different")
    body = (
        f"<p>A fresh process that knew only the folder found <code>{escape(str(outcome.reloaded['class']))}</code> "
        f"by its <code>model_type</code> <code>{escape(model.config.model_type)}</code>. Its logits are "
        f'<span class="pill {tone}">{word}</span>, its accuracy is {outcome.reloaded["accuracy"]:.2%}.</p>'
        f"<pre>{escape(str(outcome.reloaded['report']))}</pre>"
    )
    return Section("Saved, and loaded in another process", body)


if __name__ == "__main__":
    sys.exit(main())
