"""Which nets stand side by side, in which state, and what goes into them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, get_args

import streamlit as st
from PIL import Image
from torch import Tensor

from explorer.analysis.gradients import BATCH, MOST_SEEDS, classes, crops, patterns
from explorer.attribution.images import MAX_BYTES
from explorer.errors import Refusal
from explorer.models.checkpoints import REGISTRY, weights_for
from explorer.models.variants import VARIANTS, variant
from explorer.pages import pictures, sidebar, variants
from explorer.pages.edge import plain
from explorer.spec import Init, Norm, ResNetSpec, SpecError, knob
from explorer.training.datasets import DATASETS, channel_statistics, load, normalised

Kind = Literal["patterns", "photos", "own", "data"]
State = Literal["initial", "steps", "trained"]

DEPTHS = (8, 14, 20, 32, 44, 56, 110, 164, 218, 1202)
WIDTHS = (4, 8, 16, 32, 64)
STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
DATA = ("digits", "shapes")  # to train on for a few steps
MOST_NETS = 12  # lines that can be told apart
_MOST_PICTURES = 16
_KINDS: dict[Kind, str] = {"patterns": "Patterns", "photos": "Sample photos", "own": "Your pictures"}
_STATES: dict[State, str] = {
    "initial": "Initial",
    "steps": "After steps",
    "trained": "Trained",
}
_NORMS: dict[Norm, str] = {"batch": "Batch norm", "group": "Group norm", "none": "No norm"}


@dataclass(frozen=True)
class Images:
    """What goes into the nets; hashable, and equal where the same goes in.

    kind: "patterns", random ones; "photos", random crops of the samples; "own", of the person's pictures; "data",
        training pictures of a data set, with their own classes.
    name: which data set, or which files.
    pictures: those that crops are cut from.
    """

    kind: Kind = "patterns"
    name: str = ""
    pictures: tuple[Image.Image, ...] = field(default=(), compare=False, repr=False)

    @property
    def words(self) -> str:
        """For captions: what they are, and as what they are classified."""
        if self.kind == "data":
            return f"training pictures of the set {DATASETS[self.name].title} with their true classes"
        what = {
            "patterns": "smooth random patterns",
            "photos": "random crops of sample photos",
            "own": "random crops of your pictures",
        }[self.kind]
        return f"{what} with random classes"

    def batch(self, spec: ResNetSpec, seed: int, count: int = BATCH) -> tuple[Tensor, Tensor]:
        """Images (count, in_channels, height, width) as the net takes them, and their classes (count,).

        Raises:
            GradientError: crops for a net that takes neither one channel nor three.
        """
        if self.kind == "data":
            data = load(self.name)
            drawn = classes(seed, count, len(data.train))  # which pictures
            return normalised(data.train[drawn], channel_statistics(data.train)), data.train_labels[drawn]
        height, width = spec.image_size
        if self.kind == "patterns":
            images = patterns(seed, count, max(height, width), spec.in_channels)[:, :, :height, :width]
        else:
            images = crops(self.pictures, seed, count, spec.image_size, spec.in_channels)
        return images, classes(seed, count, spec.num_classes)


@dataclass(frozen=True)
class Chosen:
    """Nets by their titles; how many draws of weights, numbered from 0; what goes in; and the state they are in.

    state: "initial"; "steps", trained for so many `steps` on the data of `images`; "trained", with the checkpoints
        of `weights`, their names by the nets' titles.
    """

    specs: dict[str, ResNetSpec]
    seeds: int
    images: Images
    state: State = "initial"
    steps: int = 0
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def when(self) -> str:
        """For captions: the state that the nets are in."""
        if self.state == "trained":
            return "with trained weights"
        if self.state == "initial" or self.steps == 0:
            return "at initialisation"
        return f"after {self.steps} step{'s' if self.steps > 1 else ''}"


def choose() -> Chosen:
    """Draw the choice; what cannot be is said in a sentence. The page ends here where there is nothing to measure."""
    specs = _nets()
    left, middle, right = st.columns([3, 3, 2])
    offered: list[State] = ["initial", "steps"]
    weights = _weights(specs)
    if weights:
        offered.append("trained")
    if st.session_state.get("flow_state", "initial") not in offered:
        st.session_state["flow_state"] = "initial"
    state: State = left.segmented_control(
        "State",
        offered,
        default="initial",
        required=True,
        format_func=_STATES.__getitem__,
        key="flow_state",
        persist_state="session",
        help="The nets as they start, after a few steps of training (SGD, lr 0.1, momentum 0.9), or, where the app "
        "brings weights for a net, trained on CIFAR-10 (JPEG).",
    )
    steps = 0
    with middle:
        if state == "steps":
            name = _data()
            images = Images("data", name)
            specs = {title: fitted(spec, name) for title, spec in specs.items()}
            steps = left.select_slider(
                "Steps",
                STEPS,
                10,
                key="flow_steps",
                persist_state="session",
                help="Updates before the measurement; 0 measures the nets as they start, on the same pictures.",
            )
        else:
            images = _images(trained=state == "trained")
    seeds = right.slider(
        "Seeds",
        1,
        MOST_SEEDS,
        3,
        key="flow_seeds",
        persist_state="session",
        help="Each seed draws weights, images and classes anew; trained weights are what they are. Lines show the "
        "median over the seeds, bands reach from the least to the greatest.",
    )
    if state == "trained":
        if without := [title for title in specs if title not in weights]:
            st.info(plain(f"Left out, as the app brings no trained weights for them: {', '.join(without)}."))
        specs = {title: spec for title, spec in specs.items() if title in weights}
    if not specs:
        st.info("Choose variants and depths to stand side by side, or the net of the Build page.")
        st.stop()
    return Chosen(specs, seeds, images, state, steps, weights if state == "trained" else {})


def fitted(spec: ResNetSpec, name: str) -> ResNetSpec:
    """The net for the pictures and classes of a data set."""
    data = DATASETS[name]
    return replace(spec, in_channels=data.channels, image_size=data.size, num_classes=len(data.classes))


def _nets() -> dict[str, ResNetSpec]:
    """Draw the choice of nets: every variant at every depth, with every norm and every kind of initial weights."""
    left, middle, right = st.columns([3, 3, 2])
    kinds = variants.kinds(left, "flow_variants")
    depths = variants.depths(middle, "flow_depths", DEPTHS, (20, 56, 110), "A net of 1202 layers takes a while.")
    with right.popover("More choices", icon=":material/tune:", width="stretch", help="Norm, initial weights, width."):
        norms = st.multiselect(
            "Norms",
            get_args(Norm),
            default=["batch"],
            format_func=_NORMS.__getitem__,
            key="flow_norms",
            persist_state="session",
            wrap=True,
            help=f"{knob('norm').help} Several stand side by side.",
        )
        inits = st.multiselect(
            "Initial weights",
            get_args(Init),
            default=["kaiming_fan_out"],
            format_func=_words,
            key="flow_inits",
            persist_state="session",
            wrap=True,
            help=f"{knob('init').help} Several stand side by side.",
        )
        width = st.select_slider(
            "Width",
            WIDTHS,
            16,
            key="flow_width",
            persist_state="session",
            help="Channels of the first stage, doubled in each of the two that follow. The paper's nets have 16.",
        )
    own = right.toggle(
        "The net of the Build page",
        key="flow_own",
        persist_state="session",
        help="Measured beside the others, as it is set there and at its own image size.",
    )
    specs: dict[str, ResNetSpec] = {}
    try:
        for kind, norm, init, depth in product(kinds, norms, inits, depths):
            specs[_title(kind, norm, init, depth)] = variant(kind, depth, norm=norm, init=init, width=width)
        if own:
            specs[sidebar.current().to_text(sidebar.preset())] = sidebar.current()
    except SpecError as refusal:
        st.error(plain(str(refusal)), icon=":material/block:")
    if len(specs) > MOST_NETS:
        st.warning(
            f"{len(specs)} nets are too many to tell apart, so the first {MOST_NETS} of them are measured; take some "
            "variants, depths, norms or initial weights away.",
            icon=":material/filter_list:",
        )
    named = list(specs.items())
    kept = MOST_NETS - own  # that of the Build page comes last, and was asked for by itself
    return dict(named if len(named) <= MOST_NETS else [*named[:kept], *named[len(named) - own :]])


def _title(kind: str, norm: Norm, init: Init, depth: int) -> str:
    """What is not usual comes with the name."""
    named = [VARIANTS[kind].title]
    named += [_NORMS[norm].lower()] if norm != "batch" else []
    named += [_words(init)] if init != "kaiming_fan_out" else []
    return f"{', '.join(named)} · {depth}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _weights(specs: dict[str, ResNetSpec]) -> dict[str, str]:
    """Which checkpoint that needs no connection is of exactly a net, by the net's title."""
    known = {title: [name for name in weights_for(spec) if REGISTRY[name].offline] for title, spec in specs.items()}
    return {title: names[0] for title, names in known.items() if names}


def _data() -> str:
    """Draw the choice of what is trained on."""
    name: str = st.segmented_control(
        "Trained on",
        DATA,
        default=DATA[0],
        required=True,
        format_func=lambda name: f"{DATASETS[name].title}, {DATASETS[name].size[0]} px",
        key="flow_data",
        persist_state="session",
        help="Every net gets the channels, image size and classes of these pictures. The gradients are measured on "
        "training pictures too, with their true classes.",
    )
    return name


def _images(trained: bool) -> Images:
    """Draw the choice of images, for trained nets photos first; the page ends here where a file is waited for."""
    kind: Kind = st.segmented_control(
        "Images",
        list(_KINDS),
        default="photos" if trained else "patterns",
        required=True,
        format_func=_KINDS.__getitem__,
        key="flow_images_trained" if trained else "flow_images",
        persist_state="session",
        help="What goes into the nets: smooth random patterns with a little noise, or photos, of which random squares "
        "are cut and resized to the net's image size. Classes are random.",
    )
    if kind == "photos":
        return Images("photos", pictures=tuple(pictures.samples()))
    return _uploaded() if kind == "own" else Images()


def _uploaded() -> Images:
    uploads: Sequence[st.runtime.uploaded_file_manager.UploadedFile] = st.file_uploader(
        "Your pictures",
        pictures.TYPES,
        accept_multiple_files=True,
        key="flow_upload",
        max_upload_size=MAX_BYTES // 1_000_000,
        help=f"Up to {_MOST_PICTURES}: PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF, up to 20 MB and 40 megapixels each. "
        "They stay in this session's memory.",
    )
    if uploads:
        name = " ".join(upload.file_id for upload in uploads[:_MOST_PICTURES])
        if st.session_state.get("flow_uploaded") != name:  # decoded once and not at every move of a slider
            read, left_out = _read((upload.name, upload.getvalue()) for upload in uploads[:_MOST_PICTURES])
            st.session_state.update(flow_uploaded=name, flow_left_out=left_out)
            st.session_state.pop("flow_pictures", None)
            if read:
                st.session_state["flow_pictures"] = Images("own", name, read)
        for sentence in st.session_state["flow_left_out"]:
            st.warning(plain(sentence), icon=":material/broken_image:")
    if "flow_pictures" not in st.session_state:
        st.info("Choose one picture or more, or switch to the samples.", icon=":material/add_photo_alternate:")
        st.stop()
    images: Images = st.session_state["flow_pictures"]
    if not uploads:
        st.caption(f"Still the {len(images.pictures)} from before; upload others to replace them.")
    return images


def _read(files: Iterable[tuple[str, bytes]]) -> tuple[tuple[Image.Image, ...], list[str]]:
    """The pictures of those files that hold one, and what is wrong with the others, a sentence each."""
    read, left_out = [], []
    for name, data in files:
        try:
            read.append(pictures.read(data, name).image)
        except Refusal as refusal:
            left_out.append(f"{name} is left out: {refusal}")
    return tuple(read), left_out
