"""How far a map that was found can be believed: all measures of it at once, and the map as weights are drawn anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from PIL import Image

from explorer.attribution import measures
from explorer.attribution.explain import Attribution
from explorer.attribution.measures import Order, within
from explorer.attribution.methods import METHODS
from explorer.attribution.posing import posed
from explorer.attribution.subject import BASELINES, Baseline, Map, Subject
from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.checkpoints import Report, Trained
from explorer.models.preprocessing import Box


@dataclass(frozen=True)
class Measures:
    """What `explorer.attribution.measures.ABOUT` explains, of one map.

    Attributes:
        delta: how far the map's sum is from what its method promises; None if it promises none.
        infidelity: 0 to 1; None if the map foretells nothing about the score.
        max_sensitivity: from 0, which is steady.
        order: deletion and insertion; filled: what stands there in place of pixels that went or did not come yet.
    """

    delta: float | None
    infidelity: float | None
    max_sensitivity: float
    order: Order
    filled: Baseline


def assess(
    checkpoint: str | Trained,
    image: Image.Image,
    found: Attribution,
    box: Box | None = None,
    report: Report | None = None,
    *,
    filled: Baseline = "blur",
) -> Measures:
    """Measure a map that `attribute` found, with its class, its comparison and its settings.

    Args:
        checkpoint, image, box: those that the map was found with.
        report: called with the fraction done and a sentence; an exception that it raises stops the work and leaves the
            network as it was.
        filled: what deletion and insertion put in the place of pixels, a key of `BASELINES`.

    Raises:
        Refusal: the map is of another network or another picture, or there is no such baseline.
    """
    if filled not in BASELINES:
        raise Refusal(f"filled (={filled!r}) must be one of {', '.join(BASELINES)}.")
    settings = _settings(found)
    forward, backward = METHODS[found.method].passes(settings, found.picture.width)
    # By the images that pass; those that come back cost twice as much
    costs = [measures.passes(), measures.SQUARES + 1, (measures.MOVED + 1) * (forward + 2 * backward)]
    ends = [sum(costs[:count]) / sum(costs) for count in range(len(costs) + 1)]
    with _again(checkpoint, image, found, box, report) as subject:
        first, second, third = (replace(subject, report=within(subject.report, *each)) for each in pairwise(ends))
        return Measures(
            delta=found.delta,
            order=measures.order(first, _map(found), found.signed, filled),
            filled=filled,
            infidelity=measures.unfaithful(second, _map(found), found.method, settings),
            max_sensitivity=measures.sensitivity(third, found.method, settings),
        )


def draw_anew(
    checkpoint: str | Trained,
    image: Image.Image,
    found: Attribution,
    box: Box | None = None,
    report: Report | None = None,
) -> pd.DataFrame:
    """A map that `attribute` found, as the network's weights are drawn anew: `measures.randomised`.

    Args and Raises: as of `assess`.
    """
    with _again(checkpoint, image, found, box, report) as subject:
        return measures.randomised(subject, found.method, _settings(found), _map(found))


@contextmanager
def _again(
    checkpoint: str | Trained, image: Image.Image, found: Attribution, box: Box | None, report: Report | None
) -> Iterator[Subject]:
    """The picture before the network once more."""
    trained = checkpoints.load(checkpoint, report) if isinstance(checkpoint, str) else checkpoint
    if trained.checkpoint.name != found.checkpoint:
        raise Refusal(
            f"checkpoint (={trained.checkpoint.name!r}) must be that of the map, which is of {found.checkpoint!r}."
        )
    with posed(trained, image, found.target, found.against, box, report) as subject:
        if subject.picture.tobytes() != found.picture.tobytes():
            raise Refusal("image and box must be those of the map, which is of another picture or another part of it.")
        yield subject


def _map(found: Attribution) -> Map:
    return Map(torch.from_numpy(found.channels).double())


def _settings(found: Attribution) -> dict[str, Any]:
    return {name: value for name, value in found.settings.items() if name != "captum"}
