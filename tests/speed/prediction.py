"""Features of hybrid genomes by the size of their graph, and fits and predictions of trees, on one thread.

    OMP_NUM_THREADS=1 python tests/speed/prediction.py

Features are computed afresh, from genomes whose trees and digests are known, as they are in a search; times are of
the process, so that neighbours on the machine do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import spaces
from predictors.evaluate import out_of_fold_tau
from predictors.features import Features
from predictors.trees import Trees


def seconds(function: Callable[[], Any]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    space = spaces.load("hybrid")
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(3000)]
    nodes = np.array([len(space.graph(genome).operators) for genome in genomes])
    for low, high in ((10, 20), (25, 35), (55, 65), (110, 130)):
        some = [genome for genome, number in zip(genomes, nodes, strict=True) if low <= number <= high][:300]
        features = Features(space)
        took = seconds(lambda features=features, some=some: features(some)) / len(some)
        print(f"features  {low:3}-{high:3} nodes of the graph   {1e3 * took:6.3f} ms a genome")
    y = rng.standard_normal(len(genomes))
    predictor = Trees(space).fit(genomes[:20], y[:20])  # loads scikit-learn
    new = genomes[1000:2000]
    fresh = seconds(lambda: predictor.predict(new))
    again = seconds(lambda: predictor.predict(new))
    print(f"predict   1,000 genomes            {fresh:6.3f} s, {again:.3f} s where their features are known")
    for number in (20, 100, 500):
        known, targets = genomes[:number], y[:number]
        predictor.features(known)
        fitted = seconds(lambda known=known, targets=targets: predictor.fit(known, targets))
        folded = seconds(
            lambda known=known, targets=targets: out_of_fold_tau(lambda: Trees(space), known, targets)
        )
        print(f"fit       {number:3} labels   {fitted:6.3f} s   out-of-fold tau {folded:6.3f} s")


if __name__ == "__main__":
    main()
