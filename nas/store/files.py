"""Files that are there whole or not at all, and the lock that keeps one driver to a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.types import InvalidInput


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to that then takes the place of `path` at once; after an error `path` is as before."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder last through a power failure."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Lock:
    """Held by the one process that writes in a folder, until `close` or its end, however that comes.

    Raises:
        InvalidInput: another process holds it, or the folder cannot be written in.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InvalidInput(f"{path.parent}: cannot write in this folder: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._fd, 20).decode() or "unknown"
            os.close(self._fd)
            hint = "wait for it, stop it, or choose another --dir"
            raise InvalidInput(f"{path.parent}: in use by the driver with pid {pid}; {hint}") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    def close(self) -> None:
        """Lets the next process have it."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock at `path`, None where none does."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        pid = os.read(fd, 20)
        if pid:
            # Left by a killed process, unless the lock is held too. It is tried only then, because for that
            # moment no driver could take it.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return int(pid)
    finally:
        os.close(fd)
