"""The STAR space (Thomas et al. 2024, arXiv 2411.17800): backbones of linear input-varying operators that share.

A backbone is a sequence of LIVs in pre-norm residual layers, each of five digits: its class, a featurizer-sharing group
and strategy, a feature-sharing group and strategy, as in 21211-31112-21221-32112. Numbers from 10 on are letters. A
class is an operator genome (featurizer class, token mixing, sparsity, nonlinearity, channel mixing) with the genome of
its featurizer class (token mixing, channel mixing, expansion factor, repeat factor). Classes come from a pool; where
the space searches more levels, a genome may define its own: 21211-31112 | 2=12123:1122, and 3=d54111 is a difference
of two.

From the paper: the three levels and their numbers, the notation, the genomes of SA-1, Rec-1 and GMemless, differential
variants of attention, recurrence and convolution, pre-norm residuals, mutation of 10 % of the numbers, two-point
crossover, and repair. After accounts of its appendix: the names of the pool, and of the nine featurizer classes that 2,
5 and 6 mix tokens by a short convolution, 3 and 4 repeat what is read 4 and 2 times, 5 and 6 expand 16 and 2 times, and
9 has two feature groups. Ours, as the paper's tables were not at hand:

- the featurizer genomes in full, where expansion 3 of GMemless makes it a SwiGLU of its usual size
- that a kernel is short where it is banded and reaches all tokens where it is not, so GConv-1 is banded
- what a structure computes (`spaces.blocks.liv`): channel mixing is the matrix from the mixed channels to the output,
  so that heads of SA-1 do not meet in it; attention rotates; a difference has a factor for each head
- the strategies. Weights: 1 none, 2 all, 3 all but those of queries (C). Features: 1 none, 2 all that is read, with the
  cache or state that holds it, 3 keys (B), 4 values (V). A group shares within one class and by one strategy
- four groups of each kind, and that a softmax is of low-rank mixing alone, a band of scores or kernels alone, and a
  difference of all but diagonal mixing: other combinations are refused
"""

from spaces.catalog.star.pool import NUMBERS, POOL
from spaces.catalog.star.space import STAR

__all__ = ["NUMBERS", "POOL", "STAR"]
