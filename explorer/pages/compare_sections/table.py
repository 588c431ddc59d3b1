"""Every figure in one table, and beside it what papers and libraries print."""

import streamlit as st

from explorer.analysis.comparison import comparison_table, first_of_each, published_table
from explorer.export.tables import csv, markdown, readable_table
from explorer.pages import cached, parts
from explorer.pages.compare_sections import records
from explorer.pages.compare_sections.compared import Compared


def show(compared: Compared) -> None:
    """A row a network; sorted by a click on a heading."""
    every = records.accuracies(compared)
    if every is None:
        return
    printed = first_of_each(every, "top1", "top5")
    content = comparison_table(compared.profiles).merge(printed[["net", *_PRINTED]], "left", "net")
    parts.table(readable_table(content), "compare_table")
    with st.container(horizontal=True):
        parts.download("Table as CSV", csv, content, "compare.csv", "text/csv", "The table above, for a spreadsheet.")
        parts.download(
            "Table as Markdown", markdown, content, "compare.md", "text/markdown", "The table above, for a README."
        )
    st.caption(
        "A click on a heading offers to sort. Depth to receptive field are counted on the network itself, for one "
        "image; a dash is unknown or does not apply. Depth counts convolutions and linear layers on the longest way "
        "through the network. MACs are multiply-accumulates; FLOPs would be twice as many. Activation memory keeps the "
        "output of every layer at float32. Auxiliary classifiers serve training only and are not counted. Accuracy is "
        "the first one printed, its crop and source beside it; the section Accuracy has the others."
    )
    counts = published_table(compared.counted, cached.profiles())
    if counts.empty:
        return
    st.subheader("As published", anchor=False)
    parts.table(counts, "published_table", column_config={**parts.COLUMNS, **_COLUMNS})
    parts.download(
        "As published as CSV", csv, counts, "compare_published.csv", "text/csv", "The table above, for a spreadsheet."
    )
    st.caption(
        "What papers and torchvision print, less what we count at each network's own image size. Papers round, and "
        "some count in another way; torchvision's parameters of Inception-v3 include its auxiliary classifier."
    )


_PRINTED = ("top1", "top5", "crop", "dataset", "extra_data", "note", "source")
_COLUMNS = {
    f"{column}{end}": st.column_config.NumberColumn(f"{term}{title}", format="localized", help=about)
    for column, term in (("params", "params"), ("macs", "MACs"))
    for end, title, about in (
        ("_printed", ", printed", "As the source prints it, in whole numbers."),
        ("", ", ours", "Counted on the network itself."),
        ("_difference", ", difference", "Printed less ours."),
    )
}
