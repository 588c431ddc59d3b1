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
    from explorer.analysis.receptive import receptive_fields
    from explorer.export.source import export_source
    from explorer.models.resnet import build
    from explorer.training.recipe import Recipe
    from explorer.training.run import run

__all__ = [
    "PRESETS",
    "Recipe",
    "ResNetSpec",
    "SpecError",
    "build",
    "export_source",
    "layer_table",
    "receptive_fields",
    "run",
]

# PyTorch takes seconds to import, so it comes with the first use of what needs it and not with the package.
_LATER = {
    "Recipe": "explorer.training.recipe",
    "build": "explorer.models.resnet",
    "export_source": "explorer.export.source",
    "layer_table": "explorer.analysis.layers",
    "receptive_fields": "explorer.analysis.receptive",
    "run": "explorer.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'explorer' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
