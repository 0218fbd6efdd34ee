"""What was measured, looked up; and strategies compared on it without training anything.

pip install -e ".[tables]" && python examples/tables.py
"""

import numpy as np

import benchmarks
import predictors
from nas.compare import compare, curves, summary


def main(evaluations: int = 50, seeds: int = 5) -> None:
    table = benchmarks.load("nasbench201/cifar10")
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    print(f"{table}\nThe ResNet cell reaches {table.query(cell, 'valid_acc'):.2f} %,", end=" ")
    print(f"place {table.place(cell)}; the best is {table.best()[0].genome.text}")

    # A predictor learns from a hundred cells to rank the others.
    ranks = np.random.default_rng(0).permutation(len(table))[:1100]
    genomes = [table.space.unrank(rank) for rank in ranks.tolist()]
    losses = table.losses()[ranks]
    predictor = predictors.load("trees", space=table.space).fit(genomes[:100], losses[:100])
    ranked = np.argsort(predictor.predict(genomes[100:]).mean)
    top = table.query_many(ranks[100:][ranked[:10]])
    print(f"Of 1,000 others, the 10 that it ranks first reach {top.mean():.2f} % on average")

    # Regret: 0 is the best cell of the table, 1 the median one.
    rows = compare([table.name], ["random", "evolution"], evaluations=evaluations, seeds=seeds)
    for row in summary(curves(rows)):
        print(f"{row['strategy']:10} after {row['evaluations']:3}: regret {row['median']:.3f}")


if __name__ == "__main__":
    main()
