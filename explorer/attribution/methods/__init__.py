"""Every method, by its name."""

from collections.abc import Mapping
from types import MappingProxyType

from explorer.attribution.methods.gradients import GRADIENTS
from explorer.attribution.methods.hiding import HIDING
from explorer.attribution.methods.maps import MAPS
from explorer.attribution.methods.method import FAMILIES, Family, Method
from explorer.attribution.methods.paths import PATHS

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (*MAPS, *PATHS, *GRADIENTS, *HIDING)}
)

__all__ = ["FAMILIES", "METHODS", "Family", "Method"]
