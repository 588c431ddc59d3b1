"""Sweeps: how one is started from the command line, and what its results folder says."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.sweep import depths_chart, depths_map
from explorer.figures.theme import config, exact
from explorer.figures.training import CURVES, curves_chart
from explorer.jobs import Progress
from explorer.models.variants import VARIANTS
from explorer.pages import edge, parts, runs
from explorer.pages.edge import plain
from explorer.training import results, shipped
from explorer.training.datasets import DATASETS
from explorer.training.grid import Grid
from explorer.training.recipe import MOST_STEPS
from explorer.training.recorded import Recorded

FOLDER = "EXPLORER_RESULTS"  # the environment variable by which the server's own folder is shown
COMMAND = "python -m explorer sweep grid.toml --results results"
DEPTHS = (8, 14, 20, 26, 32, 38, 44, 50, 56, 74, 110, 164, 218, 1202)
MOST_SEEDS = 20
MOST_FILES = 1000
_LARGEST_UPLOAD = 5  # MB; a recorded run has some tens of kB
_MOST_SENTENCES = 5
_FIRST_CURVES = 8

_SOURCES = {"server": "This server's folder", "recorded": "Recorded runs", "upload": "Your files"}
_COLUMNS: dict[str, Any] = {
    "key": st.column_config.TextColumn(help="Stands for the whole recipe; the name of the result file."),
    "net": st.column_config.TextColumn(help="With what sets it apart from the others here.", pinned=True),
    "depth": st.column_config.NumberColumn(help="Convolutions and linear layers on the main path."),
    "seed": st.column_config.NumberColumn(help="Of weights, order of the pictures and augmentation."),
    "data": st.column_config.TextColumn(help="What it was trained and tested on."),
    "steps": st.column_config.NumberColumn(format="localized", help="Updates that the recipe asks for."),
    **{
        name: st.column_config.NumberColumn(
            f"{name.replace('_', ' ')}{', %' if name.endswith('error') else ''}",
            format="%.4g",
            help=f"{CURVES[name][0]}, at the last record; a dash where the run diverged or did not measure it.",
        )
        for name in results.MEASURED
    },
    "seconds": st.column_config.NumberColumn(format="%.0f", help="Of training and measuring."),
    "diverged": st.column_config.CheckboxColumn(help="The loss was no finite number any more, and the run ended."),
    "hardware": st.column_config.TextColumn(help="Processor or GPU that it ran on."),
}


def show() -> None:
    """How a sweep is started, then the results of one."""
    st.subheader("Sweeps", anchor=False)
    st.caption(
        "Every combination of some variants, depths and seeds, trained one beside the other from the command line and "
        "looked at here. A single run says little about a variant; several seeds show how much is chance."
    )
    with st.expander("Make a grid and start a sweep", icon=":material/grid_on:"), edge.sentences():
        _make()
    _results()


def _make() -> None:
    """The grid of what is chosen, and the command that runs it."""
    left, right = st.columns(2)
    variants = left.multiselect(
        "Variants",
        list(VARIANTS),
        ["plain", "a"],
        format_func=lambda name: VARIANTS[name].title,
        key="sweep_variants",
        persist_state="session",
        wrap=True,
        help="The CIFAR nets of He et al. with one choice changed.",
    )
    depths = right.multiselect(
        "Depths",
        DEPTHS,
        [20, 56],
        key="sweep_depths",
        persist_state="session",
        wrap=True,
        help="Layers: 6n + 2, three stages of n blocks. In the file any such number from 8 to 1202 will do.",
    )
    row = st.columns(4)
    seeds = row[0].number_input(
        "Seeds", 1, MOST_SEEDS, 3, key="sweep_seeds", persist_state="session", help="Runs of each net."
    )
    data = row[1].selectbox(
        "Pictures",
        list(DATASETS),
        format_func=lambda name: DATASETS[name].title,
        key="sweep_data",
        persist_state="session",
        help="In the file also the path of a folder or zip of pictures, one folder a class.",
    )
    steps = row[2].number_input(
        "Steps",
        1,
        MOST_STEPS,
        400,
        key="sweep_steps",
        persist_state="session",
        help="Updates, of 100 pictures each unless the file says another batch.",
    )
    width = row[3].number_input(
        "Width",
        1,
        512,
        8,
        key="sweep_width",
        persist_state="session",
        help="Channels of the first stage: 16 in the paper, and half of them takes about a quarter of the MACs.",
    )
    if not variants or not depths:
        st.info("Choose a variant and a depth.", icon=":material/arrow_upward:")
        return
    grid = Grid(
        {"data": data, "steps": steps, "width": width},
        {"variant": variants, "depth": depths, "seed": range(seeds)},
    )
    text = grid.to_toml()
    left, right = st.columns(2)
    left.caption("grid.toml")
    left.code(text, "toml")
    with left:
        parts.download(
            "grid.toml", str.encode, text, "grid.toml", "application/toml", "The grid above, for the command beside it."
        )
    right.caption(f"{exact(grid.size)} {'run' if grid.size == 1 else 'runs'}, as many at once as there are processors")
    right.code(COMMAND, "bash", wrap_lines=True)
    right.markdown(
        "Each run that is done is a file in the folder. Stopped and started again, the command goes on from "
        "checkpoints and repeats nothing, and two of them may share a folder. `--ray local` or `--ray ADDRESS` gives "
        "the runs to Ray. Any other field of the recipe or the net may stand in the file, as a value in `[base]` or a "
        "list in `[axes]`, such as `lr = [0.1, 0.05]`.\n\n"
        f"Then open the files below, or set `{FOLDER}=results` where the app is started."
    )


def _results() -> None:
    """Choose whose results, read them, show them."""
    server = os.environ.get(FOLDER)
    sources = [source for source in _SOURCES if source != "server" or server]
    source = st.segmented_control(
        "Results",
        sources,
        default=sources[0],
        required=True,
        format_func=_SOURCES.__getitem__,
        key="sweep_source",
        persist_state="session",
        help=f"The folder that {FOLDER} names on this server, if it does; the CIFAR-10 runs that ship with the app; or "
        "result files of your own sweep.",
    )
    files: Sequence[Path | BinaryIO]
    if source == "upload":
        files = st.file_uploader(
            "Result files",
            "parquet",
            accept_multiple_files=True,
            max_upload_size=_LARGEST_UPLOAD,
            key="sweep_files",
            help=f"The .parquet files of a results folder, several at once, up to {_LARGEST_UPLOAD} MB each. They stay "
            "in memory, for you alone.",
        )
        question: tuple[Any, ...] = tuple(file.file_id for file in files)
    else:
        folder = Path(server) if source == "server" and server else shipped.FOLDER
        files = there = results.result_files(folder) if folder.is_dir() else []
        question = tuple((str(file), file.stat().st_mtime_ns) for file in there)
        if source == "server" and not files:
            st.info(f"No finished run is in the folder that {FOLDER} names, yet.", icon=":material/hourglass_empty:")
    if len(files) > MOST_FILES:
        st.warning(
            f"Of {exact(len(files))} files the first {exact(MOST_FILES)} are shown.", icon=":material/filter_alt:"
        )
    if not files:
        return

    def reading(progress: Progress) -> tuple[list[Recorded], list[str]]:
        return results.read_all(files[:MOST_FILES], progress.report)

    outcome = runs.outcome("sweep_run", (source, question), reading)
    if outcome is None:
        return
    found, problems = outcome
    for problem in problems[:_MOST_SENTENCES]:
        st.warning(plain(problem), icon=":material/block:")
    if len(problems) > _MOST_SENTENCES:
        st.warning(f"So it is with {exact(len(problems) - _MOST_SENTENCES)} more files.", icon=":material/block:")
    if found:
        _shown(found)


def _shown(found: list[Recorded]) -> None:
    """The errors by depth, the table, and the curves."""
    table = results.table(found)
    same = ", ".join(f"{name} = {value}" for name, value in results.shared(found).items())
    st.caption(f"{exact(len(found))} {'run' if len(found) == 1 else 'runs'}. In common: {plain(same)}.")
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    quantity = _quantity(left, "sweep_quantity", "train_error", "What the runs ended with.")
    drawings: dict[str, Callable[..., Any]] = {"Lines": depths_chart, "Heat map": depths_map}
    drawing = right.segmented_control(
        "Drawn as",
        list(drawings),
        default="Lines",
        required=True,
        key="sweep_drawing",
        persist_state="session",
        help="Lines: the median over seeds, in a band from the lowest to the highest. Heat map: the median in numbers.",
    )
    rows = results.by_depth(table, quantity)
    st.plotly_chart(
        drawings[drawing](rows, quantity),
        key="sweep_chart",
        config=config(f"sweep_{quantity}"),
        alt=f"{CURVES[quantity][0]} at the end of the runs, by depth and variant",
    )
    lost = int(rows.missing.sum())
    if lost:
        st.caption(
            f"{exact(lost)} of these {exact(len(found))} runs diverged or did not measure this; they are in the table "
            "and in no median."
        )
    last = ["hardware", "key"]
    parts.table(
        table,
        "sweep_table",
        column_config=_COLUMNS,
        column_order=[*(name for name in table if name not in ("family", "variant", *last)), *last],
    )
    with st.container(horizontal=True):
        parts.download("Runs as CSV", csv, table, "sweep_runs.csv", "text/csv", "The table above, a row a run.")
        parts.download(
            "Errors by depth as CSV", csv, rows, f"sweep_{quantity}.csv", "text/csv", "What the chart above shows."
        )
    _curves(found)


def _curves(found: list[Recorded]) -> None:
    """How chosen runs came there."""
    st.markdown("**Curves**")
    curves = results.curves(found)
    named = curves.drop_duplicates("key").set_index("key")
    labels = {key: f"{net}, seed {seed}" for key, net, seed in zip(named.index, named.net, named.seed, strict=True)}
    if not set(st.session_state.get("sweep_chosen", [])) <= set(labels):  # of files that are not there any more
        del st.session_state["sweep_chosen"]
    left, middle, right = st.columns([4, 2, 1], vertical_alignment="bottom")
    chosen = left.multiselect(
        "Runs",
        list(labels),
        list(named.index[named.seed == named.seed.min()])[:_FIRST_CURVES],
        format_func=labels.__getitem__,
        key="sweep_chosen",
        persist_state="session",
        placeholder="choose runs",
        wrap=True,
        help="Those of one net are drawn as their median over seeds, in a band from the lowest to the highest.",
    )
    quantity = _quantity(middle, "sweep_curve", "batch_loss", "What to draw over the steps.")
    log = right.toggle(
        "Log axis", key="sweep_log", persist_state="session", help="Tells small losses and errors apart."
    )
    if not chosen:
        return
    own = curves[curves.key.isin(chosen)]
    st.plotly_chart(
        curves_chart(own, quantity, log=log),
        key="sweep_curves",
        config=config(f"sweep_curves_{quantity}"),
        alt=f"{CURVES[quantity][0]} over the steps of the chosen runs",
    )
    parts.download(
        "Curves as CSV",
        csv,
        own,
        "sweep_curves.csv",
        "text/csv",
        "Every record of the chosen runs, one below the other.",
    )


def _quantity(place: Any, key: str, default: str, about: str) -> str:
    """Which of the measured quantities."""
    chosen: str = place.selectbox(
        "Quantity",
        results.MEASURED,
        results.MEASURED.index(default),
        format_func=lambda name: CURVES[name][0],
        key=key,
        persist_state="session",
        help=f"{about} On the batches: in training mode, augmented, each before its own update, the mean since the "
        "record before. On the sets: as they are, in eval mode; where the recipe says probe or tested, on so many.",
    )
    return chosen
