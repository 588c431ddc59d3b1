"""Field and stride by depth."""

import streamlit as st

from explorer.pages.receptive_field_sections.seen import Seen


def show(seen: Seen) -> None:
    """A line a network."""
    st.write(seen.networks)
