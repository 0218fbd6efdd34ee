"""The folder of a campaign, and what may be done to it."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from nas.config import Amendment, Config, amend, parse, to_dict
from nas.store.files import Lock, holder, replacing
from nas.store.journal import Journal, read
from nas.store.records import Record
from nas.types import JSON, InvalidInput

CHECKPOINT = "checkpoint.pt"
"""The file in the folder of a trial from which another goes on with its training."""

KEPT = "checkpoint"
"""The folder there, of a user's own function, which writes what it likes into it."""

logger = logging.getLogger(__name__)


class RunDir:
    """The files of one campaign.

    trials/         files of single trials: the weights of the best on each fresh seed, and checkpoints of those that
                    others may go on from
    config.json     the configuration, with every default filled in; it makes a folder a run folder
    versions.json   the versions that the campaign was started with
    events.jsonl    the event log, see `nas.store.journal`
    trials.parquet  one row a trial, see `nas.store.parquet`
    lock            held by the driver while it runs
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.events = self.path / "events.jsonl"
        self.trials = self.path / "trials.parquet"

    @classmethod
    def create_or_open(
        cls, path: str | Path, config: Config, data: str = "", folders: Sequence[str] = (), space: str = ""
    ) -> tuple[RunDir, list[Amendment]]:
        """A new run folder for `config`, or that of the same campaign with what `config` changes in it.

        The changes are only told, so that the driver may log them and then `freeze` them, under its lock.

        Args:
            data: the fingerprint of the task's data, which may not change.
            folders: where the user's own modules are, for those who load the campaign later.
            space: the fingerprint of the space, which may not change either.

        Raises:
            InvalidInput: the folder cannot be written in, holds something else, or another campaign or one on
                other data or of another space, or a driver is making it right now.
        """
        run = cls(path)
        if run._is_new():
            lock = Lock(run.path / "lock")
            try:
                if run._is_new():  # still, now that no other driver can be making it
                    _write(
                        run.path / "versions.json",
                        {**versions(), "data": data, "space": space, "folders": os.pathsep.join(folders)},
                    )
                    run.freeze(config)
            finally:
                lock.close()
        frozen = run.config
        try:
            amendments = amend(frozen, config)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from None
        if run.versions.get("data", "") != data:
            raise InvalidInput(
                f"{path}: the data of task {config.task.name!r} is not what this campaign began with, so old and new "
                "trials could not be compared; another --dir starts a new campaign"
            )
        if run.versions.get("space", space) != space:
            raise InvalidInput(
                f"{path}: space {config.space.name!r} is not what this campaign began with: it has other productions "
                "or choices now, so the search could not go on from its genomes; another --dir starts a new campaign"
            )
        return run, amendments

    @classmethod
    def open_readonly(cls, path: str | Path) -> RunDir:
        """The run folder at `path`, to look at, also while its campaign runs; nothing is written.

        Raises:
            InvalidInput: it is not a run folder.
        """
        run = cls(path)
        if not (run.path / "config.json").is_file():
            what = "it is a file" if run.path.exists() else "no such folder"
            what = "no config.json in it" if run.path.is_dir() else what
            raise InvalidInput(f"{path}: not the folder of a campaign: {what}")
        return run

    @property
    def config(self) -> Config:
        """The configuration that the campaign runs with.

        Raises:
            InvalidInput: config.json is damaged, or was written by another version.
        """
        path = self.path / "config.json"
        data = _read(path)
        try:
            return parse(data)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from None

    @property
    def versions(self) -> dict[str, str]:
        """The versions that the campaign was started with, to be compared with `versions()`."""
        return _read(self.path / "versions.json")

    @property
    def folders(self) -> list[str]:
        """Where the user's own modules were when the campaign was started."""
        return [folder for folder in self.versions.get("folders", "").split(os.pathsep) if folder]

    @property
    def driver(self) -> int | None:
        """The pid of the driver that runs the campaign now, None where none does."""
        return holder(self.path / "lock")

    def freeze(self, config: Config) -> None:
        """Makes `config` the configuration of the campaign; only for the process that holds its lock."""
        _write(self.path / "config.json", to_dict(config))

    def remove(self) -> None:
        """Takes the folder away again, of a campaign that could not begin; only for who holds its lock."""
        for path in (self.path / "config.json", self.path / "versions.json", self.events, self.trials):
            path.unlink(missing_ok=True)
        (self.path / "lock").unlink(missing_ok=True)
        with suppress(OSError):  # another driver is making it again
            self.path.rmdir()

    def remove_checkpoint(self, trial: int) -> None:
        """Takes the checkpoint of a trial away, if there is one, and its folder where nothing else is in it."""
        folder = self.path / "trials" / str(trial)
        try:
            (folder / CHECKPOINT).unlink(missing_ok=True)
            if (folder / KEPT).is_dir():
                shutil.rmtree(folder / KEPT)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        except OSError as error:
            logger.warning("the checkpoint in %s could not be removed: %s", folder, error)

    def journal(self) -> Journal:
        """The event log, open for writing.

        Raises:
            InvalidInput: a driver has it open already, or it is damaged.
        """
        return Journal(self.events)

    def records(self) -> Iterator[Record]:
        """The records of the event log so far; none before the driver has begun it."""
        return read(self.events) if self.events.exists() else iter(())

    def _is_new(self) -> bool:
        """Makes the folder; whether it holds no campaign, but for what a driver killed at its start left.

        Raises:
            InvalidInput: it cannot be made, or holds no campaign, but something else.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()}
        except OSError as error:
            reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise InvalidInput(f"{self.path}: cannot be made a run folder: {reason}") from error
        if "config.json" in names:
            return False
        others = sorted(names - {"lock", "versions.json", "versions.json.tmp", "config.json.tmp"})
        if others:
            raise InvalidInput(
                f"{self.path}: holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, but no "
                "campaign; give a new or empty folder as --dir"
            )
        return True


def versions() -> dict[str, str]:
    """The versions of everything that a campaign's numbers depend on, "none" where a package is missing."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    others = ("numpy", "ray", "torch", "flash-linear-attention", "mamba-ssm")
    for name, package in (("nas", "grammar-nas"), *zip(others, others, strict=True)):
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _write(path: Path, data: JSON) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _read(path: Path) -> JSON:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: damaged, not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: damaged, not a JSON object")
    return data
