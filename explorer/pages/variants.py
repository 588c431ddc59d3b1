"""The choice of He et al.'s nets for CIFAR-10, alike on each page that sets them side by side."""

from collections.abc import Sequence

from streamlit.delta_generator import DeltaGenerator

from explorer.models.variants import VARIANTS


def kinds(place: DeltaGenerator, key: str) -> list[str]:
    """Draw the choice of variants; keys of `VARIANTS`."""
    chosen: list[str] = place.multiselect(
        "Variants",
        list(VARIANTS),
        default=["plain", "a"],
        format_func=lambda kind: VARIANTS[kind].title,
        key=key,
        persist_state="session",
        wrap=True,
        help="He et al.'s nets for CIFAR-10 with one choice changed. "
        + " ".join(f"{variant.title}: {variant.source}." for variant in VARIANTS.values()),
    )
    return chosen


def depths(place: DeltaGenerator, key: str, offered: Sequence[int], first: Sequence[int], about: str) -> list[int]:
    """Draw the choice of depths.

    Args:
        offered: layers, 6n + 2. first: what is chosen at first.
        about: what there is to know beside what depth is, for the help text.
    """
    chosen: list[int] = place.multiselect(
        "Depths, layers",
        offered,
        default=first,
        key=key,
        persist_state="session",
        wrap=True,
        help=f"Convolutions and the linear layer, 6n + 2 as in the paper. {about}",
    )
    return sorted(chosen)
