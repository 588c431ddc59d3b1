"""The CIFAR nets of He et al. with one choice changed: what studies of depth set beside each other.

>>> variant("plain", 20) == PRESETS["cifar_plain20"], variant("a", 56) == PRESETS["cifar_resnet56"]
(True, True)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from explorer.spec import MAX_BLOCKS_CIFAR, PRESETS, ResNetSpec, SpecError

MIN_DEPTH, MAX_DEPTH = 8, 6 * MAX_BLOCKS_CIFAR + 2


@dataclass(frozen=True)
class Variant:
    """One choice: its name on screen, the fields in which it differs from the paper's ResNet, and who proposed it."""

    title: str
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)


VARIANTS: dict[str, Variant] = {
    "plain": Variant("Plain", "He et al. 2015, section 4.2", {"residual": False}),
    "a": Variant("ResNet, option A", "He et al. 2015, section 4.2"),
    "b": Variant("ResNet, option B", "He et al. 2015, section 4.1", {"shortcut": "B"}),
    "c": Variant("ResNet, option C", "He et al. 2015, section 4.1", {"shortcut": "C"}),
    "preact": Variant("Pre-activation", "He et al. 2016, arXiv 1603.05027, figure 4e", {"activation_order": "preact"}),
    "zero_gamma": Variant(
        "Zero-init gamma", "Goyal et al. 2017, arXiv 1706.02677, section 5.1", {"zero_init_residual": True}
    ),
    "skipinit": Variant("SkipInit", "De & Smith 2020, arXiv 2002.10444", {"residual_scale": "skipinit"}),
    "highway": Variant("Highway gates", "Srivastava et al. 2015, arXiv 1505.00387", {"shortcut": "highway"}),
    "gated": Variant("Shortcut-only gates", "He et al. 2016, arXiv 1603.05027, section 3.1", {"shortcut": "gated"}),
}


def variant(name: str, depth: int, **changes: Any) -> ResNetSpec:
    """He et al.'s net for CIFAR-10 of this depth, 6n + 2 layers, with one choice changed.

    Args:
        name: a key of `VARIANTS`.
        depth: 8, 14, 20 ... 1202.
        changes: further fields of the spec, `width` or `norm` say.

    Raises:
        SpecError: no such variant, no such depth, or a net that cannot be.

    >>> variant("highway", 32).shortcut, variant("plain", 110, norm="none").depth
    ('highway', 110)
    """
    if name not in VARIANTS:
        raise SpecError(f"variant (={name!r}) must be one of {', '.join(VARIANTS)}.")
    if not MIN_DEPTH <= depth <= MAX_DEPTH or depth % 6 != 2:
        raise SpecError(f"depth (={depth}) must be 6n + 2, from {MIN_DEPTH} to {MAX_DEPTH}, such as 20, 56 or 110.")
    blocks = (depth - 2) // 6
    return replace(PRESETS["cifar_resnet20"], depths=(blocks,) * 3, **VARIANTS[name].changes, **changes)
