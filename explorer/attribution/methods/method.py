"""What a method is: its paper, what it measures, what can be set, what it costs, and how it is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import Map, Subject

Family = Literal["gradient", "path", "map", "hiding"]
FAMILIES: Mapping[Family, str] = {
    "gradient": "Gradients",
    "path": "From a baseline",
    "map": "Feature maps",
    "hiding": "Hiding parts",
}
Settings = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One way to explain a score.

    Attributes:
        name: as an argument. title: on screen. family: with which it is listed.
        source: the paper. measures: what its numbers say, in a sentence. unit: of one number.
        explain: how it is done. cost: see `passes`.
        parameters: what can be set; `layer` is any module of the network that returns maps.
        hooked: whether it changes how ReLUs hand gradients on, and so needs the network made ready for that.
        signed: whether above 0 speaks for the class and below against it, with these settings; else it is the size
            that counts.
        warning: what must be known before its maps are believed.
        by_side: settings in pixels, whose defaults are these parts of the side that the network sees.
    """

    name: str
    title: str
    family: Family
    source: str
    measures: str
    unit: str
    explain: Callable[[Subject, Settings], Map]
    cost: Callable[[Settings, int], tuple[int, int]]
    parameters: tuple[Parameter, ...] = ()
    hooked: bool = False
    signed: Callable[[Mapping[str, Any]], bool] = lambda settings: True
    warning: str | None = None
    by_side: Mapping[str, float] = field(default_factory=dict)

    def passes(self, settings: Settings, side: int = 224) -> tuple[int, int]:
        """How many images go forward, and how many come back; of superpixels, of which there are more or fewer than
        were asked for, about so many.

        Args:
            side: of what the network sees, pixels.
        """
        return self.cost(settings, side)
