"""How long the nets take for an image on this machine."""

from typing import Any

import streamlit as st

from explorer.analysis.latency import Conditions, Device, Speeds, devices, finding, latency_table, measure
from explorer.export.tables import csv, readable_table
from explorer.figures.latency import latency_chart
from explorer.figures.theme import config
from explorer.pages import parts, runs
from explorer.pages.compare_sections.compared import Compared
from explorer.pages.edge import plain

BATCHES = {"cpu": (1, 2, 4, 8, 16, 32), "cuda": (1, 4, 16, 64, 256)}
KEPT = 8  # results of a session

_DEVICES: dict[Device, str] = {"cpu": "processor", "cuda": "GPU"}

_COLUMNS: dict[str, Any] = {
    **parts.COLUMNS,
    "net": st.column_config.TextColumn(help="Its name on this page.", pinned=True),
    "median_ms": st.column_config.NumberColumn(
        "median, ms", format="%.4g", help="Milliseconds for one image: half of the passes were faster."
    ),
    "quartile1_ms": st.column_config.NumberColumn(
        "1st quartile, ms", format="%.4g", help="A quarter of the passes were faster."
    ),
    "quartile3_ms": st.column_config.NumberColumn(
        "3rd quartile, ms", format="%.4g", help="A quarter of the passes were slower."
    ),
    "least_ms": st.column_config.NumberColumn("least, ms", format="%.4g", help="The fastest pass."),
    "images_per_second": st.column_config.NumberColumn("images/s", format="%.4g", help="Batch divided by the median."),
    "gmacs_per_second": st.column_config.NumberColumn(
        "GMAC/s",
        format="%.4g",
        help="10⁹ multiply-accumulates of convolutions and linear layers a second, at the median.",
    ),
    "passes": st.column_config.NumberColumn(help="How many passes were timed."),
}

NOTE = """
The nets have random weights; what they compute does not change the time. Forward passes as in use: eval mode, no
gradients, float32, PyTorch's own kernels one by one, without compiling. All nets take turns, so that a slow moment of
the machine meets all: one timed pass a round, behind an untimed one that fills the caches (where a pass takes less than
0.5 s), for 2 s a net, at least 5 rounds and at most 100. Nets that need more than the memory allows take turns in
groups. MACs leave out what also takes time: fetching weights and activations from memory, norms, activations and pools,
starting each kernel. Depthwise convolutions do few MACs for what they fetch.
"""
BUSY = """
Others may use this server at the same time: then all times are too long, and the spread is wide. Measure again in a
quiet moment, and compare only times of one measurement.
"""
TF32 = """
On a GPU the time includes starting the kernels; PyTorch may round what goes into convolutions there to TF32's 10 bits.
"""


def show(compared: Compared) -> None:
    """Time against MACs, measured when asked; the results of this session are kept, by nets and settings."""
    nets, image_size = compared.counted, compared.image_size
    device, batch = _settings()
    question = (tuple(nets.items()), device, batch, image_size)
    kept: dict[Any, Speeds] = st.session_state.setdefault("speed_results", {})
    st.button(
        "Measure",
        on_click=_ask,
        args=[question],
        key="speed_measure",
        type="primary",
        icon=":material/timer:",
        help="Build these nets with random weights and time their forward passes: some seconds for each net. Press "
        "again to measure again.",
    )
    asked = st.session_state.get("speed_asked")
    if question not in kept:
        if asked is None or asked[0] != question:
            st.caption("These nets are not measured with these settings yet.")
            return
        speeds = runs.outcome(
            "speed_run", asked, lambda progress: measure(nets, device, batch, image_size, progress.report)
        )
        if speeds is None:
            return
        kept[question] = speeds
        for old in list(kept)[:-KEPT]:
            del kept[old]
    _result(kept[question])


def leave() -> None:
    """Stop a measurement that nobody looks at any more, as others wait; it is asked for anew."""
    if runs.cancel("speed_run"):
        del st.session_state.speed_asked


def _settings() -> tuple[Device, int]:
    """Device and batch."""
    row = st.container(horizontal=True, vertical_alignment="bottom")
    device: Device = "cpu"
    if len(devices()) > 1:
        device = row.segmented_control(
            "Device",
            devices(),
            default="cpu",
            required=True,
            format_func=_DEVICES.__getitem__,
            key="speed_device",
            persist_state="session",
            help="What the nets run on: this server's processor or its GPU.",
        )
    batch = row.segmented_control(
        "Batch, images",
        BATCHES[device],
        default=1,
        required=True,
        key=f"speed_batch_{device}",
        persist_state="session",
        help="Images in one pass. One is what a single user waits for; with more, each weight is fetched once for all.",
    )
    if len(devices()) == 1:
        st.caption("This machine has no GPU that PyTorch can use: the nets run on its processor.")
    return device, batch


def _ask(question: Any) -> None:
    """Measure, also where it was measured before: a new asking is a new run."""
    count = st.session_state.get("speed_asked", (None, 0))[1]
    st.session_state.speed_asked = (question, count + 1)
    st.session_state.speed_results.pop(question, None)


def _result(speeds: Speeds) -> None:
    for name, sentence in speeds.refused:
        st.warning(plain(f"{name} was not measured: {sentence}"), icon=":material/block:")
    if not speeds.latencies:
        return
    table = latency_table(speeds)
    if said := finding(table):
        st.markdown(f"**{plain(said)}**")
    st.plotly_chart(
        latency_chart(table),
        key="speed_chart",
        config=config("inference_speed"),
        alt="Milliseconds for an image, median and quartiles, against multiply-accumulates, a point a net",
    )
    parts.table(readable_table(table), "speed_table", column_config=_COLUMNS)
    parts.download(
        "Speeds as CSV", csv, table, "inference_speed.csv", "text/csv", "The table above, for a spreadsheet."
    )
    st.caption(_where(speeds.conditions, speeds.batch))
    st.caption(NOTE + (TF32 if speeds.conditions.device == "cuda" else "") + BUSY)


def _where(conditions: Conditions, batch: int) -> str:
    """What it was measured on, in a line."""
    cores = f"{conditions.threads} of {conditions.cores} cores, "
    said = [
        f"Measured {conditions.started:%H:%M UTC on %d %B %Y}",
        (cores if conditions.device == "cpu" else "") + plain(conditions.processor),
        f"PyTorch {plain(conditions.torch_version)}",
        f"float32, batch {batch}",
    ]
    if conditions.load is not None:
        said.append(f"{conditions.load:.1f} processes running or waiting, on average in the minute before")
    return " · ".join(said)
