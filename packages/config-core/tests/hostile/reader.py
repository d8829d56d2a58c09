"""Reads config files that may be hostile, each in a process of its own, and says what came of it.

Run as a script it is a server: a line ``{"path": …, "target": …}`` on its input is answered by one line on its
output. It imports nameplate_config and nothing else that is large, so that what a file costs can be told.
"""

import enum
import json
import os
import resource
import signal
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le, MultipleOf

from nameplate_config import ConfigError, DType, ForeignFormat, OnlyWhen, PreTrainedConfig, Problem, migrates

_SECONDS = 5
_MEMORY = 1 << 30
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_OLD_WIDTHS = {"narrow": 64, "wide": 512}

assigned: set[str] = set()
"""Every name that reached `setattr` on a config of this module."""


class Watched(PreTrainedConfig):
    """A config that notes what is assigned."""

    def __setattr__(self, name: str, value: Any) -> None:
        assigned.add(name)
        super().__setattr__(name, value)


class Colour(enum.Enum):
    """A few values with names."""

    RED = "red"
    GREEN = "green"
    THIRD = 3


class Point(NamedTuple):
    """A record that JSON holds as a list."""

    x: int
    y: int = 0


@dataclass
class Window:
    """A record that JSON holds as an object, which computes something of its own and may hold another."""

    size: int
    offset: float = 0.0
    inner: "Window | None" = None
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        self.rate = 1 / self.size


class Node(Watched):
    """A config that holds others of its kind."""

    model_type = "hostile-node"

    width: int = 8
    child: "Node | None" = None
    children: list["Node"] = field(default_factory=list)


class Left(Watched):
    """One of two configs that a file may hold in the same place."""

    value: int = 0
    child: "Left | Right | None" = None


class Right(Watched):
    """The other one, which looks the same."""

    value: int = 0
    child: "Left | Right | None" = None


class HostileTarget(Watched):
    """A config with a field of every kind."""

    model_type = "hostile"
    config_version = 3
    attribute_map = {"hidden_size": "width"}

    width: Annotated[int, Ge(8), Le(4096), MultipleOf(8)] = 64
    depth: int = 2
    ratio: float = 1.0
    dropout: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    bias: bool = True
    title: str = ""
    note: str | None = None
    act: Literal["relu", "gelu"] = "relu"
    group: Annotated[int, OnlyWhen("act", "gelu")] = 1
    colour: Colour = Colour.RED
    folder: Path = Path("weights")
    digest: bytes = b""
    phase: complex = 0j
    compute: DType = "float32"
    dtypes: list[DType] = field(default_factory=list)
    layers: tuple[int, ...] = (2, 2)
    size: tuple[int, int] = (7, 7)
    scales: list[float] = field(default_factory=list)
    picked: set[int] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    rates: dict[float, int] = field(default_factory=dict)
    table: dict[str, list[int]] = field(default_factory=dict)
    order: OrderedDict[str, int] = OrderedDict()
    window: Window | None = None
    windows: list[Window] = field(default_factory=list)
    point: Point = Point(1, 2)
    source: str | Path = ""
    runs: list[int] | tuple[int, ...] = ()
    node: Node = Node()
    nodes: list[Node] = field(default_factory=list)
    others: list["HostileTarget"] = field(default_factory=list)
    tree: Left | Right | None = None
    part: PreTrainedConfig | None = None
    anything: Any = None

    @migrates(1, 2)
    @staticmethod
    def width_had_a_name(values: dict[str, Any]) -> dict[str, Any]:
        """Read a width that was called by a name; fail if the name is unknown."""
        if "width_name" in values:
            values["width"] = _OLD_WIDTHS[values.pop("width_name")]
        return values

    @migrates(2, 3)
    @staticmethod
    def body_was_inside(values: dict[str, Any]) -> dict[str, Any]:
        """Read values that were inside of one, whatever it is."""
        return values.get("body", values)

    def validate_depth(self) -> Iterator[Problem]:
        """Refuse a depth in each way that a hook has, and in one that it should not have."""
        if self.depth > 100:
            yield Problem("depth", "at most 100", str(self.depth))
        if self.width % self.depth:
            message = f"a width of {self.width} is no multiple of {self.depth}"
            raise ValueError(message)


class PlainTarget(Watched):
    """A config with an `__init__` of its own that holds others of its kind."""

    model_type = "hostile-plain"

    def __init__(
        self,
        width: int = 8,
        child: "PlainTarget | None" = None,
        children: "list[PlainTarget] | None" = None,
        **kwargs: Any,
    ) -> None:
        self.width = width
        self.area = width * width
        self.child = child
        self.children = children
        super().__init__(**kwargs)


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Read a width that was called by a name; fail in each way that a converter has."""
    if "body" in values:
        return values["body"]
    if values.get("groups", 1) != 1:
        message = "grouped"
        raise ConfigError(message, (Problem("groups", "1", repr(values["groups"])),))
    return {"width": _OLD_WIDTHS[values["size_name"]]}


class ForeignTarget(Watched):
    """A config that reads files of others, of two kinds that can be taken for each other."""

    model_type = "hostile-foreign"
    foreign_formats = (
        ForeignFormat("named", lambda values: "size_name" in values, _renamed),
        ForeignFormat("sized", lambda values: values["size"] > 0 if "size" in values else False, _renamed),
    )

    width: int = 8


TARGETS: dict[str, type[PreTrainedConfig]] = {
    each.__name__: each for each in (HostileTarget, PlainTarget, Node, Left, Right, ForeignTarget)
}


def namespaces() -> list[dict[str, Any]]:
    """Return what every class of this module has, to be compared with what it has later."""
    return [dict(vars(base)) for each in TARGETS.values() for base in each.__mro__]


def outcome(path: str, target: str) -> dict[str, Any]:
    """Read a file and say what was raised, and what it cost."""
    before = namespaces()
    start = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, Any] = {"error": "", "code": "", "message": ""}
    try:
        TARGETS[target].from_pretrained(path)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test will judge it
        found = {"error": type(error).__name__, "code": getattr(error, "code", ""), "message": str(error)}
    end = resource.getrusage(resource.RUSAGE_SELF)
    known = {name for each in TARGETS.values() for name in each._schema.fields}
    return {
        **found,
        "seconds": end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime,
        "bytes": (end.ru_maxrss - start.ru_maxrss) * _MAXRSS_UNIT,
        "assigned": sorted(assigned - known - {"area"}),
        "shadowed": namespaces() != before,
    }


def apart(path: str, target: str) -> dict[str, Any]:
    """Return the outcome of a file that is read in a fork, which is killed if it takes too much."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            signal.alarm(4 * _SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            answer = json.dumps(outcome(path, target))
            with os.fdopen(writing, "w") as pipe:
                pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(answer) if answer else {"error": f"killed by signal {os.WTERMSIG(status)}"}


def serve() -> None:
    """Answer every line of the input."""
    warnings.simplefilter("error")
    for each in TARGETS.values():
        each()  # the schema of a class is built once, by whoever reads first
    for line in sys.stdin:
        sys.stdout.write(json.dumps(apart(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
