from typing import Protocol

import streamlit as st

from explorer.pages.experiments_sections import activations, augmentation, auxiliary, dropout, normalisation, pooling


class Section(Protocol):
    """One of the inventions."""

    def __call__(self) -> None:
        """Draw its switch, its numbers and where they come from."""


SECTIONS: dict[str, Section] = {
    "Activations": activations.show,
    "Local response normalisation": normalisation.show,
    "Overlapping pooling": pooling.show,
    "Dropout": dropout.show,
    "Data augmentation": augmentation.show,
    "Auxiliary classifiers": auxiliary.show,
}

st.header("Experiments", anchor=False)
st.caption("What the historic nets introduced, each to switch on and off and to see in numbers.")
section = st.segmented_control(
    "Section",
    list(SECTIONS),
    default="Activations",
    required=True,
    key="experiments_section",
    label_visibility="collapsed",
    persist_state="session",
    help="Which invention to look at. Only what is shown is computed.",
)
SECTIONS[section]()
