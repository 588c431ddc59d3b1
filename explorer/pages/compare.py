from typing import Protocol

import streamlit as st

from explorer.analysis.comparison import profiles
from explorer.analysis.profile import Profile
from explorer.jobs import Progress
from explorer.pages import cached, runs
from explorer.pages.compare_sections import accuracy, choose, depth, size, speed, table, walk, where
from explorer.pages.edge import plain


class Section(Protocol):
    """One view of the networks."""

    def __call__(self, compared: choose.Compared) -> None:
        """Draw it."""


SECTIONS: dict[str, Section] = {
    "Table": table.show,
    "Accuracy": accuracy.show,
    "Size": size.show,
    "Where": where.show,
    "By depth": depth.show,
    "Layer by layer": walk.show,
    "Speed": speed.show,
}

st.header("Compare", anchor=False)
nets, image_size = choose.networks()
if not nets:
    st.info("Choose networks to stand side by side, or start from a set.", icon=":material/compare_arrows:")
    st.stop()
section = st.segmented_control(
    "Section",
    list(SECTIONS),
    default="Table",
    required=True,
    key="compare_section",
    label_visibility="collapsed",
    persist_state="session",
    help="What to see of these networks. Only what is shown is computed.",
)


def counting(progress: Progress) -> tuple[dict[str, Profile], dict[str, str]]:
    """Count every network that is not counted yet."""
    return profiles(nets, image_size, cached.profiles(), progress.report)


counted = runs.outcome("compare_run", (tuple(nets.items()), image_size), counting)
if counted is None:
    st.stop()
found, refused = counted
for name, why in refused.items():
    st.warning(plain(f"{name} is left out: {why}"), icon=":material/block:")
if found:
    SECTIONS[section](choose.Compared(nets, image_size, found))
