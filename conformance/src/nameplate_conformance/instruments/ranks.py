"""Running a function on several ranks: real processes that talk over gloo, on one machine.

The first world starts one more process, which imports torch and waits. Every rank is a fork of it, so that a further
rank costs a tenth of a second and knows nothing of the process that asks. Here are how to ask for a world, what comes
of each rank, and what the waiting process does. What they tell each other is packed as `multiprocessing` packs it:
only what this process and its own forks have written is ever unpacked.
"""

import atexit
import gc
import importlib
import importlib.util
import inspect
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn, cast

Job = Callable[..., Any]
"""A function of a module, called with its rank and the arguments of the world."""

_IMPORTED = ("torch.distributed.tensor.parallel", "torch.distributed.fsdp", "torch._dynamo", "nameplate_model")
"""What every rank finds imported; the third is what the others import when they are first used."""

_FOUND_USEFUL = ("pytest", "hypothesis", "safetensors.torch")
"""What ranks find imported where the process that asks has it, since the module of their job imports it too."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OF_A_LAUNCHER = ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "LOCAL_WORLD_SIZE")
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_AS_IMPORTED = "__mp_main__"  # what `multiprocessing` calls a script, too, where it is not the one that runs
_LONGEST_OUTPUT = 20_000
_A_MOMENT = 0.005
_TO_START = 300.0

_WAITING = """
import sys
sys.path[:] = {path!r}
from nameplate_conformance.instruments.ranks import serve
serve({descriptor}, {modules!r})
"""


class Raised(NamedTuple):
    """An error that ended a job.

    Attributes:
        name: Of its class.
        text: What it says.
        mro: The names of its class and of all classes above it.
        cause: The name of the class of its cause; empty if it has none.
        trace: The traceback, as Python prints it.
    """

    name: str
    text: str
    mro: tuple[str, ...]
    cause: str
    trace: str


@dataclass(frozen=True, slots=True)
class RankEnding:
    """What came of one rank.

    Attributes:
        rank: Its number.
        value: What the job returned; None if it did not return.
        raised: The error that the job raised, or None.
        ended_by: The name of the signal that ended the process, such as ``"SIGKILL"``, or empty.
        hung: Whether that was because its time was over.
        exit_code: With which the process ended by itself before the job did, or 0.
        said: The end of what it printed, errors included.
    """

    rank: int
    value: Any = None
    raised: Raised | None = None
    ended_by: str = ""
    hung: bool = False
    exit_code: int = 0
    said: str = ""

    @property
    def returned(self) -> bool:
        """Whether the job came to its end and returned."""
        return not (self.raised or self.ended_by or self.exit_code)

    def __str__(self) -> str:
        if self.raised:
            came = f"raised {self.raised.name}\n{self.raised.trace}"
        elif self.ended_by:
            came = f"was ended by {self.ended_by}{', because its time was over' if self.hung else ''}"
        else:
            came = f"ended with code {self.exit_code}" if self.exit_code else f"returned {self.value!r}"
        return f"rank {self.rank} {came}" + (f"\nand printed:\n{self.said}" if self.said else "")


def run_ranks(job: Job, world: int, *args: Any, patience: float = 60.0) -> list[RankEnding]:
    """Run a job on several ranks at once and return what came of each.

    Every rank is a process with one thread and an initialised gloo process group, whose store rank 0 hosts. A rank
    whose job is over stays until those of the others are, as the store does.

    Args:
        job: A function at the top of a module. It gets its rank and *args*; what it returns must be plain values.
        world: How many ranks there are.
        *args: Plain values: what `pickle` can carry, but no tensors.
        patience: Seconds that the world may take. Ranks that are not done then are killed.

    Raises:
        RuntimeError: If the job is no function at the top of a module, or ranks cannot be started.
    """
    if job.__module__ == _AS_IMPORTED:
        message = (
            f"{inspect.getfile(job)} asks for ranks while a rank imports it; "
            'put what asks for them under `if __name__ == "__main__":`'
        )
        raise RuntimeError(message)
    request = {
        "job": _place(job),
        "args": bytes(ForkingPickler.dumps(args)),
        "world": world,
        "patience": patience,
        "path": list(sys.path),
        "environment": _environment(),
        "cwd": str(Path.cwd()),
    }
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder, _LOCK:
        answers = _ask({**request, "folder": folder}, patience)
        return [_ending(rank, Path(folder), **answer) for rank, answer in enumerate(answers)]


def values(endings: Sequence[RankEnding]) -> list[Any]:
    """Return what the job returned on each rank.

    Args:
        endings: Of all ranks.

    Raises:
        AssertionError: If a rank did not return; the text has the traceback of each such rank.
    """
    failed = [str(ending) for ending in endings if not ending.returned]
    if failed:
        raise AssertionError("\n".join(failed))
    return [ending.value for ending in endings]


def _place(job: Job) -> tuple[str, str, str]:
    """Return where a job can be found again: the module's file and name, and its own name."""
    if getattr(sys.modules.get(job.__module__), job.__qualname__, None) is not job:
        message = f"{job.__qualname__} is no function at the top of a module, so other processes cannot find it"
        raise RuntimeError(message)
    return str(Path(inspect.getfile(job)).resolve()), job.__module__, job.__qualname__


def _environment() -> dict[str, str]:
    """Return the environment of ranks: our own, without what a launcher has said, and with one thread."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_LAUNCHER}
    return {**own, **dict.fromkeys(_THREADS, "1"), "GLOO_SOCKET_IFNAME": _LOOPBACK}


def _ending(rank: int, folder: Path, *, status: int, hung: bool) -> RankEnding:
    said = (folder / f"said.{rank}").read_bytes()[-_LONGEST_OUTPUT:].decode(errors="replace")
    left = _left(folder, rank)
    ending = ForkingPickler.loads(left.read_bytes()) if left.exists() else RankEnding(rank)
    ended_by = signal.Signals(-status).name if status < 0 else ""
    return replace(ending, ended_by=ended_by, hung=hung, exit_code=max(status, 0), said=said)


# --- the process that waits, seen from the one that asks ------------------------------------------------------------

_LOCK = threading.Lock()
_WAITS: dict[int, tuple["subprocess.Popen[bytes]", Connection]] = {}
"""The process that waits for each process that asks: a fork of ours does not ask ours."""


def _ask(request: Mapping[str, Any], patience: float) -> list[dict[str, Any]]:
    process, connection = _waiting()
    try:
        connection.send(request)
        if connection.poll(patience + _TO_START):
            return cast("list[dict[str, Any]]", connection.recv())
        reason = "it does not answer"
    except (EOFError, OSError):
        reason = f"it ended with code {process.wait(_TO_START)}"
    except BaseException:
        _forget()
        raise
    _forget()
    message = f"the process that starts ranks is lost: {reason}"
    raise RuntimeError(message)


def _waiting() -> tuple["subprocess.Popen[bytes]", Connection]:
    if os.getpid() not in _WAITS:
        ours, theirs = socket.socketpair()
        modules = [*_IMPORTED, *(name for name in _FOUND_USEFUL if name in sys.modules)]
        code = _WAITING.format(path=sys.path, descriptor=theirs.fileno(), modules=modules)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own lines
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        _WAITS[os.getpid()] = process, Connection(ours.detach())
        atexit.register(_forget)
    return _WAITS[os.getpid()]


def _forget() -> None:
    """End the process that waits for this one, if there is one; it ends the ranks that it has started."""
    process, connection = _WAITS.pop(os.getpid(), (None, None))
    if process is not None and connection is not None:
        connection.close()
        process.wait(_TO_START)


# --- the process that waits -----------------------------------------------------------------------------------------


def serve(descriptor: int, modules: Sequence[str]) -> None:
    """Import what ranks need, then start the worlds that are asked for, one after the other, until nobody asks.

    Args:
        descriptor: Of the socket on which a process asks.
        modules: What to import.
    """
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # or each rank would copy all of this memory when it looks for garbage
    connection = Connection(descriptor)
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send(_run(connection, connection.recv()))


def _run(connection: Connection, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Start a world, and return the exit status of each rank once all are done or their time is over."""
    stay, leave = os.pipe()
    port, told = os.pipe()
    ranks: list[int] = []
    for rank in range(request["world"]):
        process = os.fork()
        if not process:
            for descriptor in (leave, connection.fileno(), *([told] if rank else [])):
                os.close(descriptor)
            _be(rank, request, Telling(port, told), stay)
        ranks.append(process)
    for descriptor in (stay, port, told):
        os.close(descriptor)
    try:
        ended = _until_done(connection, ranks, Path(request["folder"]), time.monotonic() + request["patience"])
    finally:
        os.close(leave)  # whoever is done leaves
    for rank in (rank for rank in range(len(ranks)) if rank not in ended):
        ended[rank] = {"status": _status(os.waitpid(ranks[rank], 0)), "hung": False}
    return [ended[rank] for rank in range(len(ranks))]


def _until_done(
    connection: Connection, ranks: Sequence[int], folder: Path, deadline: float
) -> dict[int, dict[str, Any]]:
    """Wait until each rank has told its ending or has ended, and kill the rest when time is over or nobody asks."""
    ended: dict[int, dict[str, Any]] = {}
    while open_ones := [rank for rank in range(len(ranks)) if rank not in ended and not _left(folder, rank).exists()]:
        over = connection.poll(_A_MOMENT) or time.monotonic() > deadline
        for rank in open_ones:
            found = os.waitpid(ranks[rank], os.WNOHANG)
            if found[0]:
                ended[rank] = {"status": _status(found), "hung": False}
            elif over:
                os.kill(ranks[rank], signal.SIGKILL)
                ended[rank] = {"status": _status(os.waitpid(ranks[rank], 0)), "hung": True}
    return ended


def _status(found: tuple[int, int]) -> int:
    return os.waitstatus_to_exitcode(found[1])


# --- a rank ---------------------------------------------------------------------------------------------------------


class Telling(NamedTuple):
    """The two ends of a pipe on which rank 0 tells the others the port of its store, as one line for each."""

    port: int
    told: int


_LINE = 8
"""Bytes of a line: as many as nobody else can come between."""


def _be(rank: int, request: Mapping[str, Any], telling: Telling, stay: int) -> NoReturn:
    """Be one rank: do the job, write down how it ended, stay until all are done."""
    try:
        folder = Path(request["folder"])
        _alone(request, folder / f"said.{rank}", rank)
        ending = _done(rank, request, telling)
        written = folder / f"writing.{rank}"
        written.write_bytes(ForkingPickler.dumps(ending))
        written.rename(_left(folder, rank))
        os.read(stay, 1)
        os._exit(0)
    finally:
        with suppress(Exception):
            traceback.print_exc()
        os._exit(1)


def _left(folder: Path, rank: int) -> Path:
    return folder / f"ending.{rank}"


def _alone(request: Mapping[str, Any], said: Path, rank: int) -> None:
    """Make of a fork what a launcher would have started: its own output, environment, folder and paths."""
    import torch  # noqa: PLC0415 - this process has it

    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(request["world"]))
    os.chdir(request["cwd"])
    sys.path[:] = request["path"]
    torch.set_num_threads(1)


def _done(rank: int, request: Mapping[str, Any], telling: Telling) -> RankEnding:
    try:
        _join(rank, request["world"], telling, request["patience"])
        job = _found(*request["job"])
        return RankEnding(rank, job(rank, *ForkingPickler.loads(request["args"])))
    except BaseException as error:  # noqa: BLE001 - whatever ends a job is how it ended
        mro = tuple(above.__name__ for above in type(error).__mro__)
        trace = "".join(traceback.format_exception(error))
        cause = type(error.__cause__).__name__ if error.__cause__ else ""
        return RankEnding(rank, raised=Raised(mro[0], str(error), mro, cause, trace))
    finally:
        sys.stdout.flush()


def _join(rank: int, world: int, telling: Telling, patience: float) -> None:
    """Start the process group. Rank 0 lets the system choose the port, so nobody else can have taken it."""
    from torch import distributed  # noqa: PLC0415 - this process has it

    time_limit = timedelta(seconds=patience)
    if rank:
        line = os.read(telling.port, _LINE)
        store = distributed.TCPStore("127.0.0.1", int(line), world, is_master=False, timeout=time_limit)
    else:
        store = distributed.TCPStore("127.0.0.1", 0, world, is_master=True, timeout=time_limit, wait_for_workers=False)
        os.write(telling.told, b"%*d" % (_LINE, store.port) * (world - 1))
    os.close(telling.port)
    if not rank:
        os.close(telling.told)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=time_limit)


def _found(file: str, module: str, name: str) -> Job:
    """Return a job by its name, from its module or, if that cannot be imported by name, from the module's file."""
    return cast("Job", getattr(_imported(file, module), name))


def _imported(file: str, name: str) -> ModuleType:
    if name != "__main__" and _origin(name) == file:
        return importlib.import_module(name)
    alias = _AS_IMPORTED if name == "__main__" else name
    spec = importlib.util.spec_from_file_location(alias, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module


def _origin(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return str(Path(spec.origin).resolve()) if spec is not None and spec.origin else None
