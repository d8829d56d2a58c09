"""A pin holds: code of which a byte, a file or a name is another one is refused, wherever it comes from.

Repositories are fabricated caches of the Hub, read offline. The Hub itself is in `test_hub_trip.py`.
"""

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nameplate_auto import (
    AutoConfig,
    RemoteCodeError,
    RemoteCodeRefusedError,
    RemoteCodeWarning,
    TrustPolicy,
    TrustRule,
    read_remote_code,
)
from nameplate_config.code import digest_of

MUTATIONS = int(os.environ.get("NAMEPLATE_MUTATIONS", "1000"))
"""How many changes of one byte are tried."""

CONFIG = "from nameplate_config import PreTrainedConfig\n\n\nclass C(PreTrainedConfig):\n    model_type = 'pinned'\n"
CODE = {
    "conf.py": CONFIG + "\n    width: int = 8\n\n\nfrom .deep import part, x  # first\nfrom . import other\n",
    "other.py": "LABELS = 'labels.txt'\ntry:\n    from .extra import y\nexcept ImportError:\n    y = None\n",
    "deep/__init__.py": "x = 1\n",
    "deep/part.py": "from ..last import z\n\nTABLE = 'table.json'\n",
    "deep/table.json": '{"a": [1, 2, 3]}\n',
    "last.py": "# nothing but a comment: changing it changes nothing that runs\nz = 3\n",
    "labels.txt": "cat\ndog\n",
}
EVIL = "import sys\nsys.pinned_canary = True\n"
AUTO_MAP = {"AutoConfig": "conf.C"}

PIN = digest_of({path: data.encode() for path, data in CODE.items()})
"""The digest of that code."""

Files = Mapping[str, str | bytes]


def write(folder: Path, files: Files, auto_map: Mapping[str, str]) -> Path:
    """Write a checkpoint that brings code."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    (folder / "config.json").write_text(json.dumps({"model_type": "pinned", "auto_map": dict(auto_map)}))
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that whoever changes it restores."""
    return write(tmp_path_factory.mktemp("pinned"), CODE, AUTO_MAP)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint."""
    return write(tmp_path / "checkpoint", CODE, AUTO_MAP)


@pytest.fixture
def digest(folder: Path) -> str:
    """Return the digest of its code."""
    return read_remote_code(folder).digest


def refused(source: Any, pin: str, **options: Any) -> bool:
    """Return whether pinned code is refused; nothing of it may have run."""
    try:
        AutoConfig.from_pretrained(source, trust_remote_code=pin, **options)
    except RemoteCodeError:
        assert not hasattr(sys, "pinned_canary")
        return True
    return False


# ---- bytes


def test_all_files_are_pinned(folder: Path):
    """The code is every module that is imported at any depth, and the data that they name."""
    assert set(read_remote_code(folder).files) == set(CODE)


def test_a_pin_fits_what_it_was_taken_of(folder: Path, digest: str, tmp_path: Path):
    """The same code has the same digest in any folder, and loads with it."""
    elsewhere = write(tmp_path / "elsewhere", CODE, AUTO_MAP)

    assert read_remote_code(elsewhere).digest == digest
    assert not refused(elsewhere, digest)
    assert not refused(folder, digest)


@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(sorted(CODE)), position=st.integers(0, 400), change=st.integers(1, 255))
def test_any_changed_byte_is_refused(shared: Path, path: str, position: int, change: int):
    """Code with any one byte changed, in a module, a comment or data, is refused before anything of it runs."""
    whole = CODE[path].encode()
    position %= len(whole)
    (shared / path).write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])
    try:
        assert refused(shared, PIN)
    finally:
        (shared / path).write_bytes(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.sampled_from(sorted(CODE)), position=st.integers(0, 400), more=st.binary(max_size=3), less=st.integers(0, 3)
)
def test_any_inserted_or_removed_byte_is_refused(shared: Path, path: str, position: int, more: bytes, less: int):
    """Code with bytes inserted or removed is refused; code that is what it was is not."""
    whole = CODE[path].encode()
    position %= len(whole)
    changed = whole[:position] + more + whole[position + less :]
    (shared / path).write_bytes(changed)
    try:
        assert refused(shared, PIN) == (changed != whole)
    finally:
        (shared / path).write_bytes(whole)


FILES = st.dictionaries(st.text("ab/.py", min_size=1, max_size=4), st.binary(max_size=4), max_size=3)


@given(FILES, FILES)
def test_different_files_have_different_digests(one: dict[str, bytes], two: dict[str, bytes]):
    """No byte can move between names and contents, or from one file to the next, and keep the digest."""
    assert (digest_of(one) == digest_of(two)) == (one == two)


def test_the_digest_is_what_is_documented():
    """Anybody can compute it: sha256 over a line of version, then length and text of each path and each content."""
    files = {"b.py": b"2\n", "a.py": b""}
    total = hashlib.sha256(b"nameplate code 1\n4 0\na.py4 2\nb.py2\n").hexdigest()

    assert digest_of(files) == f"sha256:{total}"


# ---- files

CHANGES: dict[str, Callable[[Path], object]] = {
    "a module is removed": lambda folder: (folder / "last.py").unlink(),
    "data is removed": lambda folder: (folder / "labels.txt").unlink(),
    "an __init__ is removed": lambda folder: (folder / "deep/__init__.py").unlink(),
    "the start is removed": lambda folder: (folder / "conf.py").unlink(),
    "an import that may fail succeeds": lambda folder: (folder / "extra.py").write_text("y = 1\n"),
    "an import that may fail finds a package": lambda folder: write(folder, {"extra/__init__.py": EVIL}, AUTO_MAP),
    "the root gets an __init__ that is imported from": lambda folder: write(
        folder, {"__init__.py": "new = 1\n", "last.py": CODE["last.py"] + "from . import new\n"}, AUTO_MAP
    ),
    "a module becomes a package": lambda folder: (
        (folder / "last.py").unlink(),
        write(folder, {"last/__init__.py": CODE["last.py"]}, AUTO_MAP),
    ),
    "two modules are exchanged": lambda folder: (
        (folder / "last.py").write_text(CODE["deep/part.py"]),
        (folder / "deep/part.py").write_text(CODE["last.py"]),
    ),
    "a module is emptied": lambda folder: (folder / "last.py").write_text(""),
    "a module is a link to another": lambda folder: (
        (folder / "last.py").unlink(),
        (folder / "last.py").symlink_to("other.py"),
    ),
    "a module is renamed with its imports": lambda folder: (
        (folder / "last.py").rename(folder / "newest.py"),
        (folder / "deep/part.py").write_text(CODE["deep/part.py"].replace("last", "newest")),
    ),
    "ends of lines are those of Windows": lambda folder: (folder / "last.py").write_bytes(
        CODE["last.py"].replace("\n", "\r\n").encode()
    ),
    "another class is started with": lambda folder: write(
        folder, {"more.py": CONFIG}, {**AUTO_MAP, "AutoModel": "more.C"}
    ),
    "a part is started with": lambda folder: write(folder, {}, {"AutoConfig": "other.LABELS"}),
    "everything is another file": lambda folder: write(folder, dict.fromkeys(CODE, EVIL), AUTO_MAP),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_changed_file_is_refused(change: str, folder: Path, digest: str):
    """A file that is added to the code, removed, renamed or exchanged makes it other code."""
    CHANGES[change](folder)

    assert refused(folder, digest)


def test_what_is_not_of_the_code_may_change(folder: Path, digest: str):
    """Files that nothing imports, weights, cards and compiled leftovers change nothing."""
    write(
        folder,
        {"README.md": "x", "model.safetensors": "x", "unused.py": EVIL, "__pycache__/conf.cpython-311.pyc": EVIL,
         "deep/conf.py": EVIL, "last/__init__.py": EVIL, "last.pyc": EVIL, "conf.so": EVIL,
         "__init__.py": EVIL},
        AUTO_MAP,
    )  # fmt: skip

    assert not refused(folder, digest)
    assert not hasattr(sys, "pinned_canary")


def test_the_refusal_names_the_new_digest(folder: Path, digest: str):
    """Whoever meant the new code finds its digest in the refusal, beside the one that they passed."""
    (folder / "last.py").write_text("z = 4\n")

    with pytest.raises(RemoteCodeRefusedError) as caught:
        AutoConfig.from_pretrained(folder, trust_remote_code=digest)

    assert digest in str(caught.value)
    assert f'trust_remote_code="{read_remote_code(folder).digest}"' in str(caught.value)


def test_what_runs_is_what_was_approved(folder: Path, digest: str):
    """The bytes that run are, file by file, those that were hashed."""
    approved = dict(read_remote_code(folder).files)

    config = AutoConfig.from_pretrained(folder, trust_remote_code=digest)

    package = type(config).__module__.partition(".")[0]
    assert dict(sys.modules[package].__nameplate_files__) == approved
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package}.") or name == package:
            path = module.__spec__.origin.removeprefix(f"{package}/")
            assert module.__loader__.get_source(name).encode() == approved.get(path, b"")


# ---- repositories


ABSENT = {
    f"{folder}{name}"
    for folder in ("", "deep/", "extra/")
    for name in ("__init__.py", "deep.py", "extra.py", "new.py", "new/__init__.py", "y.py", "y/__init__.py")
}
"""What the client has asked for once, and knows to be absent from a commit unless it is there."""


class Cache:
    """A cache of the Hub, as its client would have left it.

    Attributes:
        options: What makes a load read from it, and from nowhere else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = {"cache_dir": str(folder), "local_files_only": True}

    def commit(self, name: str, files: Files, auto_map: Mapping[str, str], branch: str = "main") -> str:
        """Put a commit into the cache, let a branch point to it, and return its hash."""
        repository = self.folder / f"models--{name.replace('/', '--')}"
        config = json.dumps({"model_type": "pinned", "auto_map": dict(auto_map)})
        contents = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        contents["config.json"] = config.encode()
        commit = hashlib.sha1(repr(contents).encode()).hexdigest()  # noqa: S324 - as git does
        for path, data in contents.items():
            blob = repository / "blobs" / hashlib.sha1(data).hexdigest()  # noqa: S324 - as git does
            link = repository / "snapshots" / commit / path
            blob.parent.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(blob, link.parent))
        for path in ABSENT - contents.keys():
            mark = repository / ".no_exist" / commit / path
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        self.point(name, branch, commit)
        return commit

    def point(self, name: str, branch: str, commit: str) -> None:
        """Let a branch point to a commit."""
        reference = self.folder / f"models--{name.replace('/', '--')}" / "refs" / branch
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)

    def snapshot(self, name: str, commit: str) -> Path:
        """Return the folder of a commit."""
        return self.folder / f"models--{name.replace('/', '--')}" / "snapshots" / commit


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache."""
    return Cache(tmp_path / "hub")


def test_a_repository_has_the_digest_of_its_folder(cache: Cache, digest: str):
    """Where code comes from is not in its digest, so what was read in a clone may be pinned for the Hub."""
    cache.commit("org/name", CODE, AUTO_MAP)

    code = read_remote_code("org/name", **cache.options)

    assert code.digest == digest
    assert not refused("org/name", digest, **cache.options)


def test_a_branch_that_moves_is_refused(cache: Cache, digest: str):
    """A pin outlives the commit that it was taken of: another one behind the same name is refused."""
    first = cache.commit("org/name", CODE, AUTO_MAP)
    second = cache.commit("org/name", {**CODE, "last.py": EVIL}, AUTO_MAP)

    assert refused("org/name", digest, **cache.options)
    assert refused("org/name", digest, revision=second, **cache.options)
    assert not refused("org/name", digest, revision=first, **cache.options)
    cache.point("org/name", "main", first)
    assert not refused("org/name", digest, **cache.options)


def test_a_commit_that_is_rolled_back_is_refused(cache: Cache, digest: str):
    """An older commit, perhaps with a hole that was mended, is not the code that was pinned."""
    older = cache.commit("org/name", {**CODE, "last.py": "z = 2\n"}, AUTO_MAP)
    cache.commit("org/name", CODE, AUTO_MAP)
    assert not refused("org/name", digest, **cache.options)

    cache.point("org/name", "main", older)

    assert refused("org/name", digest, **cache.options)


@pytest.mark.parametrize("path", sorted(CODE))
@pytest.mark.parametrize("kind", ["blob", "link", "file"])
def test_an_edited_cache_is_refused(cache: Cache, digest: str, path: str, kind: str):
    """Whoever can write into the cache cannot run anything: blob, link or file, what is there is hashed anew."""
    commit = cache.commit("org/name", CODE, AUTO_MAP)
    place = cache.snapshot("org/name", commit) / path
    changed = CODE[path].encode() + b"\n"
    if kind == "blob":
        place.resolve().write_bytes(changed)
    else:
        place.unlink()
        (place if kind == "file" else cache.folder / "evil").write_bytes(changed)
    if kind == "link":
        place.symlink_to(cache.folder / "evil")

    assert refused("org/name", digest, **cache.options)
    assert refused("org/name", digest, revision=commit, **cache.options)


def test_a_snapshot_is_a_folder_too(cache: Cache, digest: str):
    """The folder of a commit in the cache may be named itself, though its files are links into another folder."""
    commit = cache.commit("org/name", CODE, AUTO_MAP)

    assert not refused(cache.snapshot("org/name", commit), digest)


@pytest.mark.parametrize("target", ["../../../evil.py", "../../refs/evil.py", "../other/evil.py", "/etc/hostname"])
def test_a_snapshot_cannot_link_elsewhere(cache: Cache, digest: str, target: str):
    """Its links may lead to the blobs of its own repository, nowhere else."""
    commit = cache.commit("org/name", CODE, AUTO_MAP)
    place = cache.snapshot("org/name", commit)
    if not target.startswith("/"):
        (place / target).parent.mkdir(exist_ok=True)
        (place / target).write_text(CODE["last.py"])
    (place / "last.py").unlink()
    (place / "last.py").symlink_to(target)

    with pytest.raises(RemoteCodeError, match="leads out of the folder"):
        AutoConfig.from_pretrained(place, trust_remote_code=digest)


def test_code_of_another_repository_is_pinned_too(cache: Cache, digest: str):
    """Code that lies in another repository has a digest of its own, and its branch may move as little."""
    first = cache.commit("org/code", CODE, {})
    cache.commit("org/name", {"conf.py": EVIL}, {"AutoConfig": "org/code--conf.C"})
    assert not refused("org/name", digest, **cache.options)

    cache.commit("org/code", {**CODE, "last.py": EVIL}, {})

    assert refused("org/name", digest, **cache.options)
    assert not refused("org/name", digest, code_revision=first, **cache.options)


def test_a_repository_that_names_itself_means_the_same_commit(cache: Cache, digest: str):
    """Code that is named with the repository of its own checkpoint is that of the commit which is loaded."""
    itself = {"AutoConfig": "org/name--conf.C"}
    first = cache.commit("org/name", CODE, itself)
    cache.commit("org/name", {**CODE, "last.py": EVIL}, itself)

    code = read_remote_code("org/name", revision=first, **cache.options)

    assert (code.digest, code.commit, code.pinned) == (digest, first, True)
    assert not refused("org/name", digest, revision=first, **cache.options)
    assert refused("org/name", digest, **cache.options)
    with pytest.raises(RemoteCodeRefusedError, match=digest):
        AutoConfig.from_pretrained("org/name", revision=first, **cache.options)


def test_a_config_that_points_elsewhere_is_refused(cache: Cache, digest: str):
    """Which repository the code lies in is up to the config, and what lies there to the pin."""
    cache.commit("attacker/code", {**CODE, "conf.py": EVIL + CODE["conf.py"]}, {})
    cache.commit("org/name", CODE, {"AutoConfig": "attacker/code--conf.C"})

    assert refused("org/name", digest, **cache.options)


def test_a_name_alone_never_suffices(cache: Cache):
    """A rule of a commit allows that commit, and no other behind the same name or a name that was given away."""
    first = cache.commit("org/name", CODE, AUTO_MAP)
    policy = TrustPolicy((TrustRule(repository="org/name", revision=first),))
    options = {**cache.options, "trust_remote_code": policy}
    assert AutoConfig.from_pretrained("org/name", **options).width == 8

    cache.commit("org/name", {**CODE, "last.py": EVIL}, AUTO_MAP)
    cache.commit("org/other", CODE, AUTO_MAP)

    for name in ("org/name", "org/other"):
        with pytest.raises(RemoteCodeRefusedError, match="no rule"):
            AutoConfig.from_pretrained(name, **options)


def test_trusting_a_branch_warns_with_the_pin(cache: Cache, digest: str):
    """True for a branch runs it, and says how to hold what ran; for a commit there is nothing to say."""
    files = {**CODE, "last.py": "z = 5  # of this test alone\n"}
    commit = cache.commit("org/name", files, AUTO_MAP)
    options = {**cache.options, "trust_remote_code": True}

    AutoConfig.from_pretrained("org/name", revision=commit, **options)
    with pytest.warns(RemoteCodeWarning, match="whatever its branch holds next time") as seen:
        AutoConfig.from_pretrained("org/name", **options)

    assert [each.filename for each in seen] == [__file__]
    assert read_remote_code("org/name", **cache.options).digest in str(seen[0].message)
    assert digest not in str(seen[0].message)


def test_a_warning_that_is_an_error_refuses_every_time(cache: Cache):
    """Where warnings are errors, code that nothing holds in place does not run on a second try either."""
    cache.commit("org/name", {**CODE, "last.py": "z = 6  # of this test alone\n"}, AUTO_MAP)

    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RemoteCodeWarning):
                AutoConfig.from_pretrained("org/name", **cache.options, trust_remote_code=True)
