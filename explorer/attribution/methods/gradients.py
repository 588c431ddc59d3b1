"""Methods of one gradient: how the score changes with each number of the picture, and variants."""

from collections.abc import Iterator

import torch
from captum.attr import Deconvolution, GuidedBackprop, InputXGradient, Saliency
from torch import Tensor

from explorer.attribution.methods.folding import passing
from explorer.attribution.methods.method import Method, Settings
from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import Map, Score, Subject

_ONCE = (1, 1)
# As `explorer.attribution.planted.swapped` measured it on the samples coffee, chelsea, rocket and astronaut in November
# 2026, Captum 0.9.0
_GUIDED = (
    "Its map hardly depends on the class: on EfficientNet-Lite0 those for two classes correlated at 0.99 over four "
    "photos, where Grad-CAM had 0.37, and with the classifier drawn anew it stayed the same. It partly restores the "
    "picture (Nie et al. 2018, arXiv 1805.07039): do not read from it why this class and not another."
)
_DECONVOLUTION = (
    "Its map hardly depends on the class: on EfficientNet-Lite0 those for two classes correlated at 1.00 over four "
    "photos. Where evidence was planted it pointed there no more often than chance (see Planted evidence). It partly "
    "restores the picture (Nie et al. 2018, arXiv 1805.07039): look at it as history, not as an explanation."
)


def saliency(subject: Subject, settings: Settings) -> Map:
    """The gradient, signed."""
    score = subject.score("Saliency")
    found = Saliency(score).attribute(leaf(subject.x), abs=False)
    return Map.of(found, score=score.scores[0])


def input_x_gradient(subject: Subject, settings: Settings) -> Map:
    """The gradient times the input: how much each number would add, were the net linear."""
    score = subject.score("Input x gradient")
    found = InputXGradient(score).attribute(leaf(subject.x))
    return Map.of(found, score=score.scores[0])


def guided_backprop(subject: Subject, settings: Settings) -> Map:
    """The gradient, at each ReLU without what is negative."""
    score = subject.score("Guided Backpropagation", hooked=True)
    return Map.of(guided(subject, score), score=score.scores[0])


def guided(subject: Subject, score: Score) -> Tensor:
    """(1, channels, h, w)."""
    found: Tensor = GuidedBackprop(score).attribute(leaf(subject.x))
    return found


def deconvolution(subject: Subject, settings: Settings) -> Map:
    """The gradient, at each ReLU without what is negative, but with what its input would have stopped."""
    score = subject.score("Deconvolution", hooked=True)
    found = Deconvolution(score).attribute(leaf(subject.x))
    return Map.of(found, score=score.scores[0])


def smoothed(subject: Subject, settings: Settings) -> Map:
    """The mean, or the variance, of maps of the picture with noise on it: Captum's NoiseTunnel.

    The noise comes from a generator of its own: the process's random numbers have a lock, which would be held for long.
    """
    samples, inner = settings["samples"], settings["of"]
    score = subject.score("Pictures with noise", samples, hooked=inner == "guided_backprop")
    method = {"saliency": Saliency, "input_x_gradient": InputXGradient, "guided_backprop": GuidedBackprop}[inner](score)
    more = {"abs": False} if inner == "saliency" else {}
    total, squares = torch.zeros_like(subject.x), torch.zeros_like(subject.x)
    with passing(subject, score) as at_once:
        for pictures in noisy(subject, samples, settings["noise"], settings["seed"], at_once):
            maps = method.attribute(leaf(pictures), **more)
            total += maps.sum(0)
            squares += maps.square().sum(0)
    mean, mean_square = total / samples, squares / samples
    taken = {"smoothgrad": mean, "smoothgrad_sq": mean_square, "vargrad": mean_square - mean.square()}
    return Map.of(taken[settings["taken"]])


def noisy(subject: Subject, samples: int, noise: float, seed: int, at_once: int) -> Iterator[Tensor]:
    """So many pictures with noise on them, in batches; which ones they are does not depend on how many go at once.

    Args:
        noise: its deviation, as a part of the picture's range of values.
    """
    draw = torch.Generator(subject.x.device).manual_seed(seed)
    spread = noise * float(subject.x.max() - subject.x.min())
    for left in range(samples, 0, -at_once):
        some = min(left, at_once)
        drawn = [torch.randn(subject.x.shape, generator=draw, device=draw.device) for _ in range(some)]
        yield subject.x + spread * torch.cat(drawn)


def leaf(x: Tensor) -> Tensor:
    """Images with a gradient of their own: what Captum leaves on them is thrown away with them."""
    return x.detach().clone(memory_format=torch.channels_last).requires_grad_()


SEED = Parameter("seed", "Seed", "Of the random numbers; the same seed gives the same map.", 0, 0, 9999)

GRADIENTS = (
    Method(
        name="saliency",
        title="Saliency",
        family="gradient",
        source="Simonyan et al. 2013, arXiv 1312.6034",
        measures="How fast the score changes with each number of the picture. It is local: what matters but is "
        "saturated has a gradient near 0.",
        unit="score per unit of normalised input",
        explain=saliency,
        cost=lambda settings, side: _ONCE,
        signed=lambda settings: False,
    ),
    Method(
        name="input_x_gradient",
        title="Input x gradient",
        family="gradient",
        source="Shrikumar et al. 2016, arXiv 1605.01713",
        measures="The gradient times the input, as if the net were linear between the mean colour and the picture. On "
        "a net of ReLUs without biases it adds up to the score; with biases and batch norm it does not.",
        unit="score",
        explain=input_x_gradient,
        cost=lambda settings, side: _ONCE,
    ),
    Method(
        name="smooth_grad",
        title="SmoothGrad, VarGrad",
        family="gradient",
        source="Smilkov et al. 2017, arXiv 1706.03825; Adebayo et al. 2018, arXiv 1810.03307",
        measures="The mean of a gradient map over pictures with noise on them, which takes the gradient's own noise "
        "away; or its variance, which says where the map is least steady.",
        unit="as of the map that is averaged",
        explain=smoothed,
        cost=lambda settings, side: (settings["samples"], settings["samples"]),
        signed=lambda settings: settings.get("of") == "input_x_gradient" and settings["taken"] == "smoothgrad",
        parameters=(
            Parameter(
                "of",
                "Maps of",
                "Which map is taken of each noisy picture.",
                "saliency",
                choices={
                    "saliency": "Saliency",
                    "input_x_gradient": "Input x gradient",
                    "guided_backprop": "Guided Backpropagation",
                },
            ),
            Parameter(
                "taken",
                "Taken",
                "Of these maps: the mean (SmoothGrad), the mean of squares, or the variance (VarGrad).",
                "smoothgrad",
                choices={"smoothgrad": "Mean", "smoothgrad_sq": "Mean of squares", "vargrad": "Variance"},
            ),
            Parameter("samples", "Noisy pictures", "How many; the map gets smoother and slower.", 20, 2, 200),
            Parameter(
                "noise",
                "Noise, part of the range",
                "Deviation of the noise over the picture's range of values; the paper takes 0.1 to 0.2.",
                0.15,
                0.0,
                1.0,
                0.05,
            ),
            SEED,
        ),
        hooked=True,
    ),
    Method(
        name="guided_backprop",
        title="Guided Backpropagation",
        family="gradient",
        source="Springenberg et al. 2014, arXiv 1412.6806",
        measures="A gradient that at each ReLU drops what is negative. It is no gradient of anything that the net "
        "computes.",
        unit="none",
        explain=guided_backprop,
        cost=lambda settings, side: _ONCE,
        signed=lambda settings: False,
        hooked=True,
        warning=_GUIDED,
    ),
    Method(
        name="deconvolution",
        title="Deconvolution",
        family="gradient",
        source="Zeiler & Fergus 2013, arXiv 1311.2901",
        measures="What a net run backwards would draw: at each ReLU the negative part of what comes back is dropped, "
        "and whether the unit was on does not count.",
        unit="none",
        explain=deconvolution,
        cost=lambda settings, side: _ONCE,
        signed=lambda settings: False,
        hooked=True,
        warning=_DECONVOLUTION,
    ),
)
