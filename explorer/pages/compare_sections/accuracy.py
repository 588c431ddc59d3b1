"""Published accuracy against size, and the winners of ImageNet's challenge."""

from typing import get_args

import streamlit as st

from explorer.analysis.comparison import first_of_each, winners_table
from explorer.export.tables import csv
from explorer.figures.comparison import bubble_chart, winners_chart
from explorer.figures.theme import TERMS, config
from explorer.models.published import HUMAN_TOP5_ERROR, Dataset, Origin
from explorer.pages import parts
from explorer.pages.compare_sections import records
from explorer.pages.compare_sections.compared import Compared
from explorer.pages.edge import plain


def show(compared: Compared) -> None:
    """A bubble a network, or one for each of its published accuracies."""
    every = records.accuracies(compared)
    if every is None:
        return
    row = st.container(horizontal=True)
    column = row.segmented_control(
        "Up",
        ("top1", "top5"),
        default="top1",
        required=True,
        format_func=TERMS.__getitem__,
        key="accuracy_column",
        persist_state="session",
        help="Right with the first guess, or within the first five.",
    )
    x = row.segmented_control(
        "Across",
        ("macs", "params"),
        default="macs",
        required=True,
        format_func=TERMS.__getitem__,
        key="accuracy_across",
        persist_state="session",
        help="From left to right; the other one is the bubbles' area.",
    )
    dataset = row.segmented_control(
        "On",
        get_args(Dataset),
        default="ImageNet",
        required=True,
        key="accuracy_dataset",
        persist_state="session",
        help="ImageNet's 50,000 validation images, or the 10,000 test images of CIFAR-10.",
    )
    origins = row.pills(
        "Printed by",
        get_args(Origin),
        selection_mode="multi",
        default=get_args(Origin),
        key="accuracy_origins",
        persist_state="session",
        help="The network's paper, its authors beside the weights that they gave away, torchvision, timm. Later "
        "recipes train the same network better.",
    )
    all_records = row.toggle(
        "Every record",
        key="accuracy_every",
        persist_state="session",
        help="All published accuracies of each network; otherwise the first, papers before libraries.",
    )
    chosen = every[(every["dataset"] == dataset) & every["origin"].isin(origins)]
    shown = chosen[chosen[column].notna()] if all_records else first_of_each(chosen, column)
    if shown.empty:
        st.info("No accuracy is printed of these networks there; choose others, or other sources.")
    else:
        st.plotly_chart(
            bubble_chart(shown, x, column, "params" if x == "macs" else "macs", symbol="origin"),
            key="accuracy_chart",
            config=config(f"compare_{column}_{x}"),
            alt=f"{TERMS[column]} of {', '.join(shown['net'])}; the table below has the numbers",
        )
    missing = [net for net in compared.profiles if net not in set(shown["net"])]
    if missing:
        st.caption(f"Nothing printed there of: {plain(', '.join(missing))}.")
    st.caption(
        "Nobody measured these alike: the crop says what the network saw of an image, and ten crops are worth one to "
        "two points of top-1. MACs are for one image of the size measured; for the network's own size where it slid "
        "over whole pictures, which takes more, or where that size does not fit it (AlexNet's 224 px). With "
        "torchvision's and timm's newer weights the recipe changed, not the network."
    )
    parts.table(shown.drop(columns=["dataset"]), "accuracy_table", column_config={**parts.COLUMNS, **_COLUMNS})
    parts.download(
        "Accuracies as CSV", csv, every, "compare_accuracies.csv", "text/csv", "Every record of these networks."
    )
    _winners()


def _winners() -> None:
    st.subheader("ImageNet's challenge, by year", anchor=False)
    winners = winners_table()
    st.plotly_chart(
        winners_chart(winners, HUMAN_TOP5_ERROR),
        key="winners_chart",
        config=config("ilsvrc"),
        alt="Top-5 error of the winners of 2010 to 2017 and of VGG; the table below has the numbers",
    )
    st.caption(
        "Classification task, error on the challenge's test images, trained without other pictures. Most entries are "
        "averages of several networks and crops. VGG was second in 2014. The person is one who had practised on 500 "
        "images and labelled 1,500 (Russakovsky et al. 2014, arXiv 1409.0575); another erred on 12.0%."
    )
    parts.table(winners.drop(columns="net"), "winners_table", column_config=_WINNERS)
    parts.download("Challenge as CSV", csv, winners, "ilsvrc.csv", "text/csv", "The table above, for a spreadsheet.")


_COLUMNS = {
    "size": st.column_config.NumberColumn("size, px", help="Side of what the network saw; a dash for several sizes."),
    "crops": st.column_config.NumberColumn(help="Parts of each image whose outputs were averaged."),
    "origin": st.column_config.TextColumn("printed by", help="Paper, authors (beside their weights), or library."),
    "year": st.column_config.NumberColumn(format="%d", help="Of the source; a dash for a library's."),
}
_WINNERS = {
    "year": st.column_config.NumberColumn(format="%d", help="Of the challenge."),
    "place": st.column_config.NumberColumn(help="In the classification task."),
    "team": st.column_config.TextColumn(help="As it entered."),
    "network": st.column_config.TextColumn(help="What it entered with."),
    "layers": st.column_config.NumberColumn(help="With weights, from image to output; a dash for no or many networks."),
    "top5_error": st.column_config.NumberColumn("top-5 error, %", help="On the challenge's test images."),
    "models": st.column_config.NumberColumn("networks", help="Whose outputs were averaged; a dash is unknown."),
    "source": st.column_config.TextColumn(help="Where it is printed."),
}
