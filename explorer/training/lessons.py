"""The small runs that the lessons start in the live lab, and which recorded runs belong to them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from explorer.spec import PRESETS, ResNetSpec
from explorer.training.datasets import entry
from explorer.training.lab import Pair, degradation_in_30_seconds, pairs
from explorer.training.recipe import Recipe
from explorer.training.shipped import Net, named

D2L_PICTURES = 10_000  # of Fashion-MNIST's 60,000, which at 96 px would take half a gigabyte
D2L_EPOCHS = 10
D2L_BATCH = 256


def d2l_spec(width: int = 64) -> ResNetSpec:
    """The book's ResNet-18: one channel in, 96 px, Xavier's initial weights; 64 channels in its first stage.

    >>> d2l_spec().depth, d2l_spec().image_size
    (18, (96, 96))
    """
    return replace(PRESETS["d2l_resnet18"], image_size=(96, 96), init="xavier", width=width)


def d2l_recipe(width: int, steps: int) -> Recipe:
    """The book's training on the first pictures: SGD without momentum or decay, learning rate 0.05, batches of 256."""
    return Recipe(
        d2l_spec(width),
        data=f"fashion_mnist@96:{D2L_PICTURES}",
        steps=steps,
        batch=D2L_BATCH,
        lr=0.05,
        momentum=0.0,
        weight_decay=0.0,
        record_every=5,
        test_every=20,
        probe=1000,
        tested=1000,
    )


def _warm_up() -> list[Pair]:
    """With and without the wait."""
    (deep,) = pairs(("a",), (110,), 1, entry("digits"))
    return [deep, (f"{deep[0]}, warm-up", replace(deep[1], warmup_error=80.0))]


def _d2l() -> list[Pair]:
    steps = -(-D2L_PICTURES // D2L_BATCH) * D2L_EPOCHS
    return [("ResNet-18, width 16", d2l_recipe(16, steps))]


RUNS: Mapping[str, Callable[[], list[Pair]]] = {
    "plain": degradation_in_30_seconds,
    "shortcuts": lambda: pairs(("a", "b", "c"), (56,), 1, entry("digits")),
    "warm-up": _warm_up,
    "identity": lambda: pairs(("a", "preact"), (110,), 1, entry("digits")),
    "d2l": _d2l,
    "d2l-full": lambda: [("ResNet-18", d2l_recipe(64, -(-D2L_PICTURES // D2L_BATCH)))],
}
"""What a lesson trains, by its name; name on screen and recipe of each run."""

# Which recorded nets a lesson shows: kinds of `VARIANTS`, and depths
_RECORDED: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "plain": (("plain", "a"), (20, 32, 44, 56)),
    "shortcuts": (("a", "b", "c"), (20, 56, 110)),
    "thousand": (("a",), (110, 1202)),
    "warm-up": (("a",), (110,)),
    "identity": (("a", "preact"), (110, 164, 1001)),
}


def recorded_for(lesson: str, nets: Iterable[Net]) -> list[Net]:
    """Those recorded nets that a lesson is about, trained on CIFAR-10; none is no mistake."""
    kinds, depths = _RECORDED.get(lesson, ((), ()))
    found = []
    for net in nets:
        known = named(net.recipe.spec)
        if known and known[0] in kinds and known[1] in depths and net.recipe.data.startswith("cifar10"):
            found.append(net)
    return found
