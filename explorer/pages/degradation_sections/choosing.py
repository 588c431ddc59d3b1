"""The controls of the live lab: which nets, on which pictures, by which recipe."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.jobs import Progress
from explorer.pages import runs, variants
from explorer.pages.edge import plain
from explorer.training import lab
from explorer.training.datasets import DATASETS, Dataset, Entry, from_files, on_this_machine

_OWN = "own"  # the choice of pictures that the person gives
_MOST_UPLOADED = 20  # MB, as .streamlit/config.toml has it
_PICTURES = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"]
_WIDTH = 225  # pixels of a control: four in a row of a wide page, one on a telephone
_WARM_UPS = {"none": "None", "warmup_steps": "By steps", "warmup_error": "By error"}  # by what of the recipe it sets
_AUGMENTATIONS = {"none": "None", "crop": "Random crops", "crop_flip": "Crops and mirrors"}
_SCHEDULES = {"constant": "Constant", "steps": "Tenths at milestones", "cosine": "Cosine"}

# Label, what the control has, and help
_NUMBERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "width": (
        "Width, channels",
        {"min_value": 1, "max_value": 64, "value": 8},
        "Channels of the first stage; the second has twice, the third four times as many. The paper's nets have 16. "
        "Time grows with the square.",
    ),
    "steps": (
        "Steps",
        {"min_value": 1, "max_value": 20_000, "value": 400, "step": 100},
        "Updates of the weights, 1 to 20,000. The paper's runs have 64,000, of 128 pictures each.",
    ),
    "batch": (
        "Batch, pictures",
        {"min_value": 1, "max_value": 1024, "value": 100},
        "Pictures in one step, 1 to 1,024; the paper takes 128.",
    ),
    "lr": (
        "Learning rate",
        {"value": 0.1, "step": 0.05, "format": "%g"},
        "How far a step goes. The paper takes 0.1. At 0.3 the digits' ResNet-56 fails where plain-20 learns; far above "
        "that runs diverge, which the lab shows as what it is.",
    ),
    "momentum": (
        "Momentum",
        {"value": 0.9, "step": 0.1, "format": "%g"},
        "Part of the last step that the next one keeps, 0 to below 1. The paper takes 0.9.",
    ),
    "weight_decay": (
        "Weight decay",
        {"value": 1e-4, "step": 1e-4, "format": "%g"},
        "Added to every gradient, times the weight. The paper takes 0.0001.",
    ),
    "warmup_steps": (
        "Warm-up, steps",
        {"min_value": 0, "max_value": 20_000, "value": 40},
        "Through so many steps the learning rate rises from a tenth, in a straight line.",
    ),
    "warmup_error": (
        "Warm-up until error below, %",
        {"value": 80.0, "step": 5.0, "format": "%g"},
        "The paper's limit for ResNet-110 is 80%.",
    ),
}


def choose() -> tuple[list[lab.Pair], Dataset | None] | None:
    """Draw the controls; the runs that they describe, and their data set where no name loads it. None while there are
    no pictures yet.

    Raises:
        RecipeError, SpecError: there can be no such run. DataError: the upload is no data set.
    """
    left, middle, right = st.columns([5, 4, 3])
    kinds = variants.kinds(left, "lab_kinds")
    depths = variants.depths(middle, "lab_depths", lab.DEPTHS, (20, 56), "Each variant is trained at each depth.")
    seeds = right.slider(
        "Seeds",
        1,
        3,
        1,
        key="lab_seeds",
        persist_state="session",
        help="How often each net is trained, from other random weights and with another order of the pictures.",
    )
    data = _data()
    recipe = _recipe()
    if data is None:
        return None
    own = data if isinstance(data, Dataset) else None
    return lab.pairs(kinds, depths, seeds, data, **recipe), own


def _data() -> Dataset | Entry | None:
    """What to train on: what is known of a set that has a name, or a set that the person gave."""
    known = [name for name, entry in DATASETS.items() if entry.megabytes or on_this_machine(name)]
    left, right = st.columns([5, 7])
    name = left.selectbox(
        "Pictures",
        [*known, _OWN],
        format_func=_named,
        key="lab_data",
        persist_state="session",
        help="What is not on this machine yet is downloaded when the first run begins, and kept.",
    )
    if name != _OWN:
        described = DATASETS[name]
        right.caption(
            f"{described.train:,} to train and {described.test:,} to test, {described.size[0]} x {described.size[1]} "
            f"px, {len(described.classes)} classes. {described.note} {described.source}. Licence: {described.licence}."
        )
        return described
    with right:
        return _own()


def _named(name: str) -> str:
    if name == _OWN:
        return "Your own pictures"
    described = DATASETS[name]
    return described.title + ("" if on_this_machine(name) else f" · {described.megabytes:.0f} MB to download")


def _own() -> Dataset | None:
    """The person's own pictures: read once, kept in this session's memory."""
    row = st.container(horizontal=True, vertical_alignment="bottom")
    form = row.segmented_control(
        "Given as",
        ["Zip", "Folder"],
        default="Zip",
        required=True,
        key="lab_form",
        persist_state="session",
        help="In either, a folder for each class with its pictures, such as cats/1.jpg and dogs/1.jpg. Folders train "
        "and test above them are the two parts; else every fifth picture tests.",
    )
    side = row.select_slider(
        "Side, px",
        (8, 16, 28, 32, 48, 64),
        32,
        key="lab_side",
        persist_state="session",
        help="Each picture is scaled to this side and cut square from its middle. Time grows with its square.",
    )
    files = st.file_uploader(
        "Your pictures",
        "zip" if form == "Zip" else _PICTURES,
        accept_multiple_files=False if form == "Zip" else "directory",
        key=f"lab_upload_{form}",
        max_upload_size=_MOST_UPLOADED,
        help=f"Up to {_MOST_UPLOADED} MB a file. They stay in this session's memory, and nobody else sees them.",
    )
    if files:
        many = files if isinstance(files, list) else [files]

        def reading(progress: Progress) -> Dataset:
            content = {file.name: file.getvalue() for file in many}
            return from_files(content if form == "Folder" else many[0].getvalue(), side, progress.report)

        read = runs.outcome("lab_reading", (side, *(file.file_id for file in many)), reading)
        if read is None:
            return None
        st.session_state["lab_own"] = read
    own: Dataset | None = st.session_state.get("lab_own")
    if own is None:
        st.info("Choose a zip or a folder of pictures.", icon=":material/add_photo_alternate:")
    else:
        st.caption(
            f"{len(own.train):,} to train and {len(own.test):,} to test, {own.size[0]} x {own.size[1]} px, "
            + plain(f"{len(own.classes)} classes: {', '.join(own.classes)}. {' '.join(own.notes)}")
        )
    return own


def _recipe() -> dict[str, Any]:
    """Draw the settings that are not the nets' kind, depth, seed and data; by the names of `lab.pairs`."""
    row = st.container(horizontal=True)
    chosen = {name: _number(row, name) for name in ("width", "steps", "batch", "lr", "momentum", "weight_decay")}
    chosen["schedule"] = _choice(
        row,
        "Schedule",
        _SCHEDULES,
        "lab_schedule",
        "The learning rate through the run: constant; divided by 10 at each of two milestones, as in the paper; or "
        "along half a cosine to zero.",
    )
    chosen["augmentation"] = _choice(
        row,
        "Augmentation",
        _AUGMENTATIONS,
        "lab_augmentation",
        "Pad each picture by an eighth of its side and cut at random; and mirror half of them. The paper does both on "
        "CIFAR-10. Mirrored digits are no digits.",
    )
    if chosen["schedule"] == "steps":
        low, high = row.slider(
            "Milestones, % of the steps",
            1,
            99,
            (50, 75),
            key="lab_milestones",
            persist_state="session",
            width=_WIDTH,
            help="Where the learning rate is divided by 10; the paper's are at 50% and 75% of 64,000 steps.",
        )
        chosen["milestones"] = (low / 100, high / 100)
    warm_up = _choice(
        row,
        "Warm-up",
        _WARM_UPS,
        "lab_warm_up",
        "A tenth of the learning rate at first: rising through some steps, or until the error on the batches is below "
        "a limit, as the paper does for ResNet-110.",
    )
    if warm_up != "none":
        chosen[warm_up] = _number(row, warm_up)
    return chosen


def _number(row: DeltaGenerator, name: str) -> Any:
    """Draw one of `_NUMBERS`."""
    label, settings, about = _NUMBERS[name]
    return row.number_input(label, **settings, key=f"lab_{name}", persist_state="session", width=_WIDTH, help=about)


def _choice(row: DeltaGenerator, label: str, choices: Mapping[str, str], key: str, about: str) -> str:
    """Draw a choice of words."""
    chosen: str = row.selectbox(
        label,
        list(choices),
        format_func=choices.__getitem__,
        key=key,
        persist_state="session",
        width=_WIDTH,
        help=about,
    )
    return chosen
