"""Recorded runs: trained once on CIFAR-10, replayed here beside what the paper prints."""

from collections.abc import Sequence

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.recorded import replay_chart
from explorer.figures.theme import config
from explorer.figures.training import CURVES
from explorer.pages import parts
from explorer.pages.edge import plain
from explorer.training import published, shipped
from explorer.training.shipped import Net, Shipped

_FIRST = ("plain-20", "plain-56", "ResNet-20", "ResNet-56")  # shown where they are recorded

FIGURE_6 = """
**What figure 6 of He et al. 2015 shows** ([arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.2), training
error and test error over 64,000 steps on CIFAR-10:

- *Plain nets* of 20, 32, 44 and 56 layers: the deeper, the higher the training error. The error of plain-110 is above
  60% and not drawn. The paper prints no other number for plain nets on CIFAR-10, so none stands here either.
- *ResNets* of 20 to 110 layers overcome this, and the deeper ones are the more accurate; table 6 has their test errors.
- *ResNet-1202* reaches a training error below 0.1% and a test error of 7.93%, more than ResNet-110's 6.43%.
"""

HOW = """
The error on the batches is counted as the net learns: in training mode, on pictures that are shifted and mirrored, each
batch before its own update, a mean since the last record. The errors on training and test set are measured in between,
on some pictures as they are, in eval mode, where early in a run batch norm's running means lag behind the weights and
the loss of a deep net may be huge; at the end the test error is measured on all test pictures. Each channel is
normalised to mean 0 and deviation 1, where the paper takes off the mean of each pixel. The norm is that of the loss's
gradient with respect to a block's output, over the last batch before the record; the first block is nearest to the
picture.
"""


def show() -> None:
    """The replay, our numbers beside the paper's, and every run with its file.

    Raises:
        ShippedError: nothing is recorded. RecordedError: a file is no recorded run.
    """
    st.subheader("Recorded runs", anchor=False)
    nets = shipped.nets(shipped.shipped())
    for sentence in published.shortness(nets):
        st.info(plain(sentence), icon=":material/timer:")
    _replay(nets)
    st.markdown("**Beside the paper**")
    _beside(nets)
    st.markdown("**Every recorded run**")
    _runs(nets)


def _replay(nets: Sequence[Net]) -> None:
    """The chart that plays, of the nets that are chosen."""
    titles = [net.title for net in nets]
    first = [title for title in _FIRST if title in titles]
    wanted = first or titles[:4]
    st.session_state["recorded_nets"] = [
        title for title in st.session_state.get("recorded_nets", wanted) if title in titles
    ]
    chosen = st.multiselect(
        "Nets",
        titles,
        key="recorded_nets",
        persist_state="session",
        wrap=True,
        help="The nets that were recorded. Where a net has several seeds the line is their median, the band reaches "
        "from the lowest to the highest.",
    )
    row = st.container(horizontal=True, vertical_alignment="bottom")
    quantity = row.selectbox(
        "Quantity",
        list(CURVES),
        index=list(CURVES).index("batch_error"),
        format_func=lambda name: CURVES[name][0],
        key="recorded_quantity",
        persist_state="session",
        width=300,
        help="What the upper chart draws. The paper's figure 6 has the errors.",
    )
    log = row.toggle(
        "Logarithmic",
        key="recorded_log",
        persist_state="session",
        help="A logarithmic axis for the upper chart; the gradient norms have one anyhow.",
    )
    if not chosen:
        st.info("Choose at least one net.", icon=":material/show_chart:")
        return
    curves = shipped.curves([net for net in nets if net.title in chosen])
    st.plotly_chart(
        replay_chart(curves, quantity, log=log, order=list(dict.fromkeys([*first, *titles]))),
        key="recorded_chart",
        config=config(f"recorded_{quantity}"),
        alt=f"{CURVES[quantity][0]} of {', '.join(chosen)} over the steps of training, and below it the gradient norm "
        "behind each block at the step of the slider; the tables below have the ends",
    )
    st.caption("Play draws the runs from the start; the slider goes to any step. " + HOW)
    parts.download(
        "Curves as CSV",
        csv,
        curves,
        "recorded_curves.csv",
        "text/csv",
        "All records of the nets that are shown, a row each, with the gradient norms.",
    )


def _beside(nets: Sequence[Net]) -> None:
    """Test errors, ours and printed, and why they differ."""
    table = published.against_published(nets)
    parts.table(table, "recorded_published", column_config=COLUMNS, height="content")
    parts.download(
        "Comparison as CSV", csv, table, "recorded_and_published.csv", "text/csv", "The table, for a spreadsheet."
    )
    st.caption(
        "Ours is the median over the runs of a net, of the test error at the end. A dash: the paper prints no number. "
        "The error on the batches at the end says how much of the training set was not learned when the run stopped."
    )
    if seen := published.beside_figure_6(nets):
        st.markdown("**Depth**, in these runs and in the paper:")
        st.markdown("\n".join(f"- {sentence}" for sentence in seen))
    if told := published.shared_reasons(nets):
        st.markdown("**Why ours differ**, likely weightiest first:")
        st.markdown("\n".join(f"- {sentence}{_whose(titles, nets)}" for sentence, titles in told.items()))
    st.markdown(FIGURE_6)


def _whose(titles: Sequence[str], nets: Sequence[Net]) -> str:
    return "" if len(titles) == len(nets) else f" ({'; '.join(titles)})"


def _runs(nets: Sequence[Net]) -> None:
    """All runs as a table, and their files."""
    table = shipped.runs_table(nets)
    parts.table(table, "recorded_runs", column_config=COLUMNS)
    runs = {f"{net.title}, seed {run.run.recipe.seed}": run for net in nets for run in net.runs}
    if st.session_state.get("recorded_file") not in runs:
        st.session_state.pop("recorded_file", None)
    name = st.selectbox(
        "Run",
        list(runs),
        key="recorded_file",
        persist_state="session",
        width=300,
        help="Whose file or recipe to download.",
    )
    with st.container(horizontal=True):
        parts.download("Table as CSV", csv, table, "recorded_runs.csv", "text/csv", "The table, for a spreadsheet.")
        parts.download(
            "Run as Parquet",
            _parquet,
            runs[name],
            runs[name].file.name,
            "application/vnd.apache.parquet",
            "All records of the chosen run, with recipe, machine and versions in the file's metadata.",
        )
        parts.download(
            "Recipe as JSON",
            _recipe,
            runs[name],
            f"{runs[name].file.stem}.json",
            "application/json",
            "How the chosen run was trained.",
        )
        parts.download(
            "All runs as ZIP",
            shipped.archive,
            list(runs.values()),
            "runs.zip",
            "application/zip",
            "Every Parquet file.",
        )


def _parquet(run: Shipped) -> bytes:
    return run.file.read_bytes()


def _recipe(run: Shipped) -> bytes:
    return run.run.recipe.to_json().encode()


COLUMNS = {
    **parts.COLUMNS,
    "runs": st.column_config.NumberColumn(help="How many seeds were recorded."),
    "seed": st.column_config.NumberColumn(help="Of the weights, the order of the pictures and the augmentation."),
    "data": st.column_config.TextColumn(help="The data set; cifar10_jpeg is CIFAR-10 as JPEG copies."),
    "steps": st.column_config.NumberColumn(format="localized", help="Updates of the weights; the paper takes 64,000."),
    "epochs": st.column_config.NumberColumn(
        format="%.1f", help="How often the run went through the training set; the paper's about 164 times."
    ),
    "batch": st.column_config.NumberColumn(help="Pictures a step."),
    "warm_up": st.column_config.TextColumn(
        "warm-up", help="How long the learning rate was lower at first; a dash: it was not."
    ),
    "batch_error": st.column_config.NumberColumn(
        "batch error, %", format="%.1f", help="Wrong on the last batches, as they were trained on."
    ),
    "train_error": st.column_config.NumberColumn(
        "train error, %", format="%.1f", help="Wrong on training pictures as they are, in eval mode, at the end."
    ),
    "test_error": st.column_config.NumberColumn(
        "test error, %", format="%.2f", help="Wrong on the test pictures at the end."
    ),
    "test_low": st.column_config.NumberColumn("lowest, %", format="%.2f", help="The lowest test error of a seed."),
    "test_high": st.column_config.NumberColumn("highest, %", format="%.2f", help="The highest test error of a seed."),
    "ours": st.column_config.NumberColumn("ours, %", format="%.2f", help="Wrong on the test pictures at the end."),
    "published": st.column_config.NumberColumn(
        "published, %", format="%.2f", help="Wrong on CIFAR-10's test pictures, as printed."
    ),
    "difference": st.column_config.NumberColumn(
        "difference", format="%+.2f", help="Ours less published, in percentage points."
    ),
    "diverged": st.column_config.CheckboxColumn(help="Whether the loss was no finite number any more."),
    "seconds": st.column_config.NumberColumn(
        format="%.0f", help="Of training and measuring, all else that ran there beside it."
    ),
    "hardware": st.column_config.TextColumn(help="Processor or GPU that ran it."),
    "threads": st.column_config.TextColumn(help="Threads of the processor that PyTorch used."),
    "file": st.column_config.TextColumn(help="In assets/runs."),
}
