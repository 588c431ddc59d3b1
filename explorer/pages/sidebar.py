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
_FOREIGN = ("utm_", "fbclid", "gclid", "mc_")  # what mail and social sites append to a link that somebody shares


def read() -> bool:
    """Set the controls to the link where the session is new; whether it is.

    From then on the session knows what they say before they are drawn, so that a page can do its work before the first
    message leaves: a browser that gets a page in one burst paints it once, not five times.
    """
    new = "preset" not in st.session_state
    if new:
        st.session_state.update(_from_link())
    return new


def share() -> None:
    """Put the net in the address bar, on every page."""
    try:
        link = current().to_query(preset())
    except SpecError:
        return  # the page that needs the net says why there is none
    if st.query_params.to_dict() != link:
        st.query_params.from_dict(link)


def draw() -> None:
    """Draw the controls."""
    with st.sidebar:
        st.selectbox(
            "Preset",
            list(PRESETS),
            key="preset",
            persist_state="session",
            on_change=_use_preset,
            help="Start from a known network: torchvision's, the papers' and some of timm's. Type to search. Choosing "
            "one sets every control below.",
        )
        values = _values()
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
    return ResNetSpec(**_values())


def preset() -> str:
    """The name of the preset that the controls started from."""
    name: str = st.session_state.preset
    return name


def link_problem() -> str | None:
    """What was wrong with the link that this session began with, until the person changes the net."""
    problem: str | None = st.session_state.get("link_problem")
    return problem


def _from_link() -> dict[str, Any]:
    query = {name: text for name, text in st.query_params.to_dict().items() if not name.startswith(_FOREIGN)}
    name = query.get("net", DEFAULT)
    try:
        spec = ResNetSpec.from_query(query)
    except SpecError as error:
        name, spec = DEFAULT, PRESETS[DEFAULT]
        st.session_state.link_problem = f"The link does not describe a network, so {DEFAULT} is shown instead. {error}"
    return {"preset": name, **_controls(spec)}


def _use_preset() -> None:
    _changed()
    st.session_state.update(_controls(PRESETS[st.session_state.preset]))


def _changed() -> None:
    st.session_state.link_problem = None


def _controls(spec: ResNetSpec) -> dict[str, Any]:
    """What the controls say for a spec; a stage that it has not keeps one block for when it is added."""
    depths = spec.depths + (1,) * (MAX_STAGES - len(spec.depths))
    return {
        "stages": len(spec.depths),
        **{f"depths.{stage}": depth for stage, depth in enumerate(depths)},
        "image_size.0": spec.image_size[0],
        "image_size.1": spec.image_size[1],
        **{name: getattr(spec, name) for name in _NAMES if name not in ("depths", "image_size")},
    }


def _values() -> dict[str, Any]:
    """The fields as the controls have them, a net or not."""
    state = st.session_state
    return {
        **{name: state[name] for name in _NAMES if name not in ("depths", "image_size")},
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
            column.number_input(label, rules.low, rules.high, **_settings(f"image_size.{axis}", help_text))
    else:
        settings = {**_settings(name, help_text), "disabled": not applies(name, values)}
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
        **_settings("stages", "How many stages follow the stem: four in the ImageNet networks, three in CIFAR's."),
    )
    most = MAX_BLOCKS_CIFAR if values["stem"] == "cifar" else MAX_BLOCKS
    for stage, depth in enumerate(values["depths"]):
        label = f"{rules.label} {stage + 1}"
        st.slider(label, rules.low, max(most, depth), **_settings(f"depths.{stage}", help_text))


def _settings(key: str, help_text: str) -> dict[str, Any]:
    """What every control has; its value outlives the runs that do not draw it, on another page say."""
    return {"key": key, "on_change": _changed, "help": help_text, "persist_state": "session"}


def _choice(value: Any) -> str:
    return str(value).replace("_", " ")
