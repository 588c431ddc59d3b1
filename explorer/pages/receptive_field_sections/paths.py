"""The fields of a network's single paths."""

import streamlit as st

from explorer.analysis.field_stories import count_in_words, middle_paths, share_table
from explorer.analysis.paths import Paths, path_sweep
from explorer.export.tables import csv
from explorer.figures.fields import path_sums_chart, paths_chart
from explorer.figures.theme import config, exact
from explorer.jobs import Progress
from explorer.pages import cached, parts, runs
from explorer.pages.receptive_field_sections.seen import Seen, one

NOTE = """
Veit, Wilber & Belongie 2016 ([arXiv 1605.06431](https://arxiv.org/abs/1605.06431)) read a residual net as the
collection of all its paths: every block is passed or skipped. What they found by experiment: taking single blocks out
of a trained residual net costs little accuracy, and in one of 110 layers most of the gradient came over paths 10 to 34
layers deep. What follows from the count alone is less. The chart counts paths, each as one, whatever its weights carry;
the paths share their weights and are no independent networks; and the field of the map is that of its longest paths,
however few they are. In a plain net one path is all there is.
"""


def show(seen: Seen) -> None:
    """Share of the paths by the height of their fields, behind one layer of one network, or behind all last maps."""
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    with left:
        name = one(seen)
    table = seen.profiles[name].table
    names = dict(zip(table["operator"], table["name"], strict=True))
    key = f"field_paths_layer {name}"
    if st.session_state.get(key) not in names:
        st.session_state[key] = next(reversed(names))
    operator: int = middle.selectbox(
        "Behind the layer",
        list(names),
        format_func=names.__getitem__,
        key=key,
        persist_state="session",
        help="Paths from the image to its output; at first the last layer with a local field.",
    )
    every = right.toggle(
        "All networks",
        key="field_paths_all",
        persist_state="session",
        help="The paths to the last map of each network above beside this one's.",
    )
    wanted = {
        net: operator if net == name else int(profile.table["operator"].iloc[-1])
        for net, profile in seen.profiles.items()
        if net == name or every
    }

    def counting(progress: Progress) -> dict[str, Paths]:
        """Count the paths to each of these maps."""
        found = {}
        for place, (net, last) in enumerate(wanted.items()):
            progress.report(place / len(wanted), f"Counting the paths of {net}")
            paths = path_sweep(seen.profiles[net].graph[: last + 1])[-1]
            if paths is not None:
                found[net] = paths
        return found

    question = (tuple(seen.networks.items()), seen.image_size, tuple(wanted.items()))
    found = runs.outcome("field_paths_run", question, counting, cached.counting_queue())
    if found is None:
        return
    paths = found.get(name)
    if paths is None:
        st.info(
            "The fields of single paths are unknown here: behind an enlarged map they differ from unit to unit.",
            icon=":material/help:",
        )
        return
    own = table.loc[table["operator"] == operator, "size"].iloc[0][0]
    low, high = middle_paths(paths)
    number, _, rounded = count_in_words(paths.number).partition(", ")
    with st.container(horizontal=True):
        for label, value, below, about in (
            ("Paths", number, rounded, "Ways from the image to this layer."),
            ("Shortest", f"{exact(paths.shortest)} px", "", "Height of the smallest field of a path."),
            (
                "Mean",
                f"{paths.mean:,.6g} px",
                f"95%: {exact(low)} to {exact(high)}",
                "Over all paths, each counted once. At most 2.5% of them are lower than the two numbers below it say, "
                "and 2.5% higher.",
            ),
            ("Longest", f"{exact(paths.longest)} px", "", "Height of the largest field of a path."),
            ("The map's own", f"{exact(own)} px", "", "Height of the box that holds the fields of all paths."),
        ):
            st.metric(label, value, below or None, delta_color="off", delta_arrow="off", width=165, help=about)
    if paths.number == 1 and not every:
        st.info("One path leads here: there is nothing to spread.", icon=":material/linear_scale:")
        st.caption(NOTE)
        return
    shares = share_table(found)
    marks = {"shortest": paths.shortest, "mean": paths.mean, "longest": paths.longest, "the map's own": own}
    st.plotly_chart(
        path_sums_chart(shares) if every else paths_chart(shares, marks),
        key="field_paths_chart",
        config=config("receptive_field_paths"),
        alt=f"Share of the paths of {', '.join(found)} by the height of their field; the CSV has the numbers",
    )
    parts.download(
        "Paths as CSV",
        csv,
        shares,
        "receptive_field_paths.csv",
        "text/csv",
        "A row a height, with every digit of the number of paths.",
    )
    st.caption(NOTE)
