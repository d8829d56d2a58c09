"""A pickle read as plain records: its instructions build lists, dicts and records here, and call nothing.

What the pickle would make of a class becomes a `Record` with the name of that class, which must be on a list, and what
it was to be made of. No name is looked up, so there is nothing that could run.
"""

import io
import pickletools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from nameplate_config.wording import brief, shown

MOST_INSTRUCTIONS = 8_000_000
"""A piece of a tensor takes about 80, so this is enough for 100,000; going through them takes eight seconds."""

LARGEST_PICKLE = 64 << 20
"""In bytes; the instructions above take half of it."""


class RecordsError(Exception):
    """A pickle that cannot be read as records. Says what is wrong with it.

    Attributes:
        hostile: Whether it asks for something that is not on the list, and is not just torn.
    """

    def __init__(self, what: str, *, hostile: bool = False) -> None:
        super().__init__(what)
        self.hostile = hostile


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function, by name only.

    Attributes:
        text: Its module and its name, with a blank between them.
    """

    text: str


@dataclass(eq=False, slots=True)
class Record:
    """What a class would have been called with.

    Attributes:
        made_of: The module and the name of the class, with a blank between them.
        arguments: What it is called with.
        state: What it is filled with afterwards.
    """

    made_of: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True, slots=True)
class Outside:
    """What lies outside of the pickle, such as the bytes of a tensor.

    Attributes:
        told: What the pickle says of it.
    """

    told: Any


def read_records(data: bytes, allowed: Collection[str]) -> Any:
    """Return what a pickle holds, with records in the place of objects.

    Args:
        data: The pickle.
        allowed: The names that it may ask for, each a module and a name with a blank between them.

    Raises:
        RecordsError: If it asks for another name, is torn, or takes more than is read.

    Example:
        >>> import pickle
        >>> read_records(pickle.dumps({"a": [1, (2.5, None)]}), ())
        {'a': [1, (2.5, None)]}
        >>> from fractions import Fraction
        >>> read_records(pickle.dumps(Fraction(1, 2)), {"fractions Fraction"})
        Record(made_of='fractions Fraction', arguments=(1, 2), state=None)
        >>> read_records(pickle.dumps(print), ())
        Traceback (most recent call last):
        nameplate_model._dcp.records.RecordsError: builtins.print
    """
    reader = _Reader(allowed)
    try:
        for name, argument in _instructions(data):
            reader.follow(name, argument)
        (found,) = reader.stack
    except RecordsError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, EOFError, OverflowError, Warning) as error:
        raise RecordsError(brief(error)) from error
    return found


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        if count == MOST_INSTRUCTIONS:
            message = f"it has more than {MOST_INSTRUCTIONS:,} instructions"
            raise RecordsError(message)
        yield opcode.name, argument


@dataclass(slots=True)
class _Reader:
    """What the instructions of a pickle work on."""

    allowed: Collection[str]
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def follow(self, name: str, argument: Any) -> None:
        """Do what an instruction says."""
        step = _STEPS.get(name)
        if step is None:
            raise RecordsError(name, hostile=True)
        step(self, argument)

    def since_mark(self) -> list[Any]:
        """Return what was put down since the last mark, and go back to what lies below it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def push(self, value: Any) -> None:
        """Put a value down."""
        self.stack.append(value)

    def name(self, text: str) -> None:
        """Put a name down that is on the list."""
        if text not in self.allowed:
            raise RecordsError(text.replace(" ", "."), hostile=True)
        self.push(Name(text))

    def make(self, arguments: Any) -> None:
        """Put a record down in the place of the name on top."""
        made_of = self.stack.pop()
        if not isinstance(made_of, Name) or not isinstance(arguments, tuple):
            message = f"it calls {shown(made_of)} with {shown(arguments)}"
            raise RecordsError(message, hostile=True)
        self.push(Record(made_of.text, arguments))


def _mark(reader: _Reader, _: Any) -> None:
    reader.below.append(reader.stack)
    reader.stack = []


def _named_on_stack(reader: _Reader, _: Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.name(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else "STACK_GLOBAL")


def _append(reader: _Reader, items: list[Any]) -> None:
    _of_kind(reader, list).extend(items)


def _set(reader: _Reader, items: list[Any]) -> None:
    keys = items[::2]
    if not all(isinstance(key, (str, int, Record)) for key in keys):  # hashing a nested tuple could end the process
        message = "it has a dict with keys that are neither texts, numbers nor objects"
        raise RecordsError(message)
    _of_kind(reader, dict).update(zip(keys, items[1::2], strict=True))


def _of_kind(reader: _Reader, kind: type) -> Any:
    """Return what lies on top, if it is a plain container."""
    if type(reader.stack[-1]) is not kind:
        message = f"it fills {shown(reader.stack[-1])} as if it were a {kind.__name__}"
        raise RecordsError(message)
    return reader.stack[-1]


def _fill(reader: _Reader, _: Any) -> None:
    state = reader.stack.pop()
    record = reader.stack[-1]
    if not isinstance(record, Record):
        message = f"it fills {shown(record)} as if it were an object"
        raise RecordsError(message)
    record.state = state


def _remember(reader: _Reader, place: int | None) -> None:
    reader.memory[len(reader.memory) if place is None else place] = reader.stack[-1]


def _recall(reader: _Reader, place: int) -> None:
    reader.push(reader.memory[place])


def _last(reader: _Reader, count: int) -> None:
    items = [reader.stack.pop() for _ in range(count)]
    reader.push(tuple(reversed(items)))


def _make_with_names(reader: _Reader, _: Any) -> None:
    names, arguments = reader.stack.pop(), reader.stack.pop()
    if names:
        message = f"it calls something with {shown(names)}"
        raise RecordsError(message, hostile=True)
    reader.make(arguments)


_Step = Callable[[_Reader, Any], None]


def _nothing(_reader: _Reader, _argument: Any) -> None:
    """Do nothing: the instruction only frames others."""


_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(_VALUES, _Reader.push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "MARK": _mark,
    "TUPLE": lambda reader, _: reader.push(tuple(reader.since_mark())),
    "TUPLE1": lambda reader, _: _last(reader, 1),
    "TUPLE2": lambda reader, _: _last(reader, 2),
    "TUPLE3": lambda reader, _: _last(reader, 3),
    "APPEND": lambda reader, _: _append(reader, [reader.stack.pop()]),
    "APPENDS": lambda reader, _: _append(reader, reader.since_mark()),
    "SETITEM": lambda reader, _: _set(reader, [reader.stack.pop(-2), reader.stack.pop()]),
    "SETITEMS": lambda reader, _: _set(reader, reader.since_mark()),
    "GLOBAL": lambda reader, text: reader.name(text),
    "STACK_GLOBAL": _named_on_stack,
    "REDUCE": lambda reader, _: reader.make(reader.stack.pop()),
    "NEWOBJ": lambda reader, _: reader.make(reader.stack.pop()),
    "NEWOBJ_EX": _make_with_names,
    "BUILD": _fill,
    "BINPERSID": lambda reader, _: reader.push(Outside(reader.stack.pop())),
}
"""What each instruction does. Those that are not here are none of a metadata's or a tensor's."""
