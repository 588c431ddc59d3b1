"""How far a map can be believed: every measure of it, and what a good and a bad value look like."""

from typing import get_args

import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures, assess
from explorer.attribution.measures import ABOUT, followed
from explorer.attribution.subject import BASELINES, Baseline
from explorer.export.tables import csv
from explorer.figures.attribution import attribution_chart
from explorer.figures.sure import order_chart
from explorer.figures.theme import config
from explorer.models.checkpoints import Report
from explorer.pages import parts, runs
from explorer.pages.attribution_sections import controls, explaining, one_map
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.attribution_sections.explaining import Chosen

_FILLERS: tuple[Baseline, ...] = get_args(Baseline)


def show(asked: Asked) -> None:
    """Draw the map small, and its measures beside it."""
    st.caption(
        "None of these measures says that a map is true; each can say that it is not. They are of this net, picture, "
        "class and method, with the settings of the map."
    )
    left, right = st.columns([4, 8])
    with left:
        chosen = explaining.choose(asked)
        found = explaining.explained(asked, chosen)
        if found is not None:
            st.plotly_chart(
                attribution_chart(found, controls.look(chosen.signed, found)),
                key="sure_overlay",
                config=config(f"{found.method}_{found.target_name}", "png"),
                alt=f"Heat map of {METHODS[found.method].title} for {explaining.about(found)} over the picture",
            )
    if found is None:
        return
    with right:
        one_map.measures(found)
        filled: Baseline = st.selectbox(
            "Pixels that are taken away become",
            _FILLERS,
            index=_FILLERS.index("blur"),
            format_func=BASELINES.__getitem__,
            key="sure_filled",
            persist_state="session",
            help="In deletion and insertion. Hard edges of one colour are strange to the net, a blurred picture less "
            "so; the measures depend on it.",
        )
        measured = runs.outcome(
            "sure_run",
            (asked.key, chosen.key, filled),
            lambda progress: remembered(asked, chosen, found, progress.report, filled),
        )
        if measured is not None:
            _measured(found, measured)


def remembered(asked: Asked, chosen: Chosen, found: Attribution, report: Report, filled: Baseline = "blur") -> Measures:
    """The measures of a map, taken now or before; for a worker thread."""
    return asked.remembered(
        "measures",
        (chosen.key, filled),
        lambda: assess(asked.trained, asked.picture.image, found, asked.box, report, filled=filled),
    )


def _measured(found: Attribution, measured: Measures) -> None:
    infidelity, sensitivity, deletion, insertion = st.columns(4)
    infidelity.metric(
        ABOUT["infidelity"].title,
        "-" if measured.infidelity is None else f"{measured.infidelity:.3f}",
        help=_help("infidelity"),
    )
    sensitivity.metric(ABOUT["max_sensitivity"].title, f"{measured.max_sensitivity:.3f}", help=_help("max_sensitivity"))
    order = measured.order
    deletion.metric(
        ABOUT["deletion"].title,
        f"{order.deletion:.3f}",
        f"{order.deletion - order.deletion_random:+.3f} vs random",
        delta_color="inverse",
        help=_help("deletion"),
    )
    insertion.metric(
        ABOUT["insertion"].title,
        f"{order.insertion:.3f}",
        f"{order.insertion - order.insertion_random:+.3f} vs random",
        help=_help("insertion"),
    )
    st.plotly_chart(
        order_chart(order, followed(found.against)),
        key="order",
        config=config("deletion_insertion"),
        alt="What becomes of the class as pixels go or come in the order of the map, and in random order",
    )
    parts.download(
        "Curves as CSV",
        csv,
        order.curves,
        "deletion_insertion.csv",
        "text/csv",
        "A row a step: the part of the pixels that went or came, and the score in each order.",
    )
    with st.expander("What good and bad values look like"):
        for each in ABOUT.values():
            st.markdown(f"**{each.title}** ({each.source}). Good: {each.good} Bad: {each.bad}")


def _help(name: str) -> str:
    about = ABOUT[name]
    return f"{about.source}. Good: {about.good} Bad: {about.bad}"
