from collections.abc import Callable

import streamlit as st

from explorer.analysis.comparison import profiles
from explorer.analysis.profile import Profile
from explorer.jobs import Progress
from explorer.pages import cached, networks, parts, runs
from explorer.pages.compare_sections import accuracy, depth, size, speed, table, walk, where
from explorer.pages.compare_sections.compared import Compared
from explorer.pages.edge import plain

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


make = cached.profiles()
if view != "speed":
    speed.leave()


def counting(progress: Progress) -> tuple[dict[str, Profile], dict[str, str]]:
    """Count every network that is not counted yet."""
    return profiles(nets, image_size, make, progress.report)


counted = runs.outcome("compare_run", (tuple(nets.items()), image_size), counting, cached.counting_queue())
if counted is None:
    st.stop()
found, refused = counted
for name, why in refused.items():
    st.warning(plain(f"{name} is left out: {why}"), icon=":material/block:")
if found:
    VIEWS[view][1](Compared(nets, image_size, found))
