"""What a config file may be made of, and the one text that every config has."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nameplate_config import ConfigFileError, NameplateError
from nameplate_config.strict_json import (
    CONFIG_BUDGET,
    DEEPEST,
    LARGEST_CONFIG,
    LONGEST_INTEGER,
    Budget,
    canonical_text,
    parse_object,
    readable_text,
)


def refused(data: bytes) -> str:
    """Return the message with which a file of these bytes is refused."""
    with pytest.raises(ConfigFileError) as caught:
        parse_object(data, where="config.json")
    return str(caught.value)


def test_an_object_is_parsed():
    """A strict file gives what `json` would."""
    data = b' {"a": [1, -2.5, 1e3, true, false, null, "\\u00e9\xc3\xa9"], "b": {}}\n'

    assert parse_object(data, where="x") == {"a": [1, -2.5, 1000.0, True, False, None, "éé"], "b": {}}


def test_order_is_kept():
    """The keys of an object keep their order."""
    assert list(parse_object(b'{"b": 1, "a": 2}', where="x")) == ["b", "a"]


# ---- not JSON


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "Expecting value at line 1, column 1"),
        (b"   \n  ", "Expecting value at line 2, column 3"),
        (b'{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6"),
        (b'{"a": 1}\n{"b": 2}', "Extra data at line 2, column 1"),
        (b'{"a": "\n"}', "Invalid control character at at line 1, column 8"),
        (b'{"a": "b', "Unterminated string starting at at line 1, column 7"),
        (b'{"a": tru}', "Expecting value at line 1, column 7"),
        (b"{'a': 1}", "Expecting property name enclosed in double quotes at line 1, column 2"),
    ],
)
def test_a_syntax_error_has_its_place(data: bytes, problem: str):
    """What is no JSON is refused with line and column."""
    assert refused(data) == f"config.json is not valid JSON: {problem}."


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"null", "None"), (b"[1]", "[1]"), (b'"a"', "'a'"), (b"3", "3"), (b"[" + b"1," * 999 + b"1]", None)],
)
def test_the_root_must_be_an_object(data: bytes, found: str | None):
    """A file whose root is no object is refused with a short view of what it is."""
    message = refused(data)

    assert found is None or message == f"config.json must hold a JSON object, found {found}."
    assert len(message) < 150


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"a": "\xff"}', "byte 7 is 0xff"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is 0xff"),
        (b'{"a": "\xed\xa0\x80"}', "byte 7 is 0xed"),
        (b'{"\xe9": 1}', "byte 2 is 0xe9"),
    ],
)
def test_a_file_is_utf_8(data: bytes, found: str):
    """Latin-1, UTF-16 and encoded surrogates are refused with the first byte that is wrong."""
    assert refused(data) == f"config.json is not UTF-8: {found}."


# ---- JSON that loses data


@pytest.mark.parametrize("data", [b'{"a": 1, "a": 1}', b'{"b": [{"a": 1, "c": 0, "a": 2}]}'])
def test_a_key_may_stand_once(data: bytes):
    """A key that stands twice in one object is refused, at any depth."""
    assert refused(data) == "config.json has the key 'a' twice in one object; keep one of them."


def test_a_key_may_stand_in_several_objects():
    """The same key in different objects is no duplicate."""
    assert parse_object(b'{"a": {"a": [{"a": 1}, {"a": 2}]}}', where="x") == {"a": {"a": [{"a": 1}, {"a": 2}]}}


def test_a_long_key_is_shortened():
    """A duplicate key of any length makes a short message."""
    key = b'"' + b"k" * 10_000 + b'": 1'

    assert len(refused(b"{" + key + b"," + key + b"}")) < 200


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_literals_that_json_lacks_are_refused(literal: str):
    """A float that JSON lacks is refused with the way to write it."""
    assert refused(b'{"a": [%s]}' % literal.encode()) == (
        f'config.json holds the literal {literal}, which JSON lacks; write {{"__float__": "{literal}"}} (line 1).'
    )


def test_a_byte_order_mark_is_refused():
    """A file that starts with a byte order mark is refused with the way out."""
    assert refused(b"\xef\xbb\xbf{}") == ("config.json starts with a byte order mark; save it as UTF-8 without one.")


# ---- budgets


def nested(depth: int) -> bytes:
    """Return an object in which lists and objects take turns, *depth* deep in all."""
    pairs = [(b'{"a":', b"}"), (b"[", b"]")]
    opening = b"".join(pairs[level % 2][0] for level in range(depth))
    closing = b"".join(pairs[level % 2][1] for level in reversed(range(depth)))
    return opening + b"0" + closing


def test_nesting_has_a_limit():
    """A file may nest so deep and no deeper; a hundred thousand levels are refused alike."""
    assert parse_object(nested(DEEPEST), where="x")
    for data in (nested(DEEPEST + 1), nested(100_000), b'{"a":' + b"[" * 100_000, b"[" * 100_000):
        assert refused(data) == "config.json nests lists and objects more than 64 deep at line 1."


def test_brackets_in_texts_are_no_nesting():
    """Brackets inside a text, escaped quotes included, do not count."""
    data = json.dumps({"a": '[{"\\' * 100, "[" * 100: 1}).encode()

    assert parse_object(data, where="x") == {"a": '[{"\\' * 100, "[" * 100: 1}


def test_many_brackets_are_no_nesting():
    """A wide file is not a deep one."""
    assert parse_object(b'{"a": [' + b"[]," * 1000 + b"{}]}", where="x")["a"][0] == []


def test_integers_have_a_limit():
    """An integer may have so many digits and no more, with or without a sign."""
    most = 10**LONGEST_INTEGER - 1

    assert parse_object(b'{"a": [%d, %d]}' % (most, -most), where="x") == {"a": [most, -most]}
    for number in (b"1" * 21, b"-" + b"1" * 21):
        assert (
            refused(b'{"a": %s}' % number) == "config.json holds an integer of 21 digits; at most 20 are read (line 1)."
        )
    assert refused(b'{"a": ' + b"9" * 500_000 + b"}") == (
        "config.json holds an integer of 500,000 digits; at most 20 are read (line 1)."
    )


def test_objects_have_a_limit():
    """An object may have so many keys and no more; the caller may set the number."""
    data = json.dumps({str(number): 0 for number in range(CONFIG_BUDGET.keys)}).encode()

    assert len(parse_object(data, where="x")) == CONFIG_BUDGET.keys
    assert refused(data[:-1] + b', "more": 0}') == (
        "config.json has an object of 50,001 keys; at most 50,000 are read."
    )
    assert len(parse_object(data[:-1] + b', "more": 0}', where="x", budget=Budget(keys=50_001))) == 50_001


def test_the_caller_chooses_the_error():
    """A reader of other files gets its own error for every kind of refusal."""
    for data in (b"", b"[]", b"\xff", nested(65)):
        with pytest.raises(NameplateError) as caught:
            parse_object(data, where="index.json", error=NameplateError)

        assert type(caught.value) is NameplateError
        assert str(caught.value).startswith("index.json ")


def hostile_files() -> Iterator[bytes]:
    """Yield files of the largest size that try to be expensive."""
    size = LARGEST_CONFIG - 100
    yield b'{"a":' + b"[" * size
    yield b'{"a":"' + b"\\" * size
    yield b'{"a":"' + b'\\"[' * (size // 3)
    yield b'{"a":' + b"1" * size + b"}"
    yield b'{"a":' + b"1" * size + b".5e}"
    yield b'{"a":[' + b"[]," * (size // 3) + b"]}"
    yield b"{" + b'"a":0,' * (size // 6) + b"}"
    yield b" " * size


@pytest.mark.parametrize("data", [*hostile_files()], ids=lambda data: data[:12].decode())
def test_a_hostile_file_costs_little(data: bytes):
    """The most expensive file that fits the budget is refused within a few seconds, briefly."""
    start = time.perf_counter()
    message = refused(data)

    assert time.perf_counter() - start < 5
    assert len(message) < 200


# ---- the canonical text


def test_the_text_is_canonical():
    """The text has two spaces of indentation, only ASCII, and one line feed at its end."""
    assert canonical_text({"b": [1, 1.5, None, "é"], "a": {}}) == (
        '{\n  "b": [\n    1,\n    1.5,\n    null,\n    "\\u00e9"\n  ],\n  "a": {}\n}\n'
    )


@pytest.mark.parametrize("number", [0.1, 1e-320, -0.0, 1.7976931348623157e308, 2**63, 1e22])
def test_numbers_come_back_exactly(number: float):
    """A number is written so that it is read as the same bits."""
    back = parse_object(canonical_text({"a": number}).encode(), where="x")["a"]

    assert (repr(back), type(back)) == (repr(number), type(number))


def test_a_text_that_is_too_long_is_refused():
    """A text that would be over the budget of a config file is refused with both sizes."""
    with pytest.raises(ConfigFileError) as caught:
        readable_text({"a": "x" * LARGEST_CONFIG}, where="the file")

    assert str(caught.value) == "the file would have 4,194,318 bytes; at most 4,194,304 are read."


CANONICAL = """
import sys
from nameplate_config import PreTrainedConfig
class Canonical(PreTrainedConfig):
    model_type = "canonical"
    names: set[str] = set()
    labels: dict[int, str] = {}
    width: int = 8
    def __init__(self, depth=1, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
values = {"names": {"a", "b", "c", "d"}, "labels": {2: "x", 1: "y"}, "width": 3, "depth": 2, "zeta": 1, "alpha": 2}
sys.stdout.write(Canonical(**{name: values[name] for name in sys.argv[1:]}).to_json_string())
"""


def test_the_text_depends_on_nothing_else():
    """Equal configs have equal bytes, whatever the order of arguments, the hash seed and the process."""
    orders = itertools.islice(
        itertools.permutations(["names", "labels", "width", "depth", "zeta", "alpha"]), 0, 720, 180
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", CANONICAL, *order],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed, order in enumerate(orders)
    }

    assert [json.loads(text) for text in texts] == [
        {
            "alpha": 2,
            "depth": 2,
            "labels": {"2": "x", "1": "y"},
            "model_type": "canonical",
            "names": ["a", "b", "c", "d"],
            "width": 3,
            "zeta": 1,
        }
    ]
