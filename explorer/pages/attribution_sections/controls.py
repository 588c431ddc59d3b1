"""A method, its settings and how its map looks, drawn from what the method says of itself."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.attribution.methods import FAMILIES, Method
from explorer.attribution.parameters import Parameter
from explorer.attribution.posing import parameters
from explorer.errors import Refusal
from explorer.figures.overlay import CHANNELS, COLOURS, Look
from explorer.models.checkpoints import Trained
from explorer.pages import parts
from explorer.pages.edge import plain

ORDER = [name for family in FAMILIES for name, method in METHODS.items() if method.family == family]
_DEFAULTS = Look()


def title(name: str) -> str:
    """A method with its family, as lists show it."""
    return f"{METHODS[name].title} ({FAMILIES[METHODS[name].family].lower()})"


def method() -> Method:
    """Draw the choice of a method; the link may set it."""
    parts.link_choice("method", ["grad_cam", *(name for name in ORDER if name != "grad_cam")])
    name = st.selectbox(
        "Method",
        ORDER,
        format_func=title,
        key="method",
        on_change=parts.chosen_by_hand,
        args=("method",),
        persist_state="session",
        help="Type to search. By what it goes: maps inside of the net, a path from a baseline, a gradient, or hiding "
        "parts. What it measures and its paper stand below.",
    )
    return METHODS[name]


def settings(chosen: Method, trained: Trained) -> dict[str, Any]:
    """Draw what can be set about it on this net; by name. What is not as usual goes into the link, which may set it."""
    known = {each.name: each for each in parameters(chosen, trained)}
    state = st.session_state
    if state.setdefault("settings", "") != state.get("settings_shown", ""):
        _use_link({name: (each, _key(chosen, each, trained)) for name, each in known.items()}, state["settings"])
    values = {name: _control(each, _key(chosen, each, trained)) for name, each in known.items()}
    text = ",".join(f"{name}:{value}" for name, value in values.items() if value != known[name].default)
    state.update(settings=text, settings_shown=text)
    if text:
        st.query_params["settings"] = text
    else:
        st.query_params.pop("settings", None)
    return values


def _use_link(known: Mapping[str, tuple[Parameter, str]], text: str) -> None:
    """Set the controls to what a link says; what it says wrongly is left as usual, and said."""
    for setting in filter(None, text.split(",")):
        name, _, value = setting.partition(":")
        try:
            if name not in known:
                raise Refusal(f"there is no setting of this name; known are {', '.join(known) or 'none'}.")
            parameter, key = known[name]
            try:
                wanted = type(parameter.default)(value)
            except ValueError:
                wanted = value  # the check says what is right
            st.session_state[key] = parameter.checked(wanted)
        except Refusal as refusal:
            st.warning(plain(f"settings ({setting[:60]}) of the link: {refusal}"), icon=":material/link_off:")


def settings_of(chosen: Method, trained: Trained) -> dict[str, Any]:
    """What has been set about it, without drawing; the defaults where nothing has."""
    state = st.session_state
    return {each.name: state.get(_key(chosen, each, trained), each.default) for each in parameters(chosen, trained)}


def look(signed: bool, found: Attribution | None = None) -> Look:
    """Draw how maps are shown; no number changes.

    Args:
        signed: whether the numbers' sign says something.
        found: the map, if there is one alone; its channels can then be chosen.
    """
    with st.popover("View", icon=":material/palette:", help="How the map is drawn; none of its numbers changes."):
        strength = st.slider(
            "Strength",
            0.0,
            1.0,
            _DEFAULTS.strength,
            0.05,
            key="strength",
            persist_state="session",
            help="How strongly the map covers the picture.",
        )
        colours = st.selectbox(
            "Colours",
            list(COLOURS),
            format_func=COLOURS.__getitem__,
            key="colours",
            persist_state="session",
            help="The first two part in the middle, at 0; all are safe for the colour-blind.",
        )
        sign = st.segmented_control(
            "Numbers",
            list(_SIGNS),
            format_func=_SIGNS.__getitem__,
            default="method",
            required=True,
            key="sign",
            persist_state="session",
            help="With their sign, or their size alone. As the method means them: its size where its sign says "
            "nothing, as of gradients, whose sign depends on whether a thing is light on dark or dark on light.",
        )
        percentile = st.slider(
            "Scale ends at percentile",
            90.0,
            100.0,
            _DEFAULTS.percentile,
            0.5,
            key="percentile",
            persist_state="session",
            help="Of the sizes: larger ones get the last colour, so that one pixel does not set the scale. 100 clips "
            "nothing.",
        )
        parts_shown = st.slider(
            "Superpixels",
            0,
            300,
            0,
            10,
            key="superpixels",
            persist_state="session",
            help="The mean over parts that follow the picture's colours (SLIC, Achanta et al. 2012), about so many; 0 "
            "shows every number by itself.",
        )
        channel = None
        if found is not None and len(found.channels) == len(CHANNELS):
            channel = st.segmented_control(
                "Channel",
                range(len(CHANNELS)),
                format_func=CHANNELS.__getitem__,
                key="channel",
                persist_state="session",
                help="One colour channel of the picture alone; none chosen: all three added up.",
            )
    absolute = not signed if sign == "method" else sign == "size"
    return Look(strength, absolute, colours, percentile, channel, parts_shown)


_SIGNS = {"method": "As the method means them", "signed": "Signed", "size": "Size"}


def _key(chosen: Method, parameter: Parameter, trained: Trained) -> str:
    key = f"set_{chosen.name}_{parameter.name}"
    if parameter.name == "layer":  # another net has others
        return f"{key}_{trained.checkpoint.name}"
    if parameter.name in chosen.by_side:
        return f"{key}_{trained.checkpoint.preprocessing.crop}"
    return key


def _control(parameter: Parameter, key: str) -> Any:
    st.session_state.setdefault(key, parameter.default)
    common: dict[str, Any] = {"key": key, "persist_state": "session", "help": parameter.help}
    if parameter.choices is not None:
        names = parameter.choices
        return st.selectbox(parameter.label, list(names), format_func=names.__getitem__, **common)
    kind = int if isinstance(parameter.default, int) else float
    low, high, step = (kind(number) for number in (parameter.low, parameter.high, parameter.step))
    if high > _SLIDER_ENDS:
        return st.number_input(parameter.label, low, high, step=step, **common)
    return st.slider(parameter.label, low, high, step=step, **common)


_SLIDER_ENDS = 500  # beyond it a slider is too coarse
