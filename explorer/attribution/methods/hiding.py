"""Methods that hide parts of the picture and see what becomes of the score: they need no gradient."""

from collections.abc import Iterator
from inspect import isgeneratorfunction
from itertools import islice
from typing import Any

import torch
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion, ShapleyValueSampling
from torch import Tensor, nn

from explorer.attribution.methods.folding import passing
from explorer.attribution.methods.gradients import SEED
from explorer.attribution.methods.method import Method, Settings
from explorer.attribution.methods.nearby import Nearby
from explorer.attribution.methods.paths import BASELINE
from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import Baseline, Map, Score, Subject, repeatable, segments
from explorer.errors import Refusal


def occlusion(subject: Subject, settings: Settings) -> Map:
    """How far the score falls when a square is hidden, for a square at every stride; the mean where squares overlap.

    Raises:
        Refusal: the square is larger than the picture, or the stride than the square.
    """
    side, stride = settings["window"], settings["stride"]
    height, width = subject.x.shape[2:]
    if side > min(height, width):
        raise Refusal(f"window (={side}) must be at most {min(height, width)}: the net sees {height} x {width} px.")
    if stride > side:
        raise Refusal(f"stride (={stride}) must be at most the window's {side}, or pixels between squares are skipped.")
    count = _places(height, side, stride) * _places(width, side, stride)
    score = subject.score("Occlusion", count + 1)
    with passing(subject, score) as at_once, torch.inference_mode():
        score.network = Nearby(score.network, subject.x)
        found = Occlusion(_Without(subject, score, settings["baseline"])).attribute(
            torch.ones(1, 1, height, width, device=subject.x.device),
            (1, side, side),
            strides=(1, stride, stride),
            perturbations_per_eval=min(count, at_once),
        )
        return Map.of(found, score=score.scores[0])


def _places(edge: int, side: int, stride: int) -> int:
    """How many squares stand along an edge; the last one may reach beyond it."""
    return -(-(edge - side) // stride) + 1


def feature_ablation(subject: Subject, settings: Settings) -> Map:
    """How far the score falls when a part is hidden."""
    parts, count = _parts(subject, settings)
    score = subject.score("Feature ablation", count + 1)
    with passing(subject, score) as at_once, torch.inference_mode():
        score.network = Nearby(score.network, subject.x)
        found = FeatureAblation(_Without(subject, score, settings["baseline"], parts)).attribute(
            torch.ones(1, count, device=subject.x.device), perturbations_per_eval=min(count, at_once)
        )
        return _shared_out(found[0], parts, score.scores[0])


def shapley(subject: Subject, settings: Settings) -> Map:
    """What a part adds to the score, on average over random orders in which the parts are put in."""
    parts, count = _parts(subject, settings)
    score = subject.score("Shapley values", count * settings["samples"] + 1)
    method = ShapleyValueSampling(_Without(subject, score, settings["baseline"], parts))
    with repeatable(settings["seed"], subject.x.device):
        orders = list(method.permutation_generator(count, settings["samples"]))
    method.permutation_generator = lambda count, samples: orders
    with passing(subject, score) as at_once, torch.inference_mode():
        found = method.attribute(
            torch.ones(1, count, device=subject.x.device),
            n_samples=settings["samples"],
            perturbations_per_eval=min(count, at_once),
        )
        # Without any part first, and with all of them at the end of each order
        return _shared_out(found[0], parts, score.scores[-1], score.scores[0])


def kernel_shap(subject: Subject, settings: Settings) -> Map:
    """Shapley values by a weighted regression of the score on which parts are there."""
    parts, count = _parts(subject, settings)
    samples = settings["samples"]
    score = subject.score("Kernel SHAP", samples)
    method = KernelShap(_Without(subject, score, settings["baseline"], parts))
    _draw_apart(method, samples, settings["seed"], subject.x.device)
    with passing(subject, score) as at_once, torch.inference_mode():
        found = method.attribute(
            torch.ones(1, count, device=subject.x.device),
            n_samples=samples,
            perturbations_per_eval=min(samples, at_once),
        )
        return _shared_out(found[0], parts, *score.scores[:2])  # all parts there, and none


def lime(subject: Subject, settings: Settings) -> Map:
    """The weights of a sparse linear model of the score by which parts are there, near the whole picture.

    How near is the cosine of the pictures' numbers, as Captum has it, so that it is shown the pictures themselves.
    """
    parts, _ = _parts(subject, settings)
    samples = settings["samples"]
    score = subject.score("LIME", samples)
    method = Lime(score)
    _draw_apart(method, samples, settings["seed"], subject.x.device)
    with passing(subject, score) as at_once, torch.inference_mode():
        found = method.attribute(
            subject.x,
            baselines=subject.baseline(settings["baseline"]),
            feature_mask=parts[None, None].expand_as(subject.x).contiguous(),
            n_samples=samples,
            perturbations_per_eval=min(samples, at_once),
            return_input_shape=False,
        )
        return _shared_out(found[0], parts)


class _Without(nn.Module):
    """The score of the picture, where 0 says that something is hidden: the baseline stands there.

    So methods need no masks as large as many pictures: they hide parts of what says which parts there are.

    Args:
        parts: the part that each pixel is in, (h, w).
    """

    def __init__(self, subject: Subject, score: Score, baseline: Baseline, parts: Tensor | None = None) -> None:
        super().__init__()
        self._x, self._start = subject.x, subject.baseline(baseline)
        self._score, self._parts = score, parts

    def forward(self, there: Tensor) -> Tensor:
        """(n, 1, h, w) by pixels, or (n, count) by parts; to (n,)."""
        shown = there if self._parts is None else there[:, self._parts][:, None]
        return self._score(torch.where(shown > 0.5, self._x, self._start))


def _parts(subject: Subject, settings: Settings) -> tuple[Tensor, int]:
    """The part that each pixel is in, and how many there are.

    Raises:
        Refusal: there is but one.
    """
    parts = segments(subject.picture, settings["parts"], settings["count"]).to(subject.x.device)
    count = int(parts.max()) + 1
    if count < 2:
        raise Refusal(
            f"count (={settings['count']}) must be larger: the picture's colours give a single part then; or choose "
            "squares."
        )
    return parts, count


def _draw_apart(method: Lime, samples: int, seed: int, device: torch.device) -> None:
    """Have Captum draw all that says which parts are there before the first pass.

    The process's random numbers have a lock, which would be held for long.
    """
    draw, fit = method.perturb_func, method.interpretable_model.fit

    def drawn(*given: Any, **more: Any) -> Iterator[Tensor]:
        with repeatable(seed, device):
            if isgeneratorfunction(draw):
                rows = list(islice(draw(*given, **more), samples))
            else:
                rows = [draw(*given, **more) for _ in range(samples)]
        yield from rows

    def fitted(*given: Any, **more: Any) -> Any:
        with repeatable(seed, device):  # it draws one, for nothing
            return fit(*given, **more)

    method.perturb_func, method.interpretable_model.fit = drawn, fitted


def _shared_out(found: Tensor, parts: Tensor, picture: float | None = None, hidden: float | None = None) -> Map:
    """The number of each part, shared out evenly among its pixels, so that all of them add up to it.

    Args:
        found: (count,). picture: its score. hidden: the score with all hidden, where the map adds up to the difference.
    """
    numbers = found.double().cpu()
    pixels = torch.bincount(parts.flatten(), minlength=len(numbers)).double().cpu()
    values = (numbers / pixels)[parts.cpu()][None]
    if picture is None or hidden is None:
        return Map(values, score=picture)
    return Map(values, picture - hidden, "the score less that of the baseline", picture)


_PARTS = (
    BASELINE,
    Parameter(
        "parts",
        "Parts",
        "What is hidden together: squares, or superpixels that follow colours (SLIC, Achanta et al. 2012).",
        "superpixels",
        choices={"superpixels": "Superpixels", "grid": "Squares"},
    ),
    Parameter("count", "Number of parts", "About how many; more are finer and take longer.", 49, 4, 400),
)

HIDING = (
    Method(
        name="occlusion",
        title="Occlusion",
        family="hiding",
        source="Zeiler & Fergus 2013, arXiv 1311.2901",
        measures="How far the score falls when a square around here is hidden.",
        unit="score",
        explain=occlusion,
        cost=lambda settings, side: (_places(side, settings["window"], settings["stride"]) ** 2 + 1, 0),
        by_side={"window": 1 / 7, "stride": 1 / 14},
        parameters=(
            BASELINE,
            Parameter("window", "Square, px", "Side of what is hidden.", 32, 1, 512),
            Parameter(
                "stride",
                "Stride, px",
                "How far the square goes at once; the time grows with its inverse square.",
                16,
                1,
                512,
            ),
        ),
    ),
    Method(
        name="feature_ablation",
        title="Feature ablation",
        family="hiding",
        source="Captum; the one-at-a-time removal of Zeiler & Fergus 2013, arXiv 1311.2901",
        measures="How far the score falls when a part alone is hidden; what two parts tell alike counts for neither.",
        unit="score, shared out in the part",
        explain=feature_ablation,
        cost=lambda settings, side: (settings["count"] + 1, 0),
        parameters=_PARTS,
    ),
    Method(
        name="shapley",
        title="Shapley value sampling",
        family="hiding",
        source="Strumbelj & Kononenko 2010, JMLR 11; Castro et al. 2009",
        measures="What a part adds to the score, on average over orders in which parts come: it adds up.",
        unit="score, shared out in the part",
        explain=shapley,
        cost=lambda settings, side: (settings["count"] * settings["samples"] + 1, 0),
        parameters=(
            *_PARTS,
            Parameter("samples", "Orders", "How many random orders; more agree better and take longer.", 5, 1, 50),
            SEED,
        ),
    ),
    Method(
        name="kernel_shap",
        title="Kernel SHAP",
        family="hiding",
        source="Lundberg & Lee 2017, arXiv 1705.07874",
        measures="Shapley values by regression on pictures with random parts hidden: they add up.",
        unit="score, shared out in the part",
        explain=kernel_shap,
        cost=lambda settings, side: (settings["samples"], 0),
        parameters=(*_PARTS, Parameter("samples", "Pictures", "How many with parts hidden.", 200, 10, 2000), SEED),
    ),
    Method(
        name="lime",
        title="LIME",
        family="hiding",
        source="Ribeiro et al. 2016, arXiv 1602.04938",
        measures="Weights of a sparse linear model of the score near the picture, by which parts are there. What does "
        "not matter much is exactly 0.",
        unit="score, shared out in the part",
        explain=lime,
        cost=lambda settings, side: (settings["samples"], 0),
        parameters=(*_PARTS, Parameter("samples", "Pictures", "How many with parts hidden.", 200, 10, 2000), SEED),
    ),
)
