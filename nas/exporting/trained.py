"""From a campaign to a trained model that leaves it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from nas.exporting import check_free, export, input_name
from nas.exporting.verify import Check
from nas.result import Result
from nas.setup import Setup, prepare
from nas.store import RunDir
from nas.training.evaluator import TrainingEvaluator
from nas.training.function import FunctionEvaluator
from nas.training.weights import load_weights
from nas.types import Context, InvalidInput, Trial
from spaces.blame import reason


def export_trial(
    result: Result,
    to: str,
    out: str | Path,
    trial: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Check]:
    """Exports a trial of a campaign, trained: by default its best.

    The best was trained on fresh seeds at the end of the campaign; the model of the first is taken, where its file
    is at hand. Else, and for other trials, it is trained here, on the CPU, with the same seed.

    Args:
        to: "onnx" or "source".
        out: a folder, see `export`.
        trial: the number of a trial that is done; None: the best.
        say: is told, a line each, what is begun that takes a while.

    Raises:
        InvalidInput: there is no such trial, it cannot be exported so, or the task's data is gone or has changed.
        ExportFailed: the exported model does not compute the same.
        RuntimeError: training diverged.
    """
    chosen = choose(result, trial)
    check_free(Path(out), to, chosen.proposal.genome)
    setup = prepare(result.config, result.path)
    if isinstance(setup.evaluator, FunctionEvaluator) and "model" not in setup.evaluator.takes:
        raise InvalidInput(
            f"campaign {result.config.name!r} measures with the function {result.config.task.name!r}, which takes no "
            "'model': there is none to export"
        )
    input_name(setup.space)
    model, metrics = trained(result, setup, chosen, say)
    say(f"Exporting trial {chosen.id}, as trained on seed {metrics['seed']}, and checking what comes of it.")
    return export(setup.space, chosen.proposal.genome, model, to, out, metrics)


def choose(result: Result, trial: int | None) -> Trial:
    """The best trial, or the one of a number.

    Raises:
        InvalidInput: it is not there, or not done.
    """
    done = {each.id: each for each in result.done}
    if not done:
        raise InvalidInput(f"campaign {result.config.name!r} has no finished trial")
    if trial is None:
        return result.best()
    if trial not in done:
        numbers = ", ".join(map(str, sorted(done)[:20]))
        raise InvalidInput(
            f"campaign {result.config.name!r} has no finished trial {trial}; there are: {numbers}"
        )
    return done[trial]


def trained(
    result: Result, setup: Setup, trial: Trial, say: Callable[[str], None] = lambda line: None
) -> tuple[nn.Module, Mapping[str, float]]:
    """The model of a trial with its weights, and its metrics with the seed that it was trained on.

    Raises:
        RuntimeError: it had to be trained here, and that failed.
    """
    genome, seed, metrics = trial.proposal.genome, trial.proposal.seed, trial.metrics
    fidelity = trial.proposal.fidelity
    runs = [run for run in result.confirmations if run.trial_id == trial.id and run.status == "done"]
    model = None
    if runs:
        seed, metrics, fidelity = runs[0].seed, runs[0].metrics, result.config.budget.fidelity
        if result.path is not None:
            model = load_weights(result.path / "trials" / str(-seed), setup.space, genome)
    if model is None:
        if _began_with(result).get("data", setup.data) != setup.data:
            raise InvalidInput(
                f"trial {trial.id} would have to be trained again, but the data of task {result.config.task.name!r} is "
                "not what the campaign began with"
            )
        assert isinstance(setup.evaluator, TrainingEvaluator | FunctionEvaluator)
        proposal = dataclasses.replace(trial.proposal, seed=seed, fidelity=fidelity, resume_from=None)
        say(f"Training trial {trial.id} again for {fidelity} on seed {seed}, as its weights are not at hand.")
        with TemporaryDirectory() as scratch:
            alone = Context(trial.id, Path(scratch) / str(trial.id), seed=seed, amount=fidelity.amount)
            try:
                model = setup.evaluator.train(proposal, alone)
            except InvalidInput:
                raise
            except Exception as error:  # a user's own code may raise anything
                raise RuntimeError(f"trial {trial.id} could not be trained again: {reason(error)}") from error
    return model, {**metrics, "seed": seed}


def _began_with(result: Result) -> Mapping[str, str]:
    """The versions and data that a campaign was started with; nothing for one that is in no folder."""
    return {} if result.path is None else RunDir(result.path).versions
