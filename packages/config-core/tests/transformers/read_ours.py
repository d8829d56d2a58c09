"""Read config files with Transformers and print, as JSON, what it sees: `test_transformers` starts it once.

python read_ours.py FOLDER...
"""

import json
import sys
from pathlib import Path
from typing import Any

import transformers
from user_config import UserConfig

transformers.AutoConfig.register("user", UserConfig)


def _seen(folder: Path) -> dict[str, Any]:
    """Return what a config says of its labels and dtype, and all of its values, those of the defaults too."""
    config = transformers.AutoConfig.from_pretrained(folder)
    values = PLAIN._encode_special_floats(config.to_dict())
    del values["transformers_version"]
    return {
        "class": type(config).__name__,
        "num_labels": config.num_labels,
        "id2label": None if config.id2label is None else [list(pair) for pair in config.id2label.items()],
        "dtype": str(config.dtype),
        "values": values,
    }


PLAIN = transformers.PreTrainedConfig

print(json.dumps([_seen(Path(folder)) for folder in sys.argv[1:]]))  # noqa: T201 - its result
