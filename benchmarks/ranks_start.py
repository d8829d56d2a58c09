"""Starting ranks for measurements: a process of its own for each, as a launcher does it.

Forks of one process would start faster, but each would copy that one's memory whenever it looks for garbage, which can
take longer than what is measured.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": _LOOPBACK}


def run(job: str, world: int, asked: Sequence[Any], patience: float) -> list[Any]:
    """Run a job on several ranks, and return what it returned on each.

    Args:
        job: The module and the name of a function, with a colon between. It gets its rank and *asked*.
        world: How many ranks there are.
        asked: What JSON can hold.
        patience: Seconds after which a rank is given up.

    Raises:
        subprocess.CalledProcessError: If a rank failed; what it said went to the standard error.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {**os.environ, **_ONE_THREAD, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    command = [sys.executable, "-m", __name__, job, json.dumps(asked)]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    try:
        said = [rank.communicate(timeout=patience)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank in ranks:
        if rank.returncode:
            raise subprocess.CalledProcessError(rank.returncode, command)
    return [json.loads(text.splitlines()[-1]) for text in said]


def main() -> None:
    """Be one rank: do the job, and print what it returned."""
    import torch  # noqa: PLC0415 - whoever starts ranks stays small
    from torch import distributed  # noqa: PLC0415 - as above

    module, name = sys.argv[1].split(":")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    found = getattr(import_module(module), name)(distributed.get_rank(), *json.loads(sys.argv[2]))
    distributed.barrier()  # whoever has the store stays until all are done
    print(json.dumps(found), flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
