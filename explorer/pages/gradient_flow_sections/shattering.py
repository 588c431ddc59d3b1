"""Nearby inputs: whether the gradients of two inputs that are almost the same have anything in common."""

from functools import partial

import streamlit as st

from explorer.analysis.flow import seconds_for
from explorer.analysis.shattering import (
    DISTANCES,
    IMAGES,
    PASSED,
    STEPS,
    Shattering,
    check_room,
    distance_curves,
    lag_curves,
    noise,
    shattering,
    summary,
    walk_curve,
)
from explorer.export.tables import csv
from explorer.figures.shattering import decimal, depth_chart, distance_chart, lag_chart, walk_chart
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import parts, runs
from explorer.pages.edge import plain
from explorer.pages.gradient_flow_sections import measured
from explorer.pages.gradient_flow_sections.chosen import Chosen

MEANING = """
Near 1, the gradient of a picture still holds for the pictures around it. Near 0, it says nothing about the picture next
to it: it is *shattered*, and looks like noise although its size may be just right.
"""
LITERATURE = """
**Published.** Balduzzi et al. (2017, [arXiv 1702.08591](https://arxiv.org/abs/1702.08591)) found this at random
weights. Along a line of inputs the gradient of a shallow net resembles brown noise, a random walk; that of a deep plain
net resembles white noise. They show for fully connected ReLU nets that the correlation of gradients falls exponentially
with depth, and far more slowly, sublinearly, with shortcuts. The walk here is their picture, with He et al.'s
convolutional nets.

**One explanation among several.** Descent along a gradient counts on its holding for more than one point, which is why
shattering may make deep plain nets hard to train. But it is measured before training, and with respect to the picture,
while training follows the gradient with respect to the weights: what a net does after many steps does not follow from
it. Others look at how rough the surface of the loss is (Li et al. 2018,
[arXiv 1712.09913](https://arxiv.org/abs/1712.09913)), at gradients that explode at the first step (Yang et al. 2019,
[arXiv 1902.08129](https://arxiv.org/abs/1902.08129)), or at how batch norm and shortcuts keep each block near the
identity (De & Smith 2020, [arXiv 2002.10444](https://arxiv.org/abs/2002.10444)). He et al. (2015, section 4.1) left the
cause open.
"""


def show(chosen: Chosen) -> None:
    """The cosine by distance and by depth, the gradient along a line of inputs, and what it may mean."""
    st.subheader("Gradients of nearby inputs", anchor=False)
    st.markdown(MEANING)
    distance: float = st.select_slider(
        "Distance, part of the way to another image",
        DISTANCES,
        0.03,
        format_func=decimal,
        key="shattering_distance",
        persist_state="session",
        help="For the chart by depth and the table: 0 would be the image itself, 1 is another image of the batch.",
    )
    questions = {title: (net, chosen.seeds) for title, net in measured.nets(chosen).items()}
    work = partial(_of_net, measured.bench("shattering"))
    found = runs.outcomes("shattering_runs", questions, work)
    if not found:
        return
    table = summary(found, chosen.specs, distance)
    left, right = st.columns(2)
    left.plotly_chart(
        distance_chart(distance_curves(found), chosen.specs, distance),
        key="shattering_distances",
        config=config("shattering_by_distance"),
        alt=f"cosine of the gradients of two inputs by their distance, a line for each of {', '.join(found)}",
    )
    right.plotly_chart(
        depth_chart(table, distance),
        key="shattering_depths",
        config=config("shattering_by_depth"),
        alt="cosine of the gradients of two inputs at one distance, by the depth of the net",
    )
    st.caption(plain(_how(chosen)))
    _table(found, table)
    _walk(chosen, found)
    st.markdown(LITERATURE)


def _of_net(on: measured.Bench, question: tuple[measured.Net, int], progress: Progress) -> list[Shattering]:
    """A net over the seeds, in a worker thread.

    Raises:
        Refusal: it would take too long or too much memory, or the net does not take the images.
    """
    net, seeds = question
    totals = on.profile(net.spec, None).totals
    check_room(totals)
    seconds_for(totals, seeds * (PASSED + net.steps * measured.AT_ONCE.get(net.images.name, 0)))
    found = []
    for seed in range(seeds):

        def report(done: float, text: str, seed: int = seed) -> None:
            progress.report((seed + done) / seeds, f"seed {seed}, {text}")

        def measure(seed: int = seed) -> Shattering:
            trained = 0.5 if net.state == "steps" else 0.0
            network = net.network(seed, lambda done, text: report(trained * done, text))
            images, classes = net.images.batch(net.spec, seed, IMAGES)
            return shattering(network, images, classes, lambda done, text: report(trained + (1 - trained) * done, text))

        found.append(on.once(net, seed, measure))
    return found


def _how(chosen: Chosen) -> str:
    return (
        f"Measured now {chosen.when}, in training mode. In went {chosen.images.words}: {IMAGES} of them and, in the "
        "same batch, their neighbours, each a part of the way along a straight line to the next one: x + d (x' - x). "
        "The gradient is that of the mean cross-entropy with respect to the picture, with the same class for a picture "
        "and its neighbours; the cosine is the scalar product of two of them over the product of their norms, the mean "
        f"over the {IMAGES}. Lines are medians over {chosen.seeds} {'seed' if chosen.seeds == 1 else 'seeds'}, bands "
        "and bars reach from the least to the greatest. The smallest distances are far below what 8 bits of a picture "
        "show: they say how small the region is in which a gradient keeps its direction."
    )


def _table(found: dict[str, list[Shattering]], table: object) -> None:
    parts.table(
        table,
        "shattering_table",
        column_config={
            **parts.COLUMNS,
            "cosine": st.column_config.NumberColumn(
                format="%.2f", help="Of the gradients at the chosen distance, the median over the seeds."
            ),
            "low": st.column_config.NumberColumn("least", format="%.2f", help="The least over the seeds."),
            "high": st.column_config.NumberColumn("greatest", format="%.2f", help="The greatest over the seeds."),
            "half": st.column_config.TextColumn(
                "half at", help="The distance from which on the cosine is below 1/2, between two measured ones."
            ),
            "step_cosine": st.column_config.NumberColumn(
                "a step of the walk",
                format="%.2f",
                help=f"The mean cosine of neighbours on a line from one image to another in {STEPS} steps, all in one "
                "batch, as in the picture below.",
            ),
        },
    )
    with st.container(horizontal=True):
        parts.download(
            "Cosines as CSV",
            csv,
            distance_curves(found),
            "shattering.csv",
            "text/csv",
            "Median, least and greatest of each net at each distance.",
        )
        parts.download(
            "Table as CSV", csv, table, "shattering_by_net.csv", "text/csv", "The table above, for a spreadsheet."
        )


def _walk(chosen: Chosen, found: dict[str, list[Shattering]]) -> None:
    st.markdown("**A walk from one image to another**")
    left, right = st.columns(2)
    title: str = left.selectbox(
        "Net of the walk",
        list(found),
        key="shattering_walk",
        persist_state="session",
        help="Whose slope is drawn along the line, with the weights of seed 0.",
    )
    left.plotly_chart(
        walk_chart({title: found[title][0].walk, **noise()}),
        key="shattering_walk_chart",
        config=config("shattering_walk"),
        alt=f"slope of the loss of {title} along a line of inputs, above one draw of brown and one of white noise",
    )
    walk = walk_curve(found[title][0])
    with left:
        parts.download("Slope as CSV", csv, walk, "shattering_walk.csv", "text/csv", "The net's slope at each point.")
    lags = lag_curves(found)
    right.plotly_chart(
        lag_chart(lags, chosen.specs),
        key="shattering_lags",
        config=config("shattering_autocorrelation"),
        alt="autocorrelation of the gradient along a line of inputs, beside brown and white noise",
    )
    with right:
        parts.download(
            "Autocorrelation as CSV",
            csv,
            lags,
            "shattering_autocorrelation.csv",
            "text/csv",
            f"Median, least and greatest of each net at each lag up to {STEPS} steps.",
        )
    st.caption(
        f"Left: the slope of the loss along a straight line of {STEPS + 1} inputs from one image to another, all in "
        "one batch and with one class, over its root mean square; below it one draw of brown noise, a random walk, and "
        "one of white noise. Right: the autocorrelation of the whole gradient on that line, the sum over all pixels; "
        "brown and white noise by formula, for as many points. Batch norm sees only pictures of one line here, which "
        "pulls neighbours further apart than among other pictures."
    )
