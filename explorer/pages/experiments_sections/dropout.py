"""Dropout, on and off."""

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.experiments import learning_chart, passes_chart
from explorer.figures.theme import config
from explorer.pages import cached, parts, runs
from explorer.training.dropout import (
    EXAMPLES,
    FEATURES,
    MAX_PASSES,
    MAX_RATE,
    NOISE,
    SEEDS,
    STEPS,
    TESTS,
    WIDTH,
    learning,
    learning_summary,
)

NOTE = """
**What it does.** In training each value is set to 0 with probability p, anew for each example, and the rest are
multiplied by 1/(1 - p), so that sums stay the same on average. At test time nothing is dropped. (The 2012 paper scales
at the other end: it drops without scaling, and halves all values at test time. The two agree up to that factor.) So
each step trains another thinned net, all sharing their weights, and no unit can count on one other being there. The
whole net at test time stands for the mean of them: exactly so behind one linear layer, and only roughly behind a ReLU.

**Published.** Hinton et al. (2012, arXiv 1207.0580) and Srivastava et al. (2014, Journal of Machine Learning Research
15, 1929-1958) introduced it. Krizhevsky et al. (2012, section 4.2) have p = 0.5 behind fc6 and fc7 and report
substantial over-fitting without it, and about twice as many iterations to converge with it.
"""


def show() -> None:
    """Many passes with dropout beside the one without, and two small nets that could learn their examples by heart."""
    st.subheader("Dropout", anchor=False)
    switch, rate_place, seed_place = st.columns(3, vertical_alignment="bottom")
    on = switch.toggle(
        "Drop", True, key="dropout_on", persist_state="session", help="Off: every value is kept, as at test time."
    )
    chosen = rate_place.slider(
        "Rate p",
        0.05,
        MAX_RATE,
        0.5,
        step=0.05,
        key="dropout_rate",
        persist_state="session",
        disabled=not on,
        help="The probability that a value is dropped; AlexNet has 0.5.",
    )
    seed = int(
        seed_place.number_input(
            "Seed", 0, 999, 0, key="dropout_seed", persist_state="session", help="Of features, weights and masks."
        )
    )
    rate = chosen if on else 0.0
    result = cached.dropout_passes(rate, seed)
    most = result.table.iloc[-1]
    row = st.container(horizontal=True)
    for label, value, below, about in (
        ("Values dropped", f"{result.zeros:.1%}", f"p = {rate:g}", f"Counted in the masks of {MAX_PASSES} passes."),
        ("Kept values, times", f"{result.scale:.3g}", "1/(1 - p)", "What the kept values are multiplied by."),
        (
            "One pass",
            f"{result.table.linear[0]:.0%}",
            "off, linear",
            "Distance of one pass with dropout to the pass without, over the size of the latter.",
        ),
        (
            "Mean, linear",
            f"{most.linear:.1%}",
            f"off, {MAX_PASSES} passes",
            "The same of the mean of many passes, behind one linear layer. It goes to 0 with the root of their number.",
        ),
        (
            "Mean, behind a ReLU",
            f"{most.behind_relu:.1%}",
            f"off, {MAX_PASSES} passes",
            "The same behind linear, ReLU, dropout, linear. It does not go to 0: the mean of ReLUs is no ReLU of the "
            "mean.",
        ),
    ):
        row.metric(label, value, below, delta_color="off", delta_arrow="off", width=165, help=about)
    if on:
        st.plotly_chart(
            passes_chart(result.table),
            key="dropout_passes",
            config=config("dropout_passes"),
            alt="distance of the mean of many dropout passes to the full net; the numbers are in the file below",
        )
    st.caption(
        f"Dropout, linear, ReLU, dropout, linear: the shape of AlexNet's fc7 and fc8 with {FEATURES} features, and "
        "random weights (PyTorch's own start). The dotted line is computed: behind a linear layer the variance of a "
        "pass is p/(1 - p) times the sum of squared weights times squared features."
    )
    parts.download(
        "Passes as CSV", csv, result.table, "dropout_passes.csv", "text/csv", "All distances by number of passes."
    )
    _learning(chosen)
    st.markdown(NOTE)


def _learning(rate: float) -> None:
    """Train with and without, where the person asks for it."""
    st.markdown("**Learning by heart**")
    switch, share = st.columns(2, vertical_alignment="bottom")
    wanted = switch.toggle(
        "Train small nets with and without",
        key="dropout_learning",
        help=f"{2 * len(SEEDS)} short trainings, some seconds in the queue.",
    )
    wrong = share.select_slider(
        "Wrong labels",
        (0.0, 0.1, 0.2, 0.3, 0.4),
        0.3,
        format_func=lambda part: f"{part:.0%}",
        key="dropout_wrong",
        persist_state="session",
        help="Share of the training digits whose label is replaced by another. The test digits are labelled right.",
    )
    if not wanted:
        return
    found = runs.outcome("dropout_run", (rate, wrong), lambda progress: learning(rate, wrong, progress.report))
    if found is None:
        return
    summary = learning_summary(found)
    st.plotly_chart(
        learning_chart(found),
        key="dropout_errors",
        config=config("dropout_learning"),
        alt="training and test error by step with and without dropout; the last ones are in the table below",
    )
    st.dataframe(
        summary,
        key="dropout_table",
        hide_index=True,
        column_config={
            "rate": st.column_config.NumberColumn("p", help="Dropout behind both hidden layers; 0 is none."),
            **{
                f"{error}_{name}": st.column_config.NumberColumn(
                    f"{word} error, {name}", format="%.1f%%", help=f"At the last step, over {len(SEEDS)} seeds."
                )
                for error, word in (("train_error", "training"), ("test_error", "test"))
                for name in ("mean", "lowest", "highest")
            },
        },
    )
    parts.download("Runs as CSV", csv, found, "dropout_learning.csv", "text/csv", "Every seed, every 20 steps.")
    st.caption(
        f"Trained now: digits of 7 × 5 dots with Gaussian noise of {NOISE:g}, {EXAMPLES} to learn and {TESTS} others "
        f"to test; two hidden layers of {WIDTH}, ReLU; Adam, learning rate 0.001, {STEPS} steps of 50; the same start "
        "and the same batches with and without. The training error counts wrong labels as if they were right, so a net "
        "that has them by heart has 0%. Over ten seeds with p = 0.5 the mean test error was 12% with dropout and 24% "
        "without at 30% wrong labels, and the same, 1.4%, where all labels were right: there dropout gained nothing. "
        "At 30%, test errors of 2 to 6% came early in every run, with dropout and without, before the wrong labels "
        "were learnt: to stop then would have done more than dropout did."
    )
