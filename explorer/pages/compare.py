from collections.abc import Callable

import streamlit as st

from explorer.pages import cached, networks, parts
from explorer.pages.compare_sections import accuracy, depth, size, speed, table, walk, where
from explorer.pages.compare_sections.compared import Compared

VIEWS: dict[str, tuple[str, Callable[[Compared], None]]] = {  # by what stands in the link
    "table": ("Table", table.show),
    "accuracy": ("Accuracy", accuracy.show),
    "size": ("Size", size.show),
    "where": ("Where", where.show),
    "depth": ("By depth", depth.show),
    "layers": ("Layer by layer", walk.show),
    "speed": ("Speed", speed.show),
}

st.header("Compare", anchor=False)
nets, image_size = networks.choose()
if not nets:
    st.info("Choose networks to stand side by side, or start from a set.", icon=":material/compare_arrows:")
    st.stop()
view = parts.section("view", {name: title for name, (title, _) in VIEWS.items()}, "What to see of these networks.")
if view != "speed":
    speed.leave()
found = networks.profiled("compare_run", nets, image_size, cached.profiles())
if found:
    VIEWS[view][1](Compared(nets, image_size, found))
