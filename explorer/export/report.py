"""A report of one page: what a network saw, what it predicts, where it looks, and how far that can be believed."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures
from explorer.attribution.measures import ABOUT, followed
from explorer.attribution.subject import BASELINES
from explorer.models.checkpoints import Checkpoint
from explorer.models.preprocessing import Box

_LIKELIEST = 5  # classes


@dataclass(frozen=True)
class Panel:
    """A picture with what stands above and below it, and what it shows in words."""

    title: str
    image: Image.Image
    caption: str
    alt: str

    @property
    def uri(self) -> str:
        """The picture itself, inside the page."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


Place = tuple[float, float]  # across and down, in units of a drawing


@dataclass(frozen=True)
class Curves:
    """Deletion or insertion as a drawing: what the score does in the order of the map, beside random orders.

    Attributes:
        name, title: of the order. what: it does with the pixels. quantity: what the curves are of. alt: all in words.
        line: the order of the map. chance: the mean of the random ones. band: around these, from the lowest to the
            highest at each step. legend: what these three are, in this order.
        across, down: the ticks of the two axes, their places and labels.
    """

    name: str
    title: str
    what: str
    quantity: str
    alt: str
    line: Sequence[Place]
    chance: Sequence[Place]
    band: Sequence[Place]
    legend: tuple[str, str, str]
    across: Sequence[tuple[float, str]]
    down: Sequence[tuple[float, str]]

    width: ClassVar[int] = 340
    height: ClassVar[int] = 216
    left: ClassVar[int] = 48  # the edges of the axes
    right: ClassVar[int] = 322
    top: ClassVar[int] = 28
    bottom: ClassVar[int] = 172


def report(
    title: str,
    seen: Panel,
    predictions: pd.DataFrame,
    maps: Sequence[Panel],
    facts: Mapping[str, Mapping[str, str]],
    *,
    baselines: Sequence[Panel] = (),
    measures: pd.DataFrame | None = None,
    curves: Sequence[Curves] = (),
    warnings: Sequence[str] = (),
    link: str | None = None,
) -> bytes:
    """A page in HTML that holds all that it shows: no scripts, and nothing is fetched from elsewhere.

    What strangers named (files, classes, links) is written letter by letter, never as HTML.

    Args:
        seen: the picture as the network sees it.
        predictions: from `explorer.attribution.predict`; the first five are shown.
        maps: the attributions as they are drawn.
        facts: what the maps were made with, by heading: `net_facts`, `map_facts`.
        baselines: from `compared_with`.
        measures: from `measured`. curves: from `ordered`; they are drawn below the measures.
        warnings: of the methods.
        link: to the same question in the app; an address that is not of the web is shown, but leads nowhere.
    """
    page = _template().render(
        title=title,
        seen=seen,
        predictions=predictions.head(_LIKELIEST).to_dict("records"),
        maps=maps,
        facts=facts,
        baselines=baselines,
        curves=curves,
        measures=[] if measures is None else measures.to_dict("records"),
        warnings=warnings,
        link=link,
        link_is_web=link is not None and link.startswith(("https://", "http://")),
    )
    return page.encode()


@cache
def _template() -> Template:
    text = files("explorer.export").joinpath("report.html.j2").read_text("utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def net_facts(checkpoint: Checkpoint, picture: str, box: Box | None, made: str) -> dict[str, str]:
    """Which picture, which part of it, and which network, by their names on the page.

    Args:
        picture: its name.
        box: the part that the network saw; None is the square from the centre.
        made: the date.
    """
    side = checkpoint.preprocessing.crop
    part = "the square from the centre"
    if box is not None:
        part = (
            f"in parts of its shorter side a square of {box.side:.4g}, {box.left:.4g} from the left and {box.top:.4g} "
            "from the top"
        )
    return {
        "Picture": picture,
        "Part of it": f"{part}, {side} x {side} px for the net",
        "Net": checkpoint.title,
        "Trained on": checkpoint.trained_on,
        "Weights": checkpoint.source,
        "Licence": checkpoint.licence,
        "Made": made,
    }


def map_facts(attribution: Attribution) -> dict[str, str]:
    """What was explained, by which method with which settings, and on what, by their names on the page."""
    method = METHODS[attribution.method]
    rows = {"Class": f"{attribution.target_name} ({attribution.target})"}
    if attribution.against is not None:
        rows["And not"] = f"{attribution.against_name} ({attribution.against})"
    rows["Logit" if attribution.against is None else "Difference of logits"] = f"{attribution.score:.4g}"
    rows["Method"] = f"{method.title} ({method.source})"
    rows["What it measures"] = method.measures
    for each in method.parameters:
        if each.name in attribution.settings:
            value = attribution.settings[each.name]
            rows[each.label] = str((each.choices or {}).get(value, value))
    if attribution.expected_sum is not None:
        rows["Sum of the map"] = (
            f"{attribution.sum:.4g}; it should be {attribution.expected_sum:.4g}, {attribution.expected_sum_is}"
        )
    versions = f"PyTorch {torch.__version__}, Captum {attribution.settings['captum']}"
    return rows | {"Computed": f"in {attribution.seconds:.2f} s on {attribution.device}, {versions}"}


def compared_with(maps: Sequence[Attribution]) -> list[Panel]:
    """The baselines as the network takes them, each once, with the methods that compare the picture with it."""
    methods: dict[tuple[str, bytes], list[str]] = {}
    pictures: dict[tuple[str, bytes], Image.Image] = {}
    for found in maps:
        if found.baseline is not None:
            key = BASELINES[found.settings["baseline"]], found.baseline.tobytes()
            pictures[key] = found.baseline
            methods.setdefault(key, []).append(METHODS[found.method].title)
    return [
        Panel(
            "Baseline",
            pictures[key],
            f"{key[0]}, as the net takes it. For {', '.join(titles)}.",
            f"What the picture is compared with: {key[0].lower()}",
        )
        for key, titles in methods.items()
    ]


def measured(attribution: Attribution, measures: Measures | None, drawn: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row a measure: `measure`, `source`, `value` in words, and what a `good` and a `bad` one look like.

    Args:
        measures: from `explorer.attribution.assess`, where they were taken.
        drawn: from `explorer.attribution.draw_anew`, where the weights were drawn anew.
    """
    words = {} if measures is None else _words(attribution, measures)
    if drawn is not None:
        rank = float(drawn["rank"].iloc[-1])
        words["randomisation"] = (
            "none: with all weights drawn anew the map is flat"
            if math.isnan(rank)
            else f"rank correlation {rank:.2f} when all weights are drawn anew"
        )
    return pd.DataFrame(
        [
            {
                "measure": ABOUT[name].title,
                "source": ABOUT[name].source,
                "value": value,
                "good": ABOUT[name].good,
                "bad": ABOUT[name].bad,
            }
            for name, value in words.items()
        ]
    )


def _words(attribution: Attribution, measures: Measures) -> dict[str, str]:
    """What each measure says, by its name in `ABOUT`; what the method does not promise is left out."""
    order = measures.order
    words: dict[str, str] = {}
    if measures.delta is not None:
        words["completeness"] = f"{measures.delta:+.2g} beside {attribution.expected_sum:.4g}"
    if measures.infidelity is not None:
        words["infidelity"] = f"{measures.infidelity:.3f}"
    words["max_sensitivity"] = f"{measures.max_sensitivity:.3f}"
    for name, area, chance in (
        ("deletion", order.deletion, order.deletion_random),
        ("insertion", order.insertion, order.insertion_random),
    ):
        words[name] = (
            f"area {area:.3f}; of {order.orders} random orders {chance:.3f} on average, "
            f"{order.random_low:.3f} to {order.random_high:.3f}; "
            f"in place of pixels: {BASELINES[measures.filled].lower()}"
        )
    return words


_KINDS = {"deletion": "taken away", "insertion": "put in"}  # pixels


def ordered(attribution: Attribution, measures: Measures) -> list[Curves]:
    """Deletion and insertion, drawn with the same axes.

    Returns:
        the two; none of them where a number is not finite, as it has no place on an axis.
    """
    order = measures.order
    values = order.curves.drop(columns="part").to_numpy()
    if not np.isfinite(values).all():
        return []
    quantity = followed(attribution.against)
    ticks = _ticks(float(values.min()), float(values.max()))
    low, high = ticks[0], ticks[-1]

    def across(part: float) -> float:
        return Curves.left + part * (Curves.right - Curves.left)

    def down(value: float) -> float:
        return Curves.bottom - (value - low) / (high - low) * (Curves.bottom - Curves.top)

    def places(column: str) -> list[Place]:
        pairs = zip(order.curves["part"], order.curves[column], strict=True)
        return [(across(part), down(value)) for part, value in pairs]

    found = []
    for kind, what in _KINDS.items():
        area, chance = (float(getattr(order, name)) for name in (kind, f"{kind}_random"))
        first, last = (float(order.curves[kind].iloc[end]) for end in (0, -1))
        found.append(
            Curves(
                name=kind,
                title=ABOUT[kind].title,
                what=f"part of the pixels {what}",
                quantity=quantity,
                alt=f"{ABOUT[kind].title}: the {quantity} over the part of the pixels {what}. In the order of the map "
                f"it goes from {first:.3g} to {last:.3g}, and the area below it is {area:.3f}; that of {order.orders} "
                f"random orders is {chance:.3f} on average.",
                line=places(kind),
                chance=places(f"{kind}_random"),
                band=places(f"{kind}_random_high") + places(f"{kind}_random_low")[::-1],
                legend=(
                    f"in the order of the map, area {area:.3f}",
                    f"mean of {order.orders} random orders, area {chance:.3f}",
                    "from the lowest to the highest of these at each step",
                ),
                across=[(across(part), f"{part:.0%}") for part in (0.0, 0.25, 0.5, 0.75, 1.0)],
                down=[(down(tick), f"{tick:g}") for tick in ticks],
            )
        )
    return found


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven, evenly, by 2, 5 or 10 times a power of ten; from 0 or below it to 0 or above it.

    >>> _ticks(0.02, 0.87), _ticks(-3.0, 9.0), _ticks(0.0, 0.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-5.0, 0.0, 5.0, 10.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(size * power for size in (0.2, 0.5, 1.0, 2.0) if high - low <= 5 * size * power)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{number * step:.9g}") for number in range(first, last + 1)]
