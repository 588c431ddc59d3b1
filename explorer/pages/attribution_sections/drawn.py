"""The map again as the net's weights are drawn anew, part by part: it should not stay as it was."""

import pandas as pd
import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import draw_anew
from explorer.attribution.measures import ABOUT
from explorer.export.tables import csv
from explorer.figures.sure import drawn_chart, drawn_pictures
from explorer.figures.theme import config
from explorer.models.checkpoints import Report
from explorer.pages import parts, runs
from explorer.pages.attribution_sections import controls, explaining
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.attribution_sections.explaining import Chosen
from explorer.pages.edge import plain

_WIDTH = 165  # of a map, pixels: two stand side by side on a telephone


def show(asked: Asked) -> None:
    """Draw the maps, and how like the first one each is."""
    about = ABOUT["randomisation"]
    left, right = st.columns([4, 8])
    with left:
        chosen = explaining.choose(asked)
        found = explaining.explained(asked, chosen)
        look = controls.look(chosen.signed)
    if found is None:
        return
    with right:
        st.caption(
            f"Weights are drawn anew as before training, the last part of the net first, then the ones before it too "
            f"({about.source}). Good: {about.good} Bad: {about.bad}"
        )
        table = runs.outcome(
            "drawn_run", (asked.key, chosen.key), lambda progress: remembered(asked, chosen, found, progress.report)
        )
        if table is None:
            return
        with st.container(horizontal=True):
            for title, image in drawn_pictures(table, found, look):
                st.image(image, caption=plain(title), width=_WIDTH, alt=f"The map with these drawn anew: {title}")
        st.plotly_chart(
            drawn_chart(table),
            key="drawn",
            config=config(f"{found.method}_weights_drawn_anew"),
            alt=f"Rank correlation with the trained net's map of {METHODS[found.method].title}, part by part",
        )
        parts.download(
            "Correlations as CSV",
            csv,
            table.drop(columns="map"),
            "weights_drawn_anew.csv",
            "text/csv",
            "A row a part of the net: Spearman's correlation of the sizes of the numbers with the trained net's map.",
        )


def remembered(asked: Asked, chosen: Chosen, found: Attribution, report: Report) -> pd.DataFrame:
    """The maps of a net that forgets, made now or before; for a worker thread."""
    return asked.remembered(
        "drawn", chosen.key, lambda: draw_anew(asked.trained, asked.picture.image, found, asked.box, report)
    )
