"""Checkpoints: files of trainings that were ended at a rung, from which others go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.store.run_dir import CHECKPOINT

logger = logging.getLogger(__name__)


def save(folder: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Keeps a training, whole or not at all; a folder that cannot be written only brings a warning.

    Args:
        identity: all that the training follows from, in plain values.
        state: what `Optimization.state` gave.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{CHECKPOINT}.tmp"
        torch.save({"identity": dict(identity), "state": dict(state)}, made)
        made.replace(folder / CHECKPOINT)
    except (OSError, RuntimeError) as error:  # torch turns some of the first into the second
        logger.warning("the checkpoint could not be kept in %s: %s", folder, error)


def load(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of a training; None, with a warning, where it is not at hand, damaged, or of another training."""
    path = folder / CHECKPOINT
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        found, state = kept["identity"], kept["state"]
    except FileNotFoundError:
        logger.warning("%s is not at hand, so training begins anew", path)
        return None
    except Exception as error:  # a damaged file may raise anything
        logger.warning("%s cannot be used, so training begins anew: %s", path, error)
        return None
    if found != identity:
        logger.warning("%s is of another training, so this one begins anew", path)
        return None
    return dict(state)
