"""A report of one page: what a network saw, what it predicts, where it looks, and how far that can be believed."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd
import torch
from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures
from explorer.attribution.measures import ABOUT
from explorer.attribution.subject import BASELINES
from explorer.models.checkpoints import Box, Checkpoint

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


def report(
    title: str,
    seen: Panel,
    predictions: pd.DataFrame,
    maps: Sequence[Panel],
    facts: Mapping[str, Mapping[str, str]],
    *,
    measures: pd.DataFrame | None = None,
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
        measures: from `measured`.
        warnings: of the methods.
        link: to the same question in the app; an address that is not of the web is shown, but leads nowhere.
    """
    page = _template().render(
        title=title,
        seen=seen,
        predictions=predictions.head(_LIKELIEST).to_dict("records"),
        maps=maps,
        facts=facts,
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
