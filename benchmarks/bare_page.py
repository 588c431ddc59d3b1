"""A page with the Build page's widgets, charts and tables and nothing behind them: what Streamlit itself costs."""

import pickle
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

st.set_page_config("Bare", layout="wide")


@st.cache_resource
def drawn() -> tuple[list[go.Figure], list[object]]:
    """The Build page's figures and tables for resnet50, made beforehand."""
    figures, tables = pickle.loads(Path(__file__).with_name("bare_page.pickle").read_bytes())
    return [go.Figure(figure) for figure in figures], tables


figures, tables = drawn()
with st.sidebar:
    st.selectbox("Preset", [f"net {number}" for number in range(30)], help="help")
    with st.expander("Blocks", expanded=True):
        st.segmented_control("Block", ["basic", "bottleneck"], default="basic", required=True, help="help")
        st.slider("Stages", 1, 5, 4, help="help")
        values = [st.slider(f"Blocks in stage {stage}", 1, 64, 3, help="help") for stage in (1, 2, 3, 4)]
        for name in ("Width", "Cardinality", "Width per group"):
            st.select_slider(name, range(1, 20), help="help")
        st.segmented_control("Stride on", ["1x1", "3x3"], default="1x1", required=True, help="help")
    for group, (choices, toggles, numbers) in {
        "Shortcuts": (2, 3, 0),
        "Stem": (2, 0, 0),
        "Layers": (3, 0, 0),
        "Input": (0, 0, 4),
    }.items():
        with st.expander(group):
            for number in range(choices):
                st.segmented_control(f"{group} {number}", ["a", "b", "c"], default="a", required=True, help="help")
            for number in range(toggles):
                st.toggle(f"{group} toggle {number}", help="help")
            for number in range(numbers):
                st.number_input(f"{group} {number}", 1, 4096, help="help")
    st.button("Back", help="help")

st.header("Bare", anchor=False)
st.caption("caption")
row = st.container(horizontal=True)
for name in ("Depth", "Parameters", "MACs", "Memory"):
    row.metric(name, sum(values), str(1000 + sum(values)), delta_color="off", delta_arrow="off", width=170, help="help")
for number, (column, figure) in enumerate(zip(st.columns(2), figures, strict=True)):
    column.plotly_chart(figure.update_layout(meta=sum(values)), key=f"chart {number}")
for number, table in enumerate(tables):
    st.subheader(f"Table {number}", anchor=False)
    if number == 1:
        for column, name in zip(st.columns(3), ("Search", "Kind", "Stage"), strict=True):
            if name == "Search":
                column.text_input(name, help="help")
            else:
                column.multiselect(name, ["a", "b"], help="help")
    st.dataframe(table.assign(params=table.params + sum(values)), key=f"table {number}", hide_index=True)
    st.download_button(f"Download {number}", b"data", on_click="ignore", help="help")
st.toggle("Compare", help="help")
