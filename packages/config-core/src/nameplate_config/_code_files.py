"""Writing the code of a checkpoint: all of it is prepared before anything in the folder changes, then it is renamed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nameplate_config._code_rules import is_of_checkpoint
from nameplate_config.errors import SourceCodeError, SourceNotFoundError, UnsafePathError
from nameplate_config.files import Draft, flush_folder, make_folder, member, read_file
from nameplate_config.wording import sentences


@contextmanager
def drafted_code(folder: Path, files: Mapping[str, bytes]) -> Iterator[Callable[[], None]]:
    """Prepare the code of a checkpoint beside it, and yield what gives every file its name.

    A file that has its bytes already is not touched, others of the same name are replaced, and the rest of the folder
    is left alone. Each file is the old one or the new one at any time. Whatever could fail has failed before the first
    of them changes, short of a failing disk.

    Args:
        folder: The folder of the checkpoint, which is there.
        files: The bytes of each file by its path in the folder, with slashes.

    Raises:
        UnsafePathError: If a file would leave the folder, also through a link, or a folder lies in its place.
        OSError: Whatever the system reports: no space, no permission.
    """
    assert not any(map(is_of_checkpoint, files)), sorted(files)
    changed = {path: data for name, data in files.items() if not _holds(path := _path_inside(folder, name), data)}
    with ExitStack() as drafts:
        drafted: dict[Path, Draft] = {}
        for path, data in changed.items():
            make_folder(path.parent)
            # Called like the drafts of weights, so that the next save tidies up after one that was killed.
            drafted[path] = drafts.enter_context(Draft(folder, f"model.{path.name}"))
            drafted[path].write(data)
            drafted[path].finish()

        def publish() -> None:
            for path, draft in drafted.items():
                draft.publish(path)
            for parent in {path.parent for path in drafted}:
                flush_folder(parent)

        yield publish


def _path_inside(folder: Path, name: str) -> Path:
    *parents, last = name.split("/")
    for parent in parents:
        folder = member(folder, parent)
        if folder.is_symlink():  # a checkpoint folder may come from anywhere
            message = f"{str(folder)!r} is a link, so {name!r} could leave the folder. Remove the link."
            raise UnsafePathError(message)
    path = member(folder, last)
    if path.is_dir():
        message = sentences(f"{str(path)!r} is a folder, and code of that name is to be saved.", "Remove the folder.")
        raise UnsafePathError(message)
    return path


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_file(path, limit=len(data), too_large=SourceCodeError) == data
    except (SourceCodeError, SourceNotFoundError):
        return False
