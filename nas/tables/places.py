"""Where tables are written."""

from pathlib import Path

from nas.types import InvalidInput


def free(path: str | Path) -> Path:
    """The path of a table that does not exist yet.

    Raises:
        InvalidInput: it exists, or does not end as a table does.
    """
    path = Path(path)
    if path.suffix != ".arrow":
        raise InvalidInput(f"{path} must end in .arrow, by which a table is known")
    if path.exists():
        raise InvalidInput(f"{path} exists; give a new name, or remove it")
    return path
