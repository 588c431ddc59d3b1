"""What is asked: which trained net, on which picture, about which class."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from explorer.attribution import Picture, predict
from explorer.export.tables import csv
from explorer.figures.attribution import prediction_chart
from explorer.figures.theme import config
from explorer.models.checkpoints import REGISTRY, Checkpoint, Trained
from explorer.models.preprocessing import Box
from explorer.pages import cached, parts, pictures, runs
from explorer.pages.attribution_sections import nets_choice

T = TypeVar("T")

_KEPT = {"map": 24, "measures": 24, "drawn": 6}  # results: about 1 MB a map, and 6 MB where weights are drawn anew
_NONE = "none"  # None is no choice to Streamlit, whose box then keeps an old label


@dataclass(frozen=True)
class Asked:
    """One question; what it is of is a key in memories.

    Attributes:
        trained: the net. picture: on which; sample: its name if everyone has it. box: the part of it that the net
            sees, None for the usual one.
        rows: its prediction, the likeliest class first.
        memories: of what was measured, by kind.
        target: index of the class, None for the predicted one. against: the class that it is compared with.
    """

    trained: Trained
    picture: Picture
    sample: str | None
    box: Box | None
    rows: pd.DataFrame
    target: int | None
    against: int | None
    memories: Mapping[str, Callable[[cached.Measurement], Any]] = field(compare=False)

    @property
    def checkpoint(self) -> Checkpoint:
        """What the net is."""
        return self.trained.checkpoint

    @property
    def key(self) -> tuple[object, ...]:
        """All that an answer depends on, but the method."""
        # The net by its name, which says its weights too: what is remembered shall not keep it in memory
        return self.checkpoint.name, self.sample or self.picture, self.box, self.target, self.against

    def remembered(self, kind: str, question: Hashable, measure: Callable[[], T]) -> T:
        """What was measured for this question before, or is now; for a worker thread.

        Only what is of a sample and a net that everyone has is remembered for others.

        Args:
            kind: of the result, in `_KEPT`. question: what it depends on besides this one.
        """
        found: T = self.memories[kind](cached.Measurement((self.key, question), measure))
        return found


def ask() -> Asked:
    """Draw net, picture, prediction and class; the page ends here where something is still missing.

    Raises:
        Refusal: the picture cannot be used, or the weights cannot be had.
    """
    choices, seen, ranked = st.columns([4, 5, 4])
    with choices:
        trained = nets_choice.choose("checkpoint", "Trained net")
        picture = pictures.choose()
    if picture is None:
        st.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        st.stop()
    for note in picture.notes:
        choices.caption(note)
    if trained is None:
        st.stop()
    with seen:
        box = pictures.crop(picture, trained.checkpoint.preprocessing)
    with ranked:
        rows = runs.outcome(
            "prediction_run",
            (trained, picture, box),
            lambda progress: predict(trained, picture.image, box, progress.report),
        )
        if rows is None:
            st.stop()
        _ranked(rows)
        target, against = _classes(trained.checkpoint, rows)
    sample = pictures.sample_name()
    everyones = sample is not None and REGISTRY.get(trained.checkpoint.name) == trained.checkpoint
    memory = cached.measurements if everyones else cached.own_measurements
    memories = {kind: memory(f"attribution, {kind}", most) for kind, most in _KEPT.items()}
    return Asked(trained, picture, sample, box, rows, target, against, memories)


def _ranked(rows: pd.DataFrame) -> None:
    top = rows.head(5)
    likeliest = ", ".join(f"{row.class_name} {row.probability:.1%}" for row in top.itertuples())
    st.plotly_chart(prediction_chart(top), key="predictions", config=config("predictions"), alt=likeliest)
    parts.download(
        "All classes as CSV",
        csv,
        rows,
        "predictions.csv",
        "text/csv",
        "Class, probability and logit of every class, the likeliest first.",
    )


def _classes(checkpoint: Checkpoint, rows: pd.DataFrame) -> tuple[int | None, int | None]:
    """Draw the class to explain, and the one to compare it with; the link may set both."""
    state = st.session_state
    if state.setdefault("target_of", checkpoint.classes) != checkpoint.classes:  # the same number is another class
        state.update(target=_NONE, against=_NONE, target_of=checkpoint.classes)
    options = [_NONE, *map(str, rows.class_index)]  # the likeliest first

    def named(index: str, nothing: str) -> str:
        return nothing if index == _NONE else f"{checkpoint.classes[int(index)]} ({index})"

    parts.link_choice("target", options)
    parts.link_choice("against", options)
    left, right = st.columns(2)
    target = left.selectbox(
        "Class to explain",
        options,
        format_func=lambda index: named(index, "The predicted one"),
        key="target",
        on_change=parts.chosen_by_hand,
        args=("target",),
        persist_state="session",
        help="Type to search; the likeliest come first. The map explains this class's logit: what speaks for it, and "
        "what against.",
    )
    against = right.selectbox(
        "And not",
        options,
        format_func=lambda index: named(index, "No other class"),
        key="against",
        on_change=parts.chosen_by_hand,
        args=("against",),
        persist_state="session",
        help="With a class here the map explains how far the one's logit is above the other's: why this, and not that.",
    )
    return tuple(None if index == _NONE else int(index) for index in (target, against))  # type: ignore[return-value]
