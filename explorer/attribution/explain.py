"""Predictions and attributions: a checkpoint and a picture in, a table or a frozen record out.

What is explained is always the logit of one class, or how far it is above another's; never a probability: the softmax
would mix in all other classes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import captum
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from explorer.attribution.checks import problem
from explorer.attribution.methods import METHODS
from explorer.attribution.parameters import checked
from explorer.attribution.posing import as_seen, logits, parameters, posed
from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.checkpoints import Report, Trained
from explorer.models.preprocessing import Box


@dataclass(frozen=True)
class Attribution:
    """Where a network looks, and how well the map adds up.

    Attributes:
        checkpoint, method: their names.
        target, target_name: the class; against, against_name: the one that it is compared with, if any.
        channels: signed, (channels of the picture, or 1, rows, columns); rows and columns may be coarser.
        picture: what the network saw.
        score: what was explained: the class's logit, less the other's.
        expected_sum: what all of the map should add up to, where the method promises that; in words expected_sum_is.
        box: the part of the picture that the network saw; None is the square from the centre.
        baseline: what the picture was compared with, where the method compares it with one.
        seconds: that the method took. device: where.
        settings: all that was set, and Captum's version.
    """

    checkpoint: str
    method: str
    target: int
    target_name: str
    against: int | None
    against_name: str | None
    channels: NDArray[np.float32]
    picture: Image.Image
    score: float
    expected_sum: float | None
    expected_sum_is: str | None
    sum: float
    device: str
    seconds: float
    box: Box | None = None
    baseline: Image.Image | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def map(self) -> NDArray[np.float32]:
        """(rows, columns), signed: the channels added up."""
        total: NDArray[np.float32] = self.channels.sum(0, dtype=np.float64).astype(np.float32)
        return total

    @property
    def signed(self) -> bool:
        """Whether above 0 speaks for the class and below against it; else it is the size that counts."""
        return METHODS[self.method].signed(self.settings)

    @property
    def delta(self) -> float | None:
        """How far the sum is from what it should be; Captum's convergence delta."""
        return None if self.expected_sum is None else self.sum - self.expected_sum


def predict(
    checkpoint: str | Trained, image: Image.Image, box: Box | None = None, report: Report | None = None
) -> pd.DataFrame:
    """All classes, the likeliest first: class_index, class_name, probability (softmax over all classes), logit.

    Args:
        checkpoint: a name in `explorer.models.checkpoints.REGISTRY`, or any trained net.
        image: a picture of any size. box: the part of it that the net sees; None is the square from the centre.
        report: called with the fraction of the download and a sentence; an exception that it raises stops it.

    Raises:
        Refusal: no such checkpoint, or its weights cannot be had; a box beyond the picture; logits that are no numbers.
    """
    trained = checkpoints.load(checkpoint, report) if isinstance(checkpoint, str) else checkpoint
    _, x = as_seen(trained, image, box)
    with trained.model.borrow() as model, torch.inference_mode():
        scores = logits(trained, model, x).double().cpu()
    order = torch.argsort(scores, descending=True).tolist()
    return pd.DataFrame(
        {
            "class_index": order,
            "class_name": [trained.checkpoint.classes[index] for index in order],
            "probability": scores.softmax(0)[order].numpy(),
            "logit": scores[order].numpy(),
        }
    )


def attribute(
    checkpoint: str | Trained,
    image: Image.Image,
    method: str = "grad_cam",
    target: int | None = None,
    *,
    against: int | None = None,
    box: Box | None = None,
    report: Report | None = None,
    **settings: Any,
) -> Attribution:
    """Explain the logit of one class, or how far it is above another's.

    Args:
        checkpoint: a name in `explorer.models.checkpoints.REGISTRY`, or any trained net.
        image: a picture of any size; cut as the network's training cut its validation pictures.
        method: a key of `METHODS`.
        target: index of the class; None is the predicted one.
        against: index of another class: the map then says why the one and not the other.
        box: the part of the picture that the net sees; None is the square from the centre.
        report: called with the fraction done and a sentence; an exception that it raises stops the work and leaves the
            network as it was.
        settings: those of the method, `METHODS[method].parameters`.

    Raises:
        Refusal: an unknown checkpoint, method or setting, a class or a setting out of range, or a method that this
            network does not bear.
    """
    if method not in METHODS:
        raise Refusal(f"method (={method!r}) must be one of {', '.join(METHODS)}.")
    chosen = METHODS[method]
    trained = checkpoints.load(checkpoint, report) if isinstance(checkpoint, str) else checkpoint
    values = checked(parameters(chosen, trained), settings, chosen.title)
    classes = trained.checkpoint.classes
    for name, index in (("target", target), ("against", against)):
        # Captum takes target=-1 without a word and explains the last class.
        if index is not None and not (_is_whole(index) and 0 <= index < len(classes)):
            raise Refusal(f"{name} (={index!r}) must be the index of a class, 0 to {len(classes) - 1}.")
    for used in dict.fromkeys((method, values.get("of", method))):  # a mean of maps is no better than these
        if (why := problem(used, trained, report)) is not None:
            raise Refusal(why)
    with posed(trained, image, target, against, box, report) as subject:
        if subject.target == subject.against:
            raise Refusal(f"against (={against}) must be another class than the one that is explained.")
        start = time.perf_counter()
        found = chosen.explain(subject, values)
        seconds = time.perf_counter() - start
        baseline = subject.baseline(values["baseline"]) if "baseline" in values else None
        score = subject.value(subject.x) if found.score is None else found.score
    return Attribution(
        checkpoint=trained.checkpoint.name,
        method=method,
        target=subject.target,
        target_name=classes[subject.target],
        against=subject.against,
        against_name=None if subject.against is None else classes[subject.against],
        channels=found.values.float().numpy(),
        picture=subject.picture,
        score=score,
        expected_sum=found.expected_sum,
        expected_sum_is=found.expected_sum_is,
        sum=float(found.values.sum()),
        device=device_name(trained.device),
        seconds=seconds,
        box=box,
        baseline=None if baseline is None else trained.checkpoint.preprocessing.picture_of(baseline),
        settings={**values, "captum": captum.__version__},
    )


def _is_whole(number: object) -> bool:
    """Whether it counts: numpy's integers, as in a row of `predict`, do, and bool does not."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def device_name(device: torch.device) -> str:
    """The device as a person knows it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
