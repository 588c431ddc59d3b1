"""What the runs of the live lab do: a line a run, curves, and what came out."""

from collections.abc import Callable, Sequence
from itertools import zip_longest

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.theme import config
from explorer.figures.training import curves_chart, norms_chart
from explorer.pages import cached, parts
from explorer.pages.degradation_sections import board
from explorer.pages.degradation_sections.board import Entry
from explorer.pages.edge import plain
from explorer.training import lab

_PACE, _PACE_QUEUED = (1.0, 2.0), (2.0, 4.0)  # seconds; those who wait ask less often
_HELD = "lab_held"
_NOTHING = "Nothing to compare yet: two runs of one kind or of one depth must have ended. The table has every run."
_NORMS = "norms"
CHARTS = {
    "batch_loss": "Batch loss",
    "batch_error": "Batch error",
    "train_loss": "Training loss",
    "train_error": "Training error",
    "test_loss": "Test loss",
    "test_error": "Test error",
    "lr": "Learning rate",
    _NORMS: "Gradient norms",
}
CHARTS_FIRST = ("batch_loss", "train_error", "test_error", _NORMS)
_WHAT = {
    "batch_loss": ("batch loss", "%.4g", "Mean cross-entropy, in nats, on the batches since the record before."),
    "train_loss": ("training loss", "%.4g", "Mean cross-entropy, in nats, on the training set in eval mode."),
    "train_error": ("training error, %", "%.1f", "Percent wrong on the training set in eval mode."),
    "test_error": ("test error, %", "%.1f", "Percent wrong on the test set in eval mode."),
}
_COLUMNS = {
    "net": parts.COLUMNS["net"],
    "runs": st.column_config.NumberColumn(help="Seeds."),
    "ended": st.column_config.NumberColumn(help="Runs that have come to their last step."),
    "diverged": st.column_config.NumberColumn(
        help="Runs whose loss was no finite number any more; they count in no median."
    ),
    "step": st.column_config.NumberColumn(help="Where the run that is least far stands."),
    "seconds": st.column_config.NumberColumn(format="%.1f", help="Of training and measuring, the median."),
    **{
        f"{name}{end}": st.column_config.NumberColumn(
            label + words, format=number, help=f"{about} As last measured, {over} over the seeds."
        )
        for name, (label, number, about) in _WHAT.items()
        for end, words, over in (
            ("", "", "the median"),
            ("_low", ", lowest", "lowest"),
            ("_high", ", highest", "highest"),
        )
    },
}


def show() -> None:
    """Draw the runs beside their curves, anew every other second while any is worked on, and what came out."""
    pace = _pace()
    look, draw = pace or (None, None)
    runs, curves = st.columns([3, 7], gap="medium")
    with runs:
        st.fragment(_lines, run_every=look)(pace)
    with curves:
        st.fragment(_curves, run_every=draw)(pace is not None)
    st.fragment(_results, run_every=draw)()


def _pace() -> tuple[float, float] | None:
    """Seconds between two looks at the lines and at the charts, None where nothing moves."""
    states = {entry.job.state for entry in board.entries()}
    return _PACE if "running" in states else _PACE_QUEUED if "queued" in states else None


def _lines(pace: tuple[float, float] | None) -> None:
    """How far the runs are; a fragment, alone run again until the pace is another."""
    cached.session_owner()  # back from a broken connection, this may be the first to run
    if _pace() != pace:
        st.rerun()
    entries = board.entries()
    _all(entries)
    for place, entry in enumerate(entries):
        _line(place, entry)


def _curves(moving: bool) -> None:
    """What is recorded; a fragment of its own and slower: new numbers draw a chart anew, and its zoom is forgotten."""
    courses = [entry.course for entry in board.entries()]
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen, log = _drawing()
        if moving:
            courses = _held(courses)
    if moving or any(course.records for course in courses):
        _charts(courses, chosen, log)
    else:
        st.caption("No run came to its first record, so that there is nothing to draw.")


def _drawing() -> tuple[Sequence[str], bool]:
    """Which charts, and whether losses have a logarithmic axis."""
    st.session_state.setdefault("lab_charts", list(CHARTS_FIRST))  # a lesson may have set its own
    with st.popover("Charts", icon=":material/show_chart:", help="What to draw."):
        chosen = st.pills(
            "Charts",
            list(CHARTS),
            selection_mode="multi",
            format_func=CHARTS.__getitem__,
            key="lab_charts",
            persist_state="session",
            wrap=True,
            help="What to draw. Batches: in training mode, on what was learned from since the last record. Training "
            f"and test set: in eval mode, on their first {lab.MEASURED:,} pictures at most.",
        )
    log = st.toggle(
        "Logarithmic loss",
        key="lab_log",
        persist_state="session",
        help="Losses on a logarithmic axis, which shows how small they get.",
    )
    return chosen, log


def _held(courses: list[lab.Course]) -> list[lab.Course]:
    """The runs as they are, or as they were when the person asked to hold the charts."""
    hold = st.toggle(
        "Hold the charts",
        key="lab_hold",
        help="Leave the charts as they are while the runs go on, to zoom and read: new numbers draw a chart anew.",
    )
    held: list[lab.Course] = st.session_state.get(_HELD, [])
    if not hold or not _earlier(held, courses):
        held = courses
    st.session_state[_HELD] = held
    return held


def _earlier(held: Sequence[lab.Course], courses: Sequence[lab.Course]) -> bool:
    """Whether these are the same runs at an earlier time; else others were started meanwhile."""
    return len(held) == len(courses) and all(
        before.net == now.net and before.records == now.records[: len(before.records)]
        for before, now in zip(held, courses, strict=True)
    )


def _all(entries: Sequence[Entry]) -> None:
    """What is said of all runs and done to all."""
    states = [entry.job.state for entry in entries]
    if "queued" in states and "running" not in states:
        st.info(
            "The server is at work on other runs. Yours wait in line and begin by themselves.",
            icon=":material/hourglass_top:",
        )
    if problem := board.problem():
        st.error(plain(problem), icon=":material/block:")
    active, paused = [e for e in entries if e.active], [e for e in entries if e.paused]
    ended = sum(not entry.active and not entry.paused for entry in entries)
    st.markdown(f"**{ended} of {len(entries)} runs ended**")
    with st.container(horizontal=True, gap="small"):
        _button("Pause all", "pause", "lab_pause", board.pause, active, "Keep all as they are, to go on later.")
        ready = [] if any(entry.pausing for entry in entries) else paused  # else those that follow would be left out
        _button("Resume all", "play_arrow", "lab_resume", board.resume, ready, "Go on where they were paused.")
        _button("Cancel all", "close", "lab_cancel", board.cancel, [*active, *paused], "End all runs; curves stay.")
        _button(
            "Another seed",
            "replay",
            "lab_again",
            board.again,
            entries,
            "Run each net once more, with other random weights and another order of the pictures.",
        )


def _line(place: int, entry: Entry) -> None:
    """One run: how far it is, and what can be done with it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        course = entry.course
        step = course.records[-1].step if course.records else 0
        text = f"**{plain(entry.net)}**, seed {course.recipe.seed} · {plain(entry.status)}"
        st.progress(step / course.recipe.steps, text)
        own = [entry]
        if entry.active:
            _button("", "pause", f"lab_pause_{place}", board.pause, own, "Pause: keep it as it is, to go on later.")
        if entry.paused:
            _button("", "play_arrow", f"lab_resume_{place}", board.resume, own, "Resume where it was paused.")
        if entry.failed:
            _button("", "refresh", f"lab_retry_{place}", board.retry, own, "Try again, from the beginning.")
        if entry.active or entry.paused:
            _button("", "close", f"lab_cancel_{place}", board.cancel, own, "Cancel: end this run; its curve stays.")
        elif not entry.failed:
            _button("", "replay", f"lab_again_{place}", board.again, own, "Another seed: run this net once more.")
    if failure := entry.failure:
        st.error(plain(failure), icon=":material/block:")


def _button(label: str, icon: str, key: str, action: Callable[..., None], entries: Sequence[Entry], about: str) -> None:
    st.button(
        label or f":material/{icon}:",
        key=key,
        icon=f":material/{icon}:" if label else None,
        type="tertiary",
        on_click=board.attempt,
        args=(action, *entries),
        disabled=not entries,
        help=about,
    )


def _charts(courses: Sequence[lab.Course], chosen: Sequence[str], log: bool) -> None:
    """What is recorded, over the steps."""
    curves = lab.curves(courses)
    order = list(dict.fromkeys(course.net for course in courses))
    steps = max(course.recipe.steps for course in courses)
    for left, right in zip_longest(*[(name for name in CHARTS if name in chosen)] * 2):
        for column, name in zip(st.columns(2), (left, right), strict=True):
            if name == _NORMS:
                figure = norms_chart(curves, steps, order=order)
            elif name:
                figure = curves_chart(curves, name, log=log and name.endswith("loss"), order=order, steps=steps)
            else:
                continue
            alt = f"{CHARTS[name]}, a line a net"
            column.plotly_chart(figure, key=f"lab_chart_{name}", config=config(f"lab_{name}"), alt=alt)
    st.caption(
        "Lines are medians over the seeds that have come so far, bands reach from lowest to highest; nothing is "
        "smoothed. A triangle at the upper edge: the run diverged there. Training and test set are measured in eval "
        "mode, where batch norm goes by running means: in the first steps these lag behind, and the loss can be far "
        "off. Gradient norms: of the loss of one batch with respect to what each block returns, at the latest record "
        "of each run."
    )


def _results() -> None:
    """What came out, in sentences, as a table, and as files; a fragment of its own, below runs and charts."""
    courses = [entry.course for entry in board.entries()]
    st.markdown("**What came out**")
    for sentence in lab.seen(courses) or [_NOTHING]:
        st.markdown(f"- {plain(sentence)}")
    finals = lab.finals(courses)
    several = len(courses) > len(finals)
    shown = finals if several else finals.drop(columns=list(lab.ENDS))
    st.dataframe(shown, key="lab_table", hide_index=True, placeholder="-", column_config=_COLUMNS)
    st.caption("The runs belong to this visit: who reloads the page loses them, so take along what is to be kept.")
    with st.container(horizontal=True):
        parts.download(
            "Records as CSV",
            csv,
            lab.records_file(lab.curves(courses)),
            "lab_records.csv",
            "text/csv",
            "A row a record of every run, gradient norms of all blocks included; none is left out.",
        )
        parts.download("Table as CSV", csv, finals, "lab_table.csv", "text/csv", "The table, lowest and highest too.")
        parts.download(
            "Recipes as JSON",
            lab.recipes_json,
            courses,
            "lab_recipes.json",
            "application/json",
            "What was run, every setting: name and recipe of each run.",
        )
