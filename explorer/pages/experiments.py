from collections.abc import Callable

import streamlit as st

from explorer.pages import parts
from explorer.pages.experiments_sections import activations, augmentation, auxiliary, dropout, normalisation, pooling

EXPERIMENTS: dict[str, tuple[str, Callable[[], None]]] = {  # by what stands in the link
    "activations": ("Activations", activations.show),
    "normalisation": ("Local response normalisation", normalisation.show),
    "pooling": ("Overlapping pooling", pooling.show),
    "dropout": ("Dropout", dropout.show),
    "augmentation": ("Data augmentation", augmentation.show),
    "auxiliary": ("Auxiliary classifiers", auxiliary.show),
}

st.header("Experiments", anchor=False)
st.caption("What the historic nets introduced, each to switch on and off and to see in numbers.")
titles = {name: title for name, (title, _) in EXPERIMENTS.items()}
EXPERIMENTS[parts.section("experiment", titles, "Which invention to look at.")][1]()
