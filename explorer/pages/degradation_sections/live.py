"""The live lab: train deep and shallow nets side by side, here and now."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from explorer.pages import edge
from explorer.pages.degradation_sections import board, choosing, watching
from explorer.pages.edge import plain
from explorer.training import lab
from explorer.training.datasets import Dataset

_PREPARED = "lab_prepared"
_LESSON = "lab_lesson"  # what the runs below are for

NOTE = """
**What the lab shows.** Whether a net can be *optimised*: how low it gets on the data that it learns from. Where the
deeper of two plain nets ends with the higher training loss, it is not over-fitting, which would show as a low training
and a high test error. The deeper net could be no worse, had its further layers learned to hand on what they get; the
optimiser does not find that (He et al. 2015, arXiv 1512.03385, sections 1 and 4.1). This is the degradation that
residual learning was made for.

**Is it vanishing gradients?** The nets have batch norm; the paper itself says that neither forward nor backward signals
vanish in its plain nets (section 4.1), and in plain-56 on the digits they do not: the gradient norms of your runs are
drawn above. Before the first step the gradient of a deep plain net with batch norm even grows toward the input (Yang et
al. 2019, arXiv 1902.08129). From so violent a start plain-110 can go to the other extreme within some steps: see it.

**What it does not show.** The default has a thousand digits of 8 x 8 px from scikit-learn, not CIFAR-10; nets of half
the paper's width, and some hundred steps instead of 64,000: the effect is the paper's, the numbers are not. Another
learning rate or schedule moves them. One seed is one draw; take three before you believe a small difference. The same
recipe and seed give the same curve on one machine, not on every machine.
"""


@dataclass(frozen=True)
class Prepared:
    """Runs that stand ready to be started.

    Attributes:
        runs: name on screen and recipe of each; the same net with several seeds has one name.
        lesson: whose they are. watch: what is to be seen in them, in Markdown. charts: which of the lab's show it.
    """

    runs: tuple[lab.Pair, ...]
    lesson: str
    watch: str
    charts: tuple[str, ...]


def prepare(prepared: Prepared) -> None:
    """Show the lab with these runs ready to be started; a button's callback."""
    st.session_state[_PREPARED] = prepared
    st.session_state["lab"] = "live"


def show() -> None:
    """The default, the controls, the runs of this session, and what all of it means."""
    st.subheader("Live lab", anchor=False)
    prepared = st.session_state.get(_PREPARED)
    with edge.sentences():
        _default()
        if prepared:
            _prepared(prepared)
    own = not prepared and not board.entries()
    with st.expander("Choose nets, pictures and recipe", expanded=own), edge.sentences():
        if chosen := choosing.choose():
            _offer(*chosen)
    if board.entries():
        if lesson := st.session_state.get(_LESSON):
            st.info(f"**Lesson {lesson.lesson}.** {lesson.watch}", icon=":material/school:")
        watching.show()
    st.markdown(NOTE)


def _default() -> None:
    """One click, and the question is on the screen."""
    runs = lab.degradation_in_30_seconds()
    entries = board.entries()
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Degradation in 30 seconds",
            key="lab_default",
            icon=":material/play_arrow:",
            type="secondary" if entries else "primary",
            help="Train plain-20, plain-56, ResNet-20 and ResNet-56 on scikit-learn's digits, in place of the runs "
            "below.",
        ):
            _start(runs)
        instead = " The runs below are cancelled for it." if any(entry.active for entry in entries) else ""
        about = f"Plain and residual nets of 20 and 56 layers on handwritten digits. {_time(runs)}{instead}"
        st.caption(about, width="content")


def _prepared(prepared: Prepared) -> None:
    """What a lesson has put here."""
    with st.container(border=True):
        names = ", ".join(f"{net} (seed {recipe.seed})" for net, recipe in prepared.runs)
        st.markdown(f"**Lesson {prepared.lesson}, ready to start:** {plain(names)}")
        st.caption(_time(prepared.runs))
        with st.container(horizontal=True):
            if st.button(
                "Start these", key="lab_start_prepared", type="primary", help="In place of the runs below, if any."
            ):
                st.session_state["lab_charts"] = list(prepared.charts)
                _start(prepared.runs, lesson=prepared)
            if st.button("Put away", key="lab_put_away", help="Forget these runs and choose your own."):
                del st.session_state[_PREPARED]
                st.rerun()


def _offer(planned: list[lab.Pair], data: Dataset | None) -> None:
    """Start what was chosen."""
    st.caption(_time(planned))
    with st.container(horizontal=True):
        if st.button(
            "Start", key="lab_start", icon=":material/play_arrow:", help="In place of the runs below, if any."
        ):
            _start(planned, data)
        if st.button(
            "Add to the runs below",
            key="lab_add",
            icon=":material/add:",
            disabled=not board.entries(),
            help="Keep what is there and put these runs beside it, to compare another recipe.",
        ):
            _start(planned, data, keep=True)


def _start(
    planned: Sequence[lab.Pair], data: Dataset | None = None, keep: bool = False, lesson: Prepared | None = None
) -> None:
    board.start(planned, data, keep)
    st.session_state.pop(_PREPARED, None)
    if not keep:
        st.session_state[_LESSON] = lesson
    st.rerun()  # the controls fold away, the runs come


def _time(planned: Sequence[lab.Pair]) -> str:
    """How long it will take, as far as one can know."""
    if not planned:
        return "Nothing chosen yet."
    workers = board.workers()
    seconds = lab.estimated_seconds([recipe for _, recipe in planned], workers)
    count = "1 run" if len(planned) == 1 else f"{len(planned)} runs, {min(workers, len(planned))} at a time"
    return f"About {lab.duration(seconds)} where nothing else runs (an estimate): {count}."
