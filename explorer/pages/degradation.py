from collections.abc import Callable

import streamlit as st

from explorer.pages import parts
from explorer.pages.degradation_sections import lessons, live, recorded, sweeps

SECTIONS: dict[str, tuple[str, Callable[[], None]]] = {  # by what stands in the link
    "live": ("Live lab", live.show),
    "recorded": ("Recorded runs", recorded.show),
    "lessons": ("Lessons", lessons.show),
    "sweeps": ("Sweeps", sweeps.show),
}

st.header("Degradation", anchor=False)
st.caption("A deeper plain net can end worse on its own training data; with identity shortcuts it need not.")
titles = {name: title for name, (title, _) in SECTIONS.items()}
SECTIONS[parts.section("lab", titles, "What to look at.")][1]()
