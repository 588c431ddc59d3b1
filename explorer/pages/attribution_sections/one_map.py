"""One map over the picture, what it adds up to, and its downloads."""

import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.export.tables import npy
from explorer.figures.attribution import attribution_chart
from explorer.figures.overlay import Look, png, sheet
from explorer.figures.theme import config
from explorer.pages import parts
from explorer.pages.attribution_sections import controls, explaining
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.edge import plain


def show(asked: Asked) -> None:
    """Draw it."""
    left, right = st.columns([4, 8])
    with left:
        chosen = explaining.choose(asked)
        view = st.container()
    with right:
        found = explaining.explained(asked, chosen)
    with view:
        look = controls.look(chosen.signed, found)
        if found is not None and found.baseline is not None:
            st.image(
                found.baseline, "The baseline, as the net takes it", width=112, alt="What the picture is compared with"
            )
    if found is not None:
        with right:
            _drawn(found, look)
            measures(found)
            _downloads(found, look)


def _drawn(found: Attribution, look: Look) -> None:
    method = METHODS[found.method]
    about = explaining.about(found)
    st.plotly_chart(
        attribution_chart(found, look),
        key="overlay",
        config=config(f"{found.method}_{found.target_name}", "png"),
        alt=f"Heat map of {method.title} for {about} over the picture",
    )
    st.caption(f"**{method.title} for {plain(about)}**: {_reading(found, look)} {settings_used(found)}")


def _reading(found: Attribution, look: Look) -> str:
    if look.absolute:
        sides = "stronger colours are larger numbers, whatever their sign."
    elif found.signed and look.colours == "signed":
        sides = "orange speaks for the class, blue against it."
        if found.against_name is not None:
            sides = f"orange speaks for {plain(found.target_name)}, blue for {plain(found.against_name)}."
    else:
        sides = "numbers above and below 0 part in the middle of the scale."
    rows, columns = found.channels.shape[1:]
    smoothed = not look.parts and (columns, rows) != found.picture.size
    coarse = f" Its {rows} x {columns} cells are smoothed for the eye." if smoothed else ""
    return f"{sides} Colours end at percentile {look.percentile:g}; the photo is grey.{coarse}"


def settings_used(found: Attribution) -> str:
    """All that was set, the device and the time."""
    used = ", ".join(f"{name} {value}" for name, value in found.settings.items())
    return plain(f"{used} · {found.device} · {found.seconds:.2f} s")


def measures(found: Attribution) -> None:
    """Draw what was explained, and where the method promises a sum, how near the map comes to it."""
    score, total, delta = st.columns(3)
    if found.against_name is None:
        score.metric("Logit", f"{found.score:.3f}", help="What the net gives this class before the softmax.")
    else:
        score.metric("Difference of logits", f"{found.score:.3f}", help="The one class's logit less the other's.")
    if found.expected_sum is None or found.delta is None:
        total.caption("This method promises no sum that its map could be held to; see How sure.")
        return
    total.metric("Sum of the map", f"{found.sum:.3f}", help=f"It should be {found.expected_sum_is}.")
    more = "steps" in found.settings or "samples" in found.settings
    delta.metric(
        "Convergence delta",
        f"{found.delta:+.2g}",
        help=f"The sum less what it should be, {found.expected_sum:.3f}: {found.expected_sum_is}. Near zero is good."
        + (" From a tenth of that on, take more of them before you believe the map." if more else ""),
    )


def _downloads(found: Attribution, look: Look) -> None:
    name = f"{found.method}_{found.target_name}"
    first, second = st.columns(2)
    with first:
        parts.download(
            "Figure as PNG",
            lambda shown: png(sheet(found, shown)),
            look,
            f"{name}.png",
            "image/png",
            "The map over the picture as it is shown, four times as large, with its scale.",
        )
    with second:
        parts.download(
            "Map as NPY",
            npy,
            found.channels,
            f"{name}.npy",
            "application/octet-stream",
            "The signed numbers, for numpy.load: channels x rows x columns. Added up over the channels they are the "
            "map.",
        )
