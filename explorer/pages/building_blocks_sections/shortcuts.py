"""What the shortcut options A, B and C add to a ResNet."""

import pandas as pd
import streamlit as st

from explorer.analysis.cost import published_options, shortcut_options
from explorer.export.tables import csv
from explorer.figures.building_blocks import options_chart
from explorer.figures.theme import config
from explorer.pages import parts, runs, sidebar
from explorer.pages.building_blocks_sections import designs
from explorer.pages.edge import plain
from explorer.spec import PRESETS

HERE = "the net of the Build page"
_COLUMNS = {
    **parts.COLUMNS,
    "option": st.column_config.TextColumn(help="A: zeros for new channels. B: 1x1 where the shape changes. C: always."),
    "projections": st.column_config.NumberColumn(help="1x1 convolutions on shortcuts."),
    "added_params": st.column_config.NumberColumn(
        "added params", format="localized", help="Weights and biases on shortcuts, with the projections' norms."
    ),
    "added_macs": st.column_config.NumberColumn(
        "added MACs", format="localized", help="Multiply-accumulates on shortcuts, for one image."
    ),
    "refusal": st.column_config.TextColumn("why not", help="Why this net cannot have that option."),
    "top1": st.column_config.NumberColumn("top-1 error, %", format="%.2f", help="As the paper prints it."),
    "top5": st.column_config.NumberColumn("top-5 error, %", format="%.2f", help="As the paper prints it."),
}


def show() -> None:
    """Parameters and MACs of each option for a net, and the errors that the papers print."""
    with designs.panel("Shortcut options A, B and C") as controls:
        net = controls.selectbox(
            "Network",
            (HERE, *PRESETS),
            key="blocks_shortcuts_net",
            persist_state="session",
            help="A ResNet preset, or the net as the Build page has it now. Type to search.",
        )
        spec = sidebar.current() if net == HERE else PRESETS[net]
        name = sidebar.preset() if net == HERE else net
        st.caption(f"**{plain(name)}**" + (" as it stands on the Build page" if net == HERE else ""))
        table = runs.outcome("blocks_shortcuts", spec, lambda progress: shortcut_options(spec, progress.report))
        if table is not None:
            _counted(table, name)
        _published()


def _counted(table: pd.DataFrame, name: str) -> None:
    with st.container(horizontal=True):
        for row in table.to_dict("records"):
            if row["refusal"] is None:
                designs.figure(
                    f"Option {row['option']} adds",
                    row["added_params"],
                    "parameters",
                    f"On shortcuts, norms included; {row['projections']} projections.",
                )
    for row in table.to_dict("records"):
        if row["refusal"] is not None:
            st.info(plain(f"Option {row['option']} cannot be: {row['refusal']}"), icon=":material/info:")
    for column, quantity in zip(st.columns(2), ("added_params", "added_macs"), strict=True):
        column.plotly_chart(
            options_chart(table, quantity),
            key=f"shortcuts_{quantity}_chart",
            config=config(f"{name}_{quantity}"),
            alt=f"{quantity} of options A, B and C; the table below has them",
        )
    parts.table(table, "shortcuts_table", column_config=_COLUMNS)
    parts.download("Options as CSV", csv, table, f"{name}_shortcuts.csv", "text/csv", "The table above.")
    st.markdown(
        "A projection from $M$ to $N$ channels has $M N$ weights, and its batch norm $2N$ more. Option A has none: it "
        "takes every other pixel and fills new channels with zeros. B projects where the shape changes, C everywhere."
    )


def _published() -> None:
    st.markdown("**Published errors**")
    errors = published_options()
    parts.table(errors, "shortcuts_published", column_config=_COLUMNS)
    parts.download(
        "Published errors as CSV", csv, errors, "shortcut_errors.csv", "text/csv", "The papers' figures, not ours."
    )
    st.caption(
        "At 34 layers C is the best by a little, which the authors put down to its extra parameters. At 110 layers "
        "on CIFAR-10, 1x1 convolutions on all shortcuts nearly double the error: the second paper finds a higher "
        "training error too, and so a net that is harder to optimise. Both are true."
    )
