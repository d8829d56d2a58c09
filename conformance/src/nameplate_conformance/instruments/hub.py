"""A Hub on the loopback interface, for the law about publishing: real requests of the real client, and no network.

Only what pushing a model and loading it by its id ask for; repositories live in memory.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but this
"""What the client shows; nobody looks at it."""


class _Refusal(Exception):  # noqa: N818 - an answer, no failure of ours
    """What a request is answered that cannot be served; the code is that by which the client tells errors apart."""

    def __init__(self, status: HTTPStatus, code: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Repository:
    """The commits of a repository, each a whole tree of files, and the one that its branch points to."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = ""

    def add(self, files: Mapping[str, bytes]) -> str:
        """Let the branch point to exactly these files; return the name of the commit."""
        self.head = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()  # noqa: S324 - a name
        self.commits[self.head] = dict(files)
        return self.head

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision stands for."""
        commit = self.head if revision == "main" else revision
        if commit not in self.commits:
            raise _Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        return commit


class LoopbackHub:
    """A running Hub.

    Attributes:
        repositories: Every repository by its id.
        endpoint: Its address.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its headers
    hub: ClassVar[LoopbackHub]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Print nothing."""

    def do_GET(self) -> None:
        self.body = self._read()
        path = urlsplit(self.path).path
        try:
            self._answer(path)
        except _Refusal as refusal:
            self._reply(b"{}", refusal.status, {"X-Error-Code": refusal.code})

    do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server asks for

    def _answer(self, path: str) -> None:
        for methods, pattern, route in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match is not None and self.command in methods.split():
                route(self, **{name: unquote(part) for name, part in match.groupdict("main").items()})
                return
        raise _Refusal(HTTPStatus.NOT_FOUND)

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.hub.repositories
        if not known:
            self.hub.repositories[name] = Repository()
            self.hub.repositories[name].add({".gitattributes": b""})
        url = {"url": f"{self.hub.endpoint}/{name}"}
        self._reply_json(url, HTTPStatus.CONFLICT if known else HTTPStatus.OK)

    def info(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        commit = repository.resolve(revision)
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        self._reply_json({"_id": "0", "id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings})

    def preupload(self, name: str, revision: str) -> None:
        self._repository(name).resolve(revision)
        asked = [each["path"] for each in json.loads(self.body)["files"]]
        plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
        self._reply_json({"files": [{"path": path, **plain} for path in asked]})

    def check_card(self) -> None:
        self._reply_json({"errors": [], "warnings": []})

    def commit(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        files = dict(repository.commits[repository.resolve(revision)])
        for change in map(json.loads, self.body.splitlines()[1:]):
            path = change["value"]["path"]
            if change["key"] == "file":
                files[path] = base64.b64decode(change["value"]["content"])
            else:
                files.pop(path)
        commit = repository.add(files)
        self._reply_json({"commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}"})

    def file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        commit = repository.resolve(revision)
        data = repository.commits[commit].get(path)
        headers = {"X-Repo-Commit": commit}
        if data is None:
            self._reply(b"{}", HTTPStatus.NOT_FOUND, {**headers, "X-Error-Code": "EntryNotFound"})
        else:
            self._reply(data, HTTPStatus.OK, {**headers, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'})

    def _repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound")
        return found

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply_json(self, body: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._reply(json.dumps(body).encode(), status, {"Content-Type": "application/json"})

    def _reply(self, body: bytes, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_API = r"/api/models/(?P<name>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.check_card),
    ("GET", _API + r"(?:/revision/(?P<revision>[^/]+))?", _Handler.info),
    ("POST", _API + r"/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    ("POST", _API + r"/commit/(?P<revision>[^/]+)", _Handler.commit),
    ("GET HEAD", r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.file),
)


@contextmanager
def loopback_hub(client: ModuleType) -> Iterator[LoopbackHub]:
    """Let the client of the Hub talk to one that is empty, for the length of a block; one is started in a process.

    Args:
        client: The module ``huggingface_hub.constants``, which has read the environment when it was imported.
    """
    hub = _running()
    hub.repositories.clear()
    said = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    constants = vars(client)
    before = {name: constants[name] for name in said}
    proxies = os.environ.get("NO_PROXY")
    try:
        constants.update(said)
        os.environ["NO_PROXY"] = "127.0.0.1"
        yield hub
    finally:
        constants.update(before)
        os.environ.pop("NO_PROXY") if proxies is None else os.environ.update(NO_PROXY=proxies)


@cache
def _running() -> LoopbackHub:
    return LoopbackHub()
