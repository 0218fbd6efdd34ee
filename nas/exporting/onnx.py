"""Export as ONNX: a graph for any batch size and one size of sample, for tokens the context of the space."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nas.exporting.inputs import example, input_name
from nas.types import InvalidInput
from spaces import Genome, Space


def to_onnx(space: Space, genome: Genome, model: nn.Module, folder: Path) -> None:
    """Writes `model.onnx`, with one input and one output.

    Over tokens: token ids `tokens` [batch, context], int64, to `logits` [batch, context, vocab]; a shorter sequence is
    padded at its end: the network is causal, so the logits of its tokens stay the same. Else float32 `images` [batch,
    channels, height, width] to `logits` [batch, classes], or
    `features` [batch, features] to `outputs` [batch, outputs].

    Raises:
        InvalidInput: a block has no form that ONNX can express.
    """
    name, sample = input_name(space), example(space, 2)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (sample,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[name],
                output_names=["outputs" if name == "features" else "logits"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InvalidInput(
            f"architecture {genome.digest[:12]} cannot be exported to ONNX: {reason} A block whose work depends on "
            f"values needs a form of fixed shapes for when torch.compiler.is_exporting(); 'source' needs none."
        ) from error
    assert program is not None
    [given] = program.model.graph.inputs
    batch = None if given.shape is None else given.shape[0]
    if isinstance(batch, int):
        raise InvalidInput(
            f"architecture {genome.digest[:12]} cannot be exported to ONNX for any batch: a block fixes the batch at "
            f"{batch}, as Python's own numbers do. Its size is x.shape[0], not len(x) or int(x.shape[0])"
        )
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
