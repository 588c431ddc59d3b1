"""Several runs side by side: which nets, how long it will take, and what came out."""

import functools
import heapq
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from explorer.errors import Refusal
from explorer.models.resnet import build
from explorer.models.variants import variant
from explorer.spec import ResNetSpec
from explorer.training.datasets import DATASETS, Dataset, Entry
from explorer.training.recipe import Recipe
from explorer.training.recorded import records_table
from explorer.training.run import Record

Pair = tuple[str, Recipe]  # the net's name on screen, and what is done with it

DEPTHS = (8, 14, 20, 32, 44, 56, 110)
MOST_RUNS = 12
MOST_MINUTES = 60
MEASURED = 1000  # pictures of training and test set that a measurement takes: all of the digits, quick for the rest
_RECORDS = 80  # of a run
_SLOWEST_RECORD = 20  # steps: a curve shall move before a minute is over
_NAMES = {
    "plain": "plain-{}",
    "a": "ResNet-{}",
    "b": "ResNet-{} B",
    "c": "ResNet-{} C",
    "preact": "ResNet-{} pre-activation",
    "zero_gamma": "ResNet-{} zero gamma",
    "skipinit": "ResNet-{} SkipInit",
    "highway": "Highway-{}",
    "gated": "ResNet-{} gated",
}
# Of one thread of a server's processor: fitted to plain-20 and plain-56 on digits and to ResNet-20 at 32 px
_START_SECONDS, _LAYER_SECONDS, _MACS_A_SECOND = 2.5, 4e-4, 37e9
_LEARNED = 0.01  # a training loss below which a net has learned its data: each right class has 99% on average
_CLEARLY = 1.1  # times another loss


class LabError(Refusal):
    """Runs that the lab does not take; the message says what it takes."""


@dataclass(frozen=True)
class Course:
    """How a run has gone so far; `net` is its name on screen, which the same net with another seed shares."""

    net: str
    recipe: Recipe
    records: tuple[Record, ...] = ()

    @property
    def diverged(self) -> int | None:
        """The step at which the loss was no finite number any more."""
        return self.records[-1].step if self.records and self.records[-1].diverged else None

    @property
    def ended(self) -> bool:
        """Whether it came to its last step."""
        return bool(self.records) and self.records[-1].step >= self.recipe.steps and self.diverged is None

    @property
    def seconds_left(self) -> float | None:
        """How long it has to go at the pace that it had so far; None before its first step, and where it has ended."""
        if len(self.records) < 2 or self.ended or self.diverged is not None:
            return None
        first, last = self.records[0], self.records[-1]
        return (last.seconds - first.seconds) / (last.step - first.step) * (self.recipe.steps - last.step)

    def latest(self, quantity: str) -> float | None:
        """What was measured last of a field of `Record`; None before, and where the run diverged."""
        if self.diverged is not None:
            return None
        known = (getattr(record, quantity) for record in reversed(self.records))
        return next((value for value in known if value is not None), None)


def net_name(kind: str, depth: int) -> str:
    """What a net of `variants.VARIANTS` is called in the lab.

    >>> net_name("plain", 56), net_name("c", 20)
    ('plain-56', 'ResNet-20 C')
    """
    return _NAMES[kind].format(depth)


def pairs(
    kinds: Sequence[str],
    depths: Sequence[int],
    seeds: int,
    data: Dataset | Entry,
    steps: int = 400,
    width: int = 8,
    **more: Any,
) -> list[Pair]:
    """The runs of some kinds of nets, each at each depth and with each seed from 0.

    Args:
        kinds: keys of `variants.VARIANTS`.
        depths: layers, 6n + 2.
        seeds: how many.
        data: what they learn from, or what is known of it; the nets take its pictures and have its classes.
        steps: of each; a record about 80 times a run, and at every twentieth step at least.
        width: channels of the first stage; the paper's nets have 16.
        more: further fields of the recipe.

    Raises:
        RecipeError, SpecError: there can be no such run.
    """
    shape: dict[str, Any] = {"in_channels": data.channels, "image_size": data.size, "num_classes": len(data.classes)}
    every = min(_SLOWEST_RECORD, max(1, steps // _RECORDS))
    return [
        (
            net_name(kind, depth),
            Recipe(
                variant(kind, depth, width=width, **shape),
                data.name,
                steps=steps,
                seed=seed,
                record_every=every,
                test_every=8 * every,
                probe=MEASURED,
                tested=MEASURED,
                **more,
            ),
        )
        for kind in kinds
        for depth in depths
        for seed in range(seeds)
    ]


def degradation_in_30_seconds() -> list[Pair]:
    """The default: plain and residual nets of 20 and 56 layers on scikit-learn's digits, one seed.

    >>> [name for name, _ in degradation_in_30_seconds()]
    ['plain-20', 'plain-56', 'ResNet-20', 'ResNet-56']
    """
    return pairs(("plain", "a"), (20, 56), 1, DATASETS["digits"])


def checked(planned: Sequence[Pair], present: Sequence[Pair] = (), workers: int = 1) -> list[Pair]:
    """The runs that are to be added to those present: new ones only, and no name for two things.

    A run that is there already would give the same curve. A net that has another recipe than the one of its name has
    what differs in its own name.

    Raises:
        LabError: nothing to add, too many runs, or too long.
    """
    if not planned:
        raise LabError("There is nothing to train yet: choose at least one kind of net and one depth.")
    added: list[Pair] = []
    for name, recipe in planned:
        if all(recipe != other for _, other in (*present, *added)):
            added.append((_distinct(name, recipe, (*present, *added)), recipe))
    if not added:
        raise LabError("All of these runs are there already, and the same recipe gives the same curve.")
    if len(present) + len(added) > MOST_RUNS:
        raise LabError(
            f"{len(present) + len(added)} runs are too many side by side; the lab takes {MOST_RUNS}: choose fewer "
            "nets, depths or seeds."
        )
    minutes = estimated_seconds([recipe for _, recipe in added], workers) / 60
    if minutes > MOST_MINUTES:
        raise LabError(
            f"These runs would take about {duration(60 * minutes)}; the lab takes {MOST_MINUTES} minutes at most: "
            "choose fewer steps, a smaller batch or smaller nets, or run `python -m explorer sweep` on your machine."
        )
    return added


def _distinct(name: str, recipe: Recipe, others: Iterable[Pair]) -> str:
    """The name, and what differs from the recipes of that name, the seed aside."""
    rivals = [other for net, other in others if net == name and replace(other, seed=recipe.seed) != recipe]
    if not rivals:
        return name
    own = [item.name for item in fields(Recipe) if item.name not in ("spec", "seed")]
    told = [f"{field} {getattr(recipe, field)}" for field in own if getattr(recipe, field) != getattr(rivals[0], field)]
    told += [f"{field} {getattr(recipe.spec, field)}" for field in recipe.spec.differences(rivals[0].spec)]
    return _distinct(f"{name}, {', '.join(told)}", recipe, others)


def another_seed(course: Pair, present: Iterable[Pair]) -> Pair:
    """The same net with the next seed that no run of its name has."""
    name, recipe = course
    return name, replace(recipe, seed=1 + max(other.seed for net, other in present if net == name))


def estimated_seconds(recipes: Iterable[Recipe], workers: int = 1) -> float:
    """About how long these runs take, the longest first and so many at once: good to a factor of two on a processor
    that is not busy otherwise.
    """
    free = [0.0] * workers
    for seconds in sorted(map(seconds_of, recipes), reverse=True):
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def seconds_of(recipe: Recipe) -> float:
    """About how long a run takes: its start, for each picture three times the multiply-accumulates of a forward pass
    (forward, and twice that backward), and for each layer of a step a time that does not depend on its size.
    """
    depth, macs = recipe.spec.depth, _macs(recipe.spec)
    measured = (recipe.probe or MEASURED) + (recipe.tested or MEASURED)
    step = depth * _LAYER_SECONDS + 3 * recipe.batch * macs / _MACS_A_SECOND
    return _START_SECONDS + recipe.steps * step + recipe.steps / recipe.test_every * measured * macs / _MACS_A_SECOND


@functools.lru_cache(maxsize=256)
def _macs(spec: ResNetSpec) -> int:
    """Multiply-accumulates for one image, by PyTorch's own counter."""
    network = build(spec, "meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, spec.in_channels, *spec.image_size, device="meta"))
    return counter.get_total_flops() // 2


def duration(seconds: float) -> str:
    """A time for people, to what an estimate is worth.

    >>> duration(29), duration(300), duration(9000)
    ('30 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def curves(courses: Iterable[Course]) -> pd.DataFrame:
    """All records as one table: `net`, `seed` and `Record`'s fields, what was not measured is missing."""
    rows = [(course.net, course.recipe.seed, record) for course in courses for record in course.records]
    table = records_table(record for _, _, record in rows)
    table.insert(0, "seed", [seed for _, seed, _ in rows])
    table.insert(0, "net", [net for net, _, _ in rows])
    return table


def records_file(table: pd.DataFrame) -> pd.DataFrame:
    """`curves` for a spreadsheet: the gradient norms as one text, first block first, with blanks between."""
    return table.assign(gradient_norms=[" ".join(f"{norm:.6g}" for norm in norms) for norms in table["gradient_norms"]])


def recipes_json(courses: Iterable[Course]) -> bytes:
    """Names and recipes as a JSON list; `Recipe.from_json` reads each recipe."""
    told = [{"net": course.net, "recipe": json.loads(course.recipe.to_json())} for course in courses]
    return json.dumps(told, indent=2).encode()


FINAL = ("batch_loss", "train_loss", "train_error", "test_error")
ENDS = tuple(f"{quantity}_{end}" for quantity in FINAL for end in ("low", "high"))


def finals(courses: Iterable[Course]) -> pd.DataFrame:
    """A row a net: the latest of each quantity, as the median over its runs, lowest and highest.

    Columns: net, runs, ended, diverged (how many), step (the least that a run has come to), each of `FINAL` with _low
    and _high, and seconds (the median). What a run that diverged had measured before counts in none of `FINAL`.
    """
    rows = []
    for net, own in _by_net(courses).items():
        steps = [course.records[-1].step for course in own if course.records]
        row: dict[str, Any] = {
            "net": net,
            "runs": len(own),
            "ended": sum(course.ended for course in own),
            "diverged": sum(course.diverged is not None for course in own),
            "step": min(steps) if len(steps) == len(own) else 0,
        }
        for quantity in FINAL:
            values = _ends(own, quantity)
            row[quantity] = median(values) if values else None
            row |= {f"{quantity}_low": min(values, default=None), f"{quantity}_high": max(values, default=None)}
        row["seconds"] = median([course.records[-1].seconds for course in own if course.records] or [0.0])
        rows.append(row)
    return pd.DataFrame(rows).astype({name: float for name in rows[0] if name.startswith(FINAL)} if rows else {})


def _by_net(courses: Iterable[Course]) -> dict[str, list[Course]]:
    nets: defaultdict[str, list[Course]] = defaultdict(list)
    for course in courses:
        nets[course.net].append(course)
    return dict(nets)


def seen(courses: Sequence[Course]) -> list[str]:
    """What came out, a sentence each: of each kind of net the shallowest beside the deepest, what became of the
    gradient in the deepest plain net, the nets of one depth in order, and which runs diverged.

    Computed from the records of runs that ended; there is no sentence on what was not run.
    """
    families: defaultdict[Recipe, dict[str, list[Course]]] = defaultdict(dict)
    for net, own in _by_net(course for course in courses if course.ended).items():
        recipe = own[0].recipe
        alike = replace(recipe.spec, depths=(1,) * len(recipe.spec.depths))
        families[replace(recipe, spec=alike, seed=0)][net] = own
    sentences = []
    for family in families.values():
        by_depth = sorted(family.items(), key=lambda item: item[1][0].recipe.spec.depth)
        if len(by_depth) > 1:
            sentences += _deeper(by_depth[0], by_depth[-1])
    for family in families.values():
        net, own = max(family.items(), key=lambda item: item[1][0].recipe.spec.depth)
        if not own[0].recipe.spec.residual:
            sentences += _gradient(net, own)
    peers: defaultdict[tuple[int, str, int], list[Course]] = defaultdict(list)
    for course in courses:
        if course.ended:
            peers[course.recipe.spec.depth, course.recipe.data, course.recipe.steps].append(course)
    sentences += [_beside(depth, own) for (depth, _, _), own in peers.items() if len(_by_net(own)) > 1]
    sentences += [
        f"{course.net} with seed {course.recipe.seed} diverged at step {course.diverged:,}: its loss or a weight was "
        "no finite number any more."
        for course in courses
        if course.diverged is not None
    ]
    return sentences


def _deeper(shallow: tuple[str, list[Course]], deep: tuple[str, list[Course]]) -> list[str]:
    """The sentence on two nets of one kind, and another where the numbers on the training set do not tell."""
    (small, small_runs), (large, large_runs) = shallow, deep
    lagging = [net for net, runs in (shallow, deep) if any(map(_lags, runs))]
    quantity, words = _measure(bool(lagging))
    few, many = _ends(small_runs, quantity), _ends(large_runs, quantity)
    if max(few + many) < _LEARNED:
        verdict = "both have learned the training data, the depth did not stand in the way"
    elif min(many) > _CLEARLY * max(few):
        verdict = "the deeper net is worse on the very data that it learns from, which over-fitting cannot explain"
    elif _CLEARLY * max(many) < min(few):
        verdict = "the deeper net has learned the training data better"
    else:
        verdict = "no clear difference"
    count = max(len(few), len(many))
    over = "" if count == 1 else f", medians of {len(many)} and {len(few)} seeds"
    return [f"{large} ends at a {words} of {median(many):.2g}, {small} at {median(few):.2g}{over}: {verdict}."] + [
        f"Measured on the training set, {net} is far worse than on its batches: there batch norm goes by running "
        "means, which lag behind the weights after few steps or large ones."
        for net in lagging
    ]


def _beside(depth: int, runs: Sequence[Course]) -> str:
    """The sentence on nets of one depth, after as many steps on the same pictures."""
    quantity, words = _measure(any(map(_lags, runs)))
    ends = {net: median(_ends(own, quantity)) for net, own in _by_net(runs).items()}
    order = sorted(ends.items(), key=lambda item: item[1])
    return f"Of {depth} layers, by {words}: {', '.join(f'{net} {loss:.2g}' for net, loss in order)}."


def _measure(lagging: bool) -> tuple[str, str]:
    """By which loss runs are compared, and its name."""
    return ("batch_loss", "loss on the batches") if lagging else ("train_loss", "training loss")


def _lags(run: Course) -> bool:
    """Whether eval mode says something else than training mode, which no over-fitting can be behind."""
    batch, train = run.latest("batch_loss"), run.latest("train_loss")
    return batch is not None and train is not None and not train <= 3 * batch + 0.1  # nor is nan


def _ends(runs: Iterable[Course], quantity: str) -> list[float]:
    return [value for run in runs if (value := run.latest(quantity)) is not None]


def _gradient(net: str, runs: Iterable[Course]) -> list[str]:
    """The sentence on how much gradient reaches the first block at the end."""
    norms = [run.records[-1].gradient_norms for run in runs if len(run.records[-1].gradient_norms) > 1]
    if not norms:
        return []
    first, last = median(each[0] for each in norms), median(each[-1] for each in norms)
    text = (
        f"At its last step {net} has a gradient norm of {first:.2g} behind its first block, {last:.2g} behind its last"
    )
    if first >= last / 10:
        return [f"{text}: it has not vanished on its way back."]
    if not first:
        return [f"{text}: nothing arrives there."]
    times = f"{last / first:,.0f}" if last < 1e5 * first else f"about 10^{math.log10(last / first):.0f}"
    return [f"{text}: it is {times} times smaller there."]
