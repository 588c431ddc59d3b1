"""The net as something to take away: PyTorch source, ONNX, JSON, one line of Python."""

import streamlit as st

from explorer.export.onnx import export_onnx
from explorer.export.source import one_liner
from explorer.export.tables import csv, markdown
from explorer.pages import cached, parts, runs, sidebar
from explorer.spec import ResNetSpec, SpecError

_LARGEST_UPLOAD = 1  # MB; a spec has a few hundred bytes


def show(spec: ResNetSpec, name: str) -> None:
    """Every form in which the net leaves the app, and the one in which it comes back."""
    st.subheader("In Python", anchor=False)
    line = one_liner(spec, sidebar.preset())
    imports = "from dataclasses import replace\n" if "replace(" in line else ""
    st.code(f"{imports}from explorer import PRESETS, build\n\nmodel = {line}", language="python")

    st.subheader("PyTorch source", anchor=False)
    source = cached.source(spec)
    st.caption(
        "A file that needs PyTorch alone: `build()` makes exactly this net, with the same names in its state_dict."
    )
    parts.download(
        "Source as Python file",
        str.encode,
        source,
        f"{name}.py",
        "text/x-python",
        "The text below. Run it, and it prints the number of parameters.",
    )
    st.code(source, language="python", height=420)

    st.subheader("ONNX", anchor=False)
    wanted = st.toggle(
        "Make an ONNX file",
        key="onnx_wanted",
        help="Runs PyTorch's exporter in a process of its own, for seconds to a minute. The weights are fresh ones "
        "(seed 0). Input 'image' with any batch size, output 'logits'.",
    )
    content = runs.outcome("onnx_run", spec, lambda progress: export_onnx(spec, progress)) if wanted else None
    if content is not None:
        parts.download(
            "Net as ONNX", bytes, content, f"{name}.onnx", "application/octet-stream", "For onnxruntime, Netron, ..."
        )

    st.subheader("Tables", anchor=False)
    table = cached.layers(spec).table
    with st.container(horizontal=True):
        parts.download(
            "Layer table as CSV", csv, table, f"{name}_layers.csv", "text/csv", "A row a layer, for a spreadsheet."
        )
        parts.download(
            "Layer table as Markdown", markdown, table, f"{name}_layers.md", "text/markdown", "The same for a README."
        )

    st.subheader("JSON", anchor=False)
    st.caption("Every setting of the net. `ResNetSpec.from_json` reads it, and so does the box below.")
    parts.download(
        "Net as JSON", str.encode, spec.to_json(), f"{name}.json", "application/json", "All controls' values."
    )
    st.file_uploader(
        "Open a net",
        type="json",
        max_upload_size=_LARGEST_UPLOAD,
        key="spec_file",
        on_change=_open,
        help="A JSON file from here; all controls are set to what it says.",
    )
    if problem := st.session_state.pop("spec_problem", None):
        raise SpecError(problem)


def _open() -> None:
    """Set the controls to the uploaded net; what is wrong with it is said where it was uploaded."""
    file = st.session_state.spec_file
    if file is None:
        return
    try:
        spec = ResNetSpec.from_json(file.getvalue().decode("utf-8-sig", "replace"))
        sidebar.use(spec, spec.nearest_preset())
    except SpecError as error:
        st.session_state.spec_problem = f"{file.name} does not describe a net. {error}"
