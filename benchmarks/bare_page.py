"""A page with the Build page's widgets and chart and nothing behind them: what Streamlit itself costs."""

import pickle
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

st.set_page_config("Bare", layout="wide")


@st.cache_resource
def drawn() -> go.Figure:
    """The Build page's diagram of resnet50, made beforehand."""
    return go.Figure(pickle.loads(Path(__file__).with_name("bare_page.pickle").read_bytes()))


with st.sidebar:
    st.selectbox("Preset", [f"net {number}" for number in range(97)], help="help")
    with st.expander("Blocks", expanded=True):
        st.segmented_control("Block", ["basic", "bottleneck"], default="basic", required=True, help="help")
        st.slider("Stages", 1, 5, 4, help="help")
        values = [st.slider(f"Blocks in stage {stage}", 1, 64, 3, help="help") for stage in (1, 2, 3, 4)]
        for name in ("Width", "Cardinality", "Width per group"):
            st.select_slider(name, range(1, 20), help="help")
        for name in ("Kernel size", "Stride on"):
            st.segmented_control(name, ["1x1", "3x3"], default="1x1", required=True, help="help")
    for group, (choices, stops, toggles, numbers) in {
        "Stage by stage": (5, 0, 1, 0),
        "Shortcuts": (4, 2, 1, 0),
        "Stem": (1, 1, 0, 0),
        "Layers": (5, 0, 1, 0),
        "Training": (1, 3, 1, 0),
        "Input": (0, 0, 0, 4),
    }.items():
        with st.expander(group):
            for number in range(choices):
                st.segmented_control(f"{group} {number}", ["a", "b", "c"], default="a", required=True, help="help")
            for number in range(stops):
                st.select_slider(f"{group} stop {number}", range(1, 12), help="help")
            for number in range(toggles):
                st.toggle(f"{group} toggle {number}", help="help")
            for number in range(numbers):
                st.number_input(f"{group} {number}", 1, 4096, help="help")
    st.button("Back", help="help")

st.header("Bare", anchor=False)
with st.container(horizontal=True):
    st.caption("caption")
    st.caption("badge")
row = st.container(horizontal=True)
for name in ("Depth", "Parameters", "MACs", "Memory", "Field"):
    row.metric(name, sum(values), str(1000 + sum(values)), delta_color="off", delta_arrow="off", width=165, help="help")
st.segmented_control("Section", ["a", "b", "c", "d", "e", "f", "g"], default="a", required=True)
st.segmented_control("Picture", ["a", "b"], default="a", required=True, help="help")
with st.container(width=640):
    st.selectbox("Open", ["nothing", *range(12)], help="help")
    st.plotly_chart(drawn().update_layout(meta=sum(values)), key="chart")
    st.caption("caption")
