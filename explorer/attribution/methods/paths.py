"""Methods that compare the picture with one that tells nothing: a baseline."""

import numpy as np
import torch
from captum.attr import DeepLift, IntegratedGradients
from torch import Tensor

from explorer.attribution.methods.folding import passing
from explorer.attribution.methods.gradients import SEED, leaf, noisy
from explorer.attribution.methods.method import Method, Settings
from explorer.attribution.methods.rescale import apart
from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import BASELINES, Map, Subject

_STARTS = {
    "black": "a black picture",
    "mean": "a picture of the mean colour",
    "white": "a white picture",
    "blur": "the blurred picture",
    "noise": "a picture of noise",
}


def integrated_gradients(subject: Subject, settings: Settings) -> Map:
    """Gradients along the straight path from the baseline to the picture, times the way that each number goes.

    The path is cut by Gauss-Legendre; Captum's default rule for Riemann sums is biased by 1 / steps.
    """
    start, steps = subject.baseline(settings["baseline"]), settings["steps"]
    found = IntegratedGradients(subject.score("Integrated Gradients", steps)).attribute(
        subject.x,
        baselines=start,
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=min(steps, subject.at_once),
    )
    return _from_the_baseline(found, subject.values(subject.x, start), settings)


def deep_lift(subject: Subject, settings: Settings) -> Map:
    """At each ReLU the slope between baseline and picture, instead of the slope at the picture (the rescale rule)."""
    score = subject.score("DeepLIFT", 2, hooked=True)
    with apart(score):
        found = DeepLift(score).attribute(leaf(subject.x), baselines=subject.baseline(settings["baseline"]))
    return _from_the_baseline(found, score.scores, settings)


def gradient_shap(subject: Subject, settings: Settings) -> Map:
    """The mean over noisy pictures of the gradient at a random point of the path from the baseline, times the way.

    As Captum's GradientShap, which passes all of them at once and draws from the process's random numbers.
    """
    start, samples = subject.baseline(settings["baseline"]), settings["samples"]
    score = subject.score("GradientSHAP", samples)
    # The same ones as Captum's at this seed
    along = torch.from_numpy(np.random.RandomState(settings["seed"]).uniform(size=samples)).to(subject.x)
    total, done = torch.zeros_like(subject.x), 0
    with passing(subject, score) as at_once:
        for pictures in noisy(subject, samples, settings["noise"], settings["seed"], at_once):
            part = along[done : done + len(pictures)].view(-1, 1, 1, 1)
            points = leaf(part * pictures + (1 - part) * start)
            (gradients,) = torch.autograd.grad(score(points).sum(), points)
            total += (gradients * (pictures - start)).sum(0)
            done += len(pictures)
    scores = subject.values(subject.x, start)
    if settings["noise"] > 0:  # then it adds up to the score of the noisy pictures, which is another
        return Map.of(total / samples, score=scores[0])
    return _from_the_baseline(total / samples, scores, settings)


def _from_the_baseline(found: Tensor, scores: list[float], settings: Settings) -> Map:
    """Of the scores of picture and baseline."""
    picture, start = scores
    return Map.of(found, picture - start, f"the score less that of {_STARTS[settings['baseline']]}", picture)


BASELINE = Parameter(
    "baseline",
    "Baseline",
    "What the picture is compared with: the map explains the difference of the two scores.",
    "black",
    choices=dict(BASELINES),
)

PATHS = (
    Method(
        name="integrated_gradients",
        title="Integrated Gradients",
        family="path",
        source="Sundararajan et al. 2017, arXiv 1703.01365",
        measures="The difference of the scores of picture and baseline, shared out among the numbers of the picture: "
        "it adds up, but for how finely the path is cut.",
        unit="score",
        explain=integrated_gradients,
        cost=lambda settings, side: (settings["steps"] + 2, settings["steps"]),
        parameters=(
            BASELINE,
            Parameter(
                "steps",
                "Steps",
                "Points on the path. More take longer and tend to bring the convergence delta nearer to zero.",
                50,
                2,
                500,
            ),
        ),
    ),
    Method(
        name="gradient_shap",
        title="GradientSHAP",
        family="path",
        source="Lundberg & Lee 2017, arXiv 1705.07874",
        measures="Integrated Gradients by chance: gradients at random points of the path. It adds up on average over "
        "many; of pictures with noise it adds up to their score, which is another.",
        unit="score",
        explain=gradient_shap,
        cost=lambda settings, side: (settings["samples"] + 2, settings["samples"]),
        parameters=(
            BASELINE,
            Parameter("samples", "Samples", "How many random points; more take longer and agree better.", 20, 2, 200),
            Parameter(
                "noise",
                "Noise, part of the range",
                "Deviation of the noise on the picture; without any the map adds up on average.",
                0.0,
                0.0,
                1.0,
                0.05,
            ),
            SEED,
        ),
    ),
    Method(
        name="deep_lift",
        title="DeepLIFT",
        family="path",
        source="Shrikumar et al. 2017, arXiv 1704.02685",
        measures="The difference of the scores of picture and baseline, shared out layer by layer in one pass: it adds "
        "up.",
        unit="score",
        explain=deep_lift,
        cost=lambda settings, side: (2, 2),
        parameters=(BASELINE,),
        hooked=True,
    ),
)
