"""One place executes what a repository holds; nothing else in the family executes text, unpickles or trusts by itself.

`sinks` reads source text and imports nothing, so the meta-tests can show it any offence. That the one place runs only
what was approved is tested in `packages/auto-registry/tests`.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import ROOT, members

BUILTINS = frozenset({"exec", "eval", "compile", "__import__"})
"""Functions of Python that run a text, or prepare it."""

MODULES: dict[str, frozenset[str]] = {
    "builtins": BUILTINS,
    "pickle": frozenset({"load", "loads", "Unpickler"}),
    "marshal": frozenset({"load", "loads"}),
    "torch": frozenset({"load", "jit"}),
    "os": frozenset({"system", "popen", "execv", "execve", "execl", "spawnv", "spawnl", "posix_spawn", "startfile"}),
    "runpy": frozenset({"run_path", "run_module"}),
    "code": frozenset({"InteractiveInterpreter", "interact"}),
    "imp": frozenset({"load_source"}),
    "shelve": frozenset({"open"}),
    "joblib": frozenset({"load"}),
    "dill": frozenset({"load", "loads"}),
    "cloudpickle": frozenset({"load", "loads"}),
}
"""Functions of others that do, by their modules."""

RUNNING = "nameplate_auto/_remote/running.py"

ALLOWED: dict[str, Counter[str]] = {
    RUNNING: Counter({"builtins.exec": 1, "builtins.compile": 1}),  # the one place
    "nameplate_model/_pickled.py": Counter({"torch.load": 1}),  # with weights_only, after its own look at the pickle
    # Laws about the copies of a config and a model: what they read is what they have just written.
    "nameplate_conformance/laws/l1_config_values.py": Counter({"builtins.eval": 1, "pickle.loads": 1}),
    "nameplate_conformance/instruments/copies.py": Counter({"torch.load": 1}),
    # What processes of a law's own have left for it: with weights_only, and frames that a forked child has filmed.
    "nameplate_conformance/laws/l4_code.py": Counter({"torch.load": 1}),
    "nameplate_conformance/faults/film.py": Counter({"pickle.load": 1}),
    "nameplate_conformance/zoo/broken_trust.py": Counter({"torch.load": 1}),  # a mutant, which a law has to find
}
"""Where what is used, and how often."""


def sinks(source: str) -> Iterator[str]:
    """Yield the dotted name of every function mentioned in a text that runs what it is given, called or not."""
    tree = ast.parse(source)
    modules, functions = _imported(tree)
    yield from functions.elements()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in BUILTINS:
            yield f"builtins.{node.id}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id, "")
            if node.attr in MODULES.get(module, ()):
                yield f"{module}.{node.attr}"


def _imported(tree: ast.Module) -> tuple[dict[str, str], Counter[str]]:
    """Return the dangerous modules of a text by the names that they have there, and functions imported from them."""
    modules: dict[str, str] = {}
    functions: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name: each.name for each in node.names if each.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES and not node.level:
            names = [each.name for each in node.names]
            functions.update(f"{node.module}.{name}" for name in names if name in MODULES[node.module] or name == "*")
    return modules, functions


def trusting(source: str) -> Iterator[int]:
    """Yield the lines of a text that grant trust by themselves: a literal true as a default, a value or an argument."""
    for node in ast.walk(ast.parse(source)):
        for name, value in _bindings(node):
            if (name.startswith("trust") or name.endswith("_trust")) and _is_true(value):
                yield value.lineno


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a node of a syntax tree gives to names: defaults, arguments, keys and assignments."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        yield from ((argument.arg, default) for argument, default in _defaults(node.args))
    elif isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.Assign):
        yield from ((_name(each), node.value) for each in node.targets)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield _name(node.target), node.value
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from ((str(key.value), value) for key, value in pairs if isinstance(key, ast.Constant))


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    placed = [*arguments.posonlyargs, *arguments.args]
    yield from zip(placed[len(placed) - len(arguments.defaults) :], arguments.defaults, strict=True)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield argument, default


def _name(target: ast.expr) -> str:
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return getattr(target, "id", getattr(target, "attr", ""))


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def texts() -> dict[str, str]:
    """Return the text of every module of the family by its path below its source folder."""
    return {
        file.relative_to(member.source.parent).as_posix(): file.read_text(encoding="utf-8")
        for member in members()
        for file in sorted(member.source.rglob("*.py"))
    }


def test_one_place_executes() -> None:
    """There is exactly one `exec` in the family; nothing else runs a text, and what unpickles is on the list."""
    found = {path: used for path, text in texts().items() if (used := Counter(sinks(text)))}

    assert found == ALLOWED
    assert sum(used["builtins.exec"] for used in found.values()) == 1


def test_the_one_place_executes_once() -> None:
    """The text that is executed is compiled in the same function, and that is only called by the import system."""
    tree = ast.parse(texts()[RUNNING])
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    holders = {
        each.name for each in functions if {"builtins.exec", "builtins.compile"} <= set(sinks(ast.unparse(each)))
    }

    assert holders == {"exec_module"}


def test_nothing_trusts_by_itself() -> None:
    """No module of the packages grants trust with a literal."""
    shipped = {path: text for path, text in texts().items() if not path.startswith("nameplate_conformance/")}

    assert {path: lines for path, text in shipped.items() if (lines := list(trusting(text)))} == {}


def test_every_source_folder_is_read() -> None:
    """What is read are the modules of all packages."""
    assert {path.partition("/")[0] for path in texts()} == {member.import_name for member in members()}
    assert len(texts()) == len(list(Path(ROOT).glob("packages/*/src/**/*.py"))) + len(
        list(Path(ROOT).glob("conformance/src/**/*.py"))
    )


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ("exec('x')", "builtins.exec"),
        ("def f():\n    run = exec", "builtins.exec"),
        ("import builtins\nbuiltins.exec('x')", "builtins.exec"),
        ("import builtins as b\nb.eval", "builtins.eval"),
        ("eval('x')", "builtins.eval"),
        ("__import__('x')", "builtins.__import__"),
        ("import pickle\npickle.loads(b'')", "pickle.loads"),
        ("import pickle as p\np.load", "pickle.load"),
        ("from pickle import loads as l", "pickle.loads"),
        ("from pickle import *", "pickle.*"),
        ("def f():\n    import torch\n    return torch.load('x')", "torch.load"),
        ("import os\nos.system('x')", "os.system"),
        ("from marshal import loads", "marshal.loads"),
    ],
)
def test_a_sink_is_seen(source: str, sink: str) -> None:
    """Whatever it is called, wherever it is imported, and whether it is called or not, it is seen."""
    assert list(sinks(source)) == [sink]


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "re.compile('x')", "self.load('x')", "import json\njson.loads('1')", "'exec(1)'", "exec = 1"],
)
def test_what_only_looks_like_a_sink_is_none(source: str) -> None:
    """Methods and texts of the same name are not counted."""
    assert list(sinks(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(trust_remote_code=True): pass",
        "def f(*, trust_remote_code: bool = True): pass",
        "f(trust_remote_code=True)",
        "trust = True",
        "self.trust_remote_code = True",
        "options['trust_remote_code'] = True",
        "f(**{'trust_remote_code': True})",
        "lambda trust=True: 1",
    ],
)
def test_trust_by_a_literal_is_seen(source: str) -> None:
    """A literal true for anything that is called trust is seen."""
    assert list(trusting(source)) == [1]


@pytest.mark.parametrize("source", ["def f(trust=None): pass", "f(trust=trust)", "trust = False", "x = True"])
def test_handing_trust_on_is_not_granting_it(source: str) -> None:
    """To pass on what a caller said, or to say no, is no offence."""
    assert list(trusting(source)) == []
