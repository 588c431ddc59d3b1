import streamlit as st

from explorer.analysis.layers import select_layers, totals
from explorer.analysis.second_opinion import second_opinion
from explorer.export import csv, readable_table
from explorer.figures.layers import stage_chart
from explorer.figures.theme import config, exact, short
from explorer.pages import cached, parts, runs, sidebar
from explorer.pages.edge import plain
from explorer.spec import PRESETS

spec = sidebar.current()
result = cached.layers(spec)
if problem := sidebar.link_problem():
    st.warning(plain(problem), icon=":material/link_off:")
name = sidebar.preset()
changes = ", ".join(f"{field} = {getattr(spec, field)}" for field in spec.differences(PRESETS[name]))
twin = spec.nearest_preset()

st.header("Build", anchor=False)
st.caption(
    f"**{name}**"
    + (f" with {changes}" if changes else "")
    + (f" · the same net as {twin}" if changes and spec == PRESETS[twin] else "")
    + " · the link in the address bar holds this net"
)

row = st.container(horizontal=True, horizontal_alignment="distribute")


def headline(label: str, value: int | str, below: str, about: str) -> None:
    """One number of the first row, short, and in full below."""
    row.metric(label, value, below, delta_color="off", delta_arrow="off", width=165, help=about)


headline(
    "Depth",
    spec.depth,
    f"{exact(result.totals.layers)} rows below",
    "Convolutions and linear layers on the main path, as the papers count: no projections, no squeeze-excitation. A "
    "deep stem counts three, so ResNet-50-D has 52.",
)
headline(
    "Parameters",
    short(result.totals.params),
    exact(result.totals.params),
    "Weights and biases, both of each batch norm included; running statistics are not counted.",
)
headline(
    "MACs",
    short(result.totals.macs),
    exact(result.totals.macs),
    "Multiply-accumulates for one image, in convolutions and linear layers. FLOPs are twice as many; the 2015 paper "
    "calls these FLOPs.",
)
headline(
    "Activation memory",
    short(result.totals.activation_bytes, "B"),
    f"{exact(result.totals.activation_bytes)} bytes",
    "The outputs of all layers for one image at float32, each kept, as in training without anything in place. Views "
    "take none.",
)

for column, quantity in zip(st.columns(2), ("params", "macs"), strict=True):
    column.plotly_chart(
        stage_chart(result.table, quantity),
        key=f"stages_{quantity}",
        config=config(f"{name}_{quantity}"),
        alt=f"{quantity} of each stage, divided by kind of layer; the numbers are in the stage table",
    )

st.subheader("Stages", anchor=False)
columns = {
    "name": st.column_config.TextColumn("layer", help="The dotted name of the module, as in PyTorch's state_dict."),
    "stage": st.column_config.TextColumn(help="stem, stages from 1, head."),
    "block": st.column_config.NumberColumn(help="The block inside its stage, from 1."),
    "layers": st.column_config.NumberColumn(help="Rows of the layer table in this stage."),
    "kind": st.column_config.TextColumn(help="What the layer does."),
    "kernel": st.column_config.TextColumn(help="Height x width of the window, in pixels of its input."),
    "stride": st.column_config.TextColumn(help="Steps of the window, in pixels of its input."),
    "padding": st.column_config.TextColumn(help="Pixels added at each side."),
    "dilation": st.column_config.TextColumn(help="Distance of the window's taps, in pixels of its input."),
    "groups": st.column_config.NumberColumn(help="Into how many groups the channels of a convolution are divided."),
    "input_shape": st.column_config.TextColumn("input", help="Channels x height x width, for one image."),
    "output_shape": st.column_config.TextColumn("output", help="Channels x height x width, for one image."),
    "params": st.column_config.NumberColumn(format="localized", help="Weights and biases."),
    "macs": st.column_config.NumberColumn("MACs", format="localized", help="Multiply-accumulates for one image."),
    "activation_bytes": st.column_config.NumberColumn(
        "activations, B", format="localized", help="Bytes of the output at float32, for one image; a view takes none."
    ),
}
st.dataframe(readable_table(result.stages), key="stage_table", hide_index=True, placeholder="-", column_config=columns)
parts.download(
    "Stages as CSV", csv, result.stages, f"{name}_stages.csv", "text/csv", "The table above, for a spreadsheet."
)

st.subheader("Layers", anchor=False)
search, kinds, stages = st.columns([2, 1, 1])
text = search.text_input(
    "Search", key="layer_search", placeholder="layer3.0 or conv2", help="Part of a layer's name; upper or lower case."
)
kind_choice = kinds.multiselect(
    "Kind",
    list(dict.fromkeys(result.table.kind)),
    key="layer_kinds",
    help="Only layers of these kinds; none means all.",
)
stage_choice = stages.multiselect(
    "Stage", list(result.stages.stage), key="layer_stages", help="Only layers of these stages; none means all."
)
selected = select_layers(result.table, text, kind_choice, stage_choice)
sums = totals(selected)
st.caption(
    f"{exact(sums.layers)} of {exact(result.totals.layers)} rows · {exact(sums.params)} parameters · "
    f"{exact(sums.macs)} MACs · {exact(sums.activation_bytes)} bytes of activations"
)
if selected.empty:
    st.info("No layer is like that; take away a filter or shorten the search.", icon=":material/search_off:")
else:
    st.dataframe(
        readable_table(selected), key="layer_table", hide_index=True, placeholder="-", column_config=columns, height=420
    )
    parts.download(
        "Layers as CSV", csv, selected, f"{name}_layers.csv", "text/csv", "The rows above, for a spreadsheet."
    )

compare = st.toggle(
    "Compare with torchinfo and PyTorch",
    key="second_opinion",
    persist_state="session",
    help="Counts this net with torchinfo and with PyTorch's FlopCounterMode, and says why they differ; beside them "
    "what torchvision prints of its own networks.",
)
opinion = runs.outcome("second_opinion_run", spec, lambda progress: second_opinion(spec)) if compare else None
if opinion is not None:
    st.dataframe(
        opinion,
        key="second_opinion_table",
        hide_index=True,
        placeholder="-",
        column_config={
            "params": columns["params"],
            "macs": columns["macs"],
            "difference": st.column_config.NumberColumn(
                "difference, MACs", format="localized", help="Its MACs less ours."
            ),
            "reason": st.column_config.TextColumn(width="large", help="Where the difference comes from."),
        },
    )
    parts.download(
        "Comparison as CSV", csv, opinion, f"{name}_comparison.csv", "text/csv", "The table above, for a spreadsheet."
    )
