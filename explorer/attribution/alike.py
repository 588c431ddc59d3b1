"""How alike maps are."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional as F

from explorer.attribution.explain import Attribution
from explorer.attribution.methods import METHODS

Numbers = NDArray[np.float64]


def view(found: Attribution) -> Numbers:
    """(rows, columns): the channels added up; where the method's sign says nothing, the largest of their sizes."""
    channels = found.channels.astype(np.float64)
    seen: Numbers = channels.sum(0) if found.signed else np.abs(channels).max(0)
    return seen


def correlation(one: Numbers, other: Numbers) -> float:
    """Pearson's, of two maps of one size: 1 for the same picture of them, 0 for nothing in common; nan of a flat one.

    >>> round(correlation(np.array([[0.0, 1.0]]), np.array([[3.0, 1.0]])), 6)
    -1.0
    """
    if one.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def rank(one: Numbers, other: Numbers) -> float:
    """Spearman's rank correlation of the sizes of two maps; nan where one is flat.

    A finer map is first averaged over the cells of the coarser one, its sizes: 1 says that the two order the places
    alike, 0 that they have nothing to do with each other.

    >>> round(rank(np.array([[1.0, -3.0]]), np.array([[0.1, 0.1, 0.7, 0.9]])), 6)
    1.0
    """
    first, second = np.abs(one), np.abs(other)
    size = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
    first, second = (_coarser(each, size) for each in (first, second))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def _coarser(sizes: Numbers, size: tuple[int, int]) -> Numbers:
    if sizes.shape == size:
        return sizes
    pooled: Numbers = F.adaptive_avg_pool2d(torch.from_numpy(sizes)[None], size)[0].numpy()
    return pooled


def ranks(maps: Mapping[str, Numbers]) -> pd.DataFrame:
    """`rank` of each two of them, by their titles: a square table with 1 on its diagonal."""
    table = pd.DataFrame(1.0, index=list(maps), columns=list(maps))
    for place, (title, one) in enumerate(maps.items()):
        for other_title, other in list(maps.items())[:place]:
            table.loc[title, other_title] = table.loc[other_title, title] = rank(one, other)
    return table


def summary(found: Mapping[str, Attribution]) -> pd.DataFrame:
    """A row a map, by its title: what it adds up to, what that should be, and what it took.

    Returns:
        `map`, the title; `net` and `method`, their names; `target` and `against`, the classes; `score`; `sum`,
        `expected_sum` and `delta`, None where the method promises no sum, as then it says nothing; `forward` and
        `back`, images that go through the net; `seconds`; `rows` and `columns` of the map.
    """
    rows = []
    for title, each in found.items():
        settings = {name: value for name, value in each.settings.items() if name != "captum"}
        forward, back = METHODS[each.method].passes(settings, each.picture.width)
        rows.append(
            {
                "map": title,
                "net": each.checkpoint,
                "method": each.method,
                "target": each.target_name,
                "against": each.against_name,
                "score": each.score,
                "sum": None if each.expected_sum is None else each.sum,
                "expected_sum": each.expected_sum,
                "delta": each.delta,
                "forward": forward,
                "back": back,
                "seconds": each.seconds,
                "rows": each.channels.shape[1],
                "columns": each.channels.shape[2],
            }
        )
    return pd.DataFrame(rows)
