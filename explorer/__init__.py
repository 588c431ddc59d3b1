"""ResNet Explorer: build any residual network and see what each choice does.

>>> from explorer import PRESETS, layer_table
>>> int(layer_table(PRESETS["resnet50"]).macs.sum())
4089184256
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from explorer.spec import PRESETS, ResNetSpec, SpecError

if TYPE_CHECKING:
    from explorer.analysis.layers import layer_table
    from explorer.models.resnet import build

__all__ = ["PRESETS", "ResNetSpec", "SpecError", "build", "layer_table"]

# PyTorch takes seconds to import, so it comes with the first use of what needs it and not with the package.
_LATER = {"build": "explorer.models.resnet", "layer_table": "explorer.analysis.layers"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'explorer' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
