"""Data augmentation, on and off, on a picture."""

from typing import Any

import streamlit as st

from explorer.export.tables import csv
from explorer.figures.experiments import variants_chart
from explorer.figures.theme import config, exact
from explorer.jobs import Progress
from explorer.models.checkpoints import REGISTRY
from explorer.pages import parts, pictures, runs
from explorer.pages.edge import plain
from explorer.training.augmentation import OFF, Answers, Crop, Recipe, Variant, answers, variants

_NET = next(name for name, checkpoint in REGISTRY.items() if checkpoint.offline)

CROPS: dict[Crop, str] = {
    "centre": "Centre",
    "random": "Random place",
    "resized": "Random size",
}

NOTE = """
**What it does.** Every time that a picture comes up in training, the net sees another version of it with the same
label. That is no new photograph: the versions of one picture are highly alike, as the 2012 paper says of its own.

**The count.** Krizhevsky et al. (2012, section 4.1) cut 224 × 224 px at random from 256 × 256 and mirror half of them,
and count 32 × 32 × 2 = 2,048 versions. A window of 224 has 33 places along 256, so there are 33 × 33 × 2 = 2,178.

**Colour.** The same section adds the principal components of all training pixels, each times its eigenvalue and a
random alpha of standard deviation 0.1, to the whole picture; they report over 1 point less top-1 error. The components
used here are ImageNet's as facebookarchive/fb.resnet.torch prints them, for pixels from 0 to 1. The formula multiplies
by eigenvalues, so its strength depends on that scale, which the paper does not give.

**Ten crops.** For testing the same section averages the softmax over the four corners and the centre, and their mirror
images: 37.5% top-1 and 17.0% top-5 error on ILSVRC-2010, against 39.0% and 18.3% without (section 6, footnote). One
picture shows only what the average is, not that it helps.

**Random size.** Szegedy et al. (2014, arXiv 1409.4842, section 6) recommend windows of 8 to 100% of the area, with
shapes from 3:4 to 4:3, and photometric distortions (Howard 2013) against over-fitting. A small window may miss what the
label names.
"""


def show() -> None:
    """Variants of a picture, and what a trained net says to each of them."""
    st.subheader("Data augmentation", anchor=False)
    left, right = st.columns([1, 2])
    with left:
        picture = pictures.choose()
    with right:
        recipe, count, seed = _controls()
    if picture is None:
        st.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        return

    def asking(progress: Progress) -> tuple[list[Variant], Answers]:
        """Make the variants and classify them."""
        made = variants(picture.image, recipe, count, seed)
        return made, answers(_NET, picture.image, made, progress.report)

    outcome = runs.outcome("augmentation_run", (picture, recipe, count, seed), asking)
    if outcome is None:
        return
    made, said = outcome
    row = st.container(horizontal=True)
    for label, value, below, about in (
        (
            "Taken for the same",
            f"{said.agreeing} of {len(made)}",
            said.reference,
            "Variants whose likeliest class is that of the centre crop, named below.",
        ),
        (
            "Spread",
            f"{said.spread:.1%}",
            "highest less lowest",
            "Of the probability of the centre crop's class, over the variants.",
        ),
        (
            "Centre crop",
            f"{said.centre:.1%}",
            said.reference,
            "Probability of the likeliest class of the one crop from the centre.",
        ),
        (
            "Mean of ten crops",
            f"{said.ten_reference:.1%}",
            f"{said.ten_name} {said.ten_probability:.1%}",
            "Probability of the centre crop's class in the mean of ten crops, and below, the class likeliest there.",
        ),
        (
            "Distinct crops",
            "-" if recipe.distinct_crops is None else exact(recipe.distinct_crops),
            "colours not counted",
            "Crops that this recipe can make of one picture. At a random place with mirror images 33 x 33 x 2, which "
            "the paper counts as 2,048; a dash for random sizes, of which there are far more.",
        ),
    ):
        row.metric(label, value, plain(below), delta_color="off", delta_arrow="off", width=165, help=about)
    grid = st.container(horizontal=True, gap="small")
    answered = zip(made, said.table.class_name, said.table.probability, strict=True)
    for number, (variant, name, probability) in enumerate(answered, 1):
        grid.image(
            variant.image,
            caption=f"{number}: {plain(name)} {probability:.0%}",
            alt=f"Variant {number}, taken for {name}",
            width=140,
        )
    st.plotly_chart(
        variants_chart(said.table, said.reference, said.centre, said.ten_reference),
        key="augmentation_chart",
        config=config("augmentation"),
        alt=f"probability of {said.reference} for each variant; the numbers are in the table below",
    )
    st.caption(f"{REGISTRY[_NET].title}, trained on {REGISTRY[_NET].trained_on} ({REGISTRY[_NET].source}), asked now.")
    st.dataframe(said.table, key="augmentation_table", hide_index=True, column_config=_columns(said.reference))
    parts.download(
        "Variants as CSV",
        csv,
        said.table,
        "augmentation.csv",
        "text/csv",
        "What was drawn for each variant, and the answers.",
    )
    st.markdown(NOTE)


def _controls() -> tuple[Recipe, int, int]:
    """The recipe, the number of variants, the seed."""
    on = st.toggle(
        "Augment",
        True,
        key="augmentation_on",
        persist_state="session",
        help="Off: every variant is the crop from the centre, as in testing.",
    )
    crop: Crop = st.segmented_control(
        "Crop",
        list(CROPS),
        default="random",
        required=True,
        format_func=lambda name: CROPS[name],
        key="augmentation_crop",
        persist_state="session",
        disabled=not on,
        help="Which part of the picture is seen: 224 px of the middle 256, from their centre or, as for AlexNet, at a "
        "random place; or, as for GoogLeNet, a window of random size and shape, brought to 224 px.",
    )
    flip_place, colour_place, jitter_place = st.columns(3, vertical_alignment="bottom")
    flip = flip_place.toggle(
        "Mirror half of them",
        True,
        key="augmentation_flip",
        persist_state="session",
        disabled=not on,
        help="Left and right change places with probability 0.5.",
    )
    colour = colour_place.slider(
        "PCA colour",
        0.0,
        2.0,
        0.1,
        step=0.1,
        key="augmentation_colour",
        persist_state="session",
        disabled=not on,
        help="Standard deviation of alpha; the paper has 0.1, and 0 switches it off.",
    )
    jitter = jitter_place.slider(
        "Colour jitter",
        0.0,
        1.0,
        0.0,
        step=0.1,
        key="augmentation_jitter",
        persist_state="session",
        disabled=not on,
        help="Brightness, contrast and saturation are each multiplied by a number up to so far from 1; 0 switches it "
        "off. fb.resnet.torch has 0.4.",
    )
    count_place, seed_place = st.columns(2)
    count = count_place.slider(
        "Variants", 4, 12, 8, key="augmentation_count", persist_state="session", help="How many to make."
    )
    seed = int(
        seed_place.number_input(
            "Seed",
            0,
            999,
            0,
            key="augmentation_seed",
            persist_state="session",
            help="The same seed, the same variants.",
        )
    )
    return (Recipe(crop, flip, colour, jitter) if on else OFF), count, seed


def _columns(reference: str) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        **{
            name: number(format="%d", help="Of the window that was cut out, in pixels.")
            for name in ("left", "top", "width", "height")
        },
        **{
            name: number(f"{name}, +", format="%+.1f", help="Added to this channel, of 255.")
            for name in ("red", "green", "blue")
        },
        **{
            name: number(f"{name}, x", format="%.2f", help="Factor.")
            for name in ("brightness", "contrast", "saturation")
        },
        "flipped": st.column_config.CheckboxColumn("mirrored", help="Left and right have changed places."),
        "class_name": st.column_config.TextColumn("likeliest class", help="What the net takes it for."),
        "probability": number(format="percent", help="Of that class."),
        "reference": number(f"{reference}", format="percent", help="Probability of the centre crop's class."),
    }
