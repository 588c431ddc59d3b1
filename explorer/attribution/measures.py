"""How far a map can be believed: what the score does where it points, and what it does where it should change.

None of these says that a map is true. Each can say that it is not.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from captum.metrics import sensitivity_max
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from explorer.attribution.methods import METHODS
from explorer.attribution.subject import Baseline, Map, Score, Subject, repeatable
from explorer.models.checkpoints import Report
from explorer.models.observe import watching
from explorer.models.resnet import ResNet

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """What a number says.

    title: on screen. source: who proposed it. good, bad: what such a value looks like, a sentence each.
    """

    title: str
    source: str
    good: str
    bad: str


ABOUT: Mapping[str, Measure] = MappingProxyType(
    {
        "completeness": Measure(
            "Completeness",
            "Sundararajan et al. 2017, arXiv 1703.01365",
            "The map adds up to what its method promises: the difference (Captum's convergence delta) is near 0 beside "
            "that sum.",
            "The difference is a good part of the sum, so numbers of the map are wrong: take more steps or samples.",
        ),
        "infidelity": Measure(
            "Infidelity",
            "Yeh et al. 2019, arXiv 1901.09392",
            "Near 0: but for one scale, the map foretells how far the score falls when random squares are hidden.",
            "Near 1: a map of nothing but zeros would foretell it as well.",
        ),
        "max_sensitivity": Measure(
            "Max-sensitivity",
            "Yeh et al. 2019, arXiv 1901.09392",
            "Near 0: a change of the picture that nobody sees leaves the map as it is, as it should where the score "
            "hardly moves.",
            "Near 1 or above: the same change moves the map by as much as all of it, so its details mean little.",
        ),
        "deletion": Measure(
            "Deletion",
            "Petsiuk et al. 2018, arXiv 1806.07421",
            "The curve falls early, well below that of random orders: what the map puts first is what the net needs.",
            "The curve lies among or above those of random orders: the net does not go by what the map puts first.",
        ),
        "insertion": Measure(
            "Insertion",
            "Petsiuk et al. 2018, arXiv 1806.07421",
            "The curve rises early, well above that of random orders: what the map puts first is enough for the net.",
            "The curve lies among or below those of random orders: what the map puts first tells the net no more than "
            "chance would.",
        ),
        "randomisation": Measure(
            "Weights drawn anew",
            "Adebayo et al. 2018, arXiv 1810.03292",
            "The rank correlation with the trained net's map falls towards 0 as weights are drawn anew: the map "
            "depends on what the net has learned.",
            "It stays near 1: the map shows the picture or the architecture, whatever the net has learned.",
        ),
    }
)


def within(report: Report, start: float, end: float) -> Report:
    """A report for a part of the work, whose own 0 to 1 is start to end of the whole.

    >>> within(print, 0.5, 1.0)(0.5, "half of the second half")
    0.75 half of the second half
    """
    return lambda fraction, text: report(start + (end - start) * fraction, text)


@dataclass(frozen=True)
class Order:
    """What the score does as pixels go or come in the order of the map, beside random orders.

    Attributes:
        curves: a row a step: `part` of the pixels that went or came; `deletion`, `insertion`, and of the random orders
            the means `deletion_random`, `insertion_random` and the lowest and highest, `..._low`, `..._high`: the
            probability of the class, or of two classes the difference of their logits.
        deletion, insertion, deletion_random, insertion_random: the means of these over the parts (the area below).
        random_low, random_high: the least and the largest area of a random order; the same for both kinds.
        orders: how many random ones.
    """

    curves: pd.DataFrame
    deletion: float
    insertion: float
    deletion_random: float
    insertion_random: float
    random_low: float
    random_high: float
    orders: int


STEPS, ORDERS = 20, 5


def order(
    subject: Subject, found: Map, signed: bool = True, baseline: Baseline = "blur", steps: int = STEPS, seed: int = 0
) -> Order:
    """Deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421).

    Deletion puts the baseline in place of the pixels, those first that speak most for the class; a map that points at
    what counts makes the curve fall early. Insertion begins with the baseline; a good map makes it rise early. What
    random orders do beside it is the least that a map must beat: pictures that were cut up are strange to the net.

    Putting pixels in is deleting them in the reverse order, read backwards; so each random order serves for both.
    """
    size = tuple(subject.x.shape[2:])
    ranked = enlarged(Map(found.view(signed)[None]), size).flatten().argsort(descending=True, stable=True)
    draw = torch.Generator().manual_seed(seed)
    chance = [torch.randperm(len(ranked), generator=draw) for _ in range(ORDERS)]
    start = subject.baseline(baseline)
    score = subject.score("Deletion and insertion", passes(steps))
    with torch.no_grad():
        ends = [float(_shown(subject, score, image)) for image in (subject.x, start)]
        every = [
            np.array([ends[0], *_deleted(subject, score, start, places, steps), ends[1]])
            for places in (ranked, ranked.flip(0), *chance)
        ]
    random = np.array(every[2:])
    curves: dict[str, NDArray[np.float64]] = {
        "part": np.linspace(0, 1, steps + 1),
        "deletion": every[0],
        "insertion": every[1][::-1],
    }
    for name, values in (("deletion_random", random), ("insertion_random", random[:, ::-1])):
        curves |= {name: values.mean(0), f"{name}_low": values.min(0), f"{name}_high": values.max(0)}
    areas = {name: float(np.trapezoid(values, curves["part"])) for name, values in curves.items()}
    chances = np.trapezoid(random, curves["part"])
    return Order(
        curves=pd.DataFrame(curves),
        deletion=areas["deletion"],
        insertion=areas["insertion"],
        deletion_random=areas["deletion_random"],
        insertion_random=areas["insertion_random"],
        random_low=float(chances.min()),
        random_high=float(chances.max()),
        orders=ORDERS,
    )


def passes(steps: int = STEPS) -> int:
    """How many images `order` shows the network: the two ends once, and what lies between for each order."""
    return 2 + (2 + ORDERS) * (steps - 1)


def _deleted(subject: Subject, score: Score, start: Tensor, places: Tensor, steps: int) -> Iterator[float]:
    """The score as pixels of the baseline take the places of the picture's, without both ends."""
    rank = torch.empty_like(places)
    rank[places] = torch.arange(len(places))
    rank = rank.view(1, 1, *subject.x.shape[2:]).to(start.device)
    counts = torch.tensor([round(step / steps * len(places)) for step in range(1, steps)], device=start.device)
    for some in torch.split(counts.view(-1, 1, 1, 1), subject.at_once):
        yield from _shown(subject, score, torch.where(rank < some, start, subject.x)).tolist()


def followed(against: int | None) -> str:
    """What deletion and insertion follow, in words.

    Args:
        against: the class that the explained one is set against, if any.
    """
    return "probability of the class" if against is None else "difference of the logits"


def _shown(subject: Subject, score: Score, images: Tensor) -> Tensor:
    """The probability of the class; of two classes the difference of the logits."""
    logits = score.logits(images)
    return score.of(logits) if subject.against is not None else logits.softmax(1)[:, subject.target]


def promised(method: str, settings: Settings) -> Literal["contributions", "slopes"] | None:
    """What a map's numbers are, as infidelity takes them: parts of the score, or how fast it changes; None if neither.

    >>> promised("saliency", {}), promised("integrated_gradients", {}), promised("feature_maps", {})
    ('slopes', 'contributions', None)
    """
    if method == "smooth_grad":
        return promised(settings["of"], {}) if settings["taken"] == "smoothgrad" else None
    if method in ("saliency", "guided_backprop", "deconvolution", "guided_grad_cam"):
        return "slopes"
    return None if method == "feature_maps" else "contributions"


SQUARES = 50


def unfaithful(
    subject: Subject, found: Map, method: str, settings: Settings, samples: int = SQUARES, seed: int = 0
) -> float | None:
    """Infidelity (Yeh et al. 2019, arXiv 1901.09392): how badly the map foretells what hiding parts does to the score.

    One to seven squares in random places are put at the method's own baseline, or at the mean colour if it has none.
    Contributions foretell that the score falls by their sum there, slopes by theirs times the way of each number. The
    mean square of the error is taken after the map was scaled as suits it best, as Captum's `infidelity` does with
    `normalize=True`, but never by less than 0, which would turn a map round; and it is divided by the mean square of
    the falls. So 0 is perfect, and 1 is what a map of zeros has.

    Returns:
        0 to 1; None if the map foretells nothing (see `promised`) or the score never moves.
    """
    kind = promised(method, settings)
    if kind is None:
        return None
    draw = torch.Generator().manual_seed(seed)
    height, width = subject.x.shape[2:]
    masks = torch.stack([_squares(draw, height, width) for _ in range(samples)]).to(subject.x.device)
    start = subject.baseline(settings.get("baseline", "mean"))
    values = enlarged(found, (height, width))
    score = subject.score("Infidelity", samples + 1)
    falls, foretold = [], []
    with torch.no_grad():
        whole = score(subject.x).double()
        for some in torch.split(masks, subject.at_once):
            hidden = torch.where(some, start, subject.x)
            falls.append((whole - score(hidden).double()).cpu())
            way = some if kind == "contributions" else subject.x - hidden
            foretold.append((values * way.double().cpu()).sum((1, 2, 3)))
    fall, told = torch.cat(falls), torch.cat(foretold)
    if not fall.any():
        return None
    agreement = float(told @ fall)
    return 1.0 if agreement <= 0 else max(0.0, 1.0 - agreement**2 / float((told @ told) * (fall @ fall)))


def _squares(draw: torch.Generator, height: int, width: int) -> Tensor:
    """(1, height, width): True in one to seven squares in random places."""
    side = max(1, min(height, width) // 7)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    for _ in range(int(torch.randint(1, 8, (), generator=draw))):
        top = int(torch.randint(height - side + 1, (), generator=draw))
        left = int(torch.randint(width - side + 1, (), generator=draw))
        mask[:, top : top + side, left : left + side] = True
    return mask


MOVED = 5
_RADIUS = 0.02  # of the unit of the input, mostly the deviation of the training pictures' colours: a few levels of 255


def sensitivity(subject: Subject, method: str, settings: Settings, samples: int = MOVED, seed: int = 0) -> float:
    """Max-sensitivity (Yeh et al. 2019), by Captum: how far the map moves, relative to its size, when the picture moves
    by so little that nobody sees it. Near 0 the map is steady; near 1 and above it is another map.

    Each number of the input goes up or down by at most 0.02; the largest of so many samples is taken. Baselines and
    parts stay those of the picture.
    """
    draw = torch.Generator().manual_seed(seed)
    done = 0

    def move(inputs: Tensor, radius: float) -> tuple[Tensor, ...]:
        noise = torch.rand(inputs.shape, generator=draw).to(inputs)
        return (inputs + radius * (2 * noise - 1),)

    def explain(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal done
        maps = []
        for each in torch.split(inputs[0], 1):
            part = within(subject.report, done / (samples + 1), (done + 1) / (samples + 1))
            part(0.0, f"Max-sensitivity, map {done + 1} of {samples + 1}")
            moved = replace(subject, x=each.detach().contiguous(memory_format=torch.channels_last), report=part)
            with torch.enable_grad():
                maps.append(METHODS[method].explain(moved, dict(settings)).values)
            done += 1
        return (torch.stack(maps),)

    return float(
        sensitivity_max(explain, subject.x, perturb_func=move, perturb_radius=_RADIUS, n_perturb_samples=samples)
    )


def randomised(subject: Subject, method: str, settings: Settings, found: Map, seed: int = 0) -> pd.DataFrame:
    """The map as the network's weights are drawn anew, the last part first (Adebayo et al. 2018, arXiv 1810.03292).

    A map that stays the same shows the picture and not what the net has learned. Weights are drawn as PyTorch draws
    those of a new layer; a batch norm forgets its statistics.

    Returns:
        a row a part that was drawn anew, those before it included: `part`, its name, "trained" first; `rank`,
        Spearman's correlation of the sizes of the numbers with those of the trained net's map, NaN where one of the
        two is the same everywhere; `map`, (rows, columns).
    """
    private = copy.deepcopy(subject.network)
    signed = METHODS[method].signed(settings)
    before = found.view(signed)
    rows: list[dict[str, Any]] = [{"part": "trained", "rank": 1.0, "map": before.numpy()}]
    parts = _parts(private, subject.x)[::-1]
    for number, (name, part) in enumerate(parts):
        report = within(subject.report, number / len(parts), (number + 1) / len(parts))
        report(0.0, f"Weights of {name} drawn anew")
        with repeatable(seed + number, subject.x.device), torch.no_grad():
            _draw(part)
        private.requires_grad_(False)
        changed = replace(subject, network=private, report=report)
        values = METHODS[method].explain(changed, dict(settings)).view(signed)
        rows.append({"part": name, "rank": _rank(before, values), "map": values.numpy()})
    return pd.DataFrame(rows)


def _parts(network: nn.Module, x: Tensor) -> list[tuple[str, nn.Module]]:
    """The network's parts that have weights, in the order in which they run; of ours the stages.

    In others' networks a part that holds more than half of all layers is taken apart.
    """
    parts = _with_weights("", network)
    while not isinstance(network, ResNet):
        layers = [len(_layers(part)) for _, part in parts]
        large = max(range(len(parts)), key=layers.__getitem__)
        inner = _with_weights(f"{parts[large][0]}.", parts[large][1])
        if 2 * layers[large] <= sum(layers) or not inner:
            break
        parts[large : large + 1] = inner
    ran: dict[int, int] = {}
    watchers = [
        (layer, lambda output, place=place: ran.setdefault(place, len(ran)))
        for place, (_, part) in enumerate(parts)
        for layer in _layers(part)
    ]
    with torch.no_grad(), watching(watchers):
        network(x)
    return [parts[place] for place in sorted(ran, key=ran.__getitem__)]


def _with_weights(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(prefix + name, part) for name, part in module.named_children() if any(True for _ in part.parameters())]


def _layers(part: nn.Module) -> list[nn.Module]:
    """The modules in it that have weights of their own."""
    return [module for module in part.modules() if any(True for _ in module.parameters(recurse=False))]


def _draw(part: nn.Module) -> None:
    """New weights in place of all."""
    for layer in _layers(part):
        reset: Any = getattr(layer, "reset_parameters", None)
        if reset is not None:
            reset()
            continue
        for parameter in layer.parameters(recurse=False):  # a layer that does not say how: of the same size
            parameter.normal_().mul_(float(parameter.abs().mean()))


def _rank(one: Tensor, other: Tensor) -> float:
    sizes = [values.abs().flatten().numpy() for values in (one, other)]
    if any(np.ptp(each) == 0 or not np.isfinite(each).all() for each in sizes):
        return float("nan")
    return float(spearmanr(*sizes).statistic)


def enlarged(found: Map, size: tuple[int, ...]) -> Tensor:
    """(channels or 1, rows, columns) to the picture's size, each cell's number shared out among its pixels.

    >>> enlarged(Map(torch.tensor([[[6.0, 9.0]]])), (1, 3))
    tensor([[[3., 3., 9.]]])
    """
    values = found.values
    for axis, (cells, pixels) in enumerate(zip(values.shape[1:], size, strict=True), 1):
        of = torch.arange(pixels) * cells // pixels  # the cell of each pixel
        shape = [-1 if each == axis else 1 for each in range(3)]
        values = (values / torch.bincount(of, minlength=cells).view(shape)).index_select(axis, of)
    return values
