"""Predictions and attributions: a checkpoint and a picture in, a table or a frozen record out.

What is explained is always the logit of one class, never its probability: the softmax would mix in all other classes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal

import captum
import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.checkpoints import Checkpoint, Report, Trained

Baseline = Literal["black", "mean", "white"]
BASELINES: tuple[Baseline, ...] = ("black", "mean", "white")
METHODS: Mapping[str, str] = MappingProxyType({"grad_cam": "Grad-CAM", "integrated_gradients": "Integrated Gradients"})

_STEPS_AT_ONCE = 10  # images of 224 px in one pass: the fastest on a CPU and a tenth of the memory of all at once


@dataclass(frozen=True)
class Attribution:
    """Where a network looks, and how well the map adds up.

    `map` is signed and in logits: (h, w), a number a pixel for Integrated Gradients, a cell of the last feature map for
    Grad-CAM. Its sum should be `expected_sum`; `delta` is sum - expected_sum.
    """

    checkpoint: str
    method: str
    target: int
    target_name: str
    map: NDArray[np.float32]
    picture: Image.Image  # what the network saw
    logit: float
    expected_sum: float
    expected_sum_is: str  # in words
    delta: float
    device: str
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sum(self) -> float:
        """All of the map together, in logits."""
        return self.expected_sum + self.delta


def predict(checkpoint: str, image: Image.Image, report: Report | None = None) -> pd.DataFrame:
    """All classes, the likeliest first: class_index, class_name, probability (softmax over all classes), logit.

    Raises:
        Refusal: no such checkpoint, or its weights cannot be had.
    """
    trained = checkpoints.load(checkpoint, report)
    _, x = _input(trained, image)
    with trained.model.borrow() as model, torch.inference_mode():
        logits = model(x)[0].double().cpu()
    order = torch.argsort(logits, descending=True).tolist()
    return pd.DataFrame(
        {
            "class_index": order,
            "class_name": [trained.checkpoint.classes[index] for index in order],
            "probability": logits.softmax(0)[order].numpy(),
            "logit": logits[order].numpy(),
        }
    )


def attribute(
    checkpoint: str,
    image: Image.Image,
    method: str = "grad_cam",
    target: int | None = None,
    *,
    steps: int = 50,
    baseline: Baseline = "black",
    report: Report | None = None,
) -> Attribution:
    """Explain the logit of one class.

    Args:
        checkpoint: a name in `explorer.models.checkpoints.REGISTRY`.
        image: a picture of any size; cut as the network's training cut its validation pictures.
        method: "grad_cam" (Selvaraju et al. 2016, arXiv 1610.02391) at the last feature map, or "integrated_gradients"
            (Sundararajan et al. 2017, arXiv 1703.01365).
        target: index of the class; None is the predicted one.
        steps: of Integrated Gradients' path, 2 to 500.
        baseline: where that path starts: a picture all black, of the training set's mean colour, or white.
        report: called with the fraction done and a sentence; an exception that it raises stops the work and leaves the
            network as it was.

    Raises:
        Refusal: an unknown checkpoint, method or baseline, or a target or step count out of range.
    """
    if method not in METHODS:
        raise Refusal(f"method (={method!r}) must be one of {', '.join(METHODS)}.")
    if baseline not in BASELINES:
        raise Refusal(f"baseline (={baseline!r}) must be one of {', '.join(BASELINES)}.")
    if not _is_whole(steps) or not 2 <= steps <= 500:
        raise Refusal(f"steps (={steps!r}) must be a whole number from 2 to 500.")
    trained = checkpoints.load(checkpoint, report)
    classes = trained.checkpoint.classes
    # Captum takes target=-1 without a word and explains the last class.
    if target is not None and not (_is_whole(target) and 0 <= target < len(classes)):
        raise Refusal(f"target (={target!r}) must be the index of a class, 0 to {len(classes) - 1}.")
    picture, x = _input(trained, image)
    with trained.model.borrow() as model:
        start = time.perf_counter()
        with torch.no_grad():
            logits = model(x)[0]
        target = int(logits.argmax() if target is None else target)
        work = _Work(
            trained.checkpoint, model, x, target, float(logits[target]), report or (lambda fraction, text: None)
        )
        explained = work.grad_cam() if method == "grad_cam" else work.integrated_gradients(int(steps), baseline)
        seconds = time.perf_counter() - start
    return Attribution(
        checkpoint=checkpoint,
        method=method,
        target=target,
        target_name=classes[target],
        picture=picture,
        logit=work.logit,
        device=device_name(trained.device),
        seconds=seconds,
        **explained,
    )


def _is_whole(number: object) -> bool:
    """Whether it counts: numpy's integers, as in a row of `predict`, do, and bool does not."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def device_name(device: torch.device) -> str:
    """The device as a person knows it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _input(trained: Trained, image: Image.Image) -> tuple[Image.Image, Tensor]:
    """What the network sees, as a picture and as (1, 3, h, w)."""
    crop = trained.checkpoint.preprocessing.crop_of(image.convert("RGB"))
    tensor = trained.checkpoint.preprocessing.tensor(crop)
    return crop, tensor.to(trained.device, memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Work:
    """One picture, one class, one borrowed model."""

    checkpoint: Checkpoint
    model: nn.Module
    x: Tensor
    target: int
    logit: float
    report: Report

    def grad_cam(self) -> dict[str, Any]:
        """Grad-CAM at the last feature map, without its ReLU: the sign says for or against.

        Behind that map these networks have one average pool and one linear layer, so the weight of a channel is its
        weight in the class / cells, and the map adds up to the logit less the class's bias, exactly.
        """
        self.report(0.0, "One pass forward and one back")
        layer = self.model.get_submodule(self.checkpoint.last_features)
        cam = LayerGradCam(self.model, layer).attribute(
            self.x.requires_grad_(), target=self.target, relu_attributions=False
        )
        classifier = [module for module in self.model.modules() if isinstance(module, nn.Linear)][-1]
        expected = self.logit - float(classifier.bias[self.target])
        return _add_up(cam, expected, "the logit less the class's bias", {"layer": self.checkpoint.last_features})

    def integrated_gradients(self, steps: int, baseline: Baseline) -> dict[str, Any]:
        """Gradients along the straight path from the baseline to the picture, times the way that each pixel goes.

        The path is cut by Gauss-Legendre; Captum's default rule for Riemann sums is biased by 1 / steps. Passes beside
        the path are the two ends, of which the sum is the expected one.
        """
        start = self._baseline(baseline)
        passes = -(-steps // _STEPS_AT_ONCE)
        done = 0

        def forward(x: Tensor) -> Tensor:
            nonlocal done
            self.report(
                min(1.0, done / passes), f"Integrated Gradients, step {min(done * _STEPS_AT_ONCE, steps)} of {steps}"
            )
            done += 1
            logits: Tensor = self.model(x.contiguous(memory_format=torch.channels_last))
            return logits

        attribution = IntegratedGradients(forward).attribute(
            self.x,
            baselines=start,
            target=self.target,
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=_STEPS_AT_ONCE,
        )
        with torch.no_grad():
            expected = self.logit - float(self.model(start)[0, self.target])
        settings = {"baseline": baseline, "steps": steps}
        return _add_up(attribution, expected, f"the logit less that of a {_BASELINE_NAMES[baseline]} picture", settings)

    def _baseline(self, baseline: Baseline) -> Tensor:
        """A picture of one colour, as the network takes it; zero there is the mean colour, not black."""
        if baseline == "mean":
            return torch.zeros_like(self.x)
        level = torch.full(self.x.shape, 0.0 if baseline == "black" else 1.0)
        return self.checkpoint.preprocessing.normalise(level).to(self.x)


_BASELINE_NAMES = {"black": "black", "mean": "mean-coloured", "white": "white"}


def _add_up(attribution: Tensor, expected: float, words: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The map, channels summed, and how far its sum is from what it should be."""
    channels = attribution[0].detach().double()
    signed = channels.sum(0)
    return {
        "map": signed.float().cpu().numpy(),
        "expected_sum": expected,
        "expected_sum_is": words,
        "delta": float(signed.sum()) - expected,
        "settings": {**settings, "captum": captum.__version__},
    }
