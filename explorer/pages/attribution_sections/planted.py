"""Planted evidence: pictures of which one knows what the net goes by, and how often each method points there."""

import streamlit as st

from explorer.attribution import METHODS
from explorer.attribution.planted import CLASSES, METHODS_SHOWN, Pointing, likeness, pointing, summary, swapped, trained
from explorer.export.tables import csv
from explorer.figures.overlay import Look
from explorer.figures.planted import pair, pointing_chart, same_chart, seen
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import cached, parts, runs
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.edge import plain

WHAT = f"""
Where should a map point? On a photo nobody knows what a net goes by. Here it is known: the pictures are drawn, a small
sign in a random place says that a class is there ({", ".join(CLASSES)}), and nothing else does; rectangles and stripes
with stronger edges are there to distract. A small ResNet-20 has learned to say of each class by itself whether it is
there. Every picture holds two signs, and each method is asked for the one and for the other.
"""
FOLLOWS = """
**What follows.** To point is not enough: a map that is much the same for both classes may show the signs, but not which
of them speaks for the class. So simple a net does not show all that is wrong with a method; one that has learned more
may. Guided Grad-CAM takes its region from Grad-CAM and only the detail within from Guided Backpropagation.

**Published.** Nie et al. (2018, [arXiv 1805.07039](https://arxiv.org/abs/1805.07039)) show that Guided Backpropagation
and Deconvolution partly restore the picture, whatever the class. Sixt et al. (2020,
[arXiv 1912.09818](https://arxiv.org/abs/1912.09818)) find them nearly independent of a net's later layers, and Adebayo
et al. (2018, [arXiv 1810.03292](https://arxiv.org/abs/1810.03292)) that Guided Backpropagation hardly changes
when the weights there are drawn anew.
"""


def show(asked: Asked) -> None:
    """What was planted, the maps, how often each method points there, and the test that any net can take."""
    st.markdown(WHAT)
    methods, count, seed = _choose()
    if not methods:
        st.info("Choose a method, or several.", icon=":material/checklist:")
        return
    memory = cached.measurements("planted", 16)

    def work(progress: Progress) -> Pointing:
        measurement = cached.Measurement(
            (methods, count, seed), lambda: pointing(trained(), count, seed, methods, progress.report)
        )
        found: Pointing = memory(measurement)
        return found

    found = runs.outcome("planted_run", (methods, count, seed), work)
    if found is not None:
        _truth(found)
        _maps(found)
        _pointing(found)
    _own(asked)
    st.markdown(FOLLOWS)


def _choose() -> tuple[tuple[str, ...], int, int]:
    left, middle, right = st.columns([6, 3, 3])
    methods = left.multiselect(
        "Methods",
        METHODS_SHOWN,
        default=METHODS_SHOWN,
        format_func=lambda name: METHODS[name].title,
        key="planted_methods",
        persist_state="session",
        wrap=True,
        help="With their usual settings; the baseline is the mean colour, the hidden square is as large as a sign.",
    )
    count = middle.slider(
        "Pictures", 4, 100, 12, 4, key="planted_count", persist_state="session", help="Two questions each."
    )
    seed = right.number_input(
        "Seed", 0, 9999, 7, key="planted_seed", persist_state="session", help="Of the pictures: another draws others."
    )
    return tuple(methods), count, seed


def _truth(found: Pointing) -> None:
    st.caption(
        f"The net answers {found.accuracy:.1%} right on other pictures. That it goes by the signs is measured, not "
        f"presumed: drawn without its own sign, a class's logit falls by {found.own:.1f} on average; without the other "
        f"sign it changes by {found.other:.1f}. {found.pictures} pictures are asked about, all whose classes it has "
        "right."
    )


def _maps(found: Pointing) -> None:
    for place, (image, labels) in enumerate(zip(found.shown, found.labels, strict=True)):
        corners = [(row, column) for row, column in found.corners[place].tolist()]
        names = " and ".join(CLASSES[label] for label in labels)
        with st.expander(f"Picture {place + 1}: {names}", expanded=place == 0), st.container(horizontal=True):
            st.image(seen(image, corners), caption="The picture; its signs are framed", alt=names, width=137)
            for method, maps in found.maps.items():
                title = METHODS[method].title
                st.image(pair(maps[place], corners), caption=title, alt=f"{title}: maps for {names}", width=280)
    st.caption(
        "Of each method the map for the one sign, and that for the other; the sign that was asked for is framed. Each "
        f"map ends its colours at percentile {Look().percentile:g} of its own sizes."
    )


def _pointing(found: Pointing) -> None:
    table = found.table
    st.markdown("**What came out here.** " + plain(" ".join(summary(found))))
    left, right = st.columns(2)
    left.plotly_chart(
        pointing_chart(table),
        key="planted_pointing",
        config=config("planted_pointing"),
        alt="How often each method points at the sign that was asked for, and at the other",
    )
    right.plotly_chart(
        same_chart(table, "Correlation by sign"),
        key="planted_same",
        config=config("planted_same"),
        alt="How alike each method's maps for the two signs are",
    )
    st.caption(
        "A map points where the window of the sign's size has the largest sum of what is above 0 (of sizes, where the "
        "sign of a number says nothing); it hits if the middle of the window lies in the sign."
    )
    parts.table(
        table.drop(columns="name"),
        "planted_table",
        column_config={
            "method": st.column_config.TextColumn(),
            "pointed": st.column_config.NumberColumn(format="percent", help="At the sign that was asked for."),
            "other": st.column_config.NumberColumn(format="percent", help="At the other sign."),
            "inside": st.column_config.NumberColumn(
                format="percent", help="Of all that is above 0, the part in the sign that was asked for, the mean."
            ),
            "beside": st.column_config.NumberColumn("in the other", format="percent", help="The part in the other."),
            "same": st.column_config.NumberColumn(
                "correlation", format="%.2f", help="Of the maps for the two signs of a picture, the mean; 1: the same."
            ),
        },
    )
    parts.download("Table as CSV", csv, table, "planted.csv", "text/csv", "A row a method; the last is chance.")


def _own(asked: Asked) -> None:
    st.subheader("The same question to your net and picture", anchor=False)
    table = runs.outcome(
        "swapped_run",
        (asked.trained, asked.sample or asked.picture, asked.box),
        lambda progress: swapped(asked.trained, asked.picture.image, asked.box, report=progress.report),
    )
    if table is None:
        return
    for why in table["problem"].dropna():
        st.warning(plain(why), icon=":material/block:")
    if table["same"].notna().any():
        st.plotly_chart(
            same_chart(table, "Correlation by class"),
            key="swapped",
            config=config("class_swapped"),
            alt=f"How alike each method's maps for different classes are on {asked.checkpoint.title}",
        )
    for sentence in likeness(table, f"the maps of {asked.checkpoint.title} for different classes on this picture"):
        st.markdown(plain(sentence))
    st.caption(
        plain(
            f"{asked.checkpoint.title} is asked for its predicted class, {asked.rows.class_name.iloc[0]}, and for up "
            "to three others: the 2nd, one a tenth down its ranking, one in the middle. Near 1 the map does not depend "
            "on the class. Similar classes may have similar maps for good reasons; all classes may not."
        )
    )
    parts.download(
        "Correlations as CSV", csv, table, "class_swapped.csv", "text/csv", "The mean and the least of each method."
    )
