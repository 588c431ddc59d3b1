"""Two networks' stages beside each other."""

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import ACCENT, OTHER_COLOUR, by_stage, layout


def change_chart(table: pd.DataFrame, column: str, now: str, before: str) -> go.Figure:
    """Bars of a quantity by stage, of two networks beside each other.

    Args:
        table: from `change_table`.
        column: "params", "macs", "activation_bytes" or "receptive_field".
        now, before: what the networks are called.
    """
    stages = table[table["stage"] != "whole net"]
    bars = [
        go.Bar(
            x=list(stages["stage"]),
            y=[None if pd.isna(value) else int(value) for value in stages[name]],
            name=label,
            marker={"color": colour},
            hovertemplate=f"%{{x}}, {label}: %{{y:,}}<extra></extra>",
        )
        for name, label, colour in ((f"{column}_before", before, OTHER_COLOUR), (column, now, ACCENT))
    ]
    axes = {"xaxis": {"type": "category"}, "yaxis": {"tickformat": "~s"}}
    return go.Figure(bars, layout(320, by_stage(column), barmode="group", **axes))
