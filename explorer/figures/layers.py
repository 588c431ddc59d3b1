"""Where the parameters, the arithmetic and the memory of a network are."""

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import COLUMN_TITLES, KIND_COLOURS, OTHER_COLOUR, style


def stage_chart(table: pd.DataFrame, column: str) -> go.Figure:
    """Bars of a column of the layer table by stage, divided by kind of layer.

    Args:
        table: from `layer_table`.
        column: "params", "macs" or "activation_bytes".
    """
    stages = list(dict.fromkeys(table["stage"]))
    sums = table.pivot_table(index="stage", columns="kind", values=column, aggfunc="sum", fill_value=0).reindex(stages)
    found: set[str] = set(table["kind"])
    kinds = [kind for kind in (*KIND_COLOURS, *sorted(found - set(KIND_COLOURS))) if kind in sums and sums[kind].any()]
    figure = go.Figure(
        [
            go.Bar(
                x=stages,
                y=sums[kind].tolist(),
                name=kind,
                marker_color=KIND_COLOURS.get(kind, OTHER_COLOUR),
                hovertemplate=f"%{{x}}, {kind}: %{{y:,}}<extra></extra>",
            )
            for kind in kinds
        ]
    )
    style(figure, 320, barmode="stack", title={"text": COLUMN_TITLES[column], "font": {"size": 15}})
    figure.update_xaxes(title=None, type="category")
    return figure.update_yaxes(title=None, tickformat="~s")
