"""The effective field against depth, of networks as they start and of trained ones."""

import pandas as pd
import streamlit as st

from explorer.analysis.effective import EffectiveField, by_depth, effective_table
from explorer.errors import Refusal
from explorer.export.tables import csv
from explorer.figures.effective import ratio_chart
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import parts, pictures, runs
from explorer.pages.edge import plain
from explorer.pages.receptive_field_sections import measuring
from explorer.pages.receptive_field_sections.seen import Seen, first

_LAYERS = 12  # of each network

LITERATURE = """
**What theory says.** In a plain stack of convolutions with random weights and no activation functions the gradient of a
unit is a sum over very many paths, and its shape over the image tends to a Gaussian: with $n$ layers the theoretical
field grows like $n$, the Gaussian's width only like $\\sqrt{n}$, so the part of the field that is used shrinks like
$1/\\sqrt{n}$. Strides and dilation widen the effective field, shortcuts make it smaller, and training widened it in
the authors' experiments (Luo, Li, Urtasun & Zemel 2016, [arXiv 1701.04128](https://arxiv.org/abs/1701.04128)).

**What to expect here.** The curves are measured on the networks above, not on that model. A residual net has short
paths with small fields, and uses less of its theoretical field than its plain twin. Training need not widen the field:
in the four CIFAR-10 nets that come with this app, trained for a short time, it is narrower than with initial weights.
Layers behind global context (squeeze-and-excitation, group norm) answer to pixels outside of the box as well.

**What it does not say.** A gradient tells how the unit would answer to a small change of a pixel at these very images;
it is no proof that the pixel does or does not bear on the decision.
"""


def show(seen: Seen) -> None:
    """The choice of networks, what to measure on, a line a network, and a table.

    Raises:
        ImageError: the upload is no picture that can be used. NotMeasured: there is no gradient to measure.
    """
    options = measuring.subjects(seen)
    state = st.session_state
    before = state.get("effective_nets")
    kept = [key for key in before or [] if key in options]
    state["effective_nets"] = kept if kept or before == [] else [first(seen)]  # emptied by hand it stays empty
    chosen = st.multiselect(
        "Networks",
        list(options),
        format_func=options.__getitem__,
        key="effective_nets",
        persist_state="session",
        wrap=True,
        help="The networks above with the random weights that they start from, and trained ones.",
    )
    left, right = st.columns(2)
    with left:
        picture = pictures.choose()
    if picture is None:
        right.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        return
    with right:
        on = measuring.asked("effective", picture)
    subjects = {options[key]: measuring.subject(seen, key) for key in chosen}
    if not subjects:
        st.info("Choose a network whose effective field shall be measured.", icon=":material/visibility:")
        return

    def measuring_them(progress: Progress) -> tuple[dict[str, list[EffectiveField]], dict[str, str]]:
        found, refused = {}, {}
        for place, (title, subject) in enumerate(subjects.items()):

            def part(fraction: float, text: str, place: int = place, title: str = title) -> None:
                progress.report((place + fraction) / len(subjects), f"{title}: {text}")

            try:
                found[title] = subject.measured(by_depth(subject.profile, _LAYERS), on, None, part)
            except Refusal as refusal:
                refused[title] = str(refusal)
        return found, refused

    question = (tuple(subject.key for subject in subjects.values()), *on.question)
    outcome = runs.outcome("effective_run", question, measuring_them)
    if outcome is None:
        return
    found, refused = outcome
    for title, why in refused.items():
        st.warning(plain(f"{title} is left out: {why}"), icon=":material/block:")
    if refused:
        st.button("Run it again", on_click=runs.forget, args=["effective_run"], help="Measure all of them once more.")
    if not found:
        return
    tables = {title: effective_table(subjects[title].profile, fields) for title, fields in found.items()}
    ratio = st.segmented_control(
        "Shown",
        [False, True],
        default=False,
        required=True,
        format_func=lambda ratio: "part of the theoretical" if ratio else "pixels",
        key="effective_ratio",
        persist_state="session",
        help="The width that holds 95% of the gradient in pixels, beside the theoretical field; or the one over the "
        "other.",
    )
    st.plotly_chart(
        ratio_chart(tables, ratio=bool(ratio)),
        key="effective_chart",
        config=config("effective_field_by_depth"),
        alt=f"Effective receptive field by depth of {', '.join(tables)}; the table below has the numbers",
    )
    st.caption(
        f"Measured now for the unit in the middle of each map, at up to {_LAYERS} depths: the side of a square of as "
        "many pixels as the rows and columns enclose that hold 95% of the absolute gradient, averaged over "
        f"{measuring.ON[on.kind]}"
        + (f" and {on.seeds} draws of weights where they are initial" if on.seeds > 1 else "")
        + ". Dotted lines: the theoretical field. Open dots: it leaves the image, so the image cuts the effective one "
        "too; with initial weights a larger image, chosen above, shows it whole. "
        f"{measuring.STATISTICS} A layer whose gradients are all zero is left out."
    )
    whole = pd.concat([table.assign(net=title) for title, table in tables.items()], ignore_index=True)
    whole = whole[["net", *whole.columns.drop("net")]]
    parts.table(whole, "effective_table", column_config={**parts.COLUMNS, **measuring.COLUMNS})
    parts.download(
        "Effective field as CSV", csv, whole, "effective_field_by_depth.csv", "text/csv", "A row a network and layer."
    )
    st.markdown(LITERATURE)
