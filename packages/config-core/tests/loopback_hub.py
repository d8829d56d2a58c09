"""A Hub on the loopback interface: the part of its HTTP interface that reading a repository needs.

Repositories live in memory, each commit a whole tree of files. The real client of huggingface_hub talks to it,
so a test sees what a user would. Set `HF_ENDPOINT` to `LoopbackHub.endpoint` before that client is imported.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but this
"""The one access token that the Hub knows."""

INFO = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class RefusedError(Exception):
    """A request that the Hub answers with an error, and the code by which its client tells errors apart."""

    def __init__(self, status: HTTPStatus, code: str = "", **headers: str) -> None:
        super().__init__(code)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": f"refused: {code or status.phrase}", **headers}


@dataclass
class Repository:
    """A repository: who may read it, what its branches and tags point to, and the files of each commit."""

    private: bool = False
    gated: bool = False
    references: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        """Return the commit that a branch, tag or commit stands for."""
        commit = self.references.get(revision, revision)
        if commit not in self.commits:
            raise RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        return commit


class LoopbackHub:
    """The repositories and the log of requests.

    Attributes:
        repositories: Every repository by its id.
        requests: Method and path of each request, in order.
        broken: While true, every request fails as if the Hub were down.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.broken = False
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def serving(self) -> Iterator["LoopbackHub"]:
        """Answer requests until the end of the block."""
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def reset(self) -> None:
        """Forget every repository and request."""
        self.repositories.clear()
        self.requests.clear()
        self.broken = False

    def commit(self, name: str, files: dict[str, str], *, branch: str = "main", **access: bool) -> str:
        """Add a commit with exactly these files to a branch, and return its hash.

        Args:
            name: The id of the repository, which is created if needed.
            files: The text of each file by its path.
            branch: The branch that points to the commit from now on.
            **access: `private` and `gated`, for a repository that is created.
        """
        repository = self.repositories.setdefault(name, Repository(**access))
        commit = hashlib.sha1(repr((name, len(repository.commits), files)).encode()).hexdigest()  # noqa: S324
        repository.commits[commit] = {path: text.encode() for path, text in files.items()}
        repository.references[branch] = commit
        return commit

    def tag(self, name: str, tag: str) -> None:
        """Let a tag point to what the main branch points to."""
        references = self.repositories[name].references
        references[tag] = references["main"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a client."""

    protocol_version = "HTTP/1.1"
    hub: ClassVar[LoopbackHub]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer with what the path names, or with the Hub's own kind of error."""
        self.hub.requests.append(f"{self.command} {self.path}")
        try:
            self.answer(urlsplit(self.path).path)
        except RefusedError as error:
            self.reply(error.status, b"{}", error.headers)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def answer(self, path: str) -> None:
        """Find the route of a path and take it."""
        if self.hub.broken:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE)
        for pattern, route in ((INFO, self.send_info), (FILE, self.send_file)):
            match = pattern.fullmatch(path)
            if match is not None:
                route(**{name: unquote(part) for name, part in match.groupdict("main").items()})
                return
        raise RefusedError(HTTPStatus.NOT_FOUND)

    def readable(self, name: str) -> Repository:
        """Return a repository if whoever asks may read it."""
        authorization = self.headers.get("Authorization")
        if authorization not in {None, f"Bearer {TOKEN}"}:
            raise RefusedError(HTTPStatus.UNAUTHORIZED)
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and authorization is None):
            # Without a token the Hub does not tell an absent repository from a private one.
            status = HTTPStatus.UNAUTHORIZED if authorization is None else HTTPStatus.NOT_FOUND
            raise RefusedError(status, "RepoNotFound")
        if repository.gated and authorization is None:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "GatedRepo")
        return repository

    def send_info(self, name: str, revision: str) -> None:
        """Describe a repository at a revision."""
        repository = self.readable(name)
        commit = repository.resolve(revision)
        body: dict[str, Any] = {
            "_id": "0",
            "id": name,
            "sha": commit,
            "private": repository.private,
            "gated": repository.gated,
            "tags": [],
            "siblings": [{"rfilename": path} for path in repository.commits[commit]],
        }
        self.reply(HTTPStatus.OK, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def send_file(self, name: str, revision: str, path: str) -> None:
        """Send a file of a repository at a revision."""
        repository = self.readable(name)
        commit = repository.resolve(revision)
        data = repository.commits[commit].get(path)
        if data is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound", **{"X-Repo-Commit": commit})
        etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - what git calls the file
        self.reply(HTTPStatus.OK, data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        """Send an answer, without its body if only the headers were asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
