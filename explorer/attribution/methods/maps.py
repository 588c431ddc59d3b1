"""Methods that look at the maps inside of the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import LayerActivation, LayerAttribution, LayerGradCam
from torch import Tensor, nn

from explorer.attribution.methods.gradients import guided
from explorer.attribution.methods.method import Method, Settings
from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import Map, Subject
from explorer.errors import Refusal


def grad_cam(subject: Subject, settings: Settings) -> Map:
    """Each map times its mean gradient, summed, without the paper's ReLU: the sign says for or against."""
    found, score = _cam(subject, settings)
    return Map.of(found, *_expected(subject, settings["layer"], score), score)


def _cam(subject: Subject, settings: Settings) -> tuple[Tensor, float]:
    """The map, and the score of the picture."""
    layer, score = subject.network.get_submodule(settings["layer"]), subject.score("Grad-CAM")
    with _apart(layer):
        found: Tensor = LayerGradCam(score, layer).attribute(subject.x, relu_attributions=False)
    return found, score.scores[0]


@contextmanager
def _apart(layer: nn.Module) -> Iterator[None]:
    """Let the gradient begin at what a layer returns: nothing before it is kept in memory for the way back."""
    hook = layer.register_forward_hook(lambda module, inputs, output: output.detach().requires_grad_())
    try:
        yield
    finally:
        hook.remove()


def _expected(subject: Subject, layer: str, score: float) -> tuple[float | None, str | None]:
    """What Grad-CAM adds up to at the last maps.

    Where behind these stand one average pool and one linear layer, the weight of a channel is its weight in the class
    over the number of cells, and the map adds up to the logit less the class's bias, exactly.
    """
    if layer != subject.checkpoint.last_features or not subject.checkpoint.pooled:
        return None, None
    bias = classifier(subject).bias
    if bias is not None:
        score -= float(bias[subject.target])
        score += float(bias[subject.against]) if subject.against is not None else 0.0
    less = "the class's bias" if subject.against is None else "that of the two biases"
    return score, f"the score less {less}"


def classifier(subject: Subject) -> nn.Linear:
    """The last linear layer."""
    return [module for module in subject.network.modules() if isinstance(module, nn.Linear)][-1]


def cam(subject: Subject, settings: Settings) -> Map:
    """The last maps, each times its weight in the class: one pass forward, none back.

    Raises:
        Refusal: the network does not end in one average pool and one linear layer.
    """
    if not subject.checkpoint.pooled:
        raise Refusal(
            f"{subject.checkpoint.title} has more than an average pool and one linear layer behind its last maps, so "
            "that CAM is not defined; choose Grad-CAM."
        )
    layer, score = subject.network.get_submodule(subject.checkpoint.last_features), subject.score("CAM")
    maps = LayerActivation(score, layer).attribute(subject.x)
    linear = classifier(subject)
    weight = linear.weight[subject.target]
    if subject.against is not None:
        weight = weight - linear.weight[subject.against]
    cells = maps.shape[2] * maps.shape[3]
    expected, words = _expected(subject, subject.checkpoint.last_features, score.scores[0])
    assert expected is not None
    found = torch.einsum("c,nchw->nhw", weight, maps)[:, None]
    return Map.of(found, expected * cells, f"{cells} times {words}", score.scores[0])


def guided_grad_cam(subject: Subject, settings: Settings) -> Map:
    """Guided Backpropagation times what of Grad-CAM speaks for the class, enlarged to the picture."""
    fine = guided(subject, subject.score("Guided Grad-CAM", 2, hooked=True))
    coarse, score = _cam(subject, settings)
    size: Any = subject.x.shape[2:]
    return Map.of(fine * LayerAttribution.interpolate(torch.relu(coarse).to(fine), size, "nearest"), score=score)


def feature_maps(subject: Subject, settings: Settings) -> Map:
    """What a layer returns: one channel, or the mean over all; it does not depend on the class.

    Raises:
        Refusal: no such channel.
    """
    layer, score = subject.network.get_submodule(settings["layer"]), subject.score("Feature maps")
    maps = LayerActivation(score, layer).attribute(subject.x)
    channel = settings["channel"]
    if channel > maps.shape[1]:
        raise Refusal(
            f"channel (={channel}) must be 0 for the mean, or 1 to {maps.shape[1]}: {settings['layer']} has no more."
        )
    found = maps.mean(1, keepdim=True) if channel == 0 else maps[:, channel - 1 : channel]
    return Map.of(found, score=score.scores[0])


LAYER = Parameter(
    "layer",
    "Layer",
    "Whose maps: of each resolution the last. Later ones tell classes apart, earlier ones are finer.",
    "",  # the last maps of the network
    choices={},  # those of the network
)

MAPS = (
    Method(
        name="grad_cam",
        title="Grad-CAM",
        family="map",
        source="Selvaraju et al. 2016, arXiv 1610.02391",
        measures="Which cells of a layer's maps speak for the class, by their mean gradients. At the last maps of a "
        "net with an average pool it adds up to the logit less the class's bias.",
        unit="score",
        explain=grad_cam,
        cost=lambda settings, side: (1, 1),
        parameters=(LAYER,),
    ),
    Method(
        name="cam",
        title="CAM",
        family="map",
        source="Zhou et al. 2015, arXiv 1512.04150",
        measures="The last maps, weighted as the class weighs them: Grad-CAM there times the number of cells, and no "
        "gradient is needed.",
        unit="score, times cells",
        explain=cam,
        cost=lambda settings, side: (1, 0),
    ),
    Method(
        name="guided_grad_cam",
        title="Guided Grad-CAM",
        family="map",
        source="Selvaraju et al. 2016, arXiv 1610.02391",
        measures="Guided Backpropagation where Grad-CAM speaks for the class.",
        unit="none",
        explain=guided_grad_cam,
        cost=lambda settings, side: (2, 2),
        signed=lambda settings: False,
        parameters=(LAYER,),
        hooked=True,
        warning="Which region it shows is Grad-CAM's and depends on the class; the detail inside is Guided "
        "Backpropagation's and hardly does. Believe it no finer than Grad-CAM's cells.",
    ),
    Method(
        name="feature_maps",
        title="Feature maps",
        family="map",
        source="Zeiler & Fergus 2013, arXiv 1311.2901",
        measures="What a layer returns for the picture, whatever the class.",
        unit="activation",
        explain=feature_maps,
        cost=lambda settings, side: (1, 0),
        signed=lambda settings: False,
        parameters=(LAYER, Parameter("channel", "Channel", "From 1; 0 is the mean over all.", 0, 0, 4096)),
    ),
)
