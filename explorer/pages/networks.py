"""Which networks stand side by side, and on images of which size."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import streamlit as st

from explorer.analysis.comparison import profiles, short_names
from explorer.errors import Refusal
from explorer.jobs import Progress
from explorer.models import zoo
from explorer.pages import cached, parts, runs, sidebar
from explorer.pages.edge import plain
from explorer.spec import ResNetSpec, SpecError

_Numbers = TypeVar("_Numbers")

SETS: dict[str, tuple[str, ...]] = {
    "From AlexNet to MobileNet": sidebar.FIRST_NETS,
    "ILSVRC's winners and VGG": ("alexnet_2012", "vgg19", "googlenet_2014", "resnet152 stride_on=1x1"),
    "AlexNet and GoogLeNet, published and torchvision's": ("alexnet_2012", "alexnet", "googlenet_2014", "googlenet"),
    "VGG": ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    "ResNets by depth": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "Plain and residual": ("plain18", "resnet18", "plain34", "resnet34_a"),
    "CIFAR-10: plain, residual, highway": (
        "cifar_plain20",
        "cifar_resnet20",
        "cifar_plain56",
        "cifar_resnet56",
        "highway19_2015",
        "cifar_resnet56 shortcut=highway",
        "cifar_resnet110",
    ),
    "What came after ResNet": (
        "resnet50",
        "resnext50_32x4d",
        "wide_resnet50_2",
        "seresnet50",
        "resnet50d",
        "densenet121",
        "densenet201",
    ),
    "Small networks": (
        "squeezenet1_0",
        "squeezenet1_1",
        "mobilenetv1_100",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v3_large",
    ),
}
_TAKE = "Put this network in the place of the name that is none."
_LARGEST_UPLOAD = 1  # MB; a spec has a few hundred bytes
_OWN = "own"  # each network's own size
_SIZES = (_OWN, *map(str, (32, 64, 128, 160, 192, 224, 227, 256, 299, 320, 384, 448, 512)))  # as the link has them


def choose() -> tuple[dict[str, ResNetSpec | str], tuple[int, int] | None]:
    """Draw the choice; what is no network is said in a sentence.

    Returns:
        The networks by the name that they have on the page; the image size for all of them, None for each one's own.
    """
    left, middle, right = st.columns([3, 7, 3])
    left.selectbox(
        "Start from",
        list(SETS),
        index=None,
        placeholder="a set of networks",
        key="nets_set",
        on_change=_use_set,
        help="Puts these networks in place of those beside. Then add and take away.",
    )
    with left.popover("Open saved nets", icon=":material/upload_file:", width="stretch", help="From the Build page."):
        st.file_uploader(
            "Nets as JSON",
            type="json",
            accept_multiple_files=True,
            max_upload_size=_LARGEST_UPLOAD,
            key="nets_files",
            on_change=_open,
            help="Files from the section Export of the Build page; each net joins those beside.",
        )
    for problem in st.session_state.get("nets_problems", []):
        st.error(plain(problem), icon=":material/block:")
    own = _own_net()
    options = [*dict.fromkeys((*([own] if own else []), *sidebar.kept(), *st.session_state.nets, *zoo.names()))]
    texts = middle.multiselect(
        "Networks",
        options,
        key="nets",
        persist_state="session",
        on_change=_chosen,
        accept_new_options=True,
        max_selections=sidebar.MOST_NETS,
        placeholder="type a name",
        wrap=True,
        help="Type to search the names of our presets, torchvision and timm; timm/resnet50 insists on a library. A "
        "preset with changes is a name too: resnet50 width=32 shortcut=C. The first is the net of the Build page; "
        "nets that you keep there follow.",
    )
    parts.link_choice("image", _SIZES)
    side = right.selectbox(
        "Image",
        _SIZES,
        format_func=lambda side: "each one's own size" if side == _OWN else f"{side} x {side} px for all",
        key="image",
        on_change=parts.chosen_by_hand,
        args=("image",),
        persist_state="session",
        help="What each network is counted on. Own: the size that it was published or is used with, 227 px for AlexNet "
        "of 2012, 299 for Inception-v3, 32 for CIFAR's. Linear layers over a map fit one size only.",
    )
    found: dict[str, ResNetSpec | str] = {}
    for text in texts:
        try:
            found[text.strip()] = zoo.resolve(text)
        except zoo.UnknownNetwork as refusal:
            st.error(plain(str(refusal)), icon=":material/search_off:")
            with st.container(horizontal=True):
                for near in refusal.near:
                    st.button(near, on_click=_replace, args=(text, near), key=f"near {text} {near}", help=_TAKE)
        except Refusal as refusal:
            st.error(plain(f"{text}: {refusal}"), icon=":material/block:")
    return dict(zip(short_names(found), found.values(), strict=True)), None if side == _OWN else (int(side), int(side))


def profiled(
    slot: str,
    nets: Mapping[str, ResNetSpec | str],
    image_size: tuple[int, int] | None,
    make: Callable[[ResNetSpec | str, tuple[int, int] | None], _Numbers],
) -> dict[str, _Numbers]:
    """The profiles of the networks, by their names; what has none is said. The page ends here while they are made.

    Args:
        slot: as for `runs.outcome`. nets, image_size: from `choose`. make: gives a network's profile.
    """

    def making(progress: Progress) -> tuple[dict[str, _Numbers], dict[str, str]]:
        return profiles(nets, image_size, make, progress.report)

    outcome = runs.outcome(slot, (tuple(nets.items()), image_size), making, cached.counting_queue())
    if outcome is None:
        st.stop()
    found, refused = outcome
    for name, why in refused.items():
        st.warning(plain(f"{name} is left out: {why}"), icon=":material/block:")
    return found


def _own_net() -> str | None:
    try:
        return sidebar.current().to_text(sidebar.preset())
    except SpecError:
        return None


def _chosen() -> None:
    """Forget what was wrong with files; the person goes on with other networks."""
    st.session_state.pop("nets_problems", None)


def _use_set() -> None:
    _chosen()
    if st.session_state.nets_set:
        st.session_state.nets = list(SETS[st.session_state.nets_set])
        st.session_state.nets_set = None  # to be chosen again


def _open() -> None:
    """Put uploaded nets among the others; what is wrong with one is said, and the rest are taken."""
    problems: list[str] = []
    for file in st.session_state.nets_files:
        try:
            sidebar.keep(ResNetSpec.from_json(file.getvalue().decode("utf-8-sig", "replace")).to_text())
        except SpecError as error:
            problems.append(f"{file.name} does not describe a net. {error}")
    st.session_state.nets_problems = problems


def _replace(wrong: str, right: str) -> None:
    """Put a near name in the place of a wrong one."""
    st.session_state.nets = list(dict.fromkeys(right if text == wrong else text for text in st.session_state.nets))
