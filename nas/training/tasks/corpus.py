"""Text files: found by path, folder or glob, and dealt out to train, valid and test as whole files.

Nothing here imports torch.
"""

from __future__ import annotations

import glob
import hashlib
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.types import InvalidInput

HELD_OUT = 0.05
"""The part of all bytes that the validation and the test split get each, as nearly as whole files allow."""

NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__"}
"""Folders of the standard library's path that are not the library itself."""

ALLOWED = "give a file, a folder, a glob such as 'data/**/*.txt', or 'stdlib'"


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file and what it holds; `name` is its path."""

    name: str
    content: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.content, digest_size=16).digest()


def read_text(text: str) -> list[TextFile]:
    """The files that a campaign's `task.text` means, in order of their paths, empty ones left out.

    Args:
        text: "stdlib" for the sources of the running interpreter's standard library without its tests; else a
            file, a folder (everything below it but hidden files), or a glob in which ** crosses folders.

    Raises:
        InvalidInput: nothing is there, it cannot be read, or it is empty.
    """
    files = []
    for path in sorted(_stdlib() if text == "stdlib" else _matching(text)):
        try:
            files.append(TextFile(str(path), path.read_bytes()))
        except OSError as error:
            raise InvalidInput(
                f"'task.text' is {text!r}, but {path} cannot be read: {error.strerror}"
            ) from error
    if not files:
        raise InvalidInput(
            f"'task.text' is {text!r}, which holds no file (looked in {Path.cwd()}): {ALLOWED}"
        )
    full = [file for file in files if file.content]
    if not full:
        raise InvalidInput(
            f"'task.text' is {text!r}, where every file is empty ({len(files)} found): {ALLOWED}"
        )
    return full


def _stdlib() -> Iterable[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    return (path for path in root.rglob("*.py") if NOT_LIBRARY.isdisjoint(path.relative_to(root).parts[:-1]))


def _matching(text: str) -> Iterable[Path]:
    try:
        place = Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"'task.text' is {text!r}, but {error}: {ALLOWED}") from error
    if not text.strip():
        raise InvalidInput(f"'task.text' is empty: {ALLOWED}")
    if place.is_dir():
        below = (path for path in place.rglob("*") if path.is_file())
        return [p for p in below if not any(part.startswith(".") for part in p.relative_to(place).parts)]
    if place.exists():
        return [place]
    if glob.has_magic(text):
        return [path for path in map(Path, glob.glob(str(place), recursive=True)) if path.is_file()]
    raise InvalidInput(
        f"'task.text' is {text!r}, but there is no such path (looked in {Path.cwd()}): {ALLOWED}"
    )


def split_by_file(files: Iterable[TextFile], text: str) -> Mapping[str, list[TextFile]]:
    """Whole files for "train", "valid" and "test", about 90, 5 and 5 % of the bytes; each has one at least.

    Where a file goes is decided by a hash of its content: renaming or moving files changes nothing, and of
    files with equal content only the first is kept, so that no text is in two splits. Files larger than a
    held-out share stay in training as long as there are others.

    Raises:
        InvalidInput: there are fewer than three different files; names `text`, the value of `task.text`.
    """
    distinct: dict[bytes, TextFile] = {}
    for file in files:
        distinct.setdefault(file.digest, file)
    if len(distinct) < 3:
        count = "one file" if len(distinct) == 1 else "two files"
        raise InvalidInput(
            f"'task.text' is {text!r}, which holds {count} of different content, but training, validation and test "
            "text are whole files, so that no model is tested on the rest of what it read: cut it into three files "
            "or more (for one file: split -n l/20 FILE part-) and give their folder or a glob"
        )
    share = HELD_OUT * sum(len(file.content) for file in distinct.values())

    def order(digest: bytes) -> tuple[int, bytes]:
        size = len(distinct[digest].content)
        return (size if size > share else 0, digest)

    queue = [distinct[digest] for digest in sorted(distinct, key=order, reverse=True)]
    held_out: dict[str, list[TextFile]] = {"valid": [], "test": []}
    for needed_after, part in zip((2, 1), held_out.values(), strict=True):
        size = 0
        while not part or (size < share and len(queue) > needed_after):
            part.append(queue.pop())
            size += len(part[-1].content)
    return {"train": queue, **held_out}


def fingerprint(splits: Mapping[str, list[TextFile]]) -> str:
    """32 hexadecimal digits that change with the content of any split, or with the order of its files."""
    whole = hashlib.blake2b(digest_size=16)
    for name, files in splits.items():
        whole.update(name.encode())
        for file in files:
            whole.update(file.digest)
    return whole.hexdigest()
