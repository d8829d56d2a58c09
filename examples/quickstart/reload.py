"""The fresh process: it is told a folder and nothing else, loads the model by its name and judges it again."""

import json
import sys

from examples.quickstart.digits import load_splits
from examples.quickstart.training import best_device, evaluate

from nameplate_auto import AutoModelForImageClassification


def main() -> None:
    """Print what the checkpoint in the folder given on the command line makes of the held-out digits, as JSON."""
    device = best_device()
    model = AutoModelForImageClassification.from_pretrained(sys.argv[1], device=device)
    _, held_out = load_splits()
    evaluation = evaluate(model, held_out, device)
    answer = {
        "class": f"{type(model).__module__}.{type(model).__name__}",
        "accuracy": evaluation.accuracy,
        "fingerprint": evaluation.fingerprint,
        "report": str(model.load_report),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
