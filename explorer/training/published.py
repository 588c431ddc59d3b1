"""What is printed of training He et al.'s nets for CIFAR-10, and where our recorded runs differ from it.

Errors of nets come from `models.published`; here is what that has not: how the paper trained, further rows of its
tables, and a book's result. Nothing here was measured by us, except in `against_published`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from explorer.models.published import Accuracy, accuracies
from explorer.models.variants import variant
from explorer.spec import PRESETS, ActivationOrder, ResNetSpec
from explorer.training.recipe import Recipe
from explorer.training.shipped import Net, ends_table, epochs, named

HE15 = "He et al. 2015, arXiv 1512.03385"
HE16 = "He et al. 2016, arXiv 1603.05027"
D2L = "Zhang et al., Dive into Deep Learning, Chinese edition 2.0, section 7.6 (PyTorch)"

_CIFAR = ("cifar10", "cifar10_jpeg")


@dataclass(frozen=True)
class Printed:
    """One row of a table as it is printed: what, percent wrong (None: no number), and of which pictures."""

    case: str
    error: float | None
    data: str
    source: str
    note: str = ""


def as_published(spec: ResNetSpec) -> Recipe:
    """How He et al. 2015 (section 4.2) train their nets for CIFAR-10: 64,000 steps of 128 pictures.

    From 110 layers on with the learning rate at a tenth until the training error is below 80%.

    >>> recipe = as_published(variant("a", 20))
    >>> recipe.rate(31_999), round(recipe.rate(32_000), 6), round(recipe.rate(48_000), 6)
    (0.1, 0.01, 0.001)
    """
    return Recipe(
        spec,
        data="cifar10",
        steps=64_000,
        batch=128,
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="steps",
        milestones=(0.5, 0.75),
        warmup_error=80.0 if spec.residual and spec.depth >= 110 else None,
        augmentation="crop_flip",
    )


def printed_error(spec: ResNetSpec) -> Printed | None:
    """The test error that a paper prints first of a net for CIFAR-10; None where none does, as for plain nets.

    >>> printed_error(variant("a", 56)).error, printed_error(variant("plain", 56))
    (6.97, None)
    """
    found = [each for each in accuracies(spec) if each.dataset == "CIFAR-10"]
    return _printed("", found[0]) if found else None


def _printed(case: str, of: Accuracy) -> Printed:
    return Printed(case, None if of.top1 is None else round(100 - of.top1, 2), of.dataset, of.source, of.note)


def printed_table(rows: Iterable[Printed]) -> pd.DataFrame:
    """The rows as a table: case, error, data, source, note."""
    return pd.DataFrame(list(rows), columns=[field.name for field in fields(Printed)])


# --- the lessons' rows


def _imagenet(case: str, net: str | ResNetSpec, table: str) -> Printed:
    """Top-1 with ten crops, from a table of the 2015 paper."""
    (found,) = (each for each in accuracies(net) if each.crops == 10 and each.source == f"{HE15}, {table}")
    return _printed(case, found)


def _cifar(case: str, spec: ResNetSpec, source: str) -> Printed:
    (found,) = (each for each in accuracies(spec) if each.source == source)
    return _printed(case, found)


def plain_and_residual() -> tuple[Printed, ...]:
    """Experiment 1: plain nets and ResNets of 18 and 34 layers on ImageNet, then ResNets on CIFAR-10.

    >>> [row.error for row in plain_and_residual()][:4]
    [27.94, 28.54, 27.88, 25.03]
    """
    option_a = replace(PRESETS["resnet18"], shortcut="A")
    return (
        _imagenet("plain-18", "plain18", "table 2"),
        _imagenet("plain-34", "plain34", "table 3"),
        _imagenet("ResNet-18 A", option_a, "table 2"),
        _imagenet("ResNet-34 A", "resnet34_a", "table 3"),
        *(_cifar(f"ResNet-{depth}", variant("a", depth), f"{HE15}, table 6") for depth in (20, 32, 44, 56, 110)),
    )


# He et al. 2016, table 1: what stands on every shortcut of ResNet-110; "fail" is more than 20% wrong
_OF_SHORTCUTS = f"{HE16}, table 1"
_FAIL = "Printed as fail: more than 20%."
SHORTCUTS_110 = (
    Printed("ResNet-110: no shortcut", None, "CIFAR-10", _OF_SHORTCUTS, f"{_FAIL} It is a plain net."),
    Printed("ResNet-110: times 0.5", None, "CIFAR-10", _OF_SHORTCUTS, _FAIL),
    Printed("ResNet-110: times 0.5, branch too", 12.35, "CIFAR-10", _OF_SHORTCUTS),
    Printed("ResNet-110: both gated, bias -6", 8.70, "CIFAR-10", _OF_SHORTCUTS, "The bias was chosen from 0 to -10."),
    Printed("ResNet-110: gated, bias 0", 12.86, "CIFAR-10", _OF_SHORTCUTS),
    Printed("ResNet-110: gated, bias -6", 6.91, "CIFAR-10", _OF_SHORTCUTS, "Nearly the identity at the start."),
    Printed("ResNet-110: dropout 0.5", None, "CIFAR-10", _OF_SHORTCUTS, _FAIL),
)


def shortcut_options() -> tuple[Printed, ...]:
    """Experiment 2: options A, B and C at 34 layers on ImageNet, and what 110 layers on CIFAR-10 say of C.

    >>> [row.error for row in shortcut_options()][:6]
    [28.54, 25.03, 24.52, 24.19, 6.61, 12.22]
    """
    resnet34 = PRESETS["resnet34"]
    return (
        _imagenet("plain-34", "plain34", "table 3"),
        _imagenet("ResNet-34 A", "resnet34_a", "table 3"),
        _imagenet("ResNet-34 B", resnet34, "table 3"),
        _imagenet("ResNet-34 C", replace(resnet34, shortcut="C"), "table 3"),
        _cifar("ResNet-110 A: identity", variant("a", 110), f"{HE16}, table 1"),
        _cifar("ResNet-110 C: 1x1 convolution", variant("c", 110), f"{HE16}, table 1"),
        *SHORTCUTS_110,
    )


def thousand_layers() -> tuple[Printed, ...]:
    """Experiment 3: 110 layers and 1,202 on CIFAR-10.

    >>> [row.error for row in thousand_layers()]
    [6.43, 7.93]
    """
    return tuple(_cifar(f"ResNet-{depth}", variant("a", depth), f"{HE15}, table 6") for depth in (110, 1202))


def warm_up() -> tuple[Printed, ...]:
    """ResNet-110, which warms up; without, the paper's footnote 5 prints no number."""
    without = Printed(
        "ResNet-110, learning rate 0.1 at once",
        None,
        "CIFAR-10",
        f"{HE15}, footnote 5",
        "No number: it takes several epochs to fall below 90%, and still reaches similar accuracy.",
    )
    return (_cifar("ResNet-110, 0.01 until below 80%", variant("a", 110), f"{HE15}, table 6"), without)


# Of the nets that `models.published` has not
_DEEP = "Bottlenecks; the median of five runs"
BOTTLENECKS = (
    Printed("ResNet-164, original", 5.93, "CIFAR-10", f"{HE16}, table 3", f"{_DEEP}."),
    Printed("ResNet-164, pre-activation", 5.46, "CIFAR-10", f"{HE16}, table 3", f"{_DEEP}."),
    Printed("ResNet-1001, original", 7.61, "CIFAR-10", f"{HE16}, table 3", f"{_DEEP}."),
    Printed("ResNet-1001, pre-activation", 4.92, "CIFAR-10", f"{HE16}, table 4", f"{_DEEP}, 4.89 ± 0.14 on average."),
    Printed(
        "ResNet-1001, pre-activation, batch 64",
        4.62,
        "CIFAR-10",
        f"{HE16}, table 4",
        f"{_DEEP}, 4.69 ± 0.20 on average.",
    ),
)


def identity_mappings() -> tuple[Printed, ...]:
    """He et al. 2016, tables 2 to 4: where norm and activation stand, at 110, 164 and 1,001 layers on CIFAR-10.

    >>> [row.error for row in identity_mappings()][:5]
    [6.61, 8.17, 7.84, 6.71, 6.37]
    """
    orders: dict[ActivationOrder, str] = {
        "bn_after_add": "norm after the addition",
        "relu_before_add": "ReLU before the addition",
        "relu_preact": "ReLU alone as pre-activation",
        "preact": "pre-activation",
    }
    deep = variant("a", 110)
    return (
        _cifar("ResNet-110, original", deep, f"{HE16}, table 1"),
        *(
            _cifar(f"ResNet-110, {words}", replace(deep, activation_order=order), f"{HE16}, table 2")
            for order, words in orders.items()
        ),
        *BOTTLENECKS,
    )


D2L_PRINTED: Mapping[str, float] = {"training loss": 0.012, "training accuracy": 0.997, "test accuracy": 0.893}
"""Of ResNet-18 on Fashion-MNIST at 96 px after 10 epochs (`D2L`); loss and training accuracy are of the last epoch's
batches, each before its own update. The book trains anew for each edition; copies of its code print others."""


def d2l_table() -> pd.DataFrame:
    """The book's printed result, a row a number."""
    return pd.DataFrame({"result": list(D2L_PRINTED), "printed": list(D2L_PRINTED.values()), "source": D2L})


# --- our runs beside it


def against_published(chosen: Sequence[Net]) -> pd.DataFrame:
    """Our test error beside the printed one, a row a net.

    Columns: net; runs; batch_error at the end; ours, the median over the seeds; published; difference, ours less
    published; source; note. A net that no paper prints a number of has no published and no difference.
    """
    ends = ends_table(chosen)
    rows = []
    for net, wrong, ours in zip(chosen, ends["batch_error"], ends["test_error"], strict=True):
        printed = printed_error(net.recipe.spec) if net.recipe.data in _CIFAR else None
        error = math.nan if printed is None or printed.error is None else printed.error
        rows.append(
            {
                "net": net.title,
                "runs": len(net.runs),
                "batch_error": wrong,
                "ours": ours,
                "published": error,
                "difference": ours - error,
                "source": printed.source if printed else None,
                "note": printed.note if printed else None,
            }
        )
    return pd.DataFrame(rows)


def reasons(net: Net) -> list[str]:
    """Why a net's result may differ from the printed one, a sentence each: its recipe against the paper's.

    The steps come first, as they likely weigh most where they are few.
    """
    ours, theirs = net.recipe, as_published(net.recipe.spec)
    if ours.data not in _CIFAR:
        return [f"It learned from other pictures: {ours.data}."]
    found = []
    if ours.steps != theirs.steps:
        found.append(
            f"It trained for {ours.steps:,} steps, about {_times(ours)} times through the training set; the paper's "
            f"nets for {theirs.steps:,}, about {_times(theirs)} times."
        )
    if ours.data != theirs.data:
        found.append(
            "The pictures are JPEG copies of CIFAR-10's, for training and for testing; the paper has the originals."
        )
    for name, words in _SETTINGS.items():
        own, other = getattr(ours, name), getattr(theirs, name)
        if own != other:
            found.append(f"{words}: {_value(own)}, in the paper {_value(other)}.")
    if ours.precision != theirs.precision:
        found.append(f"Convolutions and products are computed in {ours.precision}, which keeps two to three digits.")
    if len(net.runs) == 1:
        found.append("It is one run from one seed; another seed ends elsewhere.")
    return found


def shared_reasons(chosen: Iterable[Net]) -> dict[str, list[str]]:
    """Each of the sentences of `reasons`, and the titles of the nets that it holds for."""
    found: dict[str, list[str]] = {}
    for net in chosen:
        for sentence in reasons(net):
            found.setdefault(sentence, []).append(net.title)
    return found


def shortness(chosen: Iterable[Net]) -> list[str]:
    """What must be known before these curves are looked at: that runs are shorter than the paper's, where some are."""
    known = [net for net in chosen if net.recipe.data in _CIFAR]
    short = [net for net in known if net.recipe.steps < as_published(net.recipe.spec).steps]
    if not short:
        return []
    steps = sorted({net.recipe.steps for net in short})
    return [
        f"Short runs: {' or '.join(f'{count:,}' for count in steps)} steps, the paper's took "
        f"{as_published(short[0].recipe.spec).steps:,}. After so few, deep nets with shortcuts may still be behind "
        "shallow ones, which at the paper's length they are not."
    ]


def beside_figure_6(chosen: Sequence[Net]) -> list[str]:
    """What our runs say of depth, and whether figure 6 of the 2015 paper says so too; a sentence each.

    Of plain nets and of ResNets with option A on CIFAR-10, the shallowest beside the deepest of those that took as many
    steps, by the median error on the batches at the end. No sentence where there is one depth alone.
    """
    sentences = []
    for kind, worse in (("plain", True), ("a", False)):
        by_steps: dict[int, list[Net]] = {}
        for net in chosen:
            known = named(net.recipe.spec)
            if known and known[0] == kind and net.recipe.data in _CIFAR:
                by_steps.setdefault(net.recipe.steps, []).append(net)
        for steps, found in by_steps.items():
            by_depth = sorted(found, key=lambda net: net.recipe.spec.depth)
            shallow, deep = by_depth[0], by_depth[-1]
            (few, many) = ends_table([shallow, deep])["batch_error"]
            if shallow.recipe.spec.depth == deep.recipe.spec.depth or math.isnan(few + many) or few == many:
                continue
            kind_of_net, verdict = "plain net" if worse else "ResNet", "worse" if many > few else "better"
            there = "as in" if (many > few) is worse else "unlike"
            sentences.append(
                f"After {steps:,} steps {deep.title} is wrong on {many:.1f}% of its training batches, {shallow.title} "
                f"on {few:.1f}%. The deeper {kind_of_net} is {verdict}, {there} figure 6"
                f"{'.' if there == 'as in' else ', which is of 64,000 steps.'}"
            )
    return sentences


_SETTINGS = {
    "batch": "Pictures a step",
    "lr": "Learning rate",
    "momentum": "Momentum",
    "weight_decay": "Weight decay",
    "schedule": "Schedule of the learning rate",
    "milestones": "Learning rate divided by 10 after these shares of the steps",
    "warmup_steps": "Steps of warm-up",
    "warmup_error": "Warm-up until the training error is below, in percent",
    "augmentation": "Augmentation",
}


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return " and ".join(map(str, value))
    return str(value).replace("_", " and ") if value else "none"


def _times(recipe: Recipe) -> str:
    times = epochs(recipe)
    assert times is not None  # both are CIFAR-10
    return f"{times:.1f}" if times < 10 else f"{times:.0f}"
