"""What every page draws alike: the choice of a section, the columns of tables, and downloads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from explorer.pages.edge import plain

COLUMNS: dict[str, Any] = {
    "name": st.column_config.TextColumn("layer", help="The dotted name of the module, as in PyTorch's state_dict."),
    "net": st.column_config.TextColumn(help="The network, as it is named above.", pinned=True),
    "depth": st.column_config.NumberColumn(
        help="Convolutions and linear layers on the longest way from the image to here, itself included."
    ),
    "top1": st.column_config.NumberColumn("top-1, %", help="Images whose class is the first guess, as printed."),
    "top5": st.column_config.NumberColumn("top-5, %", help="Images whose class is among five guesses, as printed."),
    "crop": st.column_config.TextColumn(help="What the network saw of an image when that was measured."),
    "dataset": st.column_config.TextColumn(help="Whose images: ImageNet's validation set, or CIFAR-10's test set."),
    "extra_data": st.column_config.CheckboxColumn("more data", help="Trained on more than the dataset's own pictures."),
    "note": st.column_config.TextColumn(help="Where the network that was measured is not quite this one."),
    "source": st.column_config.TextColumn(help="Where it is printed."),
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
    "receptive_field": st.column_config.NumberColumn(
        "receptive field, px",
        format="localized",
        help="Side of the square of input pixels that one number depends on, parts outside the image included; a dash "
        "behind the global pool. A gate's look at the whole map is not counted.",
    ),
    "difference": st.column_config.NumberColumn("difference, MACs", format="localized", help="Its MACs less ours."),
}


def section(key: str, sections: Mapping[str, str], about: str) -> str:
    """Which part of the page to show, by the name that it has in the link; the first where the link names none.

    Args:
        key: in the session and in the address bar, one of `sidebar.share`'s.
        sections: what each is called on the page, by its name in the link.
        about: the help text.
    """
    link_choice(key, list(sections))
    chosen = st.segmented_control(
        key.capitalize(),
        list(sections),
        format_func=sections.__getitem__,
        required=True,
        key=key,
        on_change=chosen_by_hand,
        args=(key,),
        label_visibility="collapsed",
        persist_state="session",
        help=f"{about} Only what is shown is computed; the link in the address bar holds the choice.",
    )
    assert chosen is not None  # one is required
    if st.query_params.get(key) != chosen:  # at the first visit the address bar was set before the page
        st.query_params[key] = chosen
    return chosen


def link_choice(key: str, known: Sequence[str]) -> None:
    """Before a control that the link may set is drawn: set the first of what is known where the link is wrong, and say
    so until the person chooses (`chosen_by_hand`)."""
    wanted = st.session_state.setdefault(key, known[0])
    if wanted not in known:
        st.session_state[key] = known[0]
        named = ", ".join(known[:_NAMED]) + (f" ... ({len(known):,} in all)" if len(known) > _NAMED else "")
        st.session_state[f"{key}_problem"] = (
            f"{key} (={wanted[:60]}) of the link must be one of {named}; {known[0]} is shown instead."
        )
    if problem := st.session_state.get(f"{key}_problem"):
        st.warning(plain(problem), icon=":material/link_off:")


_NAMED = 30  # in the sentence above


def chosen_by_hand(key: str) -> None:
    """Forget what was wrong with the link's choice; the callback of its control."""
    st.session_state.pop(f"{key}_problem", None)


def table(content: Any, key: str, **more: Any) -> Any:
    """A table with the columns above; what is unknown is a dash."""
    settings = {"hide_index": True, "placeholder": "-", "column_config": COLUMNS, **more}
    return st.dataframe(content, key=key, **settings)


def download(label: str, make: Callable[..., bytes], content: Any, file_name: str, mime: str, about: str) -> None:
    """A download button; the file is made when it is pressed, and the page does not run again."""
    st.download_button(
        label,
        lambda: make(content),
        file_name,
        mime,
        on_click="ignore",
        icon=":material/download:",
        help=about,
    )
