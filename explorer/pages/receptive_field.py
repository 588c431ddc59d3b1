from collections.abc import Callable

import streamlit as st

from explorer.pages import cached, networks, parts
from explorer.pages.receptive_field_sections import depth, effective, paths, picture, stories, table, use
from explorer.pages.receptive_field_sections.seen import Seen

SECTIONS: dict[str, tuple[str, Callable[[Seen], None]]] = {  # by what stands in the link
    "depth": ("By depth", depth.show),
    "picture": ("On a picture", picture.show),
    "effective": ("Effective field", effective.show),
    "paths": ("Paths", paths.show),
    "stories": ("Stories", stories.show),
    "use": ("Use of the layers", use.show),
    "table": ("Table", table.show),
}

st.header("Receptive field", anchor=False)
st.caption("What each unit can see of the image, and what it does see.")
nets, image_size = networks.choose()
if not nets:
    st.info("Choose networks to stand side by side, or start from a set.", icon=":material/visibility:")
    st.stop()
titles = {name: title for name, (title, _) in SECTIONS.items()}
section = parts.section("field", titles, "What to see of these networks.")
found = networks.profiled("fields_run", nets, image_size, cached.field_profiles())
if found:
    SECTIONS[section][1](Seen(nets, image_size, found))
