"""How far genomes lie apart, for the nearest rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\w.]+|\S')


def hamming(places_RF: np.ndarray, code: Sequence[int]) -> np.ndarray:
    """In how many fields each row differs from a code, [rows]."""
    return (places_RF != np.asarray(code)).sum(axis=1)


def manhattan(points_RF: np.ndarray, point: Sequence[float]) -> np.ndarray:
    """How far each row lies from a point along all axes together, [rows]."""
    return np.abs(points_RF - np.asarray(point)).sum(axis=1)


def edits(texts: Iterable[str], text: str) -> np.ndarray:
    """How many tokens have to be put in, taken out or exchanged to make each text of one, [rows] (Levenshtein 1966)."""
    numbers: dict[str, int] = {}
    wanted = _tokens(text, numbers)
    return np.array([_edit_distance(_tokens(each, numbers), wanted) for each in texts])


def _tokens(text: str, numbers: dict[str, int]) -> np.ndarray:
    return np.array([numbers.setdefault(token, len(numbers)) for token in TOKEN.findall(text)])


def _edit_distance(a: np.ndarray, b: np.ndarray) -> int:
    """Wagner and Fischer's table row by row; putting tokens in is a running minimum along the row."""
    along = np.arange(len(b) + 1)
    row = along
    for token in a:
        next_row = row + 1
        next_row[1:] = np.minimum(next_row[1:], row[:-1] + (b != token))
        row = np.minimum.accumulate(next_row - along) + along
    return int(row[-1])
