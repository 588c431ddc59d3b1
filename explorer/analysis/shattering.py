"""Shattered gradients: how alike the gradients of two inputs are that lie near each other.

Balduzzi et al. 2017 (The Shattered Gradients Problem, arXiv 1702.08591) found that in deep plain nets with random
weights they have nothing in common: along a line of inputs the gradient looks like white noise, where that of a shallow
net looks like brown noise, a random walk. With shortcuts it becomes so much more slowly as depth grows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from explorer.analysis.gradients import GradientError, Report
from explorer.analysis.layers import Totals
from explorer.models.observe import watching
from explorer.models.resnet import ResNet, block_names
from explorer.spec import ResNetSpec

DISTANCES = (1e-5, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # parts of the way to another image
IMAGES = 5  # that neighbours are made of
STEPS = 50  # from one image to another, with which the published picture is walked
PASSED = IMAGES * (1 + len(DISTANCES)) + STEPS + 1  # images that go through
_ROOM = 3e9  # bytes of maps in one pass


@dataclass(frozen=True)
class Shattering:
    """What one net does, with one draw of everything; what cannot be divided is not a number.

    cosines: of the gradients of an image and of its neighbour, the mean over the images where neither is 0; one for
        each of `DISTANCES`.
    walk: the slope of the loss along a straight line of images, at each of its STEPS + 1 points, in units of its root
        mean square.
    step_cosine: of the gradients of neighbours on that line, the mean.
    autocorrelation: of the gradients on that line, by the number of steps between two points, from 0.
    """

    cosines: tuple[float, ...]
    walk: tuple[float, ...]
    step_cosine: float
    autocorrelation: tuple[float, ...]


def shattering(
    network: ResNet, images: Tensor, targets: Tensor, report: Report = lambda fraction, text: None
) -> Shattering:
    """Measure a net at the weights and in the mode that it has; it is left as it was.

    The gradient is that of the mean cross-entropy with respect to the images. All images and their neighbours go
    through in one batch, and all points of the line in another, so that batch norm sees what it sees in training.

    - A neighbour lies a part of the way to the next image of the batch, x + d (x' - x), and has its image's class.
    - The line leads in `STEPS` steps from the first image to the second, all with the first one's class.

    Args:
        network: in its own precision.
        images: (n, channels, height, width), two or more; `IMAGES` of them give a pass as long as the line's.
        targets: the classes (n,).
        report: called at every block with the fraction done and a sentence; what it raises ends the work.
    """
    onward = images.roll(-1, 0) - images
    near = torch.cat([images, *(images + distance * onward for distance in DISTANCES)])
    classes = targets.repeat(1 + len(DISTANCES))
    gradients = input_gradients(network, near, classes, lambda part, text: report(part / 2, f"Neighbours, {text}"))
    at_images, *at_neighbours = gradients.double().view(1 + len(DISTANCES), len(images), -1)
    cosines = tuple(_mean(_cosines(at_images, moved)) for moved in at_neighbours)

    way = torch.linspace(0, 1, STEPS + 1, dtype=images.dtype).view(-1, 1, 1, 1)
    line, classes = images[:1] + way * onward[:1], targets[:1].expand(STEPS + 1)
    along = input_gradients(network, line, classes, lambda part, text: report(0.5 + part / 2, f"Line, {text}"))
    along = along.flatten(1).double()
    slopes = (along @ onward[0].flatten().double()).numpy()
    return Shattering(
        cosines,
        tuple((_over(slopes, math.sqrt(float(np.mean(slopes**2))))).tolist()),
        _mean(_cosines(along[:-1], along[1:])),
        tuple(autocorrelation(along.numpy()).tolist()),
    )


def input_gradients(network: ResNet, images: Tensor, targets: Tensor, report: Report) -> Tensor:
    """The gradient of the mean cross-entropy with respect to each image, of the images' shape; one batch.

    Reports behind each block, on the way there and back.
    """
    names = block_names(network.spec)
    passed = 0

    def step(*output: Tensor) -> None:
        nonlocal passed
        passed += 1
        report(passed / (2 * len(names)), f"block {min(passed, 2 * len(names) + 1 - passed)} of {len(names)}")

    def watch(output: Tensor) -> None:
        step()
        output.register_hook(step)  # type: ignore[no-untyped-call]

    # Stand-ins for parameters and buffers: the network's own get no gradient and no new statistics
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = images.detach().requires_grad_()
    with watching((network.get_submodule(name), watch) for name in names):
        loss = F.cross_entropy(functional_call(network, state, (images,)), targets)
    (gradients,) = torch.autograd.grad(loss, images)
    return gradients


def autocorrelation(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """How alike a series is to itself, so many steps on: 1 for none, then one number for each lag.

    The usual estimate, sum over i of (x_i - m) (x_(i+k) - m) over sum of (x_i - m)^2, with both sums over all columns.

    Args:
        series: (points, columns); each column is a series.

    >>> autocorrelation(np.array([[1.0], [-1.0], [1.0], [-1.0]])).tolist()
    [1.0, -0.75, 0.5, -0.25]
    """
    centred = series - series.mean(0)
    products = centred @ centred.T
    return _by_lag(products)


@cache
def brown_autocorrelation(points: int = STEPS + 1) -> tuple[float, ...]:
    """What `autocorrelation` gives of very many random walks: x_i is the sum of i independent steps.

    The covariance of x_i and x_j is min(i, j).
    """
    places = np.arange(1.0, points + 1)
    centre = np.eye(points) - 1 / points
    return tuple(_by_lag(centre @ np.minimum.outer(places, places) @ centre).tolist())


@cache
def white_autocorrelation(points: int = STEPS + 1) -> tuple[float, ...]:
    """What `autocorrelation` gives of very many series of independent numbers: 0 but for the mean taken away."""
    return tuple(_by_lag(np.eye(points) - 1 / points).tolist())


def _by_lag(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the products of all pairs of points."""
    sums = np.array([np.trace(products, lag) for lag in range(len(products))])
    return _over(sums, sums[0])


def noise(points: int = STEPS + 1, seed: int = 0) -> dict[str, tuple[float, ...]]:
    """One draw of brown and one of white noise, in units of their root mean square."""
    white = np.random.default_rng(seed).standard_normal(points)
    drawn = {"Brown noise": np.cumsum(white) - np.cumsum(white).mean(), "White noise": white}
    return {name: tuple((values / math.sqrt(np.mean(values**2))).tolist()) for name, values in drawn.items()}


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Of each row with its fellow, in double precision; not a number where one is 0 or is not finite."""
    units = [rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True) for rows in (one, other)]
    return (units[0] * units[1]).sum(1)


def _mean(values: Tensor) -> float:
    """Of those that are numbers."""
    return values.nanmean().item()


def _over(values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients: NDArray[np.float64] = values / np.float64(scale)
    return quotients


# Several nets


def check_room(totals: Totals) -> None:
    """Refuse a net whose maps would not fit into memory.

    Raises:
        GradientError: with how much it would take.
    """
    needed = totals.activation_bytes * max(STEPS + 1, IMAGES * (1 + len(DISTANCES)))
    if needed > _ROOM:
        raise GradientError(
            f"The gradients of {STEPS + 1} images at once would keep maps of {needed / 1e9:.0f} GB; choose a net or an "
            f"image size that needs at most {_ROOM / 1e9:.0f} GB."
        )


def distance_curves(measured: Mapping[str, Sequence[Shattering]]) -> pd.DataFrame:
    """A row for each net and distance: net, distance, cosine, the median over the seeds, with low and high.

    Args:
        measured: by the net's name, one for each seed.
    """
    return _curves(measured, "distance", DISTANCES, "cosine", lambda each: each.cosines)


def walk_curve(of: Shattering) -> pd.DataFrame:
    """The walk of one draw, a row a point: `way`, the part of the way to the other image, and `slope`."""
    return pd.DataFrame({"way": [point / STEPS for point in range(STEPS + 1)], "slope": of.walk})


def lag_curves(measured: Mapping[str, Sequence[Shattering]]) -> pd.DataFrame:
    """A row for each net and lag: net, lag in steps, autocorrelation, the median over the seeds, with low and high."""
    return _curves(measured, "lag", range(STEPS + 1), "autocorrelation", lambda each: each.autocorrelation)


def _curves(
    measured: Mapping[str, Sequence[Shattering]],
    across: str,
    places: Sequence[float],
    name: str,
    of: Callable[[Shattering], Sequence[float]],
) -> pd.DataFrame:
    rows = []
    for net, seeds in measured.items():
        for place, values in zip(places, zip(*map(of, seeds), strict=True), strict=True):
            rows.append({"net": net, across: place, **_spread(name, values)})
    return pd.DataFrame(rows)


def summary(
    measured: Mapping[str, Sequence[Shattering]], specs: Mapping[str, ResNetSpec], distance: float
) -> pd.DataFrame:
    """A row a net: net; depth; cosine at this distance, with low and high over the seeds; half, the distance at which
    the median falls below a half; step_cosine, of neighbours on the line, the median.

    `half` is on the straight line between two measured distances, on a logarithmic scale; it is text, as it may lie
    below the first.

    Args:
        distance: one of `DISTANCES`.
    """
    place = DISTANCES.index(distance)
    rows = []
    for net, seeds in measured.items():
        medians = [float(np.median(values)) for values in zip(*(each.cosines for each in seeds), strict=True)]
        rows.append(
            {
                "net": net,
                "depth": specs[net].depth,
                **_spread("cosine", [each.cosines[place] for each in seeds]),
                "half": half_way(medians),
                "step_cosine": float(np.median([each.step_cosine for each in seeds])),
            }
        )
    return pd.DataFrame(rows)


def half_way(cosines: Sequence[float]) -> str:
    """Where cosines at `DISTANCES` fall below a half, in words.

    >>> half_way([1.0, 1.0, 1.0, 1.0, 0.75, 0.25, 0.0, 0.0, 0.0]), half_way([0.1] * 9)
    ('0.017', 'below 0.00001')
    """
    if any(map(math.isnan, cosines)):
        return "unknown"
    if cosines[0] < 0.5:
        return f"below {DISTANCES[0]:.5f}"
    for number in range(1, len(cosines)):
        if cosines[number] < 0.5:
            before, after = DISTANCES[number - 1], DISTANCES[number]
            part = (cosines[number - 1] - 0.5) / (cosines[number - 1] - cosines[number])
            return _plain(before * (after / before) ** part)
    return "never"


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest; not a number where one of them is none."""
    return {name: float(np.median(values)), "low": float(np.min(values)), "high": float(np.max(values))}


def _plain(number: float) -> str:
    """Two digits, without an exponent."""
    return np.format_float_positional(number, precision=2, fractional=False, trim="-")
