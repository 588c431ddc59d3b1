"""Maps beside each other on the page, and all of them as one file."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import streamlit as st
from PIL import Image

from explorer.attribution import Attribution
from explorer.figures.overlay import Look, png
from explorer.figures.side_by_side import Panel, montage
from explorer.pages import parts
from explorer.pages.attribution_sections import controls
from explorer.pages.edge import plain

A_ROW = 4


def looks(found: Mapping[str, Attribution]) -> dict[str, Look]:
    """Draw how maps are shown; for each of these its look, with or without sign as its method means it."""
    common = controls.look(True)
    if st.session_state["sign"] != "method":
        return dict.fromkeys(found, common)
    return {title: replace(common, absolute=not each.signed) for title, each in found.items()}


def together(key: str, usual: bool) -> bool:
    """Draw the choice of one scale for all."""
    return st.toggle(
        "One scale",
        usual,
        key=key,
        persist_state="session",
        help="Maps whose numbers are of one kind end their colours at the same number: shares of the score in cells "
        "of a layer, in pixels, in superpixels, or its fall where something is hidden. Shares are taken per area of "
        "the picture, so that maps of more and fewer places can be compared: the mean over the picture is the map's "
        "sum. Numbers of other kinds keep a scale of their own; off, all do.",
    )


def grid(cells: Mapping[str, Panel | str], draw: Callable[[str], None] = lambda title: None) -> None:
    """Draw them in rows: a map with its scale, or in its place why there is none.

    Args:
        draw: called above each with its title.
    """
    titles = list(cells)
    across = min(A_ROW, max(2, len(titles)))
    for start in range(0, len(titles), across):
        for column, title in zip(st.columns(across), titles[start : start + across], strict=False):
            with column:
                st.markdown(f"**{plain(title)}**")
                draw(title)
                cell = cells[title]
                if isinstance(cell, str):
                    st.warning(plain(cell), icon=":material/block:")
                else:
                    st.image(cell.image, caption=plain(_scale(cell)), width="stretch", alt=f"Map of {title}")


def _scale(panel: Panel) -> str:
    low = "0" if panel.look.absolute else f"-{panel.end:.3g}"
    if not panel.beside:
        return f"From {low} to {panel.end:.3g} {panel.unit}; a scale of its own."
    return f"From {low} to {panel.end:.3g} {panel.unit}; the same scale as {', '.join(panel.beside)}."


def files(drawn: Mapping[str, Panel], picture: Image.Image | None, title: str, name: str) -> None:
    """Draw the download of all maps as one picture."""
    parts.download(
        "All maps as PNG",
        lambda shown: png(montage(shown, picture, title)),
        drawn,
        f"{name}.png",
        "image/png",
        "The maps as they are shown, with their titles and scales.",
    )
