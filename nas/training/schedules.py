"""How the learning rate changes over the steps of a training."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup: float, decay_to: float) -> float:
    """The part of the peak learning rate in step number `step`, from 0, of `steps`.

    It rises linearly over the first `warmup` of all steps, then falls from 1 along half a cosine (Loshchilov
    and Hutter, arXiv 1608.03983) that would reach `decay_to` in the step after the last.
    """
    rising = int(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / (steps - rising)
    return decay_to + (1 - decay_to) * (1 + math.cos(math.pi * done)) / 2


def cosine_power(step: int, steps: int, power: float) -> float:
    """The part of the peak learning rate in step number `step`, from 0, of `steps`: 1 at first, 0 after the last.

    Cosine power annealing of sharpDARTS (Hundt et al. 2019, arXiv 1903.09900): (p^(1 + c) - p) / (p^2 - p), where c
    falls from 1 to 0 along half a cosine; half a cosine itself for p = 1, and more time at low rates for greater p.
    """
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    if power == 1:
        return cosine
    return (power ** (1 + cosine) - power) / (power**2 - power)
