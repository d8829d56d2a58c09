"""Who may allow code of a checkpoint, and how: the caller, with what they pass or own. Never the checkpoint."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    RemoteCodeError,
    RemoteCodeRefusedError,
    RemoteCodeWarning,
    TrustFileError,
    TrustPolicy,
    TrustRule,
    read_remote_code,
)
from nameplate_config import PreTrainedConfig

CONFIG = "from nameplate_config import PreTrainedConfig\n\n\nclass C(PreTrainedConfig):\n    model_type = 'brought'\n"
MODEL = "from .conf import C\n\n\nclass M:\n    config_class = C\n"
OTHER = "sha256:" + "0" * 64
COMMIT = "0123456789" * 4

Allow = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint that brings code."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "conf.py").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    auto_map = {"AutoConfig": "conf.C", "AutoModel": "model.M"}
    (folder / "config.json").write_text(json.dumps({"model_type": "brought", "auto_map": auto_map}))
    return folder


@pytest.fixture
def digest(folder: Path) -> str:
    """Return the digest of its code."""
    return read_remote_code(folder).digest


@pytest.fixture
def allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Allow:
    """Return what writes a trust.toml, where it is looked for."""

    def writing(text: str) -> Path:
        path = tmp_path / "mine" / "nameplate" / "trust.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    monkeypatch.delenv("NAMEPLATE_TRUST_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    return writing


def loads(folder: Path, trust: Any) -> bool:
    """Return whether a checkpoint loads; if not, it is refused because nobody allowed its code."""
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    except RemoteCodeRefusedError:
        return False
    return True


# ---- what a caller passes


def test_nothing_is_trusted_by_default(folder: Path):
    """Without a word of the caller, with None and with False nothing runs."""
    with pytest.raises(RemoteCodeRefusedError, match="nobody allowed that"):
        AutoConfig.from_pretrained(folder)
    assert not loads(folder, None)
    assert not loads(folder, False)


@pytest.mark.parametrize("cls", [AutoConfig, AutoModel])
def test_a_local_folder_is_not_trusted_for_being_local(cls: Any, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder is somebody else's until its owner says otherwise, however it is called."""
    monkeypatch.chdir(folder)

    for source in (folder, str(folder), ".", "../checkpoint"):
        with pytest.raises(RemoteCodeRefusedError):
            cls.from_pretrained(source)


def test_a_pin_allows_what_it_names(folder: Path, digest: str):
    """The digest of the code allows it; that of other code does not."""
    assert loads(folder, digest)
    assert not loads(folder, OTHER)


def test_several_pins_allow_each(folder: Path, digest: str):
    """Of several digests any one is enough, and none of others."""
    assert loads(folder, [OTHER, digest])
    assert loads(folder, (digest,))
    assert not loads(folder, [OTHER])


NEARLY: dict[str, Callable[[str], str]] = {
    "in capitals": str.upper,
    "one digit short": lambda pin: pin[:-1],
    "one digit long": lambda pin: pin + "0",
    "without its kind": lambda pin: pin[7:],
    "of another kind": lambda pin: "sha512:" + pin[7:],
    "with a line break": lambda pin: pin + "\n",
    "with a blank": lambda pin: " " + pin,
}


@pytest.mark.parametrize("near", NEARLY)
def test_what_is_only_like_a_pin_is_refused(folder: Path, digest: str, near: str):
    """A digest is written in one way; anything else is no pin, and not taken for trust either."""
    with pytest.raises(RemoteCodeError, match="trust_remote_code is"):
        loads(folder, NEARLY[near](digest))


@pytest.mark.parametrize(
    "trust",
    [1, 0, 1.0, "True", "yes", "true", "main", "", "*", "org/name", {}, [], (), [True], [""], {"a"}, b"x", object],
)
def test_what_says_neither_yes_nor_no_is_refused(folder: Path, trust: Any):
    """Only True is yes. A number, a word or a container is a mistake that is named, before anything is read."""
    with pytest.raises(RemoteCodeError, match="trust_remote_code is") as caught:
        AutoConfig.from_pretrained(folder, trust_remote_code=trust)

    assert "Expected False, True, the digest" in str(caught.value)


def test_an_array_is_no_yes(folder: Path):
    """Something that is true in its own way is not trust."""

    class Yes:
        def __bool__(self) -> bool:
            return True

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(RemoteCodeError, match="trust_remote_code is"):
        loads(folder, Yes())


def test_trusting_a_folder_warns_of_nothing(folder: Path, recwarn: pytest.WarningsRecorder):
    """What lies in a folder is whoever's the folder is, so True needs no warning there."""
    assert loads(folder, True)
    assert [each for each in recwarn if issubclass(each.category, RemoteCodeWarning)] == []


def test_trust_of_a_config_is_not_trust_of_the_next(folder: Path):
    """Trust is of one call: the same code has to be allowed again."""
    assert loads(folder, True)
    assert not loads(folder, False)


# ---- what a checkpoint says


@pytest.mark.parametrize("key", ["trust_remote_code", "code_revision", "allow_remote", "_trust", "trust"])
@pytest.mark.parametrize("value", [True, "True", [True]])
def test_a_checkpoint_cannot_vote(folder: Path, key: str, value: Any):
    """What a config says about trust is data like any other."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**values, key: value, "auto_map": {**values["auto_map"], key: "x.Y"}})
    )

    assert not loads(folder, None)


def test_a_pin_in_the_checkpoint_allows_nothing(folder: Path, digest: str, monkeypatch: pytest.MonkeyPatch):
    """A digest or a trust.toml that comes with the code allows nothing, even where the program runs in that folder."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "trust_remote_code": digest}))
    for place in ("trust.toml", "nameplate/trust.toml", ".config/nameplate/trust.toml"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(f'[[allow]]\nsha256 = "{digest}"\n')
    monkeypatch.chdir(folder)

    assert not loads(folder, None)
    assert not loads(folder, TrustPolicy())


# ---- registered classes


class RegisteredConfig(PreTrainedConfig):
    """A config class of that name which is installed."""

    model_type = "brought"


@pytest.mark.parametrize("trust", [None, False, True, OTHER, TrustPolicy()])
def test_a_registered_class_wins(folder: Path, trust: Any):
    """Where a class is registered, it reads the file, and no trust is asked for: not even the code has to be whole."""
    (folder / "conf.py").write_text("1 / 0")
    with CONFIG_MAPPING.override("brought", RegisteredConfig):
        assert type(AutoConfig.from_pretrained(folder, trust_remote_code=trust)) is RegisteredConfig


def test_nothing_read_is_left_behind(folder: Path):
    """A registered class wins also after the code of the checkpoint has run."""
    assert loads(folder, True)
    with CONFIG_MAPPING.override("brought", RegisteredConfig):
        assert type(AutoConfig.from_pretrained(folder)) is RegisteredConfig


# ---- the refusal


def test_the_refusal_says_what_it_is(folder: Path, digest: str):
    """It names the folder, the files with their sizes, the digest, and it carries the code to be looked at."""
    with pytest.raises(RemoteCodeRefusedError) as caught:
        AutoConfig.from_pretrained(folder)

    message = str(caught.value)
    assert str(folder) in message
    assert f"2 files of {len(CONFIG) + len(MODEL)} bytes" in message
    assert f"conf.py ({len(CONFIG)})" in message
    assert digest in message
    assert caught.value.code.files["conf.py"] == CONFIG.encode()
    assert caught.value.code.digest == digest


def test_the_line_of_the_refusal_works(folder: Path):
    """What the refusal says to write, written, loads the checkpoint."""
    with pytest.raises(RemoteCodeRefusedError) as caught:
        AutoConfig.from_pretrained(folder)
    line = re.search(r'trust_remote_code="(\S+)"', str(caught.value))
    assert line is not None

    assert loads(folder, line[1])
    assert AutoConfig.from_pretrained(folder, trust_remote_code=line[1]) is not None


def test_the_rule_of_the_refusal_works(folder: Path, allow: Allow):
    """What the refusal of a policy says to add to the trust.toml, added, loads the checkpoint."""
    with pytest.raises(RemoteCodeRefusedError, match="no rule of the TrustPolicy") as caught:
        AutoConfig.from_pretrained(folder, trust_remote_code=TrustPolicy.from_file())
    _, found, rule = str(caught.value).partition("[[allow]]")
    assert found

    allow("[[allow]]" + rule)

    assert loads(folder, TrustPolicy.from_file())


def test_a_refusal_of_broken_code_says_so(folder: Path):
    """Code that is not whole is refused as code that nobody allowed, with the reason that it is not described."""
    (folder / "conf.py").write_text("from .absent import x\n" + CONFIG)

    with pytest.raises(RemoteCodeRefusedError, match=r"absent\.py"):
        AutoConfig.from_pretrained(folder)
    with pytest.raises(RemoteCodeError, match=r"absent\.py"):
        read_remote_code(folder)


def test_a_refusal_of_code_that_was_left_behind_says_what_helps(folder: Path):
    """A folder that was saved by a class of a package may name code of where it came from: registering helps then."""
    (folder / "conf.py").unlink()

    with pytest.raises(RemoteCodeRefusedError, match="register its classes: then no code is needed") as caught:
        AutoConfig.from_pretrained(folder)
    assert "read_remote_code" not in str(caught.value)  # which would only fail


# ---- the environment


@pytest.mark.parametrize("kind", ["true", "pin", "pins", "policy"])
def test_the_environment_forbids_whatever_is_passed(
    folder: Path, digest: str, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """With NAMEPLATE_REMOTE_CODE=never no code of a checkpoint runs, whatever a program says."""
    policy = TrustPolicy((TrustRule(sha256=digest),))
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", "never")

    with pytest.raises(RemoteCodeRefusedError, match="NAMEPLATE_REMOTE_CODE=never forbids"):
        AutoConfig.from_pretrained(
            folder, trust_remote_code={"true": True, "pin": digest, "pins": [digest], "policy": policy}[kind]
        )


@pytest.mark.parametrize("reference", ["absent.C", "org/code--conf.C"])
def test_the_environment_is_the_reason_also_of_code_that_is_not_described(
    folder: Path, reference: str, monkeypatch: pytest.MonkeyPatch
):
    """What the environment forbids is never said to be what nobody allowed."""
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoConfig": reference}}))
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", "never")

    with pytest.raises(RemoteCodeRefusedError, match="NAMEPLATE_REMOTE_CODE=never forbids that") as caught:
        AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert "nobody allowed" not in str(caught.value)


def test_the_environment_forbids_what_has_not_run_yet(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Of code whose config class has been loaded, no further module runs once the environment forbids it."""
    (folder / "model.py").write_text(MODEL + "# a module of its own\n")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", "never")

    with pytest.raises(RemoteCodeRefusedError, match="never"):
        AutoModel.from_config(config)


@pytest.mark.parametrize("value", ["always", "NEVER", "0", "false", "never "])
def test_an_unknown_word_of_the_environment_is_refused(folder: Path, value: str, monkeypatch: pytest.MonkeyPatch):
    """What the variable was meant to say is not guessed."""
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", value)

    with pytest.raises(RemoteCodeError, match="the one value that it may have is 'never'"):
        AutoConfig.from_pretrained(folder, trust_remote_code=True)


def test_an_empty_word_of_the_environment_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A variable that is set to nothing says nothing."""
    monkeypatch.setenv("NAMEPLATE_REMOTE_CODE", "")

    assert loads(folder, True)


def test_the_environment_reaches_other_processes(folder: Path, digest: str):
    """A process that is started with the variable refuses what its program allows."""
    script = (
        "import sys; from nameplate_auto import AutoConfig\n"
        "AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=sys.argv[2])"
    )
    command, env = [sys.executable, "-c", script, str(folder), digest], dict(os.environ)

    free = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    bound = subprocess.run(
        command, env={**env, "NAMEPLATE_REMOTE_CODE": "never"}, capture_output=True, text=True, check=False
    )

    assert (free.returncode, free.stderr) == (0, "")
    assert bound.returncode == 1
    assert "RemoteCodeRefusedError" in bound.stderr


# ---- nobody is asked


def test_nobody_is_asked(folder: Path):
    """A refusal comes at once where nobody can answer: nothing is read from a closed input, nor from a terminal."""
    script = (
        "import sys; from nameplate_auto import AutoConfig, RemoteCodeRefusedError\n"
        "def seen(event, arguments):\n"
        "    if event == 'builtins.input' or '/dev/tty' in str(arguments[:1]): raise SystemExit(7)\n"
        "sys.addaudithook(seen)\n"
        "try: AutoConfig.from_pretrained(sys.argv[1])\n"
        "except RemoteCodeRefusedError: print('refused')"
    )
    reading, writing = os.pipe()  # an input that never ends, and never says anything
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)

    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")


# ---- policies


def test_an_empty_policy_allows_nothing(folder: Path):
    """Without rules nothing is allowed."""
    assert not loads(folder, TrustPolicy())


def test_a_rule_with_a_digest_allows_it(folder: Path, digest: str):
    """A rule that names the digest is enough; every other thing that it names must be true as well."""
    assert loads(folder, TrustPolicy((TrustRule(sha256=OTHER), TrustRule(sha256=digest))))
    assert not loads(folder, TrustPolicy((TrustRule(sha256=digest, repository="org/name"),)))
    assert not loads(folder, TrustPolicy((TrustRule(sha256=digest, revision=COMMIT),)))
    assert not loads(folder, TrustPolicy((TrustRule(repository="org/name", revision=COMMIT),)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "neither a sha256 nor a commit"),
        ({"repository": "org/name"}, "A name alone never suffices"),
        ({"revision": COMMIT}, "A name alone never suffices"),
        ({"repository": "org/name", "revision": "main"}, "40 hexadecimal digits"),
        ({"repository": "org/name", "revision": COMMIT[:12]}, "40 hexadecimal digits"),
        ({"repository": "org/name", "revision": "v1.0"}, "40 hexadecimal digits"),
        ({"repository": 3, "revision": COMMIT}, "the id of a repository"),
        ({"sha256": "0" * 64}, "'sha256:' and 64"),
        ({"sha256": True}, "'sha256:' and 64"),
        ({"sha256": OTHER.upper()}, "'sha256:' and 64"),
    ],
)
def test_a_rule_must_hold_code_in_place(fields: dict[str, Any], says: str):
    """What could mean other code tomorrow is no rule: branches, tags, short commits, names alone."""
    with pytest.raises(TrustFileError, match=re.escape(says)):
        TrustRule(**fields)


def test_a_policy_of_ones_own_decides(folder: Path):
    """A subclass may decide by what it sees; only True is yes."""

    class Careful(TrustPolicy):
        answer: Any = True

        def allows(self, code: Any) -> Any:
            return self.answer if b"PreTrainedConfig" in code.files["conf.py"] else False

    class Vague(Careful):
        answer = "yes"

    assert loads(folder, Careful())
    assert not loads(folder, Vague())


# ---- trust.toml


def test_the_file_is_found_where_configs_are(folder: Path, digest: str, allow: Allow, monkeypatch: pytest.MonkeyPatch):
    """It lies in XDG_CONFIG_HOME, else in ~/.config, or where NAMEPLATE_TRUST_FILE says."""
    path = allow(f'[[allow]]\nsha256 = "{digest}"\n')
    assert loads(folder, TrustPolicy.from_file())

    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    assert not loads(folder, TrustPolicy.from_file())

    monkeypatch.setenv("NAMEPLATE_TRUST_FILE", str(path))
    assert loads(folder, TrustPolicy.from_file())

    monkeypatch.delenv("NAMEPLATE_TRUST_FILE")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(path.parents[1] / "home"))
    assert not loads(folder, TrustPolicy.from_file())
    place = path.parents[1] / "home" / ".config" / "nameplate" / "trust.toml"
    place.parent.mkdir(parents=True)
    path.rename(place)
    assert loads(folder, TrustPolicy.from_file())


def test_no_file_allows_nothing(tmp_path: Path, allow: Allow):
    """Without a file there are no rules; a file that the caller names has to be there."""
    assert allow is not None
    assert TrustPolicy.from_file() == TrustPolicy()
    with pytest.raises(TrustFileError, match="cannot be read"):
        TrustPolicy.from_file(tmp_path / "absent.toml")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of Unix")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_is_refused(allow: Allow, mode: int):
    """A file that its group or everybody may write is not what its owner allows."""
    path = allow("")
    path.chmod(mode)

    with pytest.raises(TrustFileError, match="may be written by somebody else") as caught:
        TrustPolicy.from_file()

    assert f"chmod go-w {str(path)!r}" in str(caught.value)


@pytest.mark.parametrize(("path", "says"), [("\0", "null byte"), ("/no/such/file", "No such file")])
def test_a_file_that_cannot_be_is_refused(path: str, says: str):
    """A path that leads nowhere, or can be none, is an error about the file."""
    with pytest.raises(TrustFileError, match=f"cannot be read: .*{says}"):
        TrustPolicy.from_file(path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners of Unix")
def test_a_file_of_somebody_else_is_refused(allow: Allow, monkeypatch: pytest.MonkeyPatch):
    """A file of another user is refused, whatever its permissions."""
    path = allow("")
    if path.stat().st_uid:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    else:
        os.chown(path, 12345, -1)  # who runs this as root may give files away

    with pytest.raises(TrustFileError, match="somebody else"):
        TrustPolicy.from_file()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[allow]", "is no TOML"),
        ("allow = ", "is no TOML"),
        ("\x00", "is no TOML"),
        ("x = " + "9" * 5000, "is no TOML"),
        ("x = " + "[" * 5000, "is no TOML"),
        ("allow = true", "expected [[allow]] tables"),
        ("allow = [1]", "expected [[allow]] tables"),
        ("[allow]\nsha256 = 'x'", "expected [[allow]] tables"),
        ("[[alow]]\n", "the key 'alow'"),
        ("trust_remote_code = true", "the key 'trust_remote_code'"),
        ("[[allow]]\n", "number 1: a rule names neither"),
        ("[[allow]]\nsha265 = 'x'", "Did you mean 'sha256'"),
        ("[[allow]]\nx = 1", "It may have: repository, revision, sha256"),
        ("[[allow]]\nsha256 = 'x'", "'sha256:' and 64"),
        ("[[allow]]\nsha256 = 2020-01-01", "'sha256:' and 64"),
        ("[[allow]]\nrepository = 'org/name'\nrevision = 'main'", "40 hexadecimal digits"),
        ("[[allow]]\nrepository = 'org/name'", "A name alone never suffices"),
        (f"[[allow]]\nsha256 = '{OTHER}'\n[[allow]]\nrepository = 'x'", "number 2"),
        ("#" * ((1 << 20) + 1), "at most"),
    ],
)
def test_a_file_with_anything_unclear_is_refused(allow: Allow, text: str, says: str):
    """A file is understood whole or refused with its name, never in part."""
    path = allow(text)

    with pytest.raises(TrustFileError, match=re.escape(says)) as caught:
        TrustPolicy.from_file()

    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text_is_refused(allow: Allow):
    """Bytes that are no UTF-8 are refused."""
    path = allow("")
    path.write_bytes(b"\xff")

    with pytest.raises(TrustFileError, match="is no TOML"):
        TrustPolicy.from_file()


def test_comments_and_several_rules_are_fine(folder: Path, digest: str, allow: Allow):
    """A file may have as many rules as it likes, and say why."""
    allow(f'# mine\n[[allow]]\nsha256 = "{OTHER}"  # old\n[[allow]]\nsha256 = "{digest}"\n')

    policy = TrustPolicy.from_file()

    assert len(policy.rules) == 2
    assert loads(folder, policy)
