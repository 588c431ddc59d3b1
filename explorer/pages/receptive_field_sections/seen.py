"""What the sections of the Receptive field page show."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from explorer.analysis.fields import FieldProfile
from explorer.spec import ResNetSpec


@dataclass(frozen=True)
class Seen:
    """What stands side by side: networks and what their units see, by the name that each has on the page.

    A network whose fields nobody knows has no profile. `image_size` is for all, None where each has its own.
    """

    networks: Mapping[str, ResNetSpec | str]
    image_size: tuple[int, int] | None
    profiles: Mapping[str, FieldProfile]


def first(seen: Seen) -> str:
    """The network to begin with: the first ResNet, else the first of all."""
    return next((name for name in seen.profiles if "resnet" in name), next(iter(seen.profiles)))


def one(seen: Seen) -> str:
    """Draw the choice of one network among them, the same in every section; its name on the page."""
    names = list(seen.profiles)
    if st.session_state.get("field_net") not in names:
        st.session_state["field_net"] = first(seen)
    name: str = st.selectbox(
        "Network",
        names,
        key="field_net",
        persist_state="session",
        help="One of the networks chosen above.",
    )
    return name


def both(height: object, width: object) -> str:
    """Two numbers of height and width, as one where they are the same."""
    return f"{height}" if height == width else f"{height} x {width}"
