"""A network as a picture: its blocks from top to bottom, or its feature maps as solids to scale."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from explorer.analysis.layers import Layer
from explorer.analysis.outline import Outline, Run, ShortcutKind, Stage, Volume, inside, is_sum, volumes
from explorer.analysis.rules import Pair, Shape
from explorer.figures.theme import ACCENT, KIND_COLOURS, OTHER_COLOUR, exact, layout, short

SHORTCUT_STYLES: dict[ShortcutKind, tuple[str, str, str]] = {  # colour, dash, and the words of the legend
    "identity": ("#009E73", "solid", "identity"),
    "projection": ("#D55E00", "6px,3px", "projection (convolution)"),
    "padded": ("#CC79A7", "2px,2px", "padded with zeros (option A)"),
    "gated": ("#E69F00", "8px,3px,2px,3px", "gated"),
}
SKY = "#56B4E9"
DEEP = "#004C77"  # the accent in shadow


def openable(outline: Outline) -> dict[str, str]:
    """Everything in a block diagram that opens: what its boxes carry as customdata, and a name for people.

    "stage:2" is a stage, "run:2.1" the run of alike blocks in stage 2 that begins with block 1.

    >>> from explorer.analysis.layers import layer_table
    >>> from explorer.analysis.outline import outline
    >>> list(openable(outline(layer_table("resnet18"))).items())[:3]
    [('stage:1', 'Stage 1'), ('run:1.1', 'Stage 1, blocks 1 to 2'), ('stage:2', 'Stage 2')]
    """
    names = {}
    for stage in outline.stages:
        if stage.runs:
            names[_opens(stage)] = f"Stage {stage.name}"
        for run in stage.runs:
            names[_opens(stage, run)] = f"Stage {stage.name}, {_blocks(run)}"
    return names


def toggled(opened: str, clicked: str) -> str:
    """What is open after a click."""
    stage, block = place_of(clicked)
    if clicked == opened:
        return f"stage:{stage}" if block else ""
    if not block and place_of(opened)[0] == stage:  # the stage of the open block
        return ""
    return clicked


def place_of(opened: str) -> tuple[str | None, int | None]:
    """Stage and block of a key of `openable`: "run:3.2" is block 2 of stage 3."""
    stage, _, block = opened.partition(":")[2].partition(".")
    return stage or None, int(block) if block else None


def block_diagram(outline: Outline, open_stage: str | None = None, open_block: int | None = None) -> go.Figure:
    """The network from top to bottom: stem, stages with their shortcuts as arcs at the left, head.

    A shape is channels x height x width; what a box shows short its hover text shows in full. Boxes that open carry as
    customdata one of the keys of `openable`, and so does what has been opened, to close it.

    Args:
        outline: from `outline`.
        open_stage: the name of a stage to be drawn as its runs of alike blocks; one that the net has not opens nothing.
        open_block: any block of that stage, from 1; its run is drawn as the layers of one block.
    """
    sheet = _Sheet()
    sheet.label(_CENTRE, _LINE / 2, f"image, {_shape(outline.image)}", "center")
    sheet.bottom = _LINE
    _draw_ends(sheet, outline.stem)
    for stage in outline.stages:
        if stage.runs and stage.name == open_stage:
            _draw_open_stage(sheet, stage, open_block)
        else:
            _draw_stage(sheet, stage)
    _draw_ends(sheet, outline.head)
    if any(stage.runs for stage in outline.stages) and not sheet.skips:
        sheet.label(_CENTRE, sheet.bottom + _LINE, "no block has a shortcut", "center")
        sheet.bottom += 2 * _LINE
    return sheet.figure()


# --- the sheet: what is drawn so far

_LEFT = 0.14  # of the figure's width: left of it are the arcs
_CENTRE = (_LEFT + 1) / 2
_GAP = 14  # pixels between boxes
_LINE = 16  # pixels that a line of text takes
_ARC = 26  # pixels that an arc takes at least


@dataclass(frozen=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float
    colour: str
    text: str
    hover: str
    opens: str

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


_Path = list[tuple[float, float]]


@dataclass
class _Sheet:
    """Boxes, lines and labels; x is a share of the width, y pixels downwards, `bottom` where the last box ends."""

    bottom: float = 0.0
    boxes: list[_Box] = field(default_factory=list)
    flow: list[_Path] = field(default_factory=list)
    skips: dict[ShortcutKind, list[_Path]] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)

    def put(
        self,
        lines: Sequence[str],
        hover: Iterable[str],
        colour: str,
        opens: str = "",
        *,
        sides: tuple[float, float] = (_LEFT, 1.0),
        top: float,
        least: float = 0.0,
    ) -> _Box:
        """A box anywhere."""
        bottom = top + max(_height(lines), least)
        box = _Box(*sides, top, bottom, colour, "<br>".join(lines), "<br>".join(hover), opens)
        self.boxes.append(box)
        return box

    def box(
        self,
        lines: Sequence[str],
        hover: Iterable[str],
        colour: str,
        opens: str = "",
        *,
        sides: tuple[float, float] = (_LEFT, 1.0),
        top: float = 0.0,
        least: float = 0.0,
    ) -> _Box:
        """A box below the last and not above `top`, of this height at least, with an arrow to it."""
        box = self.put(lines, hover, colour, opens, sides=sides, top=max(self.bottom + _GAP, top), least=least)
        x = _centre(sides if sides[0] == _LEFT else _MAIN)
        self.flow.append([(x, self.bottom), (x, box.top)])
        self.bottom = box.bottom
        return box

    def label(self, x: float, y: float, text: str, anchor: str) -> None:
        """Text in the page's colour."""
        self.labels.append({"x": x, "y": y, "text": text, "xanchor": anchor, "yanchor": "middle", "showarrow": False})

    def skip(self, kind: ShortcutKind, path: _Path) -> None:
        """A shortcut's line."""
        self.skips.setdefault(kind, []).append(path)

    def figure(self) -> go.Figure:
        """All of it, with a legend of the shortcuts that there are."""
        kinds = [kind for kind in SHORTCUT_STYLES if kind in self.skips]
        inks = dict.fromkeys(_ink(box.colour) for box in self.boxes)
        margin = {"l": 8, "r": 8, "t": 40, "b": 56}
        axis = {"visible": False, "fixedrange": True}
        return go.Figure(
            [
                _lines(self.flow, OTHER_COLOUR, "solid", 1.5),
                *(_lines(self.skips[kind], *SHORTCUT_STYLES[kind][:2], 2, SHORTCUT_STYLES[kind][2]) for kind in kinds),
                *(_bars([box for box in self.boxes if _ink(box.colour) == ink], ink) for ink in inks),
            ],
            layout(
                round(self.bottom) + margin["t"] + margin["b"],
                barmode="overlay",
                dragmode=False,
                hovermode="closest",
                hoverlabel={"align": "left"},
                xaxis={"range": [0, 1], **axis},
                yaxis={"range": [self.bottom, 0], **axis},
                margin=margin,
                legend=_LEGEND,
                annotations=self.labels,
            ),
        )


_LEGEND = {
    "orientation": "h",
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "x": 0,
    "itemclick": False,
    "itemdoubleclick": False,
}


def _height(lines: Sequence[str]) -> float:
    return _LINE * len(lines) + 8


def _centre(sides: tuple[float, float]) -> float:
    return sum(sides) / 2


def _lines(paths: list[_Path], colour: str, dash: str, width: float, name: str = "") -> go.Scatter:
    """Lines, each with an arrowhead at its end."""
    points: list[tuple[float | None, float | None]] = [point for path in paths for point in (*path, (None, None))]
    return go.Scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines+markers",
        line={"color": colour, "dash": dash, "width": width, "simplify": False},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [size for path in paths for size in (*[0] * (len(path) - 1), 8, 0)],
            "color": colour,
            "opacity": 1,
        },
        unselected={"marker": {"opacity": 1}},
        hoverinfo="skip",
        name=name,
        showlegend=bool(name),
        cliponaxis=False,
    )


def _bars(boxes: list[_Box], ink: str) -> go.Bar:
    as_ever = {"marker": {"opacity": 1}, "textfont": {"color": ink}}  # a click does not dim the other boxes
    return go.Bar(
        orientation="h",
        base=[box.left for box in boxes],
        x=[box.right - box.left for box in boxes],
        y=[box.middle for box in boxes],
        width=[box.bottom - box.top for box in boxes],
        marker={"color": [box.colour for box in boxes], "cornerradius": 4, "line": {"width": 0}},
        text=[box.text for box in boxes],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        textfont={"color": ink, "size": 12},
        customdata=[box.opens for box in boxes],
        hovertext=[box.hover for box in boxes],
        hoverinfo="text",
        selected=as_ever,
        unselected=as_ever,
        showlegend=False,
    )


def _ink(colour: str) -> str:
    """Black or white, whichever stands out more on a colour (WCAG 2.2, contrast ratio).

    >>> _ink("#0072B2"), _ink("#E69F00")
    ('#FFFFFF', '#000000')
    """
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#FFFFFF" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


# --- words


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _pair(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _what(layer: Layer) -> list[str]:
    """What a layer does: 3x3 conv, stride 2, 32 groups."""
    if layer.kind == "pool" and layer.kernel is None and len(layer.output_shape) == 3:
        return [f"pool to {_shape(layer.output_shape[1:])}"]
    words = [f"{_shape(layer.kernel)} {layer.kind}" if layer.kernel else layer.kind]
    if layer.stride not in (None, (1, 1)):
        words.append(f"stride {_pair(layer.stride)}")
    if layer.dilation not in (None, (1, 1)):
        words.append(f"dilation {_pair(layer.dilation)}")
    if layer.groups not in (None, 1):
        words.append(f"{layer.groups} groups")
    return words


def _cost(params: int, macs: int, number: Callable[[int], str] = short) -> list[str]:
    """What is there of parameters and MACs."""
    return [f"{number(count)} {unit}" for count, unit in ((params, "params"), (macs, "MACs")) if count]


def _full(part: Stage | Run | Layer) -> list[str]:
    return [f"out: {_shape(part.output_shape)}", f"{exact(part.params)} params", f"{exact(part.macs)} MACs"]


def _about(layer: Layer) -> list[str]:
    """A layer on the hover text."""
    return [f"<b>{layer.name}</b>: {', '.join(_what(layer))}", f"in: {_shape(layer.input_shape)}", *_full(layer)]


def _about_all(layers: Sequence[Layer]) -> list[str]:
    """Several layers, a line each, and their sums."""
    if len(layers) == 1:
        return _about(layers[0])
    lines = [
        f"<b>{layer.name}</b>: "
        + " · ".join((", ".join(_what(layer)), _shape(layer.output_shape), *_cost(layer.params, layer.macs, exact)))
        for layer in layers
    ]
    sums = _cost(sum(layer.params for layer in layers), sum(layer.macs for layer in layers), exact)
    return [*lines, f"together: {' · '.join(sums)}"] if sums else lines


def _blocks(run: Run) -> str:
    return f"block {run.first}" if run.count == 1 else f"blocks {run.first} to {run.last}"


def _colour(layer: Layer) -> str:
    return KIND_COLOURS.get(layer.kind, OTHER_COLOUR)


# --- stem and head: a box for each convolution, pool or linear layer and what follows it


def _draw_ends(sheet: _Sheet, layers: Iterable[Layer]) -> None:
    units: list[list[Layer]] = []
    for layer in layers:
        if layer.kind in ("conv", "linear", "pool") or not units:
            units.append([])
        units[-1].append(layer)
    for unit in units:
        first, *rest = unit
        what = ", ".join((*_what(first), *(layer.kind for layer in rest if layer.kind not in ("identity", "reshape"))))
        cost = _cost(sum(layer.params for layer in unit), sum(layer.macs for layer in unit))
        lines = [f"<b>{first.name}</b> · {what}", " · ".join((_shape(unit[-1].output_shape), *cost))]
        sheet.box(lines, _about_all(unit), _colour(first))


# --- stages and runs


def _opens(stage: Stage, run: Run | None = None) -> str:
    return f"run:{stage.name}.{run.first}" if run else f"stage:{stage.name}"


def _stage_title(stage: Stage) -> str:
    if not stage.runs:
        joins = f", {stage.joins} sums or concatenations" if stage.joins else ""
        return f"<b>Stage {stage.name}</b> · {stage.layers} layers{joins}"
    designs = dict.fromkeys(run.design for run in stage.runs)
    return f"<b>Stage {stage.name}</b> · {' and '.join(designs)} x {stage.blocks}"


def _about_stage(stage: Stage) -> list[str]:
    shortcuts = [
        f"{sum(run.count for run in runs)} x {kind} shortcut" if kind != "none" else "no shortcuts"
        for kind, runs in groupby(stage.runs, lambda run: run.shortcut)
    ]
    return [_stage_title(stage), *shortcuts, f"in: {_shape(stage.input_shape)}", *_full(stage)]


def _run_title(run: Run) -> str:
    times = f", x {run.count}" if run.count > 1 else ""
    return f"<b>{_blocks(run).capitalize()}</b>{times}"


def _about_run(stage: Stage, run: Run) -> list[str]:
    shortcut = "no shortcut" if run.shortcut == "none" else f"shortcut: {SHORTCUT_STYLES[run.shortcut][2]}"
    lines = [f"<b>Stage {stage.name}, {_blocks(run)}</b>: {run.design}", shortcut]
    if run.count == 1:
        return [*lines, *_full(run)]
    each = f"each: {' · '.join(_cost(run.block_params, run.block_macs, exact))}"
    return [*lines, f"out: {_shape(run.output_shape)}", each, f"all: {' · '.join(_cost(run.params, run.macs, exact))}"]


def _draw_stage(sheet: _Sheet, stage: Stage) -> None:
    """A closed stage, with an arc for each kind of shortcut in a row."""
    numbers = " · ".join((_shape(stage.output_shape), *_cost(stage.params, stage.macs)))
    if not stage.runs:
        sheet.box([_stage_title(stage), numbers], _about_stage(stage), ACCENT)
        return
    arcs = [(kind, sum(run.count for run in runs)) for kind, runs in groupby(stage.runs, lambda run: run.shortcut)]
    lines, about = [f"+ {_stage_title(stage)}", numbers], [*_about_stage(stage), "click to open"]
    box = sheet.box(lines, about, ACCENT, _opens(stage), least=_ARC * len(arcs))
    part = (box.bottom - box.top) / len(arcs)
    for number, (kind, count) in enumerate(arcs):
        _draw_arc(sheet, kind, count, box.top + part * number, box.top + part * (number + 1))


def _draw_open_stage(sheet: _Sheet, stage: Stage, open_block: int | None) -> None:
    sheet.box([f"- {_stage_title(stage)}"], [*_about_stage(stage), "click to close"], ACCENT, _opens(stage))
    for run in stage.runs:
        if open_block is not None and run.first <= open_block <= run.last:
            _draw_open_run(sheet, stage, run)
        else:
            times = f"{run.count} x " if run.count > 1 else ""
            numbers = (f"{times}{cost}" for cost in _cost(run.block_params, run.block_macs))
            lines = [f"+ {_run_title(run)}", " · ".join((_shape(run.output_shape), *numbers))]
            box = sheet.box(lines, [*_about_run(stage, run), "click to open"], SKY, _opens(stage, run))
            _draw_arc(sheet, run.shortcut, run.count, box.top, box.bottom)


def _draw_arc(sheet: _Sheet, kind: ShortcutKind, count: int, top: float, bottom: float) -> None:
    """Half an ellipse past the left side of a box, and of how many blocks each has one."""
    if kind == "none":
        return
    reach = 0.065
    sheet.skip(kind, _half_ellipse(_LEFT, top + 2, bottom - 2, reach))
    if count > 1:
        sheet.label(_LEFT - reach - 0.005, (top + bottom) / 2, f"x{count}", "right")


def _half_ellipse(x: float, top: float, bottom: float, reach: float) -> _Path:
    """From (x, top) to the left and back to (x, bottom)."""
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    angles = (math.pi * step / 32 for step in range(33))
    return [(x - reach * math.sin(angle), middle - half * math.cos(angle)) for angle in angles]


# --- the layers of one block

_SIDE = (0.0, 0.36)  # where the shortcut's own layers stand
_MAIN = (0.44, 1.0)


def _draw_open_run(sheet: _Sheet, stage: Stage, run: Run) -> None:
    """The layers of one block: the main branch at the right; at its left the shortcut, from its fork to the sum."""
    title = [f"- {_run_title(run)}", *(["the layers of one of them"] if run.count > 1 else [])]
    sheet.box(title, [*_about_run(stage, run), "click to close"], SKY, _opens(stage, run))
    parts = [list(part) for _, part in groupby(run.main, lambda layer: inside(layer.name).split(".")[0])]
    sums = [number for number, part in enumerate(parts) if is_sum(part[0])]
    forks: list[float] = []  # above each layer of the main branch
    for part in parts[: sums[-1]] if sums else parts:
        forks += [sheet.bottom + _GAP / 2] * len(part)
        _draw_part(sheet, part)
    if sums:
        _draw_shortcut(sheet, run, parts[sums[-1]], forks)
        for part in parts[sums[-1] + 1 :]:
            _draw_part(sheet, part)


def _draw_part(sheet: _Sheet, part: list[Layer], top: float = 0.0) -> _Box:
    """A layer of the main branch, or a module of several such as squeeze-excitation."""
    name = inside(part[0].name)
    params, macs = sum(layer.params for layer in part), sum(layer.macs for layer in part)
    cost = _cost(params, macs)
    if len(part) > 1:
        name = name.split(".")[0]
        lines = [f"<b>{name}</b> · {len(part)} layers", *([" · ".join(cost)] if cost else [])]
    elif part[0].kernel:
        what, *more = _what(part[0])
        lines = [f"<b>{name}</b> · {what}", " · ".join(filter(None, (", ".join(more), _shape(part[0].output_shape))))]
        lines += [" · ".join(cost)] if cost else []
    else:
        what = "" if name == part[0].kind else part[0].kind
        lines = [" · ".join(filter(None, (f"<b>{name}</b>", what, *cost)))]
    return sheet.box(lines, _about_all(part), _colour(part[-1]), sides=_MAIN, top=top)


def _draw_shortcut(sheet: _Sheet, run: Run, joint: list[Layer], forks: list[float]) -> None:
    """The shortcut from its fork, through layers of its own and past the gate, to the sum."""
    trunk, lane, between = _centre(_MAIN), _centre(_SIDE), (_SIDE[1] + _MAIN[0]) / 2
    kind, fork = run.shortcut, forks[run.leaves]
    texts = [_side_lines(layer) for layer in run.side]
    needed = sum(_height(lines) + _GAP for lines in texts)
    floor = max(sheet.bottom, fork + needed)  # of both branches
    path = [(trunk, fork), (lane, fork)]
    top = fork + (floor - fork - needed) / 2 + _GAP
    for layer, lines in zip(run.side, texts, strict=True):
        box = sheet.put(lines, _about(layer), _colour(layer), sides=_SIDE, top=top)
        sheet.skip(kind, [*path, (lane, box.top)])
        path, top = [(lane, box.bottom)], box.bottom + _GAP
    if run.gate:
        gate = _draw_gate(sheet, run.gate, floor + _GAP)
        sheet.skip(kind, [*path, (lane, gate.top)])
        if run.side:  # the gate itself reads the block's input
            sheet.skip(kind, [(trunk, forks[0]), (between, forks[0]), (between, gate.top)])
        path = [(lane, gate.bottom)]
    total = _draw_part(sheet, joint, floor + _GAP)
    if run.side or run.gate:
        sheet.skip(kind, [*path, (lane, total.middle), (_MAIN[0], total.middle)])
    else:
        sheet.skip(kind, [(trunk, fork), *_half_ellipse(_MAIN[0], fork, total.middle, _MAIN[0] - lane)])


def _side_lines(layer: Layer) -> list[str]:
    """A layer of the shortcut, in a narrow box."""
    lines = [f"<b>{inside(layer.name)}</b>", ", ".join(_what(layer))]
    if layer.output_shape != layer.input_shape:
        lines.append(_shape(layer.output_shape))
    return lines + _cost(layer.params, layer.macs)


def _draw_gate(sheet: _Sheet, gate: tuple[Layer, ...], top: float) -> _Box:
    """The gate as one box across both branches; one that multiplies twice weighs both."""
    both = sum(layer.kind == "multiply" for layer in gate) > 1
    weighs = "branch x T, shortcut x (1 - T)" if both else "shortcut x (1 - T)"
    cost = _cost(sum(layer.params for layer in gate), sum(layer.macs for layer in gate))
    lines = [f"<b>gate</b> · {weighs}", f"T by {', '.join(_what(gate[0]))} of the block's input", " · ".join(cost)]
    return sheet.box(lines, _about_all(gate), _colour(gate[0]), sides=(_SIDE[0], _MAIN[1]), top=top)


# --- volumes

_WIDE = 342.0  # of the drawing, in its own points: what a telephone has pixels for
_NAMES = 140.0  # of them for the names at the left
_LARGEST_SIDE, _LARGEST_DEPTH = 110.0, 160.0  # points for the largest height or width, and for the most channels
_RECEDES = 0.5 * math.sqrt(0.5)  # points to the right and up for a point of width: cabinet projection
_LEAST = 1.5  # points; what would be drawn thinner could not be seen


def volume_chart(outline: Outline) -> go.Figure:
    """The feature maps on the way through the network, to scale: a solid for each shape that differs from the last.

    Height is upwards, channels to the right, and width recedes at half its length (cabinet projection). Heights and
    widths share one scale, channels have another; a bar of each stands below. What would be too thin to see is drawn
    as a line and marked with a star.
    """
    steps = volumes(outline)
    side = _LARGEST_SIDE / max(max(volume.shape[1:]) for volume in steps)  # points a pixel
    depth = _LARGEST_DEPTH / max(volume.shape[0] for volume in steps)  # points a channel
    solids = [_Solid.of(volume, side, depth) for volume in steps]
    shapes: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    rows: list[tuple[float, float]] = []  # middle and height
    top = 0.0
    for volume, solid in zip(steps, solids, strict=True):
        channels, height, width = volume.shape
        names = textwrap.wrap(", ".join(volume.names), 20)
        numbers = f"{height}x{width}x{channels}{'*' if solid.thickened else ''}"
        tall = max(_LINE * (len(names) + 1), solid.tall) + 8
        shapes += solid.faces(_NAMES, top + tall / 2)
        labels.append(_note(0, top + tall / 2, f"<b>{'<br>'.join(names)}</b><br>{numbers}"))
        rows.append((top + tall / 2, tall))
        top += tall
    bottom = _draw_scales(shapes, labels, top + 12, side, depth)
    labels.append(_note(0, bottom + 12, "The width recedes at half its length."))
    if any(solid.thickened for solid in solids):
        labels.append(_note(0, bottom + 28, "* too thin to see, drawn as a line"))
    bottom += 36
    axis = {"visible": False, "fixedrange": True, "constrain": "domain"}
    return go.Figure(
        go.Bar(  # unseen, for the pointer to find
            orientation="h",
            x=[_WIDE] * len(rows),
            y=[middle for middle, _ in rows],
            width=[tall for _, tall in rows],
            marker={"color": "rgba(0, 0, 0, 0)", "line": {"width": 0}},
            hovertext=[_about_volume(volume, solid) for volume, solid in zip(steps, solids, strict=True)],
            hoverinfo="text",
        ),
        layout(
            round(bottom) + 48,
            dragmode=False,
            hovermode="closest",
            hoverlabel={"align": "left"},
            xaxis={"range": [0, _WIDE], "constraintoward": "left", **axis},
            yaxis={"range": [bottom, 0], "scaleanchor": "x", "constraintoward": "top", **axis},
            shapes=shapes,
            annotations=labels,
        ),
    )


@dataclass(frozen=True)
class _Solid:
    """A volume in points of the drawing."""

    depth: float
    height: float
    back: float  # how far the far edge lies to the right and up
    thickened: tuple[str, ...]  # what of it is drawn thicker than to scale

    @classmethod
    def of(cls, volume: Volume, side: float, depth: float) -> "_Solid":
        channels, height, width = volume.shape
        thin = tuple(
            f"{name} ({count})"
            for name, count, size in (("channels", channels, channels * depth), ("height", height, height * side))
            if size < _LEAST
        )
        return cls(max(channels * depth, _LEAST), max(height * side, _LEAST), width * side * _RECEDES, thin)

    @property
    def tall(self) -> float:
        return self.height + self.back

    def faces(self, left: float, middle: float) -> list[dict[str, Any]]:
        """Front, top and right side, for Plotly's shapes."""
        near, low, far = left + self.depth, middle + self.tall / 2, self.back
        high = low - self.height
        corners = {
            ACCENT: [(left, low), (near, low), (near, high), (left, high)],
            SKY: [(left, high), (near, high), (near + far, high - far), (left + far, high - far)],
            DEEP: [(near, low), (near + far, low - far), (near + far, high - far), (near, high)],
        }
        return [
            {
                "type": "path",
                "path": "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in face) + "Z",
                "fillcolor": colour,
                "line": {"color": colour, "width": 0.5},
            }
            for colour, face in corners.items()
        ]


def _about_volume(volume: Volume, solid: _Solid) -> str:
    channels, height, width = volume.shape
    lines = [
        f"<b>{', '.join(volume.names)}</b>",
        f"height {height}, width {width}, channels {exact(channels)}",
        f"{exact(math.prod(volume.shape))} numbers",
        *(f"* too thin to see at this scale, drawn as a line: {what}" for what in solid.thickened),
    ]
    return "<br>".join(lines)


def _draw_scales(
    shapes: list[dict[str, Any]], labels: list[dict[str, Any]], top: float, side: float, depth: float
) -> float:
    """A bar of each scale; where the lower one ends."""
    pixels, channels = _round_number(50 / side), _round_number(90 / depth)
    tall, long = pixels * side, channels * depth
    low = top + max(tall, 30)
    for x, y, to_x, to_y in ((4, low - tall, 4, low), (_NAMES, low - 4, _NAMES + long, low - 4)):
        line = {"color": OTHER_COLOUR, "width": 3}
        shapes.append({"type": "line", "x0": x, "y0": y, "x1": to_x, "y1": to_y, "line": line})
    labels.append(_note(12, low - tall / 2, f"{pixels} pixels of<br>height or width"))
    labels.append(_note(_NAMES, low - 16, f"{channels} channels"))
    return low


def _note(x: float, y: float, text: str) -> dict[str, Any]:
    place = {"x": x, "y": y, "xanchor": "left", "yanchor": "middle", "align": "left", "xshift": 0}
    return {**place, "text": text, "showarrow": False}


def _round_number(most: float) -> int:
    """The largest of 1, 2, 5, 10, 20 ... up to a number, and at least 1.

    >>> _round_number(119), _round_number(70), _round_number(0.3)
    (100, 50, 1)
    """
    power = 10 ** max(0, math.floor(math.log10(max(most, 1))))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= max(most, 1))
