from collections.abc import Callable

import streamlit as st

from explorer.pages import parts
from explorer.pages.gradient_flow_sections import chosen, identity_path, norms, responses, shattering, table
from explorer.pages.gradient_flow_sections.chosen import Chosen

SECTIONS: dict[str, tuple[str, Callable[[Chosen], None]]] = {  # by what stands in the link
    "gradients": ("Gradients", norms.show),
    "responses": ("Responses", responses.show),
    "nearby": ("Nearby inputs", shattering.show),
    "identity": ("Identity path", identity_path.show),
    "table": ("Table", table.show),
}

st.header("Gradient flow", anchor=False)
st.caption("What arrives at each block of a deep net, with shortcuts and without, as it starts and while it learns.")
nets = chosen.choose()
titles = {name: title for name, (title, _) in SECTIONS.items()}
SECTIONS[parts.section("flow", titles, "What to see of these nets.")][1](nets)
