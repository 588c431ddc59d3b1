"""Planted evidence: pictures of which one knows what the net goes by, and how often each method points there.

Small signs in random places, none to two in a picture, say which classes are there; nothing else in it does: the
background, and flat and striped rectangles with stronger edges than the signs', are random. The net says of each class
by itself whether it is there, so that what speaks for one class is one sign alone. That is not presumed but measured:
the same picture is drawn without the one sign and without the other. Then every method is asked for both.

What came out on 23 November 2026, over `pointing(lent(taught(seed)), 40)` of seeds 0, 1 and 2, on a CPU (two questions
a picture; chance 0.10): Grad-CAM, Integrated Gradients, DeepLIFT, Occlusion (0.99 once) and Guided Grad-CAM pointed at
the sign that was asked for in 1.00 of the questions, Guided Backpropagation in 0.99 to 1.00, Saliency in 0.96 to 1.00,
Deconvolution in 0.02 to 0.11. The maps for the two signs of a picture correlated at 0.55 to 0.62 for Guided
Backpropagation and at 0.26 at most for all others. So a net as simple as this does not show all that is wrong with
Guided Backpropagation; `swapped` does on one that has learned more.

What was tried before. Where the net had to choose one of four classes (softmax), the other sign spoke against the one
that was asked for, and a map that marks both was not wrong; so the classes are independent now. Signs without edges at
all, faint gratings in a soft window, were learned too badly. Signs of full contrast and of 0.4 gave the same order of
methods. Where the largest number lies is decided by single pixels and the corners of cells; so the window of the sign's
size with the largest sum is taken for all methods.
"""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from explorer.attribution.alike import correlation, view
from explorer.attribution.checks import problem
from explorer.attribution.explain import Attribution, attribute, predict
from explorer.attribution.measures import within
from explorer.attribution.methods import METHODS
from explorer.errors import Refusal
from explorer.models.checkpoints import WEIGHTS, Checkpoint, Report, Trained
from explorer.models.downloads import WeightsUnavailable
from explorer.models.observe import Shared, seeded
from explorer.models.preprocessing import Box, Preprocessing
from explorer.models.resnet import ResNet, build
from explorer.spec import ResNetSpec

SIDE, SIGN = 32, 8  # pixels
CLASSES = ("cross", "ring", "bars", "checks")
SPEC = ResNetSpec(
    block="basic", depths=(3, 3, 3), width=8, stem="cifar", shortcut="A", num_classes=len(CLASSES), image_size=(32, 32)
)
STEPS, BATCH = 600, 64
CONTRAST = 0.6  # of a sign, at most; that of a rectangle's edges is up to 1
METHODS_SHOWN = (
    "grad_cam",
    "integrated_gradients",
    "deep_lift",
    "occlusion",
    "saliency",
    "guided_grad_cam",
    "guided_backprop",
    "deconvolution",
)
SETTINGS: dict[str, dict[str, Any]] = {  # what differs from a method's own; the mean colour is grey here
    "occlusion": {"window": SIGN, "stride": SIGN // 2, "baseline": "mean"},
    "integrated_gradients": {"baseline": "mean", "steps": 30},
    "deep_lift": {"baseline": "mean"},
}
FILE = WEIGHTS / "planted.safetensors"

_CHECKPOINT = Checkpoint(
    name="planted",
    title="The net for planted signs",
    network="",
    trained_on="signs drawn here",
    classes=CLASSES,
    preprocessing=Preprocessing(SIDE, SIDE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    published=None,
    source="this project",
    licence="MIT",
    last_features="layer3",
)


@dataclass(frozen=True)
class Planted:
    """Pictures with signs, of two different classes where there are two.

    images: (n, 3, 32, 32) between 0 and 1. there: (n, classes), 1 where a class is in the picture.
    labels: (n, 2), the classes of the signs; corners: (n, 2, 2), the row and column where each begins, whether it is
        drawn or not.
    without: (2, n, 3, 32, 32), the same pictures less the first sign, and less the second.
    """

    images: Tensor
    there: Tensor
    labels: Tensor
    corners: Tensor
    without: Tensor


def pictures(count: int, seed: int, signs: int | None = None) -> Planted:
    """So many of them, drawn from a seed.

    >>> pictures(2, 0, signs=2).there.sum(1)
    tensor([2., 2.])

    Args:
        signs: in each, 0 to 2; None: by chance.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.randperm(len(CLASSES), generator=draw)[:2] for _ in range(count)])
    corners = torch.stack([_apart(draw) for _ in range(count)])
    many = torch.randint(3, (count,), generator=draw) if signs is None else torch.full((count,), signs)
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    ground = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
    drawn = []
    for image, classes, places in zip(ground, labels, corners, strict=True):
        for number in range(6):
            _rectangle(image, number % 2 == 0, draw)
        colours = torch.rand(2, 2, 3, 1, 1, generator=draw)
        signed = [_SIGNS[int(label)] for label in classes]
        drawn.append([_with(image, places, signed, colours, kept) for kept in ((0, 1), (1,), (0,), ())])
    full = torch.stack([torch.stack(each) for each in drawn], 1)  # (kept, n, 3, h, w)
    rows = torch.arange(count)
    # Of one sign it is the first that is drawn
    images = torch.stack([full[3], full[2], full[0]])[many, rows]
    less_first = torch.stack([full[3], full[3], full[1]])[many, rows]
    less_second = torch.stack([full[3], full[2], full[2]])[many, rows]
    there = torch.zeros(count, len(CLASSES))
    for sign in range(2):
        there[rows[many > sign], labels[many > sign, sign]] = 1
    return Planted(images, there, labels, corners, torch.stack([less_first, less_second]))


def _rectangle(image: Tensor, striped: bool, draw: torch.Generator) -> None:
    """Draw edges that say nothing into a picture."""
    high, wide = torch.randint(3, 13, (2,), generator=draw).tolist()
    row, column = (int(torch.randint(SIDE - edge + 1, (), generator=draw)) for edge in (high, wide))
    one, other = torch.rand(2, 3, 1, 1, generator=draw)
    period, upright = int(torch.randint(2, 4, (), generator=draw)), bool(torch.randint(2, (), generator=draw))
    along = torch.arange(wide)[None, :] if upright else torch.arange(high)[:, None]
    light = (along // period % 2 == 0).expand(high, wide) if striped else torch.ones(high, wide, dtype=torch.bool)
    image[:, row : row + high, column : column + wide] = torch.where(light, one, other)


def _with(ground: Tensor, places: Tensor, signs: Sequence[Tensor], colours: Tensor, kept: tuple[int, ...]) -> Tensor:
    """The picture with some of its signs."""
    image = ground.clone()
    for sign in kept:
        top, left = places[sign].tolist()
        middle = 0.5 + 0.6 * (1 - CONTRAST) * (colours[sign, 0] - 0.5)
        contrast = CONTRAST * (0.6 + 0.4 * colours[sign, 1])
        image[:, top : top + SIGN, left : left + SIGN] = (middle + contrast * (signs[sign] - 0.5)).clamp(0, 1)
    return image


def _apart(draw: torch.Generator) -> Tensor:
    """Corners of two signs that do not overlap."""
    while True:
        corners = torch.randint(SIDE - SIGN + 1, (2, 2), generator=draw)
        if int((corners[0] - corners[1]).abs().max()) >= SIGN:
            return corners


def _signs() -> Tensor:
    """(classes, 8, 8), 0 and 1: all four have about as much light and dark."""
    row, column = torch.meshgrid(torch.arange(SIGN), torch.arange(SIGN), indexing="ij")
    middle = ((row - 3.5).abs() < 1.5) | ((column - 3.5).abs() < 1.5)
    ring = ((row - 3.5).abs().maximum((column - 3.5).abs()) > 1) & ((row - 3.5).abs().maximum((column - 3.5).abs()) < 3)
    return torch.stack([middle, ring, row // 2 % 2 == 0, (row // 2 + column // 2) % 2 == 0]).float()


_SIGNS = _signs()


def taught(seed: int, steps: int = STEPS, report: Report = lambda fraction, text: None) -> ResNet:
    """A net that has learned the signs: SGD with momentum, the learning rate along half a cosine."""
    with seeded(seed):
        network = build(SPEC, "cpu").train()
    optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        report(step / steps, f"A net learns the signs, step {step} of {steps}")
        batch = pictures(BATCH, 1_000_000 * (seed + 1) + step)
        logits = network(_CHECKPOINT.preprocessing.normalise(batch.images))
        loss = F.binary_cross_entropy_with_logits(logits, batch.there)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


@lru_cache(maxsize=1)
def trained() -> Trained:
    """The net that comes with this project: `python -m explorer.attribution.planted` makes its file anew.

    Raises:
        WeightsUnavailable: the file is missing or damaged.
    """
    network = build(SPEC, "meta").to_empty(device="cpu")
    try:
        network.load_state_dict(load_file(FILE))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise WeightsUnavailable(
            f"The file assets/weights/{FILE.name} is missing or damaged; take it anew from the app's repository."
        ) from error
    return lent(network)


def lent(network: ResNet) -> Trained:
    """A net of `taught` as one of which attributions can be asked."""
    return Trained(_CHECKPOINT, Shared(network.eval().requires_grad_(False)), torch.device("cpu"))


@dataclass(frozen=True)
class Pointing:
    """How often maps point at the sign that was asked for.

    accuracy: the part of all answers of the net that are right, a class of a picture each.
    own, other: how far the logit of a class falls when its own sign is not drawn, and by how much it changes when the
        other is not: the means.
    pictures: with two signs, all of whose classes the net has right; two questions each.
    table: a row a method: `name` and `method`, its title; `pointed`, the part of the questions for which the window of
        the sign's size with the largest sum of what is above 0 has its middle in the sign that was asked for; `other`,
        in the other; `inside`, the part of all that is above 0 in the sign, the mean; `beside`, in the other; `same`,
        the mean correlation of the two maps of a picture. The last row is chance.
    shown, corners: of the first pictures, for a look; labels of their signs.
    maps: by method, two maps for each that is shown.
    """

    accuracy: float
    own: float
    other: float
    pictures: int
    table: pd.DataFrame
    shown: list[Image.Image]
    labels: list[list[int]]
    corners: NDArray[np.int64]
    maps: dict[str, list[tuple[Attribution, Attribution]]]


SHOWN = 4


def pointing(
    net: Trained,
    count: int = 30,
    seed: int = 7,
    methods: Sequence[str] = METHODS_SHOWN,
    report: Report = lambda fraction, text: None,
) -> Pointing:
    """Ask every method for both signs of pictures in which the net sees both.

    Args:
        net: from `trained`, or `lent(taught(seed))`. count: of pictures with two signs. seed: of the pictures.

    Raises:
        Refusal: the net has all classes right in none of the pictures.
    """
    planted, mixed = pictures(count, seed, signs=2), pictures(500, seed + 1)
    accuracy = float(((_logits(net, mixed.images) > 0) == (mixed.there > 0)).float().mean())
    logits = _logits(net, planted.images)
    chosen = ((logits > 0) == (planted.there > 0)).all(1).nonzero().flatten().tolist()
    if not chosen:
        raise Refusal(
            f"Of count (={count}) pictures there must be one all of whose classes the net has right; ask about more, "
            "or teach it for longer."
        )
    falls = torch.stack([logits - _logits(net, less) for less in planted.without])  # (left out, n, classes)
    asked = falls[:, torch.arange(count)[:, None], planted.labels]  # (left out, n, sign)
    shown = [tv.to_pil_image(planted.images[index]) for index in chosen]
    rows, maps = [], {}
    for number, method in enumerate(methods):
        hits, kept = [], []
        for place, (index, image) in enumerate(zip(chosen, shown, strict=True)):
            report((number + place / len(chosen)) / len(methods), f"{METHODS[method].title}, picture {place + 1}")
            first, second = (
                attribute(net, image, method, int(label), **SETTINGS.get(method, {})) for label in planted.labels[index]
            )
            kept.append((first, second))
            same = correlation(view(first), view(second))
            for sign, found in enumerate((first, second)):
                own, other = (_inside(found, planted.corners[index, which]) for which in (sign, 1 - sign))
                hits.append({"pointed": own[0], "other": other[0], "inside": own[1], "beside": other[1], "same": same})
        rows.append({"name": method, "method": METHODS[method].title, **pd.DataFrame(hits).mean().to_dict()})
        maps[method] = kept[:SHOWN]
    rows.append(_chance(planted.corners[chosen]))
    return Pointing(
        accuracy,
        float(asked[[0, 1], :, [0, 1]].mean()),
        float(asked[[0, 1], :, [1, 0]].abs().mean()),
        len(chosen),
        pd.DataFrame(rows),
        shown[:SHOWN],
        planted.labels[chosen[:SHOWN]].tolist(),
        planted.corners[chosen[:SHOWN]].numpy(),
        maps,
    )


def summary(found: Pointing) -> list[str]:
    """What came out, in sentences with the numbers of this measurement."""
    rows, questions = found.table.to_dict("records"), 2 * found.pictures
    chance = float(rows[-1]["pointed"])
    shares: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: -row["pointed"]):
        name = "a window put anywhere" if row["name"] == "chance" else row["method"]
        shares.setdefault(f"{row['pointed']:.0%}", []).append(name)
    first, *others = (f"{share}{{}} by {_listed(names)}" for share, names in shares.items())
    said = "; in ".join([first.format(f" of {questions} questions"), *(each.format("") for each in others)])
    sentences = [f"The sign that was asked for was pointed at in {said}."]
    blind = [
        row["method"]
        for row in rows[:-1]
        if binomtest(round(row["pointed"] * questions), questions, chance, "greater").pvalue > _LEVEL
    ]
    if blind:
        test = f"binomial test, one-sided, level {_LEVEL:.0%}"
        sentences.append(f"No more often than chance can explain ({test}): {_listed(blind)}.")
    return [*sentences, *likeness(found.table, "the maps for the two signs of a picture")]


_LEVEL = 0.05


def likeness(table: pd.DataFrame, maps: str) -> list[str]:
    """Whose maps for several classes are the most and the least alike, in a sentence; none where nothing is known.

    >>> likeness(pd.DataFrame({"method": ["Saliency", "Grad-CAM"], "same": [0.25, -0.5]}), "the maps for both")
    ['With Saliency the maps for both correlate at 0.25 on average, the most; with Grad-CAM at -0.50, the least.']

    Args:
        table: of `pointing` or `swapped`. maps: which ones, in words.
    """
    known = [row for row in table.to_dict("records") if pd.notna(row.get("same"))]
    if not known:
        return []
    known.sort(key=lambda row: -row["same"])
    most, least = known[0], known[-1]
    said = f"With {most['method']} {maps} correlate at {most['same']:z.2f} on average"
    more = f", the most; with {least['method']} at {least['same']:z.2f}, the least" if len(known) > 1 else ""
    return [f"{said}{more}."]


def _listed(names: Sequence[str]) -> str:
    """In a sentence.

    >>> _listed(["red", "green", "blue"])
    'red, green and blue'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _logits(net: Trained, images: Tensor) -> Tensor:
    with net.model.borrow() as model, torch.no_grad():
        found: Tensor = model(net.checkpoint.preprocessing.normalise(images))
    return found


def _windows(positive: Tensor) -> Tensor:
    """(h, w) to the sums over all windows of the sign's size."""
    return SIGN**2 * F.avg_pool2d(positive[None, None], SIGN, 1)[0, 0]


def _hit(corner: Tensor) -> Tensor:
    """Of all windows those whose middle lies in a sign."""
    rows, columns = ((torch.arange(SIDE - SIGN + 1) - edge).abs() <= SIGN // 2 for edge in corner.tolist())
    return rows[:, None] & columns[None, :]


def _inside(found: Attribution, corner: Tensor) -> tuple[float, float]:
    """Whether the window with the largest sum lies in a sign, and how much of what is above 0."""
    cells = torch.from_numpy(view(found)).clamp(min=0)
    positive = F.interpolate(cells[None, None], (SIDE, SIDE), mode="nearest")[0, 0]
    total = float(positive.sum())
    if total == 0:
        return 0.0, 0.0  # an empty map points nowhere
    sums = _windows(positive)
    top, left = corner.tolist()
    return float(_hit(corner).flatten()[sums.argmax()]), float(sums[top, left]) / total


def _chance(corners: Tensor) -> dict[Hashable, Any]:
    """A window anywhere, and a map that is the same everywhere."""
    hit = float(torch.stack([_hit(corner) for corner in corners.flatten(0, 1)]).float().mean())
    part = SIGN**2 / SIDE**2
    return {"name": "chance", "method": "Chance", "pointed": hit, "other": hit, "inside": part, "beside": part}


SWAPPED = ("grad_cam", "deep_lift", "saliency", "guided_grad_cam", "guided_backprop", "deconvolution")


def swapped(
    net: Trained,
    image: Image.Image,
    box: Box | None = None,
    methods: Sequence[str] = SWAPPED,
    report: Report = lambda fraction, text: None,
) -> pd.DataFrame:
    """Ask any net about one picture for the predicted class and for others: does the map depend on the class?

    Returns:
        a row a method: `name` and `method`, its title; `same`, the mean correlation of the map for the predicted class
        with those for the 2nd class, one a tenth down the ranking and one in its middle; `least` of them; `problem`,
        why the method is left out on this net, else None.
    """
    ranked = predict(net, image, box).class_index.tolist()
    places = {1, -(-len(ranked) // 10), len(ranked) // 2}
    first, others = ranked[0], sorted(ranked[place] for place in places if 0 < place < len(ranked))
    rows = []
    for number, method in enumerate(methods):
        part = within(report, number / len(methods), (number + 1) / len(methods))
        part(0.0, f"{METHODS[method].title} for {1 + len(others)} classes")
        why = problem(method, net, part)
        found: list[float] = []
        if why is None:
            maps = []
            for place, target in enumerate((first, *others)):
                one = within(part, place / (1 + len(others)), (place + 1) / (1 + len(others)))
                one(0.0, f"{METHODS[method].title} for {net.checkpoint.classes[target]}")
                maps.append(view(attribute(net, image, method, target, box=box, report=one)))
            found = [correlation(maps[0], other) for other in maps[1:]]
        known = [each for each in found if not np.isnan(each)]
        rows.append(
            {
                "name": method,
                "method": METHODS[method].title,
                "same": float(np.mean(known)) if known else None,
                "least": min(known) if known else None,
                "problem": why,
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    chosen_seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    save_file(taught(chosen_seed).state_dict(), FILE, {"recipe": f"seed {chosen_seed}, {STEPS} steps of {BATCH}"})
