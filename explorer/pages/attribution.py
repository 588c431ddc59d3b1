from collections.abc import Callable

import streamlit as st

from explorer.pages import parts
from explorer.pages.attribution_sections import asking, drawn, methods, nets, one_map, planted, reporting, sure
from explorer.pages.attribution_sections.asking import Asked

SECTIONS: dict[str, tuple[str, Callable[[Asked], None]]] = {  # by what stands in the link
    "map": ("Map", one_map.show),
    "sure": ("How sure", sure.show),
    "drawn": ("Weights drawn anew", drawn.show),
    "methods": ("Methods side by side", methods.show),
    "nets": ("Nets side by side", nets.show),
    "planted": ("Planted evidence", planted.show),
    "report": ("Report", reporting.show),
}

st.header("Attribution", anchor=False)
st.caption("What a trained net predicts for a picture, where it looks, and how far such a map can be believed.")
asked = asking.ask()
titles = {name: title for name, (title, _) in SECTIONS.items()}
SECTIONS[parts.section("look", titles, "What to see of this net and picture.")][1](asked)
