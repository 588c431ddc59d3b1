"""Identity path: what each block does to the gradient, in measured numbers."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from explorer.analysis.flow import batch_for, seconds_for
from explorer.analysis.identity_path import chain_summary, identity_path, plain_twin
from explorer.export.tables import csv
from explorer.figures.identity_path import chain_chart, worked
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import parts, runs
from explorer.pages.edge import plain
from explorer.pages.gradient_flow_sections import measured
from explorer.pages.gradient_flow_sections.chosen import Chosen

FORMULA = r"""
\frac{\partial L}{\partial x}
  = \frac{\partial L}{\partial y}
  + \left(\frac{\partial F}{\partial x}\right)^{\!\top} \frac{\partial L}{\partial y}
"""
EXPLANATION = """
**What the "+ 1" does.** The first term is there whatever the layers do, so that the product of the factors cannot fall
to zero only because every branch hands little on. In a plain net without norm it can: there each factor is the layers'
alone. Choose norm "none" and PyTorch's or Xavier's initial weights under More choices, and see the plain twin fall.

**Why factors are above 1 at initialisation.** The two parts stand at almost a right angle, as random directions in so
many dimensions do. So their squares add, and the branch makes the gradient longer. In the paper's nets, which have
batch norm, nothing vanishes, with shortcuts or without (He et al. 2015,
[arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.1, say so): gradients grow toward the input, and in the
plain net by about the same factor at every block, which is exponential in depth (Yang et al. 2019,
[arXiv 1902.08129](https://arxiv.org/abs/1902.08129)). With shortcuts the sum grows from block to block while batch norm
keeps the branch's size, so that the branch's part shrinks and factors come closer to 1 (De & Smith 2020,
[arXiv 2002.10444](https://arxiv.org/abs/2002.10444)).

**What it does not promise.** A branch can point against the shortcut and make the factor smaller than 1; nothing
forbids training to do so. In the original order a ReLU stands behind every sum, on the path itself, and lets only a
part of the gradient through; pre-activation takes it away (He et al. 2016,
[arXiv 1603.05027](https://arxiv.org/abs/1603.05027)). A projection multiplies too, so that with option C no block has
an identity. A gate multiplies the shortcut by 1 - T, in every block again. And that gradients arrive is not yet that a
net learns.
"""


def show(chosen: Chosen) -> None:
    """One net's blocks beside its plain twin's: by which way the gradient comes, each factor, and their product."""
    st.subheader("The chain of factors", anchor=False)
    st.markdown(
        "A residual block computes y = x + F(x), in the original order with a ReLU behind the sum. So the gradient in "
        "front of it is the sum of two parts: one came from the sum through the shortcut, the other through the main "
        "branch F. What the ReLU takes away first is counted by itself."
    )
    st.latex(FORMULA)
    left, right = st.columns([3, 1])
    title: str = left.selectbox(
        "Net",
        list(chosen.specs),
        index=_first_residual(chosen),
        key="identity_net",
        persist_state="session",
        help="One of the nets chosen above; its plain twin, the same layers without shortcuts, stands beside it.",
    )
    seed: int = right.selectbox(
        "Seed",
        range(chosen.seeds),
        key="identity_seed",
        persist_state="session",
        help="The draw of weights, images and classes.",
    )
    spec = chosen.specs[title]
    questions = _questions(chosen, title)
    on = measured.bench("identity")
    tables = runs.outcome("identity_run", (tuple(questions.items()), seed), lambda to: _tables(on, questions, seed, to))
    if tables is None:
        return
    table = tables[title]
    block: int = 1
    if len(table) > 1:
        block = st.slider(
            "Block",
            1,
            len(table),
            min(2, len(table)),
            key=f"identity_block_{len(table)}",
            persist_state="session",
            help="The one that is told in numbers, from the input; a dotted line marks it in the chart.",
        )
    row = table.iloc[block - 1]
    st.info(plain(f"Block {block} of {len(table)}, {row['name']}. {worked(row.to_dict(), spec)}"))
    st.plotly_chart(
        chain_chart(tables, block),
        key="identity_chart",
        config=config("identity_path"),
        alt=f"for each block of {title}, the part of the gradient through shortcut and main branch; below, the product "
        "of the factors of all blocks from the last, on a logarithmic axis",
    )
    if chosen.state == "trained" and len(tables) == 1 and spec.residual:
        st.caption("Beside trained weights there is no twin, unless its own are among the chosen nets.")
    st.caption(
        plain(
            f"Measured now {chosen.when}, in training mode and double precision, on "
            f"{measured.nets(chosen)[title].batch} {chosen.images.words} (fewer where memory ends); L is the mean "
            "cross-entropy, a norm the root of the sum of squares over the batch. Above: ⟨part, g⟩ / ‖g‖² for the "
            "gradient g in front of each block; the parts sum to 1, and one that points against g is below 0. Below: "
            "‖g‖ over the norm behind the last block, which is the product of the factors of all blocks from the last "
            "to this one. Read it from right to left, as the gradient goes. At a new stage the maps have another "
            "number of values, and option A's shortcut brings a gradient only to every fourth pixel: factors jump."
        )
    )
    _numbers(tables, title)
    st.markdown(EXPLANATION)


def _first_residual(chosen: Chosen) -> int:
    return next((place for place, spec in enumerate(chosen.specs.values()) if spec.residual), 0)


def _questions(chosen: Chosen, title: str) -> dict[str, measured.Net]:
    """The net, and its plain twin in the same state; of trained ones only where the twin is chosen too."""
    nets = measured.nets(chosen)
    net = nets[title]
    found = {title: net}
    if not net.spec.residual:
        return found
    twin = replace(net, spec=plain_twin(net.spec))
    if net.checkpoint is None:
        return {**found, "Plain twin": twin}
    return {**found, **{name: each for name, each in nets.items() if each.spec == twin.spec}}


def _tables(
    on: measured.Bench, questions: dict[str, measured.Net], seed: int, progress: Progress
) -> dict[str, pd.DataFrame]:
    """Of each net, in a worker thread.

    Raises:
        Refusal: it would take too long or too much memory, or the net does not take the images.
    """
    found: dict[str, pd.DataFrame] = {}
    for number, (title, net) in enumerate(questions.items()):
        totals = on.profile(net.spec, None).totals
        batch = batch_for(totals, net.batch)
        seconds_for(totals, 3 * batch + net.steps * net.batch)  # double precision

        def report(done: float, text: str, title: str = title, number: int = number) -> None:
            progress.report((number + done) / len(questions), f"{title}: {text}")

        def measure(net: measured.Net = net, batch: int = batch) -> pd.DataFrame:
            trained = 0.5 if net.state == "steps" else 0.0
            network = net.network(seed, lambda done, text: report(trained * done, text))
            images, classes = net.images.batch(net.spec, seed, batch)
            return identity_path(
                network.double(),
                images.double(),
                classes,
                seed,
                lambda done, text: report(trained + (1 - trained) * done, text),
            )

        found[title] = on.once(net, seed, measure)
    return found


def _numbers(tables: dict[str, pd.DataFrame], title: str) -> None:
    """The chain of each net in a row, the blocks of the chosen one, and both as files."""
    numbers = chain_summary(tables)
    parts.table(
        numbers,
        "identity_summary",
        column_config={
            **parts.COLUMNS,
            "blocks": st.column_config.NumberColumn(help="How many factors the chain has."),
            "product": st.column_config.NumberColumn(
                "in front of first / behind last",
                format="%.3g",
                help="The norm in front of the first block over that behind the last: the product of all factors.",
            ),
            "factor_low": st.column_config.NumberColumn("least factor", format="%.3f", help="Of all blocks."),
            "factor": st.column_config.NumberColumn("median factor", format="%.3f", help="Of all blocks."),
            "factor_high": st.column_config.NumberColumn("greatest factor", format="%.3f", help="Of all blocks."),
            "shortcut_share": st.column_config.NumberColumn(
                "through the shortcut", format="percent", help="The median of its part of the gradient in front."
            ),
            "angle": st.column_config.NumberColumn(
                "angle, °", format="%.1f", help="Between the two parts, the median; at 90 their squares add."
            ),
        },
    )
    with st.expander(f"All blocks of {title}"):
        parts.table(tables[title], "identity_table", column_config=_COLUMNS)
    with st.container(horizontal=True):
        parts.download(
            "Blocks as CSV",
            csv,
            pd.concat([table.assign(net=net) for net, table in tables.items()], ignore_index=True),
            "identity_path.csv",
            "text/csv",
            "All that was measured, a row a block of both nets.",
        )
        parts.download("Chains as CSV", csv, numbers, "identity_chains.csv", "text/csv", "The table above.")


def _number(label: str, about: str, form: str = "%.3g") -> object:
    return st.column_config.NumberColumn(label, format=form, help=about)


_COLUMNS = {
    "name": st.column_config.TextColumn("block", help="The dotted name of its module.", pinned=True),
    "index": st.column_config.NumberColumn("number", help="From the input."),
    "behind": _number("behind", "The norm of the gradient that arrives behind the block."),
    "at_sum": _number("at the sum", "The norm of what the layers behind the sum let through."),
    "in_front": _number("in front", "The norm of the gradient in front of the block: all parts together."),
    "mark": st.column_config.TextColumn(help="zero or subnormal: too small for the number format."),
    "shortcut": _number("shortcut", "The norm of the part through the shortcut."),
    "branch": _number("main branch", "The norm of the part through the main branch."),
    "gate": _number("gate", "The norm of the part through the gate's own weights."),
    "shortcut_share": _number("shortcut, part", "Its part of the gradient in front, signed.", "percent"),
    "branch_share": _number("main branch, part", "Its part of the gradient in front, signed.", "percent"),
    "gate_share": _number("gate, part", "Its part of the gradient in front, signed.", "percent"),
    "angle": _number("angle, °", "Between the parts of shortcut and main branch.", "%.1f"),
    "lets_through": _number("lets through", "At the sum over behind.", "%.3f"),
    "factor": _number("factor", "In front over behind: what the block does to the norm.", "%.3f"),
    "product": _number("product", "Of the factors from the last block to this one."),
}
