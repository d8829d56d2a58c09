"""How loading and saving a config of ours grows with its size; a program of its own, which `configs` starts.

Both happen in memory: loading parses and validates the bytes of a file, saving writes its text. What a class costs
once, when its fields are first read, is warmed up and not counted.
"""

import json

from benchmarks.timing import SLOW, milliseconds
from nameplate_config import PreTrainedConfig
from nameplate_config.strict_json import DEEPEST, parse_object

SIZES = {
    "fields": [10, 100, 1000, 10_000],
    "levels": [1 << power for power in range(DEEPEST.bit_length())],
}
"""The sizes of each curve. An object may have 10,000 keys; lists and objects may nest `DEEPEST` levels."""


class NodeConfig(PreTrainedConfig):
    """A config that holds another of its kind."""

    child: "NodeConfig | None" = None


def main() -> None:
    """Time everything and print the milliseconds. A curve ends with the first size at which it is slow."""
    answers: dict[str, float] = {}
    for curve, sizes in SIZES.items():
        for size in sizes:
            load, save = _load_and_save(*_sample(curve, size))
            answers |= {f"{curve} {size} load": load, f"{curve} {size} save": save}
            if max(load, save) > 1000 * SLOW:
                break
    print(json.dumps(answers))


def _load_and_save(kind: type[PreTrainedConfig], data: bytes) -> tuple[float, float]:
    config = _loaded(kind, data)
    return milliseconds(lambda: _loaded(kind, data)), milliseconds(config.to_json_string)


def _loaded(kind: type[PreTrainedConfig], data: bytes) -> PreTrainedConfig:
    return kind.from_dict(parse_object(data, where="config.json"))


def _sample(curve: str, size: int) -> tuple[type[PreTrainedConfig], bytes]:
    """Return a class and the bytes of its file, in which no field has its default."""
    if curve == "levels":
        return NodeConfig, b'{"child": ' * (size - 1) + b"{}" + b"}" * (size - 1)
    names = [f"field_{index}" for index in range(size)]
    kind = type(
        "WideConfig", (PreTrainedConfig,), {"__annotations__": dict.fromkeys(names, int)} | dict.fromkeys(names, 0)
    )
    return kind, json.dumps({name: index for index, name in enumerate(names, start=1)}).encode()
