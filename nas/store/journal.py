"""The event log: append-only, one JSON object a line, each with a checksum of itself.

Any tool that reads JSON lines reads it while the campaign runs. The last key of a line, "crc", is the CRC-32
of the line as it would stand without that key, in 8 hexadecimal digits.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from nas.store.files import Lock, sync_folder
from nas.store.records import Record, decode, encode
from nas.types import Ended, InvalidInput, Proposal, Proposed

_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"}')


class Journal:
    """The event log, open for writing by this process alone, with the lock file "lock" beside it.

    `records` are those that it held when it was opened. A last line that was not written to its end, by a
    killed process or a power failure, is cut off; `repaired` is its length in bytes, 0 where there was none.

    Raises:
        InvalidInput: another process has it open, the folder cannot be written in, or the log cannot be read or
            is damaged before its last line; then nothing is changed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = Lock(self.path.with_name("lock"))
        try:
            content = _content(self.path) if self.path.exists() else b""
            self._size = _whole(content)
            self.records: list[Record] = list(_records(self.path, content[: self._size]))
        except BaseException:
            self._lock.close()
            raise
        self.repaired = len(content) - self._size
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._fd, self._size)
        os.fsync(self._fd)
        sync_folder(self.path.parent)
        self._proposals = {r.proposal.id: r.proposal for r in self.records if isinstance(r, Proposed)}

    def append(self, records: Sequence[Record], sync: bool) -> None:
        """Writes the records in one go; with `sync`, they outlast a power failure once this returns.

        Raises:
            ValueError: a trial that ended had not been proposed so.
            OSError: the disk is full or failing; then none of the records is in the log.
        """
        new = {r.proposal.id: r.proposal for r in records if isinstance(r, Proposed)}
        for trial in (r.trial for r in records if isinstance(r, Ended)):
            if new.get(trial.id, self._proposals.get(trial.id)) != trial.proposal:
                raise ValueError(f"trial {trial.id} ended, but was not proposed so in {self.path}")
        data = b"".join(_line(record) for record in records)
        if (written := os.write(self._fd, data)) < len(data):
            os.ftruncate(self._fd, self._size)
            said = f"no space left, only {written} of {len(data)} bytes could be written"
            raise OSError(errno.ENOSPC, said, str(self.path))
        self._size += written
        self._proposals |= new
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Syncs what was appended and lets the next process write."""
        os.fsync(self._fd)
        os.close(self._fd)
        self._lock.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(path: str | Path) -> Iterator[Record]:
    """The records of a log that another process may be writing: an unfinished last line is left out.

    Raises:
        InvalidInput: no such file, or a line before the last is damaged.
    """
    path = Path(path)
    content = _content(path)
    return _records(path, content[: _whole(content)])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read as an event log: {error.strerror}") from error


def _line(record: Record) -> bytes:
    data = {"time": time.time(), **encode(record)}
    body = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def _is_sealed(line: bytes) -> bool:
    """Whether a line, without its newline, carries the right checksum."""
    seal = _SEAL.fullmatch(line, max(0, len(line) - 18))
    return seal is not None and int(seal[1], 16) == zlib.crc32(line[: seal.start()] + b"}")


def _whole(content: bytes) -> int:
    """How many bytes of a log are left when a torn last line is cut off."""
    start = content.rfind(b"\n", 0, -1) + 1
    last = content[start:]
    if not last or (last.endswith(b"\n") and _is_sealed(last[:-1])):
        return len(content)
    # A torn write leaves the beginning of one line. More than a line is damage instead, such as an
    # overwritten newline between the last two; that stays, to be reported.
    ends = [seal.end() for seal in _SEAL.finditer(last)]
    damaged = any(end < len(last) and _is_sealed(last[:end]) for end in ends)
    return len(content) if damaged else start


def _records(path: Path, content: bytes) -> Iterator[Record]:
    proposals: dict[int, Proposal] = {}
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        try:
            if not _is_sealed(line):
                raise InvalidInput("the checksum is wrong, so it was changed after it was written")
            record = decode(json.loads(line), proposals)
        except InvalidInput as error:
            raise InvalidInput(
                f"{path}, line {number}: {error}. Restore the file from a copy, or keep only what comes "
                f"before, with 'head -n {number - 1}'; nothing was changed"
            ) from None
        if isinstance(record, Proposed):
            proposals[record.proposal.id] = record.proposal
        yield record
