"""Whose effective field is measured, and on what."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from explorer.analysis.effective import (
    MOST_SEEDS,
    EffectiveField,
    fitted,
    initial_fields,
    measurable,
    prepared,
    trained_fields,
)
from explorer.analysis.fields import FieldProfile
from explorer.analysis.gradients import patterns
from explorer.analysis.rules import Pair
from explorer.attribution import Picture
from explorer.models.checkpoints import REGISTRY, load
from explorer.pages import cached, pictures
from explorer.pages.receptive_field_sections.seen import Seen
from explorer.spec import ResNetSpec

_TRAINED = "trained "
ON = {
    "picture": "this picture",
    "samples": "this picture and the samples",
    "patterns": "random patterns",
}
STATISTICS = (  # for captions
    "Batch norm uses the statistics of the images that go through together, as constants, where weights are initial, "
    "and its stored ones where they are trained."
)
_PATTERNS = 8  # images of them
COLUMNS: dict[str, Any] = {
    "theoretical": st.column_config.NumberColumn(
        "theoretical, px", format="%.0f", help="Side of the theoretical field, what lies outside of the image included."
    ),
    "effective": st.column_config.NumberColumn(
        "effective, px",
        format="%.1f",
        help="Side that holds 95% of the gradient, the rest cut off at both ends.",
    ),
    "gaussian": st.column_config.NumberColumn(
        "Gaussian, px", format="%.1f", help="From two deviations below the middle of the fitted Gaussian to two above."
    ),
    "explained": st.column_config.NumberColumn(
        "R²",
        format="%.3f",
        help="The part of the variance that the Gaussian explains, on the worse axis.",
    ),
    "ratio": st.column_config.NumberColumn(format="percent", help="The effective side over the theoretical."),
    "whole": st.column_config.CheckboxColumn(
        "whole", help="The theoretical field lies inside the image. Otherwise the image cuts the effective one too."
    ),
    "averaged": st.column_config.NumberColumn("gradients", help="How many gradients were averaged."),
    "left_out": st.column_config.NumberColumn("left out", help="Gradients that were 0 or not finite everywhere."),
}


@dataclass(frozen=True, eq=False)
class Asked:
    """What to measure on: the pictures, None for patterns, and how many draws of initial weights.

    `sample` is the picture's name if everyone has it; `memory` keeps what was measured on such ones.
    """

    kind: str
    picture: Picture | None
    sample: str | None
    images: Sequence[Image.Image] | None
    seeds: int
    memory: Callable[[cached.Measurement], list[EffectiveField]]

    @property
    def question(self) -> tuple[object, ...]:
        """What a measurement depends on."""
        return self.kind, self.picture, self.seeds


@dataclass(frozen=True)
class Subject:
    """A network whose units are looked at: with the weights that it starts from, or trained."""

    title: str
    network: ResNetSpec | str
    checkpoint: str | None
    profile: FieldProfile

    @property
    def key(self) -> tuple[object, ...]:
        """What its measurements depend on."""
        return self.network, self.checkpoint, self.profile.image

    @property
    def file_name(self) -> str:
        """Its title for the name of a file."""
        return re.sub(r"\W+", "_", self.title.partition(" · ")[0])

    def layers(self) -> list[int]:
        """The operators behind which its units can be measured."""
        return measurable(self.profile)

    def shown(self, picture: Image.Image) -> Image.Image:
        """A picture as the network sees it."""
        if self.checkpoint is not None:
            return REGISTRY[self.checkpoint].preprocessing.crop_of(picture)
        return fitted(picture, self.profile)

    def measured(
        self, operators: Sequence[int], on: Asked, units: Sequence[Pair] | None, report: Callable[[float, str], None]
    ) -> list[EffectiveField]:
        """The effective fields behind some operators, of the units in the middle or of these; for a worker thread.

        Weights that are not on this machine are fetched first. What somebody measured before on pictures that all have
        is not measured again.
        """

        def measure() -> list[EffectiveField]:
            if self.checkpoint is None:
                return initial_fields(
                    self.network, self.profile, operators, self._taken(on), seeds=on.seeds, units=units, report=report
                )
            trained = load(self.checkpoint, report)
            return trained_fields(trained, self.profile, operators, self._taken(on), units=units, report=report)

        if on.images is not None and on.sample is None:
            return measure()
        seeds = on.seeds if self.checkpoint is None else 1
        question = (self.key, tuple(operators), None if units is None else tuple(units), on.kind, seeds, on.sample)
        return on.memory(cached.Measurement(question, measure))

    def _taken(self, on: Asked) -> Tensor:
        """The images as the network takes them."""
        channels, height, width = self.profile.input_shape
        if on.images is None:
            return patterns(0, _PATTERNS, max(height, width), channels)[:, :, :height, :width]
        if self.checkpoint is None:
            return prepared(on.images, self.profile)
        preprocessing = REGISTRY[self.checkpoint].preprocessing
        return torch.cat([preprocessing.tensor(preprocessing.crop_of(image)) for image in on.images])


def subjects(seen: Seen) -> dict[str, str]:
    """What can be chosen: the page's networks as they start, and the trained ones; titles by key."""
    initial = {name: f"{name}, initial weights" for name in seen.profiles}
    trained = {
        _TRAINED + name: f"{checkpoint.title}, trained" + (" · works offline" if checkpoint.offline else "")
        for name, checkpoint in REGISTRY.items()
    }
    return {**initial, **trained}


def subject(seen: Seen, key: str) -> Subject:
    """The network of a key of `subjects`."""
    title = subjects(seen)[key]
    if key in seen.profiles:
        return Subject(title, seen.networks[key], None, seen.profiles[key])
    checkpoint = REGISTRY[key.removeprefix(_TRAINED)]
    side = checkpoint.preprocessing.crop
    return Subject(
        title, checkpoint.network, checkpoint.name, cached.field_profiles()(checkpoint.network, (side, side))
    )


def asked(key: str, picture: Picture) -> Asked:
    """Draw what to measure on, and how many draws of initial weights."""
    kind = st.selectbox(
        "Measured on",
        list(ON),
        index=1,
        format_func=ON.__getitem__,
        key=f"{key}_on",
        persist_state="session",
        help="The gradients of how many images are averaged: your picture alone, with the samples (four in all if it "
        f"is one of them), or smooth random patterns ({_PATTERNS}).",
    )
    seeds = st.slider(
        "Seeds",
        1,
        MOST_SEEDS,
        1,
        key=f"{key}_seeds",
        persist_state="session",
        help="How many draws of initial weights are averaged. A trained network has only one set of weights.",
    )
    memory = cached.measurements("effective", 16)  # one takes a fifth of a megabyte at 224 px and one at 512
    if kind == "patterns":
        return Asked(kind, None, None, None, seeds, memory)
    sample = pictures.sample_name()
    others = pictures.samples(besides=sample) if kind == "samples" else []
    return Asked(kind, picture, sample, [picture.image, *others], seeds, memory)
