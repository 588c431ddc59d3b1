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
_PLAIN = [name for name in _NAMES if not isinstance(knob(name).default, tuple)]  # one control each
_GROUPS = tuple(dict.fromkeys(knob(name).group for name in _NAMES))
FIRST_NETS = ("alexnet_2012", "vgg16", "googlenet_2014", "resnet50", "mobilenetv1_100")  # side by side at first
MOST_NETS = 40  # there
MOST_KEPT = 20  # nets that a session keeps for the Compare page
# What pages put in the address bar beside the net: the key in the session and the link, and the pages' paths
_OF_PAGES = {
    "nets": ("compare", "receptive_field"),
    "image": ("compare", "receptive_field"),
    "view": ("compare",),
    "field": ("receptive_field",),
    "panel": ("building_blocks",),
    "experiment": ("experiments",),
    "flow": ("gradient_flow",),
    "lab": ("degradation",),
    "lesson": ("degradation",),
    "look": ("attribution",),
    "checkpoint": ("attribution",),
    "sample": ("attribution",),
    "crop": ("attribution",),
    "target": ("attribution",),
    "against": ("attribution",),
    "method": ("attribution",),
    "settings": ("attribution",),
}
_FOREIGN = ("utm_", "fbclid", "gclid", "mc_")  # what mail and social sites append to a link that somebody shares


def read() -> bool:
    """Set the controls to the link where the session is new; whether they are to be drawn before the page.

    They are where they have been set, by the link here or by `use`: who sees the new numbers shall not move old ones.

    From then on the session knows what they say before they are drawn, so that a page can do its work before the first
    message leaves: a browser that gets a page in one burst paints it once, not five times.
    """
    new = "preset" not in st.session_state
    if new:
        st.session_state.update(_from_link())
    return new | st.session_state.pop("controls_set", False)


def share(page: str) -> None:
    """Put the net in the address bar, on every page, and what the page shows besides.

    Args:
        page: its path.
    """
    try:
        link: dict[str, str | list[str]] = {**current().to_query(preset())}
    except SpecError:
        return  # the page that needs the net says why there is none
    link |= {
        key: st.session_state[key]
        for key, pages in _OF_PAGES.items()
        if page in pages and st.session_state.get(key) and not (key == "sample" and _own_picture())
    }
    if _as_lists(link) != {key: st.query_params.get_all(key) for key in st.query_params}:
        st.query_params.from_dict(link)


def _own_picture() -> bool:
    """Whether the picture is the person's: a sample that they looked at before is then no part of the link."""
    return st.session_state.get("picture_source", "Sample") != "Sample"


def _as_lists(link: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    return {key: [value] if isinstance(value, str) else value for key, value in link.items() if value}


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
            "Keep for Compare",
            on_click=_keep,
            icon=":material/bookmark_add:",
            width="stretch",
            help="Add this net, as it is now, to those on the Compare page.",
        )
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


def pin() -> None:
    """Keep the net as it is now, to compare later ones with."""
    st.session_state.pinned = current()


def pinned() -> ResNetSpec | None:
    """The net that was pinned in this session."""
    spec: ResNetSpec | None = st.session_state.get("pinned")
    return spec


def kept() -> list[str]:
    """The nets that were kept in this session, as `ResNetSpec.from_text` reads them; the latest last."""
    texts: list[str] = st.session_state.get("kept", [])
    return texts


def keep(text: str) -> None:
    """Keep a net, and put it among those that the Compare page shows."""
    state = st.session_state
    state.kept = [*(other for other in kept() if other != text), text][-MOST_KEPT:]
    state.nets = [*(other for other in state.nets if other != text), text][-MOST_NETS:]


def _keep() -> None:
    try:
        text = current().to_text(preset())
    except SpecError:
        return  # the page says what is wrong with it
    keep(text)
    st.toast(f"{text} is on the Compare page now.", icon=":material/bookmark_added:")


def link_problem() -> str | None:
    """What was wrong with the link that this session began with, until the person changes the net."""
    problem: str | None = st.session_state.get("link_problem")
    return problem


def _from_link() -> dict[str, Any]:
    whole = {name: text for name, text in st.query_params.to_dict().items() if not name.startswith(_FOREIGN)}
    query = {name: text for name, text in whole.items() if name not in _OF_PAGES}
    own: dict[str, Any] = {name: text for name, text in whole.items() if name in _OF_PAGES}
    own["nets"] = list(dict.fromkeys(st.query_params.get_all("nets")[:MOST_NETS])) or list(FIRST_NETS)
    name = query.get("net", DEFAULT)
    try:
        spec = ResNetSpec.from_query(query)
    except SpecError as error:
        name, spec = DEFAULT, PRESETS[DEFAULT]
        st.session_state.link_problem = f"The link does not describe a network, so {DEFAULT} is shown instead. {error}"
    return {"preset": name, **_controls(spec), **own}


def use(spec: ResNetSpec, preset: str | None = None) -> None:
    """Set the controls to a net, and perhaps the preset; for callbacks, which run before the controls are drawn."""
    _changed()
    st.session_state.update(_controls(spec))
    st.session_state.controls_set = True
    if preset is not None:
        st.session_state.preset = preset


def _use_preset() -> None:
    use(PRESETS[st.session_state.preset])


def _changed() -> None:
    st.session_state.link_problem = None


def _controls(spec: ResNetSpec) -> dict[str, Any]:
    """What the controls say for a spec; a stage that it has not gets one block, for when it is added."""
    stages = len(spec.depths)
    controls: dict[str, Any] = {name: getattr(spec, name) for name in _PLAIN}
    controls |= {"stages": stages, "own_widths": bool(spec.stage_widths)}
    controls |= {f"image_size.{axis}": spec.image_size[axis] for axis in (0, 1)}
    for stage in range(MAX_STAGES):
        there = stage < stages
        controls[f"depths.{stage}"] = spec.depths[stage] if there else 1
        controls[f"strides.{stage}"] = spec.stage_stride(stage + 1) if there else 2
        controls[f"stage_widths.{stage}"] = spec.stage_width(stage + 1 if there else stages)
    return controls


def _values() -> dict[str, Any]:
    """The fields as the controls have them, a net or not."""
    state = st.session_state
    stages = range(state["stages"])
    strides = tuple(state[f"strides.{stage}"] for stage in stages)
    usual = tuple(min(stage + 1, 2) for stage in stages)
    return {
        **{name: state[name] for name in _PLAIN},
        "depths": tuple(state[f"depths.{stage}"] for stage in stages),
        "strides": () if strides == usual else strides,
        "stage_widths": tuple(state[f"stage_widths.{stage}"] for stage in stages) if state["own_widths"] else (),
        "image_size": (state["image_size.0"], state["image_size.1"]),
    }


def _control(name: str, values: Mapping[str, Any]) -> None:
    """The widget or widgets of one field; disabled where the field has no effect beside the others."""
    rules = knob(name)
    help_text = f"{rules.help}\n\n*{rules.source}*"
    if name in _SPECIAL:
        _SPECIAL[name](rules, help_text, values)
        return
    settings = {**_settings(name, help_text), "disabled": not applies(name, values)}
    if rules.choices:
        st.segmented_control(rules.label, rules.choices, required=True, format_func=_choice, **settings)
    elif rules.stops:
        own = () if values[name] is None else (values[name],)
        stops: list[float | None] = [*((None,) if rules.optional else ()), *sorted({*rules.stops, *own})]
        st.select_slider(rules.label, stops, format_func=_stop, **settings)
    elif isinstance(rules.default, bool):
        st.toggle(rules.label, **settings)
    else:
        st.number_input(rules.label, rules.low, rules.high, **settings)


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


def _strides(rules: Knob, help_text: str, values: Mapping[str, Any]) -> None:
    for stage in range(len(values["depths"])):
        label = f"{rules.label} {stage + 1}"
        st.segmented_control(label, (1, 2), required=True, **_settings(f"strides.{stage}", help_text))


def _stage_widths(rules: Knob, help_text: str, values: Mapping[str, Any]) -> None:
    st.toggle(
        "A width for each stage",
        **{**_settings("own_widths", help_text), "on_change": _own_widths},
    )
    for stage in range(len(values["stage_widths"])):
        label = f"{rules.label} {stage + 1}"
        st.number_input(label, rules.low, rules.high, **_settings(f"stage_widths.{stage}", help_text))


def _own_widths() -> None:
    """Begin with the widths that the stages have."""
    _changed()
    width = st.session_state["width"]
    st.session_state.update({f"stage_widths.{stage}": width * 2**stage for stage in range(MAX_STAGES)})


def _image_size(rules: Knob, help_text: str, values: Mapping[str, Any]) -> None:
    for column, axis in zip(st.columns(2), (0, 1), strict=True):
        label = ("Height, px", "Width, px")[axis]
        column.number_input(label, rules.low, rules.high, **_settings(f"image_size.{axis}", help_text))


_SPECIAL = {"depths": _depths, "strides": _strides, "stage_widths": _stage_widths, "image_size": _image_size}


def _settings(key: str, help_text: str) -> dict[str, Any]:
    """What every control has; its value outlives the runs that do not draw it, on another page say."""
    return {"key": key, "on_change": _changed, "help": help_text, "persist_state": "session"}


def _choice(value: Any) -> str:
    return str(value).replace("_", " ")


def _stop(value: float | None) -> str:
    return "as usual" if value is None else f"{value:g}"
