"""What changed against the preset or a pinned net, and whether a library's weights fit."""

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.changes import change_chart
from explorer.figures.theme import QUANTITIES, config, with_unit
from explorer.pages import cached, parts, sidebar
from explorer.pages.edge import plain
from explorer.spec import PRESETS, ResNetSpec


def show(spec: ResNetSpec, name: str) -> None:
    """The net beside the one it is compared with, stage by stage."""
    row = st.container(horizontal=True, vertical_alignment="bottom")
    pinned = sidebar.pinned()
    against = row.segmented_control(
        "Compare with",
        ["preset", "pinned net"],
        default="preset",
        required=True,
        key="against",
        persist_state="session",
        help="The preset that the controls started from, or the net that you pinned.",
    )
    row.button(
        "Pin this net",
        on_click=sidebar.pin,
        icon=":material/keep:",
        help="Keep the net as it is now, to compare later ones with it. Takes the place of the one pinned before.",
    )
    if against == "pinned net" and pinned is None:
        st.info("Nothing is pinned yet: pin this net, then change it.", icon=":material/keep:")
        return
    preset = sidebar.preset()
    other, label = (pinned, "pinned net") if against == "pinned net" and pinned else (PRESETS[preset], preset)
    fields = spec.differences(other)
    if fields:
        st.markdown(
            f"Changed from {label}: "
            + ", ".join(f"{field} {_value(other, field)} → **{_value(spec, field)}**" for field in fields)
        )
    else:
        st.markdown(f"The same net as {label}.")
    table = cached.changes(spec, other)
    order = ["stage", *(column + end for column in QUANTITIES for end in ("", "_change"))]  # all are in the file
    parts.table(table, "change_table", column_config=_columns(), column_order=order)
    parts.download(
        "Changes as CSV", csv, table, f"{name}_changes.csv", "text/csv", "The table above, for a spreadsheet."
    )
    quantity = st.segmented_control(
        "Draw",
        list(QUANTITIES),
        default="macs",
        required=True,
        format_func=lambda column: QUANTITIES[column],
        key="changes_quantity",
        persist_state="session",
        help="Which of the table's quantities the chart shows.",
    )
    st.plotly_chart(
        change_chart(table, quantity, "this net", label),
        key="change_chart",
        config=config(f"{name}_changes_{quantity}"),
        alt=f"{QUANTITIES[quantity]} of each stage of both nets; the numbers are in the table above",
    )
    _library(spec, preset)


def _library(spec: ResNetSpec, preset: str) -> None:
    st.subheader("Whose weights fit", anchor=False)
    like = cached.likeness(spec, preset)
    fit = cached.fit(spec, like)
    theirs = f"{like.library}'s {like.name} ({fit.params:,} parameters)"
    if like.fields:
        st.markdown(f"Another net than {theirs}: it differs in {', '.join(like.fields)}.")
    else:
        st.markdown(f"The same architecture as {theirs}.")
    if fit.loads:
        wrong = " Yet this net computes something else with those weights." if like.fields else ""
        st.markdown(f"Its state_dict loads: every tensor has the name and the shape of one here.{wrong}")
    elif fit.same_shapes:
        st.markdown("Its tensors have the same shapes under other names; its state_dict loads once they are renamed.")
    else:
        st.markdown("Its state_dict does not load. " + plain(" ".join(fit.mismatches)))


def _value(spec: ResNetSpec, field: str) -> str:
    value = getattr(spec, field)
    if value is None or value == ():
        return "as usual"
    return plain("-".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _columns() -> dict[str, object]:
    columns = {"stage": parts.COLUMNS["stage"]}
    for column in QUANTITIES:
        title = with_unit(column)
        columns[column] = st.column_config.NumberColumn(title, format="localized", help="Of this net.")
        columns[f"{column}_change"] = st.column_config.NumberColumn(
            "change", format="localized", help=f"{title}: this net's less the other's."
        )
    return columns
