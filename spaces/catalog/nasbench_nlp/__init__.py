"""Recurrent cells as those of NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv 2006.07116), in a language model of layers.

A cell makes new states h0, h1, ... of the token's features x and of its last states: a list of operators, each applied
to states and operators before it, and linear ones to x; h0 is what the layer above is given. Genomes are written

    recurrent_cell(nodes=[linear(a=x, b=h0), activation_tanh(a=n0)], h0=n1)

where n0 is the first operator, or as the benchmark publishes them, {"n0": {"op": "linear", "input": ["x", "h_prev_0"]},
"h_new_0": ...}, in JSON. Equal digests compute equal functions: operators and states that do not reach h0, in no
step, are cut; the others stand in the one order that every writing of the cell has, as do operands that commute.
"""

from spaces.catalog.nasbench_nlp.cell import COMMUTING, Operator, RecurrentCell
from spaces.catalog.nasbench_nlp.space import NAMED, NASBenchNLP

__all__ = ["COMMUTING", "NAMED", "NASBenchNLP", "Operator", "RecurrentCell"]
