"""The sidebar makes the spec: a control for each field, read from what stands beside the field in spec.py."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import streamlit as st

from explorer.spec import (
    DEFAULT,
    MAX_BLOCKS,
    MAX_BLOCKS_CIFAR,
    MAX_STAGES,
    PRESETS,
    Knob,
    ResNetSpec,
    SpecError,
    applies,
    knob,
)

_NAMES = [item.name for item in fields(ResNetSpec)]
_GROUPS = tuple(dict.fromkeys(knob(name).group for name in _NAMES))
_KEYS = [
    "preset",
    "stages",
    *(f"depths.{stage}" for stage in range(MAX_STAGES)),
    *("image_size.0", "image_size.1"),
    *(name for name in _NAMES if name not in ("depths", "image_size")),
]


def read() -> bool:
    """Learn the net from the controls, as the browser has just sent them, or from the link; whether the session is new.

    It comes before anything is drawn, so that the work is done before the first message leaves: a browser that gets a
    page in one burst paints it once, not five times.
    """
    state = st.session_state
    if "net" not in state:
        _start_from_link()
        return True
    if "preset" in state:
        state.net = {key: state[key] for key in _KEYS}
    return False


def share() -> None:
    """Put the net in the address bar, on every page."""
    try:
        link = current().to_query()
    except SpecError:
        return  # the page that needs the net says why there is none
    if st.query_params.to_dict() != link:
        st.query_params.from_dict(link)


def draw() -> None:
    """Draw the controls."""
    if "preset" not in st.session_state:
        # Streamlit forgets a widget that a page does not draw; back from such a page, all are as they were.
        st.session_state.update(st.session_state.net)
    with st.sidebar:
        st.selectbox(
            "Preset",
            list(PRESETS),
            key="preset",
            on_change=_use_preset,
            help="Start from a known network: torchvision's, the papers' and some of timm's. Type to search. Choosing "
            "one sets every control below.",
        )
        values = _values({key: st.session_state[key] for key in _KEYS})
        for group in _GROUPS:
            with st.expander(group, expanded=group == _GROUPS[0]):
                for name in _NAMES:
                    if knob(name).group == group:
                        _control(name, values)
        st.button(
            "Back to the preset",
            on_click=_use_preset,
            icon=":material/restart_alt:",
            width="stretch",
            help="Undo every change since the preset was chosen.",
        )


def current() -> ResNetSpec:
    """The net that the controls say.

    Raises:
        SpecError: there can be no such net.
    """
    return ResNetSpec(**_values(st.session_state.net))


def link_problem() -> str | None:
    """What was wrong with the link that this session began with, until the person changes the net."""
    problem: str | None = st.session_state.get("link_problem")
    return problem


def _start_from_link() -> None:
    try:
        spec = ResNetSpec.from_query(st.query_params.to_dict())
    except SpecError as error:
        spec = PRESETS[DEFAULT]
        st.session_state.link_problem = f"The link does not describe a network, so {DEFAULT} is shown instead. {error}"
    st.session_state.preset = spec.nearest_preset()
    _show(spec)
    st.session_state.net = {key: st.session_state[key] for key in _KEYS}


def _use_preset() -> None:
    st.session_state.link_problem = None
    _show(PRESETS[st.session_state.preset])


def _changed() -> None:
    st.session_state.link_problem = None


def _show(spec: ResNetSpec) -> None:
    """Set the controls to a spec; stages that it has not keep one block for when they are added."""
    for name in _NAMES:
        value = getattr(spec, name)
        if name == "depths":
            st.session_state["stages"] = len(value)
            for stage in range(MAX_STAGES):
                st.session_state[f"depths.{stage}"] = value[stage] if stage < len(value) else 1
        elif name == "image_size":
            st.session_state["image_size.0"], st.session_state["image_size.1"] = value
        else:
            st.session_state[name] = value


def _values(state: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the controls have them, a net or not."""
    return {
        **{name: state[name] for name in _NAMES if name in state},
        "depths": tuple(state[f"depths.{stage}"] for stage in range(state["stages"])),
        "image_size": (state["image_size.0"], state["image_size.1"]),
    }


def _control(name: str, values: Mapping[str, Any]) -> None:
    """The widget of one field; disabled where the field has no effect beside the others."""
    rules = knob(name)
    help_text = f"{rules.help}\n\n*{rules.source}*"
    if name == "depths":
        _depths(rules, help_text, values)
    elif name == "image_size":
        for column, axis in zip(st.columns(2), (0, 1), strict=True):
            label = ("Height, px", "Width, px")[axis]
            column.number_input(
                label, rules.low, rules.high, key=f"image_size.{axis}", on_change=_changed, help=help_text
            )
    else:
        settings: dict[str, Any] = {
            "key": name,
            "on_change": _changed,
            "help": help_text,
            "disabled": not applies(name, values),
        }
        if rules.choices:
            st.segmented_control(rules.label, rules.choices, required=True, format_func=_choice, **settings)
        elif rules.stops:
            st.select_slider(rules.label, sorted({*rules.stops, values[name]}), **settings)
        elif rules.high:
            st.number_input(rules.label, rules.low, rules.high, **settings)
        else:
            st.toggle(rules.label, **settings)


def _depths(rules: Knob, help_text: str, values: Mapping[str, Any]) -> None:
    st.slider(
        "Stages",
        1,
        MAX_STAGES,
        key="stages",
        on_change=_changed,
        help="How many stages follow the stem: four in the ImageNet networks, three in the CIFAR ones.",
    )
    most = MAX_BLOCKS_CIFAR if values["stem"] == "cifar" else MAX_BLOCKS
    for stage, depth in enumerate(values["depths"]):
        label = f"{rules.label} {stage + 1}"
        st.slider(label, rules.low, max(most, depth), key=f"depths.{stage}", on_change=_changed, help=help_text)


def _choice(value: Any) -> str:
    return str(value).replace("_", " ")
