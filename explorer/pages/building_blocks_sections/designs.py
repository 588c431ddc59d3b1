"""What the panels draw alike: their controls, and two designs of one job side by side."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.analysis.cost import Comparison, Quantity, design_table
from explorer.export.tables import csv, readable_table
from explorer.figures.building_blocks import layers_chart, schematic_chart
from explorer.figures.theme import config, exact, short
from explorer.pages import edge, parts

_CONTROL, _METRIC = 130, 165  # pixels: two controls or two numbers stand side by side on a telephone
_RATIO = 230
WIDE = 276  # two controls and the gap between


def number(
    label: str,
    key: str,
    default: int,
    low: int,
    high: int,
    about: str,
    *,
    step: int = 1,
    width: int = _CONTROL,
    on_change: Callable[[], None] | None = None,
) -> int:
    """A whole number that outlives a page switch."""
    st.session_state.setdefault(key, default)
    return st.number_input(
        label,
        low,
        high,
        step=step,
        key=key,
        persist_state="session",
        width=width,
        on_change=on_change,
        help=f"{about} {exact(low)} to {exact(high)}.",
    )


@contextmanager
def panel(title: str) -> Iterator[DeltaGenerator]:
    """A panel: gives the place of its controls, at the left or on a telephone above; all else stands beside.

    What cannot be done is a sentence there, and the controls stay.
    """
    st.subheader(title, anchor=False)
    left, results = st.columns([1, 3], gap="large")
    with results, edge.sentences():
        yield left.container(horizontal=True)


def figure(label: str, value: int, unit: str, about: str) -> None:
    """A number, short, and in full below."""
    st.metric(
        label,
        short(value),
        f"{exact(value)} {unit}",
        delta_color="off",
        delta_arrow="off",
        width=_METRIC,
        help=about,
    )


def times(label: str, ratio: Fraction, about: str) -> None:
    """A ratio in four digits, and as a fraction below."""
    st.metric(
        label,
        f"{float(ratio):.4g} times",
        f"exactly {exact(ratio.numerator)} / {exact(ratio.denominator)}",
        delta_color="off",
        delta_arrow="off",
        width=_RATIO,
        help=about,
    )


WEIGHTS = "Weights of the convolutions and linear layers, with the biases that they have; norms are not counted."
MACS = "Multiply-accumulates for one input; FLOPs are twice as many."


def headline(comparison: Comparison, *quantities: Quantity) -> None:
    """Each quantity of both designs, and how many times as much the usual one has."""
    for quantity in quantities:
        unit, about = ("weights", WEIGHTS) if quantity == "weights" else ("MACs", MACS)
        ratio = comparison.weight_ratio if quantity == "weights" else comparison.mac_ratio
        with st.container(horizontal=True):
            for design in (comparison.proposed, comparison.usual):
                figure(design.name, getattr(design, quantity), unit, about)
            times(f"Ratio of the {unit}", ratio, f"The {unit} of {comparison.usual.name} for one of the other design.")


def drawings(comparison: Comparison, name: str) -> None:
    """Both designs as boxes and arrows, side by side, or one below the other on a telephone."""
    designs = (comparison.proposed, comparison.usual)
    for column, design, side in zip(st.columns(2), designs, ("proposed", "usual"), strict=True):
        column.plotly_chart(
            schematic_chart(design),
            key=f"{name}_{side}_drawing",
            config=config(f"{name}_{side}"),
            alt=f"{design.name} from top to bottom; its layers are in the table below",
        )


def bars(comparison: Comparison, name: str, quantity: Quantity) -> None:
    """What each layer of both designs costs."""
    st.plotly_chart(
        layers_chart(comparison, quantity),
        key=f"{name}_{quantity}_chart",
        config=config(f"{name}_{quantity}"),
        alt=f"{quantity} of each layer of {comparison.proposed.name} and {comparison.usual.name}; the table has them",
    )


def sums(comparison: Comparison, quantity: Quantity) -> None:
    """The sum behind each design's number, with the numbers filled in."""
    unit = "weights" if quantity == "weights" else "MACs"
    lines = [f"{design.name}: {design.formula(quantity)} {unit}" for design in (comparison.proposed, comparison.usual)]
    st.code("\n".join(lines), language=None, wrap_lines=True)


def table(comparison: Comparison, name: str) -> None:
    """Every layer of both designs, with a file."""
    content = design_table(comparison)
    columns = {
        **parts.COLUMNS,
        "design": st.column_config.TextColumn(help="Which of the two designs the layer belongs to."),
    }
    parts.table(readable_table(content), f"{name}_table", column_config=columns)
    parts.download(
        "Layers as CSV", csv, content, f"{name}.csv", "text/csv", "The layers of both designs, for a spreadsheet."
    )
