"""Where the parameters, the arithmetic and the memory of a network are."""

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import KIND_COLOURS, OTHER_COLOUR, by_stage, layout


def stage_chart(table: pd.DataFrame, column: str) -> go.Figure:
    """Bars of a column of the layer table by stage, divided by kind of layer.

    Args:
        table: from `layer_table`.
        column: "params", "macs" or "activation_bytes".
    """
    stages = list(dict.fromkeys(table["stage"]))
    sums: dict[str, dict[str, int]] = {}  # by kind, then stage
    for kind, stage, value in zip(table["kind"], table["stage"], table[column], strict=True):
        of_kind = sums.setdefault(kind, dict.fromkeys(stages, 0))
        of_kind[stage] += value
    kinds = [
        kind for kind in (*KIND_COLOURS, *sorted(set(sums) - set(KIND_COLOURS))) if any(sums.get(kind, {}).values())
    ]
    bars = [
        go.Bar(
            x=stages,
            y=list(sums[kind].values()),
            name=kind,
            marker={"color": KIND_COLOURS.get(kind, OTHER_COLOUR)},
            hovertemplate=f"%{{x}}, {kind}: %{{y:,}}<extra></extra>",
        )
        for kind in kinds
    ]
    axes = {"xaxis": {"type": "category"}, "yaxis": {"tickformat": "~s"}}
    return go.Figure(bars, layout(320, by_stage(column), barmode="stack", **axes))
