"""One training run, described whole: what is trained, on what, how long and how, and from which seed."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from explorer.errors import Refusal
from explorer.spec import ResNetSpec

Schedule = Literal["constant", "steps", "cosine"]
Augmentation = Literal["none", "crop", "crop_flip"]
Precision = Literal["float32", "bfloat16"]

MOST_STEPS = 1_000_000
MOST_RATE = 1e30  # float32 ends at 3e38
WARM_UP_FACTOR = 0.1  # He et al. 2015, section 4.2: 0.01 before 0.1


class RecipeError(Refusal):
    """A run that cannot be; the message names the field, its value and what would be right."""


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum on one net and one data set; two equal recipes on one machine give the same curve.

    Args:
        spec: the net; its channels, picture size and classes must be the data set's.
        data: the data set's name, as `datasets.load` takes it.
        steps: how many updates.
        batch: pictures a step.
        lr: learning rate after warm-up and before any decay.
        momentum: of SGD, 0 to below 1.
        weight_decay: added to every gradient, times the weight (norms and biases included, as in the paper).
        schedule: "constant"; "steps", divided by 10 at each milestone; "cosine", to zero along half a wave.
        milestones: shares of all steps, for "steps"; the paper's are 32/64 and 48/64.
        warmup_steps: through so many steps the learning rate rises from a tenth, linearly.
        warmup_error: a tenth of the learning rate until the error on the batches since the last record is below this
            many percent (the paper's ResNet-110: 80). None: no such wait.
        augmentation: "crop" pads by an eighth of the side (the paper's 4 pixels at 32) and cuts at random; "crop_flip"
            mirrors half of the pictures as well.
        precision: of convolutions and products in the passes; weights and updates are float32 all the same.
        seed: of weights, order and augmentation.
        record_every: steps from one record to the next.
        test_every: steps from one measurement on training and test set to the next, a multiple of `record_every`.
        probe: training pictures that this measurement takes, the first ones; None takes all.
        tested: test pictures that it takes, likewise.

    Raises:
        RecipeError: a field out of range.
    """

    spec: ResNetSpec
    data: str = "digits"
    steps: int = 400
    batch: int = 100
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = "constant"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup_steps: int = 0
    warmup_error: float | None = None
    augmentation: Augmentation = "none"
    precision: Precision = "float32"
    seed: int = 0
    record_every: int = 5
    test_every: int = 40
    probe: int | None = None
    tested: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, MOST_STEPS),
            ("batch", 1, 4096),
            ("warmup_steps", 0, self.steps),
            ("seed", 0, 2**31 - 1),
            ("record_every", 1, MOST_STEPS),
            ("test_every", 1, MOST_STEPS),
        ):
            _check_whole(name, getattr(self, name), low, high)
        for name in ("probe", "tested"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1, MOST_STEPS)
        if not isinstance(self.data, str) or not self.data:
            raise RecipeError(f"data (={self.data!r}) must be the name of a data set, such as 'digits'.")
        _check_number("lr", self.lr, lambda lr: 0 < lr <= MOST_RATE, f"above 0, to {MOST_RATE:g}")
        _check_number("momentum", self.momentum, lambda momentum: 0 <= momentum < 1, "from 0 to below 1")
        _check_number(
            "weight_decay", self.weight_decay, lambda decay: 0 <= decay <= MOST_RATE, f"from 0 to {MOST_RATE:g}"
        )
        if self.warmup_error is not None:
            _check_number("warmup_error", self.warmup_error, lambda error: 0 < error <= 100, "above 0, to 100")
        for name, known in (
            ("schedule", get_args(Schedule)),
            ("augmentation", get_args(Augmentation)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, name) not in known:
                raise RecipeError(f"{name} (={getattr(self, name)!r}) must be one of {', '.join(known)}.")
        shares = self.milestones
        if (
            not isinstance(shares, tuple)
            or not all(_is_number(share) and 0 < share < 1 for share in shares)
            or list(shares) != sorted(shares)
        ):
            raise RecipeError(f"milestones (={self.milestones}) must be shares of the steps between 0 and 1, rising.")
        if self.test_every % self.record_every:
            raise RecipeError(
                f"test_every (={self.test_every}) must be a multiple of record_every (={self.record_every})."
            )

        for name in ("lr", "momentum", "weight_decay", "warmup_error"):  # 1 and 1.0 are one recipe, and have one key
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(value))

    def rate(self, step: int) -> float:
        """The learning rate of an update, the first being step 0; without the wait for `warmup_error`.

        >>> recipe = Recipe(ResNetSpec(), steps=64, schedule="steps", milestones=(0.5, 0.75))
        >>> [round(recipe.rate(step), 6) for step in (0, 31, 32, 48)]
        [0.1, 0.1, 0.01, 0.001]
        """
        if step < self.warmup_steps:
            return self.lr * (WARM_UP_FACTOR + (1 - WARM_UP_FACTOR) * step / self.warmup_steps)
        if self.schedule == "steps":
            return self.lr * 0.1 ** sum(step >= share * self.steps for share in self.milestones)
        if self.schedule == "cosine":
            done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        return self.lr

    def to_json(self) -> str:
        """Every field, as a JSON object; `from_json` reads it back."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return json.dumps(values | {"spec": json.loads(self.spec.to_json())}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """The recipe that `to_json` wrote; a field that is left out has its default.

        Raises:
            RecipeError: not JSON, an unknown field, or a run that cannot be. SpecError: the same of its net.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("spec"), dict):
            raise RecipeError('The text must be a JSON object with a net, such as {"spec": {"block": "basic"}}.')
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise RecipeError(f"{name!r} is not a field of a recipe; there are {', '.join(known)}.")
        values["spec"] = ResNetSpec.from_json(json.dumps(values["spec"]))
        if isinstance(values.get("milestones"), list):
            values["milestones"] = tuple(values["milestones"])
        return cls(**values)

    @property
    def key(self) -> str:
        """Sixteen letters and digits that stand for this recipe, the same on every machine."""
        canonical = json.dumps(json.loads(self.to_json()), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RecipeError(f"{name} (={value!r}) must be a whole number from {low} to {high}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _check_number(name: str, value: Any, right: Callable[[float], bool], meaning: str) -> None:
    if not _is_number(value) or not right(value):
        raise RecipeError(f"{name} (={value!r}) must be a number {meaning}.")
