"""Deeper or wider at the same cost, on the Build page."""

from typing import get_args

import streamlit as st

from explorer.analysis.budget import PERCENT, BudgetError, Proposal, Quantity, proposal_table, proposals
from explorer.export.tables import csv
from explorer.figures.budget import budget_chart
from explorer.figures.theme import QUANTITIES, config, exact, short
from explorer.jobs import Progress
from explorer.pages import cached, parts, runs, sidebar
from explorer.spec import MAX_MACS, ResNetSpec

_MILLION = 10**6


def show(spec: ResNetSpec, name: str) -> None:
    """Nets of the same kind that meet a budget, and a way to take one of them over into the controls.

    Args:
        spec: the net whose kind and proportions they have, and which is marked among them.
        name: for the files that are saved.

    Raises:
        BudgetError: no net of this kind meets the budget.
    """
    totals = cached.layers(spec).totals
    left, right = st.columns(2)
    quantity: Quantity = left.segmented_control(
        "Budget of",
        get_args(Quantity),
        default="macs",
        required=True,
        format_func=lambda quantity: QUANTITIES[quantity],
        key="budget_quantity",
        persist_state="session",
        help="What the nets shall have alike: multiply-accumulates for one image, or weights and biases.",
    )
    unit = "MACs" if quantity == "macs" else "parameters"
    key = f"budget_{quantity}"
    own: int = getattr(totals, quantity)
    _follow(key, own / _MILLION)
    millions: float = right.number_input(
        f"Millions of {unit}",
        1 / _MILLION,
        MAX_MACS / _MILLION,
        step=10.0 ** (len(str(own)) - 2) / _MILLION,
        format="%.6g",
        key=key,
        persist_state="session",
        help=f"The budget: 4,000 is 4 billion. It is what this net has, {exact(own)}, and follows the net until you "
        "change it.",
    )
    budget = round(millions * _MILLION)
    question = (spec, quantity, budget)
    found = runs.outcome("budget_run", question, lambda progress: _search(*question, progress))
    if found is None:
        return
    if isinstance(found, str):
        raise BudgetError(found)
    st.caption(
        f"Nets of this kind within {PERCENT}% of {exact(budget)} {unit}, the stages in this net's proportions: "
        + " to ".join(dict.fromkeys(map(_ends, (found[0], found[-1]))))
        + "."
    )
    table = proposal_table(found)
    labels = {
        f"{depths} blocks · depth {depth} · width {width}": proposal
        for depths, depth, width, proposal in zip(table.depths, table.depth, table.width, found, strict=True)
    }
    table_key = f"budget_table_{hash(question)}"  # a new one for new rows, else the old selection would stay
    st.dataframe(
        table,
        key=table_key,
        on_select=lambda: _pick(table_key, list(labels)),
        selection_mode="single-row",
        hide_index=True,
        height="content",
        column_order=("depth", "width", "depths", "macs", "params", "activation_bytes", "difference"),
        column_config={
            "depth": st.column_config.NumberColumn(
                format="localized", help="Convolutions and linear layers on the main path, as the papers count."
            ),
            "width": st.column_config.NumberColumn(
                help="Channels of stage 1 before a bottleneck's expansion; where each stage has its own width, all "
                "are scaled with it. A multiple of 8 from 32 on, where one meets the budget."
            ),
            "depths": st.column_config.TextColumn("blocks", help="How many blocks each stage repeats."),
            **{column: parts.COLUMNS[column] for column in ("macs", "params", "activation_bytes")},
            "difference": st.column_config.NumberColumn(
                "off budget, %", format="%+.2f", help=f"How far it is from the budget: {PERCENT}% at most."
            ),
        },
    )
    choice, button = st.columns([3, 1], vertical_alignment="bottom")
    chosen = labels[
        choice.selectbox(
            "Net",
            list(labels),
            index=next((number for number, proposal in enumerate(found) if proposal.spec == spec), 0),
            key="budget_pick",
            help="One of the rows above; a click at the left of a row chooses it too.",
        )
    ].spec
    button.button(
        "Use this net",
        on_click=_use,
        args=[chosen, key],
        disabled=chosen == spec,
        icon=":material/tune:",
        width="stretch",
        help="Set the sidebar's controls to it. The next proposals then have its proportions; the sidebar's 'Back to "
        "the preset' undoes it. Grey where the controls say this net already.",
    )
    st.plotly_chart(
        budget_chart(table, spec, totals),
        key="budget_chart",
        config=config(f"{name}_budget"),
        alt="Width against depth of the nets in the table, labelled with their activation memory; this net is marked",
    )
    st.caption(
        "Labels and areas: activation memory for one image. Counts do not say which net classifies better; on CIFAR "
        "Zagoruyko & Komodakis (2016, arXiv 1605.07146) found a 16-layer wide residual net more accurate than "
        "thousand-layer thin ones."
    )
    parts.download(
        "Proposals as CSV", csv, table, f"{name}_budget_{quantity}.csv", "text/csv", "The table, for a spreadsheet."
    )


def _search(spec: ResNetSpec, quantity: Quantity, budget: int, progress: Progress) -> list[Proposal] | str:
    """The proposals, or why there are none: as a result, since a run that failed would be offered again."""
    try:
        return proposals(spec, quantity, budget, progress)
    except BudgetError as refusal:
        return str(refusal)


def _ends(proposal: Proposal) -> str:
    spec, totals = proposal.spec, proposal.totals
    return f"{exact(spec.depth)} layers of width {spec.width} with {short(totals.activation_bytes, 'B')} of activations"


def _follow(key: str, own: float) -> None:
    """Set the budget to what the net has, unless the person has set it."""
    state = st.session_state
    if key not in state or state[key] == state.get(f"{key}_followed"):
        state[key] = state[f"{key}_followed"] = own


def _pick(table_key: str, labels: list[str]) -> None:
    """The row that was clicked on becomes the choice."""
    rows = st.session_state[table_key].selection.rows
    if rows:
        st.session_state.budget_pick = labels[rows[0]]


def _use(spec: ResNetSpec, key: str) -> None:
    """Take a net over into the controls; the budget stays as it is."""
    st.session_state[f"{key}_followed"] = None
    sidebar.use(spec)
