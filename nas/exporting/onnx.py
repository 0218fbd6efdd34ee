"""Export as ONNX: a graph for any batch size and one sequence length, the context of the space."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nas.types import InvalidInput
from spaces import Genome, Space


def to_onnx(space: Space, genome: Genome, model: nn.Module, folder: Path) -> None:
    """Writes `model.onnx`: token ids `tokens` [batch, context], int64, to `logits` [batch, context, vocab].

    A shorter sequence is padded at its end: the network is causal, so the logits of its tokens stay the same.

    Raises:
        InvalidInput: a block has no form that ONNX can express.
    """
    tokens_BL = torch.zeros(2, space.context, dtype=torch.int64)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (tokens_BL,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["tokens"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InvalidInput(
            f"architecture {genome.digest[:12]} cannot be exported to ONNX: {reason} A block whose work depends on "
            f"values needs a form of fixed shapes for when torch.compiler.is_exporting(); 'source' needs none."
        ) from error
    assert program is not None
    program.save(folder / "model.onnx")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks from the terminal; what goes wrong is raised besides."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
