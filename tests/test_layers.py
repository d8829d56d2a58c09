"""Imports point down only, and each heavy third party enters the house through one door.

`violations` reads source text and imports nothing, so the meta-tests can show it any offence. What an import
costs at run time is measured in `test_import_cost.py`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest
from workspace import Member, members, read_toml

BELOW = {
    "nameplate_config": set(),
    "nameplate_model": {"nameplate_config"},
    "nameplate_auto": {"nameplate_config"},
    "nameplate_resnet": {"nameplate_config", "nameplate_model"},
    "nameplate_conformance": {"nameplate_config", "nameplate_model", "nameplate_auto"},
}
"""What each package may import of the family."""

JUDGE = "nameplate_conformance"
DECLARATION = "conformance.py"
"""The one module of a package that may import the suite: it says how the package is judged, and only the suite, which
finds it by its entry point, imports it. So no package needs the suite to be installed."""

CERTIFIED = "nameplate_resnet/publishing/certificate.py"
"""The one module whose functions may ask the suite whether a certificate is right, where it is installed."""

STAND_INS = frozenset({"nameplate_resnet/standin_config.py", "nameplate_resnet/standin_model.py"})
"""What takes the place of the cores beside a checkpoint, where there is only Transformers."""

BUILT_ON = {("transformers", room) for room in STAND_INS}
"""Third parties that these modules import when they are themselves imported, which nothing does that is installed."""

DOORS = {
    "torch": {"nameplate_model", "nameplate_resnet", "nameplate_conformance"},
    "safetensors": {"nameplate_model"},
    "timm": {"nameplate_resnet"},
    "hypothesis": {"nameplate_conformance"},
    "pytest": {"nameplate_conformance"},
    "huggingface_hub": set(),
    "transformers": set(),
}
"""Which packages may import a heavy third party when they are themselves imported."""

HUB_ROOMS = frozenset({"nameplate_config/_publish.py", "nameplate_config/_source.py"})
"""The two modules whose functions may import huggingface_hub: one reads from the Hub, one writes to it."""

ROOMS = {"huggingface_hub": HUB_ROOMS, "transformers": STAND_INS | {"nameplate_auto/transformers.py"}}
"""Third parties that only these modules may import, and only in functions, but for the stand-ins."""


@dataclass(frozen=True, slots=True)
class Import:
    """One absolute import of a module.

    Attributes:
        module: The dotted name; for `from a import b` it is ``a.b``, whatever `b` turns out to be.
        line: Where it stands.
        on_load: Whether it runs when the importing module is imported.
    """

    module: str
    line: int
    on_load: bool

    @property
    def package(self) -> str:
        """The top-level package that is imported."""
        return self.module.partition(".")[0]


def imports(tree: ast.AST, *, on_load: bool = True) -> Iterator[Import]:
    """Yield every absolute import below a node; a relative one cannot leave its package, and begins with a dot."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, on_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = f".{node.module or ''}".rstrip(".") if node.level else node.module
            yield from (Import(f"{home}.{alias.name}", node.lineno, on_load) for alias in node.names)
        elif isinstance(node, ast.If) and _asks_type_checking(node.test):
            yield from imports(ast.Module(node.body, []), on_load=False)
            yield from imports(ast.Module(node.orelse, []), on_load=on_load)
        else:
            deferred = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from imports(node, on_load=on_load and not deferred)


def _asks_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def private_uses(tree: ast.AST, siblings: set[str]) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each attribute with an underscore, reached through a sibling's name."""
    bound = dict(_bound_names(tree, siblings))
    for node in ast.walk(tree):
        root, *attributes = _dotted(node)
        if isinstance(node, ast.Attribute) and root in bound and _is_private(attributes[-1]):
            yield node.lineno, ".".join([bound[root], *attributes])


def _bound_names(tree: ast.AST, siblings: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(each.asname or each.name.partition(".")[0], each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [(each.asname or each.name, f"{node.module}.{each.name}") for each in node.names]
        else:
            continue
        for name, origin in found:
            if origin.partition(".")[0] in siblings:
                yield name, name if origin.startswith(f"{name}.") else origin


def _dotted(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def violations(source: str, room: str) -> Iterator[str]:
    """Yield a sentence for each import that breaks a law of the house.

    Args:
        source: The text of a module.
        room: Its path from the source folder, such as ``nameplate_config/_source.py``.
    """
    package = PurePosixPath(room).parts[0]
    siblings = BELOW.keys() - {package}
    below = BELOW[package] | ({JUDGE} if room in {f"{package}/{DECLARATION}", CERTIFIED} else set())
    declaration = DECLARATION.removesuffix(".py")
    tree = ast.parse(source)
    for each in imports(tree):
        where = f"{room}:{each.line}"
        if each.package == JUDGE and room == CERTIFIED and each.on_load:
            yield f"{where} imports {JUDGE} at module level"
        if each.package in siblings - below:
            yield f"{where} imports {each.package}, which is no layer below {package}"
        if each.package in siblings and any(_is_private(part) for part in each.module.split(".")):
            yield f"{where} imports {each.module}, which is private to {each.package}"
        if package != JUDGE and f"{each.module}.".startswith((f".{declaration}.", f"{package}.{declaration}.")):
            yield f"{where} imports {each.module}, which only the suite may"
        if each.on_load and package not in DOORS.get(each.package, {package}) and (each.package, room) not in BUILT_ON:
            yield f"{where} imports {each.package} at module level"
        if room not in ROOMS.get(each.package, {room}):
            yield f"{where} imports {each.package}, which only {' and '.join(sorted(ROOMS[each.package]))} may"
    for line, name in private_uses(tree, siblings):
        yield f"{room}:{line} uses {name}, which is private to {name.partition('.')[0]}"


def test_the_rules_name_every_member() -> None:
    """A package that joins the family must be given its place before it can import anything."""
    assert BELOW.keys() == {member.import_name for member in members()}


@pytest.mark.parametrize("member", members(), ids=lambda member: member.short_name)
def test_imports_point_down(member: Member) -> None:
    """No module imports a sibling beside or above it, a sibling's secrets or another layer's third party."""
    files = sorted(member.source.rglob("*.py"))
    found = [
        violation
        for file in files
        for violation in violations(file.read_text(encoding="utf-8"), file.relative_to(member.source.parent).as_posix())
    ]

    assert files, "there is nothing to walk"
    assert found == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("config", "model"),
        ("model", "auto"),
        ("auto", "model"),
        ("resnet", "auto"),
        ("resnet", "conformance"),
        ("conformance", "resnet"),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "import {}",
        "import {}.errors",
        "import {} as short",
        "from {} import errors",
        "def f():\n    import {}",
        "if TYPE_CHECKING:\n    import {}",
    ],
)
def test_an_upward_or_sideways_import_is_reported(importer: str, imported: str, form: str) -> None:
    """The probe sees a sibling's import in every form: aliased, dotted, deferred or for types only."""
    (found,) = violations(form.format(f"nameplate_{imported}"), f"nameplate_{importer}/a.py")

    assert found.endswith(f"imports nameplate_{imported}, which is no layer below nameplate_{importer}")


def test_a_package_may_say_how_it_is_judged() -> None:
    """The module for that imports the suite; nothing else of it that is not public, and nobody else's."""
    assert list(violations("from nameplate_conformance import Architecture", "nameplate_resnet/conformance.py")) == []
    (found,) = violations("from nameplate_conformance import _x", "nameplate_resnet/conformance.py")
    (below,) = violations("from nameplate_auto import AutoModel", "nameplate_resnet/conformance.py")

    assert found.endswith("which is private to nameplate_conformance")
    assert below.endswith("imports nameplate_auto, which is no layer below nameplate_resnet")


@pytest.mark.parametrize(
    "form",
    [
        "from . import conformance",
        "from .conformance import ARCHITECTURE",
        "def f():\n    import nameplate_resnet.conformance",
        "from nameplate_resnet import conformance",
    ],
)
def test_only_the_suite_reads_how_a_package_is_judged(form: str) -> None:
    """Another module of the package that imports it would need the suite, which users do not install."""
    (found,) = violations(form, "nameplate_resnet/modeling_resnet.py")

    assert found.endswith(", which only the suite may")


@pytest.mark.parametrize("member", members(), ids=lambda member: member.short_name)
def test_no_package_requires_the_suite(member: Member) -> None:
    """It is an extra of those that say how they are judged, and a dependency of none."""
    project = read_toml(member.folder / "pyproject.toml")["project"]
    declared = (member.source / DECLARATION).is_file()

    assert not any(each.startswith("nameplate-conformance") for each in project["dependencies"])
    assert declared == ("conformance" in project.get("optional-dependencies", {}))
    assert declared == ("nameplate.conformance" in project.get("entry-points", {}))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from nameplate_config._codec import Codec", "nameplate_config._codec.Codec"),
        ("from nameplate_config import _codec", "nameplate_config._codec"),
        ("import nameplate_config._codec", "nameplate_config._codec"),
        ("import nameplate_config\nnameplate_config._codec", "nameplate_config._codec"),
        ("import nameplate_config.files\nnameplate_config.files._x", "nameplate_config.files._x"),
        ("import nameplate_config as short\nshort._codec", "nameplate_config._codec"),
        ("from nameplate_config import files\nfiles._x", "nameplate_config.files._x"),
    ],
)
def test_a_siblings_private_name_is_reported(source: str, name: str) -> None:
    """The probe sees an underscore name of a sibling, imported or reached through an attribute."""
    (found,) = violations(source, "nameplate_model/a.py")

    assert found.endswith(f"{name}, which is private to nameplate_config")


def test_own_private_names_are_free() -> None:
    """A package uses its own underscore names as it likes."""
    source = "from nameplate_config import _x\nfrom . import _y\nimport nameplate_config\nnameplate_config._x"

    assert list(violations(source, "nameplate_config/a.py")) == []


def test_dunder_names_are_free() -> None:
    """`__version__` and its like are nobody's secret."""
    source = "import nameplate_config\nnameplate_config.__version__"

    assert list(violations(source, "nameplate_model/a.py")) == []


@pytest.mark.parametrize(
    ("room", "third_party"),
    [
        ("nameplate_config/a.py", "torch"),
        ("nameplate_auto/a.py", "torch"),
        ("nameplate_resnet/a.py", "safetensors"),
        ("nameplate_conformance/a.py", "timm"),
        ("nameplate_model/a.py", "hypothesis"),
        ("nameplate_auto/a.py", "pytest"),
        ("nameplate_config/_source.py", "huggingface_hub"),
    ],
)
@pytest.mark.parametrize("form", ["import {}", "from {}.x import y", "try:\n    import {}\nfinally:\n    pass"])
def test_a_third_party_at_another_door_is_reported(room: str, third_party: str, form: str) -> None:
    """The probe sees a module-level import of a third party that belongs to another layer."""
    (found,) = violations(form.format(third_party), room)

    assert found.endswith(f"imports {third_party} at module level")


def test_a_deferred_third_party_costs_nothing() -> None:
    """An import inside a function, or for types only, does not run at import."""
    source = "if TYPE_CHECKING:\n    import torch\nclass A:\n    def f(self):\n        import torch"

    assert list(violations(source, "nameplate_auto/a.py")) == []


@pytest.mark.parametrize("room", sorted(HUB_ROOMS))
def test_the_hub_has_rooms_of_its_own(room: str) -> None:
    """huggingface_hub may be imported inside functions of these modules, and not when they are imported."""
    inside, outside = "def f():\n    import huggingface_hub.errors", "import huggingface_hub"

    assert list(violations(inside, room)) == []
    assert list(violations(outside, room)) == [f"{room}:1 imports huggingface_hub at module level"]


@pytest.mark.parametrize("room", ["nameplate_model/_source.py", "nameplate_config/_config.py", "nameplate_config/a.py"])
def test_the_hub_has_no_other_room(room: str) -> None:
    """No other module imports huggingface_hub, not even inside a function."""
    source = "def f():\n    import huggingface_hub.errors"
    rooms = "nameplate_config/_publish.py and nameplate_config/_source.py"

    assert list(violations(source, room)) == [f"{room}:2 imports huggingface_hub, which only {rooms} may"]


@pytest.mark.parametrize("form", ["import transformers", "def f():\n    from transformers.models import auto"])
def test_only_the_bridge_knows_transformers(form: str) -> None:
    """No other module imports Transformers, not even inside a function; the bridge does only there."""
    other = list(violations(form, "nameplate_auto/_auto_model.py"))
    bridge = list(violations(form, "nameplate_auto/transformers.py"))

    rooms = (
        "nameplate_auto/transformers.py and nameplate_resnet/standin_config.py and nameplate_resnet/standin_model.py"
    )

    assert other[-1].endswith(f"imports transformers, which only {rooms} may")
    assert bridge == (["nameplate_auto/transformers.py:1 imports transformers at module level"] * (form[0] == "i"))


def test_stand_ins_are_built_on_transformers() -> None:
    """They import it as their base, and nothing else may, not even a module that takes them."""
    assert [*violations("import transformers", "nameplate_resnet/standin_model.py")] == []
    assert len([*violations("import transformers", "nameplate_resnet/model_core.py")]) == 2


def test_a_certificate_is_looked_at_by_the_suite_where_it_is_installed() -> None:
    """One module asks it, in a function; imported by itself the suite would be needed by all."""
    assert [*violations("def f():\n    from nameplate_conformance import verify_certificate", CERTIFIED)] == []
    (found,) = violations("import nameplate_conformance", CERTIFIED)

    assert found.endswith(":1 imports nameplate_conformance at module level")


@pytest.mark.parametrize("third_party", ROOMS)
def test_the_rooms_of_a_third_party_are_used(third_party: str) -> None:
    """Each of the rooms exists and imports it: a room that moved does not keep its licence."""
    sources = {member.source.parent for member in members()}
    found = {
        room
        for room in ROOMS[third_party]
        for source in sources
        if (source / room).is_file()
        and any(each.package == third_party for each in imports(ast.parse((source / room).read_text("utf-8"))))
    }

    assert found == ROOMS[third_party]
