"""The user's own code that a campaign names: what it makes, and its modules, which workers must be given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.config import Config
from nas.types import InvalidInput
from spaces.blame import reason

MAIN = "__main__"

OURS = ("nas", "spaces", "predictors", "benchmarks")


def user_modules(config: Config) -> list[str]:
    """The files and packages of the user's own code that a campaign needs, which workers must be given.

    Those that the campaign names, and what this process has imported from the same folders. Installed packages
    are left out: they have to be installed on every node. So is the script or notebook that runs, as what is in it
    is pickled whole.
    """
    found: dict[str, None] = {}
    folders = {Path(folder) for folder in user_folders(config)}
    script = sys.modules.get(MAIN)  # which multiprocessing gives a second name
    for name in [key for key, module in sys.modules.items() if "." not in key and module is not script]:
        if name in OURS:
            continue
        place = _home(name)
        if place is not None and place.parent in folders:
            found[str(place)] = None
    return list(found)


def user_folders(config: Config) -> list[str]:
    """The folders of the modules that a campaign names, but for installed ones."""
    homes = [_home(name.partition(":")[0].partition(".")[0]) for name in named(config) if ":" in name]
    own = [home.parent for home in homes if home and not {"site-packages", "dist-packages"} & set(home.parts)]
    return list(dict.fromkeys(map(str, own)))


def named(config: Config) -> list[str]:
    """What a campaign names, by short names or "package.module:attribute"."""
    sections = (config.space, config.task, config.strategy, config.predictor)
    return [section.name for section in sections if section is not None]


def _home(module: str) -> Path | None:
    """The file of a module, or the folder of a package; of what runs without a file, one in the current folder."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if module == MAIN and (file is None or not Path(file).is_file()):  # a notebook, or the standard input
        return Path.cwd() / MAIN
    if file is None:
        folders = list(getattr(loaded, "__path__", ()))
        return Path(folders[0]).resolve() if folders else None
    path = Path(file).resolve()
    return path.parent if path.name == "__init__.py" else path


def made(what: str, name: str, make: Callable[[], Any]) -> Any:
    """What a constructor gives; whatever it raises becomes an error that names the section.

    Raises:
        InvalidInput: the constructor failed.
    """
    try:
        return make()
    except InvalidInput:
        raise
    except Exception as error:
        if ":" not in name:
            raise
        raise InvalidInput(f"{what} {name!r} cannot be made: {reason(error)}") from error


def demand(what: str, name: str, thing: Any, wanted: tuple[str, ...]) -> None:
    """Raises InvalidInput where what a user's code made lacks an attribute."""
    missing = [attribute for attribute in wanted if not hasattr(thing, attribute)]
    if missing:
        raise InvalidInput(f"{what} {name!r} is a {type(thing).__name__}, which has no {', '.join(missing)}")
