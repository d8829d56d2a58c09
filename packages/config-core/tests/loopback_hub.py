"""A Hub on the loopback interface: the part of its HTTP interface that reading and publishing models needs.

Repositories live in memory, each commit a whole tree of files. Weights are large files: they are uploaded and
downloaded apart from the rest, at another host name, and a commit only names them. The real client of
huggingface_hub talks to it, so a test sees what a user would. Set `HF_ENDPOINT` to `LoopbackHub.endpoint` before
that client is imported.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but this
"""The access token that may read and write."""

READER = "hf_reader"
"""The access token that may only read, and nothing that is gated."""

LARGE = (".safetensors", ".bin")
"""How the names of files end that are large ones, whatever their size."""

USER = "user"
"""Whose tokens they are."""


class RefusedError(Exception):
    """A request that the Hub answers with an error, and the code by which its client tells errors apart."""

    def __init__(self, status: HTTPStatus, code: str = "", **headers: str) -> None:
        super().__init__(code)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": f"refused: {code or status.phrase}", **headers}


@dataclass
class Fault:
    """What goes wrong with the requests that it is about.

    Attributes:
        pattern: A regular expression, found in method and path of a request.
        status: The answer, if it is an error.
        code: The code of that error.
        pause: Seconds before the answer.
        cut: After how many bytes of a file the connection breaks, if it does.
        trickle: Seconds between two bytes of a file.
        times: How many requests are left to go wrong; None for all.
    """

    pattern: str
    status: HTTPStatus | None = None
    code: str = ""
    pause: float = 0
    cut: int | None = None
    trickle: float = 0
    times: int | None = None


NO_FAULT = Fault("")


@dataclass
class Repository:
    """A repository: who may read it, what its branches and tags point to, and the files of each commit."""

    private: bool = False
    gated: bool = False
    references: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        """Return the commit that a branch, tag or commit stands for."""
        commit = self.references.get(revision, revision)
        if commit not in self.commits:
            raise RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        return commit

    def add(self, reference: str, files: dict[str, bytes], message: str = "") -> str:
        """Add a commit with exactly these files, let a branch point to it, and return its hash."""
        commit = hashlib.sha1(repr((len(self.commits), files)).encode()).hexdigest()  # noqa: S324
        self.commits[commit] = files
        self.messages[commit] = message
        self.references[reference] = commit
        return commit


class LoopbackHub:
    """The repositories and the log of requests.

    Attributes:
        repositories: Every repository by its id.
        requests: Method and path of each request, in order.
        sent: How many bytes of files and answers were sent.
        broken: While true, every request fails as if the Hub were down.
        faults: What goes wrong; the first that a request matches counts.
        moved: The present id of a repository by its former one.
        elsewhere: The address of the Hub that has those which moved, if it is another one.
        shown: To which host which token was shown with which request.
        unseen: The ids of repositories that exist, but not for whoever asks.
        large: The large files that were uploaded, by the SHA-256 of their content.
        meanwhile: What happens when the next commit is prepared, as by somebody else.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.sent = 0
        self.broken = False
        self.faults: list[Fault] = []
        self.moved: dict[str, str] = {}
        self.elsewhere = ""
        self.shown: list[tuple[str, str, str]] = []
        self.unseen: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.meanwhile: Callable[[], object] | None = None
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
        self.sent = 0
        self.broken = False
        self.faults.clear()
        self.moved.clear()
        self.elsewhere = ""
        self.shown.clear()
        self.unseen.clear()
        self.large.clear()
        self.meanwhile = None

    def commit(self, name: str, files: Mapping[str, str | bytes], *, branch: str = "main", **access: bool) -> str:
        """Add a commit with exactly these files to a branch, and return its hash.

        Args:
            name: The id of the repository, which is created if needed.
            files: The text, or the bytes, of each file by its path.
            branch: The branch that points to the commit from now on.
            **access: `private` and `gated`, for a repository that is created.
        """
        repository = self.repositories.setdefault(name, Repository(**access))
        return repository.add(
            branch, {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        )

    def tag(self, name: str, tag: str) -> None:
        """Let a tag point to what the main branch points to."""
        references = self.repositories[name].references
        references[tag] = references["main"]

    def fail(self, pattern: str, status: int | None = None, **how: Any) -> None:
        """Let requests go wrong from now on; see `Fault`."""
        self.faults.append(Fault(pattern, None if status is None else HTTPStatus(status), **how))

    def rename(self, name: str, new: str) -> None:
        """Give a repository another id; who asks for the former one is sent on."""
        self.repositories[new] = self.repositories.pop(name)
        self.moved[name] = new


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a client."""

    protocol_version = "HTTP/1.1"
    hub: ClassVar[LoopbackHub]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer with what the path names, or with the Hub's own kind of error."""
        self.body = self.read_body()
        request = f"{self.command} {self.path}"
        self.hub.requests.append(request)
        self.note_token(request)
        self.fault = self.take_fault(request)
        time.sleep(self.fault.pause)
        try:
            self.answer(urlsplit(self.path).path)
        except RefusedError as error:
            self.reply(error.status, b"{}", error.headers)
        except ConnectionError:  # whoever asked has gone
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server asks for

    def read_body(self) -> bytes:
        """Return what the client sent, in one piece or in many."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def note_token(self, request: str) -> None:
        """Write down which token was shown to which host."""
        authorization = self.headers.get("Authorization")
        if authorization is not None:
            host = (self.headers.get("Host") or "").partition(":")[0]
            self.hub.shown.append((host, authorization.removeprefix("Bearer "), request))

    def take_fault(self, request: str) -> Fault:
        """Return what goes wrong with a request."""
        for fault in self.hub.faults:
            if fault.times != 0 and re.search(fault.pattern, request):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return NO_FAULT

    def answer(self, path: str) -> None:
        """Find the route of a path and take it."""
        if self.hub.broken:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE)
        if self.fault.status is not None:
            raise RefusedError(self.fault.status, self.fault.code)
        self.send_on()
        for methods, pattern, route in ROUTES:
            match = re.fullmatch(pattern, path)
            if match is not None and self.command in methods.split():
                route(self, **{name: unquote(part) for name, part in match.groupdict("main").items()})
                return
        raise RefusedError(HTTPStatus.NOT_FOUND)

    def send_on(self) -> None:
        """Say where a repository is now that had another id."""
        for name, new in self.hub.moved.items():
            found = re.fullmatch(rf"(/api/models|)/{name}(/.*)?", self.path)
            if found is not None:
                place = f"{self.hub.elsewhere}{found[1]}/{new}{found[2] or ''}"
                raise RefusedError(HTTPStatus.TEMPORARY_REDIRECT, Location=place)

    # ---- who may do what

    def authorized(self) -> str | None:
        """Return the token of whoever asks, if any."""
        authorization = self.headers.get("Authorization")
        if authorization not in {None, f"Bearer {TOKEN}", f"Bearer {READER}"}:
            raise RefusedError(HTTPStatus.UNAUTHORIZED)
        return authorization

    def check_writer(self) -> None:
        """Let only those go on who may write."""
        authorization = self.authorized()
        if authorization is None:
            raise RefusedError(HTTPStatus.UNAUTHORIZED)
        if authorization != f"Bearer {TOKEN}":
            raise RefusedError(HTTPStatus.FORBIDDEN)

    def writable(self, name: str) -> Repository:
        """Return a repository if whoever asks may write to it."""
        self.check_writer()
        return self.readable(name)

    def readable(self, name: str) -> Repository:
        """Return a repository if whoever asks may read it."""
        authorization = self.authorized()
        repository = self.hub.repositories.get(name)
        if repository is None or name in self.hub.unseen or (repository.private and authorization is None):
            # Without a token the Hub does not tell an absent repository from a private one.
            status = HTTPStatus.UNAUTHORIZED if authorization is None else HTTPStatus.NOT_FOUND
            raise RefusedError(status, "RepoNotFound")
        return repository

    def check_admitted(self, repository: Repository) -> None:
        """Let only those read the files of a gated repository who were admitted. What it is, everybody may know."""
        authorization = self.authorized()
        if repository.gated and authorization != f"Bearer {TOKEN}":
            status = HTTPStatus.UNAUTHORIZED if authorization is None else HTTPStatus.FORBIDDEN
            raise RefusedError(status, "GatedRepo")

    # ---- reading

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
        self.reply_json(body)

    def send_file(self, name: str, revision: str, path: str) -> None:
        """Send a file of a repository at a revision."""
        repository = self.readable(name)
        self.check_admitted(repository)
        commit = repository.resolve(revision)
        data = repository.commits[commit].get(path)
        if data is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound", **{"X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_name(data)}"'}
        if not path.endswith(LARGE):
            self.send_data(data, headers)
            return
        name = sha256(data)
        self.hub.large[name] = data
        elsewhere = f"{self.hub.endpoint}/large/{name}".replace("127.0.0.1", "localhost")
        linked = {"X-Linked-Etag": f'"{name}"', "X-Linked-Size": str(len(data)), "Location": elsewhere}
        self.reply(HTTPStatus.FOUND, b"", headers | linked)

    def send_large(self, large: str) -> None:
        """Send a large file from the host that keeps them."""
        if large not in self.hub.large:
            raise RefusedError(HTTPStatus.NOT_FOUND)
        self.send_data(self.hub.large[large], {"ETag": f'"{large}"'})

    def send_data(self, data: bytes, headers: dict[str, str]) -> None:
        """Send a file, or the part of it that is asked for."""
        headers["Accept-Ranges"] = "bytes"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self.reply(HTTPStatus.OK, data, headers)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self.reply(HTTPStatus.PARTIAL_CONTENT, data[start : end + 1], headers)

    # ---- writing

    def create(self) -> None:
        """Create a repository, with the one commit that the Hub makes of its own."""
        self.check_writer()
        asked = json.loads(self.body)
        name = f"{asked['organization'] or USER}/{asked['name']}"
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repositories:
            self.reply_json(url, HTTPStatus.CONFLICT)
            return
        self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        self.hub.repositories[name].add("main", {".gitattributes": b""}, "initial commit")
        self.reply_json(url)

    def create_branch(self, name: str, revision: str) -> None:
        """Let a new branch point to what the main branch points to."""
        repository = self.writable(name)
        if revision.startswith("refs/"):
            raise RefusedError(HTTPStatus.BAD_REQUEST)
        if revision in repository.references:
            raise RefusedError(HTTPStatus.CONFLICT)
        repository.references[revision] = repository.resolve("main")
        self.reply_json({})

    def preupload(self, name: str, revision: str) -> None:
        """Say of each file whether it goes into the commit itself, and which content the repository has now."""
        repository = self.writable(name)
        there = repository.commits[repository.resolve(revision)]
        answers = [
            {
                "path": path,
                "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": name_of(path, there[path]) if path in there else None,
            }
            for path in (each["path"] for each in json.loads(self.body)["files"])
        ]
        self.reply_json({"files": answers})
        meanwhile, self.hub.meanwhile = self.hub.meanwhile, None
        if meanwhile is not None:
            meanwhile()

    def check_card(self) -> None:
        """Find nothing wrong with a card."""
        assert json.loads(self.body)["content"]
        self.reply_json({"errors": [], "warnings": []})

    def plan_large(self, name: str) -> None:
        """Say of each large file where it is to be put, or that it is there."""
        self.writable(name)
        objects = json.loads(self.body)["objects"]
        for each in objects:
            where = f"{self.hub.endpoint}/large/{each['oid']}"
            if each["oid"] not in self.hub.large:
                elsewhere = where.replace("127.0.0.1", "localhost")
                each["actions"] = {"upload": {"href": elsewhere}, "verify": {"href": f"{where}/verify"}}
        self.reply_json({"transfer": "basic", "objects": objects})

    def put_large(self, large: str) -> None:
        """Keep a large file that is what its name says."""
        if sha256(self.body) != large:
            raise RefusedError(HTTPStatus.BAD_REQUEST)
        self.hub.large[large] = self.body
        self.reply(HTTPStatus.OK, b"", {})

    def verify_large(self, large: str) -> None:
        """Say whether a large file arrived."""
        self.reply_json({}, HTTPStatus.OK if large in self.hub.large else HTTPStatus.NOT_FOUND)

    def add_commit(self, name: str, revision: str) -> None:
        """Add a commit to a branch, or propose it as a pull request."""
        repository = self.writable(name)
        present = repository.resolve(revision)
        files = dict(repository.commits[present])
        header, *changes = map(json.loads, self.body.splitlines())
        if header["value"].get("parentCommit") not in {None, present}:
            raise RefusedError(HTTPStatus.PRECONDITION_FAILED)
        for change in changes:
            self.change(files, change["key"], **change["value"])
        proposed = "create_pr" in parse_qs(urlsplit(self.path).query)
        number = 1 + sum(reference.startswith("refs/pr/") for reference in repository.references)
        reference = f"refs/pr/{number}" if proposed else revision
        commit = repository.add(reference, files, header["value"]["summary"])
        answer = {"commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}"}
        discussion = {"pullRequestUrl": f"{self.hub.endpoint}/{name}/discussions/{number}"} if proposed else {}
        self.reply_json({**answer, **discussion})

    def change(
        self, files: dict[str, bytes], key: str, *, path: str, content: str = "", oid: str = "", **_: Any
    ) -> None:
        """Make one change of a commit."""
        if key == "file":
            files[path] = base64.b64decode(content)
        elif key == "lfsFile" and oid in self.hub.large:
            files[path] = self.hub.large[oid]
        elif key == "deletedFile" and path in files:
            del files[path]
        else:
            raise RefusedError(HTTPStatus.BAD_REQUEST)

    # ---- answering

    def reply_json(self, body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send an object."""
        self.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        """Send an answer, without its body if only the headers were asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.hub.sent += len(body)
            self.send_body(body)

    def send_body(self, body: bytes) -> None:
        """Send a body, byte by byte or not to its end if that is what goes wrong."""
        size = 1 if self.fault.trickle else max(1, len(body))
        for start in range(0, len(body[: self.fault.cut]), size):
            self.wfile.write(body[: self.fault.cut][start : start + size])
            time.sleep(self.fault.trickle)
        self.close_connection |= self.fault.cut is not None


def git_name(data: bytes) -> str:
    """Return what git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - git's choice


def sha256(data: bytes) -> str:
    """Return what a large file with this content is called."""
    return hashlib.sha256(data).hexdigest()


def name_of(path: str, data: bytes) -> str:
    """Return what the Hub calls a file."""
    return sha256(data) if path.endswith(LARGE) else git_name(data)


API = r"/api/models/(?P<name>[^/]+/[^/]+)"
ROUTES = (
    ("GET", API + r"(?:/revision/(?P<revision>[^/]+))?", Handler.send_info),
    ("GET HEAD", r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.send_file),
    ("GET HEAD", r"/large/(?P<large>\w+)", Handler.send_large),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.plan_large),
    ("PUT", r"/large/(?P<large>\w+)", Handler.put_large),
    ("POST", r"/large/(?P<large>\w+)/verify", Handler.verify_large),
    ("POST", r"/api/validate-yaml", Handler.check_card),
    ("POST", API + r"/branch/(?P<revision>[^/]+)", Handler.create_branch),
    ("POST", API + r"/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", API + r"/commit/(?P<revision>[^/]+)", Handler.add_commit),
)
"""Methods, path and answer of each request that the Hub understands."""
