"""One map: the method that was chosen, how it was set, and what it found for what was asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer.attribution import Attribution, attribute
from explorer.attribution.methods import Method
from explorer.models.checkpoints import Report
from explorer.pages import runs
from explorer.pages.attribution_sections import controls
from explorer.pages.attribution_sections.asking import Asked


@dataclass(frozen=True)
class Chosen:
    """A method, and all its settings by name."""

    method: Method
    settings: Mapping[str, Any]

    @property
    def signed(self) -> bool:
        """Whether the sign of the map's numbers says something."""
        return self.method.signed(self.settings)

    @property
    def key(self) -> tuple[object, ...]:
        """What a map depends on besides what was asked."""
        return self.method.name, tuple(self.settings.items())


def choose(asked: Asked) -> Chosen:
    """Draw the choice of the method and its settings, and what must be known about it."""
    method = controls.method()
    settings = controls.settings(method, asked.trained)
    forward, back = method.passes(settings, asked.checkpoint.preprocessing.crop)
    st.caption(
        f"{method.measures} ({method.source}.) Cost: {_count(forward, 'pass', 'passes')} forward, "
        f"{back:,} back. Unit of a number: {method.unit}."
    )
    if method.warning is not None:
        st.warning(method.warning, icon=":material/warning:")
    return Chosen(method, settings)


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def explained(asked: Asked, chosen: Chosen) -> Attribution | None:
    """The map, or None after drawing how far it is.

    Raises:
        Refusal: the net does not bear the method, or a setting does not suit it.
    """
    return runs.outcome(
        "attribution_run", (asked.key, chosen.key), lambda progress: remembered(asked, chosen, progress.report)
    )


def remembered(asked: Asked, chosen: Chosen, report: Report) -> Attribution:
    """The map, made now or before; for a worker thread."""
    return asked.remembered(
        "map",
        chosen.key,
        lambda: attribute(
            asked.trained,
            asked.picture.image,
            chosen.method.name,
            asked.target,
            against=asked.against,
            box=asked.box,
            report=report,
            **chosen.settings,
        ),
    )


def about(found: Attribution) -> str:
    """What was explained, for titles and captions."""
    return found.target_name if found.against_name is None else f"{found.target_name} and not {found.against_name}"
