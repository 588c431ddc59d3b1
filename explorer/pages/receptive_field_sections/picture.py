"""One unit on a picture: its theoretical field, its effective one, the grid of its map, and all of it through depth."""

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from explorer.analysis.effective import MASS, EffectiveField, by_depth, effective_table
from explorer.analysis.fields import box_of, centre_of, pixels_inside, unit_at, units_of
from explorer.analysis.receptive import Field
from explorer.analysis.rules import Pair
from explorer.errors import Refusal
from explorer.export.tables import csv, npy
from explorer.figures.effective import depth_animation, section_chart, sight_chart
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import parts, pictures, runs
from explorer.pages.edge import plain
from explorer.pages.receptive_field_sections import measuring
from explorer.pages.receptive_field_sections.measuring import Asked, Subject
from explorer.pages.receptive_field_sections.seen import Seen, both, first

_STEPS = 16  # layers of the animation


def show(seen: Seen) -> None:
    """The controls, the figure, and its numbers.

    Raises:
        ImageError: the upload is no picture that can be used. NotMeasured: there is no gradient to measure.
    """
    controls, sight = st.columns([4, 8])
    with controls:
        options = measuring.subjects(seen)
        if st.session_state.get("sight_net") not in options:
            st.session_state["sight_net"] = first(seen)
        key = st.selectbox(
            "Network",
            list(options),
            format_func=options.__getitem__,
            key="sight_net",
            persist_state="session",
            help="One of the networks above with the random weights that it starts from, or a trained one. The "
            "theoretical field does not depend on weights, the effective one does.",
        )
        subject = measuring.subject(seen, key)
        picture = pictures.choose()
    if picture is None:
        sight.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        return
    with controls:
        operator = _layer(subject)
        unit = _unit(subject, operator)
        row = st.container(horizontal=True)
        grid = row.toggle(
            "Units",
            True,
            key="sight_grid",
            persist_state="session",
            help="The centres of the map's units; their distance is the stride. Click one to choose it.",
        )
        through = row.toggle(
            "Through depth",
            key="sight_through",
            persist_state="session",
            help=f"Up to {_STEPS} layers one after the other, at the place of the chosen unit, to be played.",
        )
        effective = row.toggle(
            "Effective field",
            True,
            key="sight_effective",
            persist_state="session",
            help="Measure how much the unit answers to each pixel: the gradient of the unit with respect to the image, "
            "its absolute value, averaged.",
        )
        on = measuring.asked("sight", picture)
    shown = subject.shown(picture.image)
    if through:
        _through(sight, subject, shown, operator, unit, on if effective else None)
    else:
        _one(sight, subject, shown, operator, unit, on if effective else None, grid)


def _one(
    sight: DeltaGenerator,
    subject: Subject,
    shown: Image.Image,
    operator: int,
    unit: Pair,
    on: Asked | None,
    grid: bool,
) -> None:
    """One unit of one layer."""
    name, field, units = subject.profile.graph[operator].name, _field(subject, operator), _units(subject, operator)
    with sight:
        fields = _measured(subject, [operator], [unit], on)
        effective = fields[0] if fields else None
        st.plotly_chart(
            sight_chart(shown, field, units, unit, effective, grid=grid),
            key="sight_chart",
            on_select=_choose,
            selection_mode="points",
            config=config(f"receptive_field_{subject.file_name}_{name}", "png"),
            alt=f"The receptive field of unit {unit[0]}, {unit[1]} of {name} over the picture",
        )
        _numbers(subject, operator, unit, effective)
    if effective is None or on is None:
        return
    seeds = 1 if subject.checkpoint else on.seeds
    weights = "trained weights" if subject.checkpoint else "the weights that it starts from"
    st.caption(
        f"**Effective field** of unit {unit[0]}, {unit[1]} of {name}, with {weights}: the absolute gradient of the "
        "unit (all its channels, mixed with random signs) with respect to each pixel, each image of the same weight, "
        f"averaged over {effective.averaged} gradients on {measuring.ON[on.kind]}{_draws(seeds)}. The dotted line "
        "encloses the smallest region with half of the gradient, the solid one that with 95%, after smoothing; the "
        f"widths above are of the gradient itself. {measuring.STATISTICS} What lies outside the image is "
        "not measured, and a box much larger than the image is not drawn whole."
    )
    st.plotly_chart(
        section_chart(effective),
        key="sight_section",
        config=config(f"effective_field_{subject.file_name}_{name}"),
        alt="The part of the gradient in each row and each column, with the Gaussians fitted to it",
    )
    parts.download(
        "Effective field as NPY",
        npy,
        effective.map,
        f"effective_field_{subject.file_name}_{name}.npy",
        "application/octet-stream",
        "The part of the gradient in each pixel, for numpy.load; 1 in sum.",
    )


def _percent(ratio: float) -> str:
    return f"{ratio:.0%}" if ratio >= 0.1 else f"{ratio:.1%}"


def _draws(seeds: int) -> str:
    return f", {seeds} draws of weights" if seeds > 1 else ""


def _through(
    sight: DeltaGenerator, subject: Subject, shown: Image.Image, operator: int, unit: Pair, on: Asked | None
) -> None:
    """Units of many layers at one place."""
    profile = subject.profile
    steps = by_depth(profile, _STEPS)
    centre = centre_of(_field(subject, operator), unit)
    units = [unit_at(_field(subject, step), _units(subject, step), centre) for step in steps]
    with sight:
        fields = _measured(subject, steps, units, on)
        found = {field.operator: field for field in fields or []}
        st.plotly_chart(
            depth_animation(
                shown,
                [
                    (profile.graph[step].name, _field(subject, step), place)
                    for step, place in zip(steps, units, strict=True)
                ],
                [found.get(step) for step in steps] if fields else None,
            ),
            key="sight_through_chart",
            config=config(f"receptive_fields_{subject.file_name}", "png"),
            alt="The receptive fields of units at one place of the picture, layer after layer",
        )
        st.caption(
            "At each step the unit whose centre is nearest to the one chosen."
            + (" The lines are as for one layer: half of the gradient dotted, 95% solid." if fields else "")
        )
    if fields:
        table = effective_table(profile, fields)
        parts.table(table, "sight_through_table", column_config={**parts.COLUMNS, **measuring.COLUMNS})
        parts.download(
            "Through depth as CSV",
            csv,
            table,
            f"effective_fields_{subject.file_name}.csv",
            "text/csv",
            "A row a layer.",
        )


def _layer(subject: Subject) -> int:
    """The choice of a layer; its operator."""
    table = subject.profile.table.set_index("operator").loc[subject.layers()]
    operators = list(table.index)
    if st.session_state.get("sight_layer") not in operators or st.session_state.get("sight_layer_of") != subject.key:
        st.session_state["sight_layer"] = operators[-1]
        st.session_state["sight_layer_of"] = subject.key
    chosen: int = st.select_slider(
        "Layer",
        operators,
        format_func=lambda operator: f"{table.loc[operator, 'name']} · {table.loc[operator, 'receptive_field']} px",
        key="sight_layer",
        persist_state="session",
        help="Every layer whose units have a local receptive field, in the order of calls. Arrow keys go one further.",
    )
    return chosen


def _units(subject: Subject, operator: int) -> Pair:
    return units_of(subject.profile.graph[operator], _field(subject, operator))


def _unit(subject: Subject, operator: int) -> Pair:
    """The choice of a unit of the layer's map; at another layer the one nearest to the place that was chosen."""
    field, units, state = _field(subject, operator), _units(subject, operator), st.session_state
    before = state.get("sight_unit_of")
    if before != (subject.key, operator):
        known = before is not None and before[0] == subject.key
        middle = units[0] // 2, units[1] // 2
        state["sight_unit_0"], state["sight_unit_1"] = unit_at(field, units, state["sight_point"]) if known else middle
        state["sight_unit_of"] = subject.key, operator
    chosen = []
    for axis, (label, column, count) in enumerate(zip(("Row", "Column"), st.columns(2), units, strict=True)):
        if count == 1:  # a slider needs two
            chosen.append(0)
            continue
        chosen.append(
            column.slider(
                label,
                0,
                count - 1,
                key=f"sight_unit_{axis}",
                on_change=_at_this_place,
                persist_state="session",
                help=f"Of the unit in the map, which has {count} of them; or click a unit in the picture.",
            )
        )
    unit = chosen[0], chosen[1]
    if state.pop("sight_moved", False) or before is None or before[0] != subject.key:
        state["sight_point"] = centre_of(field, unit)  # what other layers follow; their own units' centres are coarser
    return unit


def _at_this_place() -> None:
    """The person chose a unit, and with it a place."""
    st.session_state["sight_moved"] = True


def _choose() -> None:
    """A click on a unit's centre chooses it."""
    points = st.session_state["sight_chart"].selection.points
    if points and (place := points[0].get("customdata")):
        st.session_state["sight_unit_0"], st.session_state["sight_unit_1"] = (int(each) for each in place)
        _at_this_place()


def _field(subject: Subject, operator: int) -> Field:
    field = subject.profile.fields[operator]
    assert field is not None  # others are not offered
    return field


def _measured(
    subject: Subject, operators: list[int], units: list[Pair], on: Asked | None
) -> list[EffectiveField] | None:
    """The effective fields; None if nobody asked, or after drawing how far they are."""
    if on is None:
        runs.cancel("sight_run")
        return None

    def measuring_them(progress: Progress) -> list[EffectiveField]:
        return subject.measured(operators, on, units, progress.report)

    try:
        return runs.outcome("sight_run", (subject.key, tuple(operators), tuple(units), *on.question), measuring_them)
    except Refusal as refusal:  # the theoretical field can be shown all the same
        st.error(plain(str(refusal)), icon=":material/block:")
        return None


def _numbers(subject: Subject, operator: int, unit: Pair, effective: EffectiveField | None) -> None:
    """What is known of the unit, in pixels."""
    field = _field(subject, operator)
    axes = field.height, field.width
    centre = centre_of(field, unit)
    inside = [
        pixels_inside(axis, place, pixels)
        for axis, place, pixels in zip(axes, unit, subject.profile.image, strict=True)
    ]
    row = st.container(horizontal=True)
    row.metric(
        "Field, px",
        both(*box_of(field, unit).size),
        help="Side of the box, what lies outside of the image included.",
    )
    row.metric(
        "Stride, px", both(*(axis.stride for axis in axes)), help="Distance of the centres of neighbouring units."
    )
    row.metric(
        "Centre", f"{centre[0]:g}, {centre[1]:g}", help="Row and column of the pixel that this unit is centred on."
    )
    row.metric("Inside, px", both(*inside), help="Rows and columns of the image in the box.")
    row.metric(
        "Holes",
        both(*(axis.holes for axis in axes)),
        help="Rows and columns in the box that no path leads to.",
    )
    if effective is not None:
        row.metric(
            "Effective, px",
            both(*(f"{width:.0f}" for width in effective.widths)),
            f"{_percent(effective.ratio)} of the field" + ("" if effective.whole else ", cut by the image"),
            delta_color="off",
            delta_arrow="off",
            help=f"Height and width that hold {MASS:.0%} of the gradient, half of the rest cut off at each end"
            + ("." if effective.whole else "; the box leaves the image, so that this is what the image has of it."),
        )
    if field.global_context:
        st.caption("Besides, a gate or norm on the way lets every pixel of the image weigh a little.")
