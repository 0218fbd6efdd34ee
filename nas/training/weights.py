"""The weights of trained models, kept in the folders of their trials."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from spaces.genome import Genome
from spaces.protocol import Space

logger = logging.getLogger(__name__)

WEIGHTS = "weights.pt"
"""The file of a trained model in the folder of its trial."""


def save_weights(folder: Path, genome: Genome, model: nn.Module) -> None:
    """Keeps a trained model in a folder, whole or not at all; a folder that cannot be written only brings a warning."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{WEIGHTS}.tmp"
        torch.save({"genome": genome.text, "weights": model.state_dict()}, made)
        made.replace(folder / WEIGHTS)
    except (OSError, RuntimeError) as error:  # torch turns some of the first into the second
        logger.warning("the weights could not be kept in %s: %s", folder, error)


def load_weights(folder: Path, space: Space, genome: Genome) -> nn.Module | None:
    """The trained model of a genome on the CPU; None where the folder keeps none that is whole and of this genome."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if kept["genome"] != genome.text:
            return None
        model = space.build(genome)
        model.load_state_dict(kept["weights"])
    except Exception as error:  # a damaged file may raise anything
        logger.warning("%s cannot be used: %s", path, error)
        return None
    return model
