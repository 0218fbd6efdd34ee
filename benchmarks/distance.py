"""How far genomes lie apart, for the nearest rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from spaces.fields import Choice

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\w.]+(?:(?<=\de)-\d+)?|\S')

REAL = re.compile(r"\d+(?:\.\d+(?:e-?\d+)?|e-?\d+)")


def hamming(places_RF: np.ndarray, code: Sequence[int]) -> np.ndarray:
    """In how many fields each row differs from a code, [rows]."""
    return (places_RF != np.asarray(code)).sum(axis=1)


def spans(places_RF: np.ndarray, code: Sequence[int], fields: Iterable[Choice]) -> np.ndarray:
    """How far the values of each row lie from a code, [rows]: of ordered values the share of their range, else 1."""
    apart_RF = np.abs(places_RF - np.asarray(code))
    most = [max(1, len(field.values) - 1) if field.ordered else 0 for field in fields]
    return np.where(np.array(most) > 0, apart_RF / np.maximum(most, 1), apart_RF != 0).sum(axis=1)


def manhattan(points_RF: np.ndarray, point: Sequence[float]) -> np.ndarray:
    """How far each row lies from a point along all axes together, [rows]."""
    return np.abs(points_RF - np.asarray(point)).sum(axis=1)


def edits(texts: Iterable[str], text: str) -> np.ndarray:
    """How many tokens have to be put in, taken out or exchanged to make each text of one, [rows] (Levenshtein 1966).

    To exchange a number with a point for another counts |a - b| / (a + b), from 0 for equal ones to 1.
    """
    numbers: dict[str, int] = {}
    wanted = _tokens(text, numbers)
    rows = [_tokens(each, numbers) for each in texts]
    values = np.array([float(token) if REAL.fullmatch(token) else np.nan for token in numbers])
    costs = [_exchange(token, wanted, values) for token in range(len(numbers))]
    return np.array([_edit_distance(row, costs, len(wanted)) for row in rows])


def _tokens(text: str, numbers: dict[str, int]) -> np.ndarray:
    return np.array(
        [numbers.setdefault(token, len(numbers)) for token in TOKEN.findall(text)], dtype=np.int64
    )


def _exchange(token: int, wanted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What it counts to exchange a token for each that is wanted; values are those of all tokens, NaN of words."""
    a, b = values[token], values[wanted]
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) / (a + b)
    return np.where(np.isnan(apart), 1.0, apart) * (wanted != token)


def _edit_distance(a: np.ndarray, costs: Sequence[np.ndarray], length: int) -> float:
    """Wagner and Fischer's table row by row; putting tokens in is a running minimum along the row."""
    along = np.arange(length + 1)
    row = along
    for token in a:
        next_row = row + 1.0
        next_row[1:] = np.minimum(next_row[1:], row[:-1] + costs[token])
        row = np.minimum.accumulate(next_row - along) + along
    return float(row[-1])
