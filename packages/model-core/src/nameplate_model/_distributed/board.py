"""The board on which ranks leave each other texts: the key-value store of torch's default process group.

It hides what stores have of their own: the longest value, what a wait that was in vain prints, the errors of a store
that is gone. What the texts mean is said in `team.py`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.distributed import Store

from nameplate_config.wording import brief, sentences
from nameplate_model.errors import MissingRankError

_LONGEST = 4 * 2**20
"""Bytes of one value. A TCPStore ends the connection of a client that sends 8 MiB."""

_SHORTEST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.1
_SHARE = 0.1
"""Of the time that was waited so far, what the next pause takes: a wait takes at most so much longer than it must."""

_WHOLE, _CUT = "=", "+"


class Board:
    """Texts under keys that all ranks see.

    Args:
        store: Where they are kept.
        where: What all keys begin with.
    """

    def __init__(self, store: Store, where: str) -> None:
        self._store = store
        self._where = where
        self._cut: dict[str, int] = {}

    def write(self, key: str, text: str) -> None:
        """Leave a text under a key that nobody else writes."""
        with _answering():
            self._store.set(self._where + key, self._fitting(key, text))

    def settle(self, key: str, text: str) -> str:
        """Leave a text under a key unless there is one, and return the one that is there now."""
        with _answering():
            found = self._store.compare_set(self._where + key, "", self._fitting(key, text))
        return self._whole(key, found.decode())

    def read(self, keys: Sequence[str]) -> list[str]:
        """Return the texts under keys that are all there."""
        with _answering():
            found = self._store.multi_get([self._where + key for key in keys])
        return [self._whole(key, text.decode()) for key, text in zip(keys, found, strict=True)]

    def count(self, key: str) -> int:
        """Count one more under a key, and return how many that makes."""
        with _answering():
            return self._store.add(self._where + key, 1)

    def erase(self, key: str) -> None:
        """Remove the text under a key, if there is one."""
        with _answering():
            self._store.delete_key(self._where + key)
            for part in range(self._cut.pop(key, 0)):
                self._store.delete_key(self._part(key, part))

    def there(self, keys: Sequence[str]) -> bool:
        """Whether there is a text under each of these keys."""
        with _answering():
            return self._store.check([self._where + key for key in keys])

    def wait(self, keys: Sequence[str], until: float) -> bool:
        """Wait for a text under each key, at most until a time of `time.monotonic`; return whether they are there.

        It asks again and again, because a store that waits lets no other thread ask, cannot be interrupted, and
        prints a warning when it was in vain.
        """
        begun = time.monotonic()
        while not self.there(keys):
            now = time.monotonic()
            if now >= until:
                return False
            time.sleep(min(max((now - begun) * _SHARE, _SHORTEST_PAUSE), _LONGEST_PAUSE, until - now))
        return True

    def _fitting(self, key: str, text: str) -> str:
        """Return what stands for a text under its key: the text, or in how many parts a long one lies elsewhere."""
        if len(text) <= _LONGEST:
            return _WHOLE + text
        parts = [text[begin : begin + _LONGEST] for begin in range(0, len(text), _LONGEST)]
        for number, part in enumerate(parts):
            self._store.set(self._part(key, number), part)
        self._cut[key] = len(parts)
        return f"{_CUT}{len(parts)}"

    def _whole(self, key: str, found: str) -> str:
        if found.startswith(_WHOLE):
            return found[1:]
        with _answering():
            parts = [self._store.get(self._part(key, number)) for number in range(int(found[1:]))]
        return b"".join(parts).decode()

    def _part(self, key: str, number: int) -> str:
        return f"{self._where}{key}/part{number}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # every store has other classes for it
        message = sentences(
            "the store through which the ranks agree does not answer",
            f"torch says: {brief(error).splitlines()[0]}",
            "It lives in the process of rank 0, or in that of the launcher: see how that one ended.",
        )
        raise MissingRankError(message) from error
