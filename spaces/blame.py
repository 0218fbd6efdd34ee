"""What was raised, in a line: which error, and where in the code of the user, whose it mostly is."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_OURS = [Path(__file__).resolve().parents[1] / name for name in ("nas", "spaces", "predictors", "benchmarks")]


def reason(error: BaseException) -> str:
    """An error as "ValueError: its message (file.py:12 in name)"; without the place where no code was reached."""
    return f"{told(error)} {where(error)}".rstrip()


def told(error: BaseException) -> str:
    """An error by its type and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def where(error: BaseException) -> str:
    """Where an error was raised, as "(file.py:12 in name)"; "" where no code was reached or the message says it.

    That is the innermost place in code that is neither installed nor ours, as what fails in torch is mostly the fault
    of who called it; where there is none, the innermost of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, SyntaxError):
        return ""
    frame = next((frame for frame in reversed(frames) if _is_the_users(frame.filename)), frames[-1])
    return f"({Path(frame.filename).name}:{frame.lineno} in {frame.name})"


def _is_the_users(file: str) -> bool:
    path = Path(file).resolve()
    known = [_STANDARD, *_OURS]
    return path.is_file() and not _INSTALLED & set(path.parts) and not set(known) & set(path.parents)
