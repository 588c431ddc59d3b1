"""Several maps beside each other: on scales of their own, or on one where their numbers are of a kind."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from explorer.attribution import METHODS, Attribution
from explorer.figures.overlay import Look, bar, end_of, numbers, painted, unit_of
from explorer.figures.theme import layout

_SIDE = 224  # pixels that a drawn map has at least
_GAP, _LINE = 16, 22


@dataclass(frozen=True)
class Panel:
    """One map as it is drawn.

    Attributes:
        image: over the picture. look: how it is drawn.
        end: of its scale. unit: of the number there. beside: the titles of those that are drawn on the same scale.
    """

    image: Image.Image
    look: Look
    end: float
    unit: str
    beside: tuple[str, ...] = ()


def kind(found: Attribution) -> str | None:
    """What the numbers of a map are, so that those of another can be held against them; None: of no other's kind.

    "cells", "pixels" and "parts" are shares of the score, which add up. Each times the number of places is the score of
    the whole picture were it everywhere as there: that can be compared whatever the size of a place. But single pixels
    spread so much more than cells of many, and these than superpixels, that on one scale the coarser would vanish.
    "fall" is how far the score falls when a square is hidden; these do not add up.
    """
    unit = METHODS[str(found.settings.get("of", found.method))].unit
    if found.settings.get("taken", "smoothgrad") != "smoothgrad":
        return None
    if found.method in ("occlusion", "feature_ablation", "lime"):  # each its own: a square is no part
        return "fall" if found.method == "occlusion" else None
    if not unit.startswith("score") or "per unit" in unit:
        return None
    if "part" in unit:
        return "parts"
    return "pixels" if found.channels.shape[:0:-1] == found.picture.size else "cells"


def density(found: Attribution, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the score as logits per area of the picture: their mean is the map's sum."""
    if METHODS[found.method].unit == "score, times cells":
        return values  # CAM's are that already
    rows, columns = found.channels.shape[1:]
    return values * (rows * columns)


def panels(found: Mapping[str, Attribution], looks: Mapping[str, Look], together: bool) -> dict[str, Panel]:
    """Draw maps, by their titles.

    Args:
        looks: how each is drawn, by the same titles.
        together: those of one kind, with or without sign, on one scale, the largest of theirs; else each on its own.
    """
    values = {title: numbers(each, looks[title]) for title, each in found.items()}
    groups: dict[tuple[str, bool], list[str]] = {}
    units = {title: unit_of(each, looks[title]) for title, each in found.items()}
    if together:
        for title, each in found.items():
            if (group := kind(each)) is not None:
                groups.setdefault((group, looks[title].absolute), []).append(title)
                score = "logits" if each.against is None else "difference of logits"
                units[title] = f"fall of the {score}" if group == "fall" else f"{score} per area of the picture"
                values[title] = values[title] if group == "fall" else density(each, values[title])
    ends = {title: end_of(each, looks[title].percentile) for title, each in values.items()}
    beside: dict[str, tuple[str, ...]] = {}
    for titles in groups.values():
        end = max(ends[title] for title in titles)
        for title in titles:
            ends[title] = end
            beside[title] = tuple(other for other in titles if other != title)
    drawn = {}
    for title, each in found.items():
        times = max(1, round(_SIDE / each.picture.width))
        image = painted(values[title], each.picture, looks[title], ends[title], times)
        drawn[title] = Panel(image, looks[title], ends[title], units[title], beside.get(title, ()))
    return drawn


def montage(drawn: Mapping[str, Panel], picture: Image.Image | None, title: str, across: int = 4) -> Image.Image:
    """All of them as one picture with their titles and scales, the photo first; RGB.

    Args:
        picture: what all of them are of; None where each saw it in its own way.
    """
    tiles = [] if picture is None else [_tile("The picture", _large(picture), None)]
    tiles += [_tile(name, panel.image, bar(panel.look, panel.end, panel.unit, 320)) for name, panel in drawn.items()]
    across = min(across, len(tiles))
    down = -(-len(tiles) // across)
    wide, high = (max(getattr(tile, edge) for tile in tiles) for edge in ("width", "height"))
    sheet = Image.new("RGB", (across * (wide + _GAP) + _GAP, down * (high + _GAP) + 3 * _GAP), "white")
    ImageDraw.Draw(sheet).text((_GAP, _GAP / 2), title, "black", ImageFont.load_default(18))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        sheet.paste(tile, (_GAP + column * (wide + _GAP), 3 * _GAP + row * (high + _GAP)))
    return sheet


def _large(picture: Image.Image) -> Image.Image:
    times = max(1, round(_SIDE / picture.width))
    return picture.convert("RGB").resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _tile(title: str, image: Image.Image, scale: Image.Image | None) -> Image.Image:
    wide = max(image.width, 0 if scale is None else scale.width)
    tile = Image.new("RGB", (wide, image.height + _LINE + (0 if scale is None else scale.height + 4)), "white")
    ImageDraw.Draw(tile).text((wide / 2, _LINE / 2), title, "black", ImageFont.load_default(14), anchor="mm")
    tile.paste(image, ((wide - image.width) // 2, _LINE))
    if scale is not None:
        tile.paste(scale, (0, _LINE + image.height + 4))
    return tile


def alike_chart(ranks: pd.DataFrame) -> go.Figure:
    """How alike maps are, as a square of colours with the numbers in it.

    Args:
        ranks: from `explorer.attribution.alike.ranks`.
    """
    names = list(ranks)
    text = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in ranks.to_numpy()]
    heat = go.Heatmap(
        z=ranks.to_numpy(),
        x=names,
        y=names,
        zmin=-1,
        zmax=1,
        colorscale="PRGn",
        text=text,
        texttemplate="%{text}",
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "rank"}, "thickness": 12},
    )
    axes = {"xaxis": {"tickangle": -30}, "yaxis": {"autorange": "reversed"}}
    return go.Figure(heat, layout(160 + 36 * len(names), "Rank correlation", **axes))
