"""Deeper or wider: the nets of one kind that meet a budget of multiply-accumulates or parameters."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Literal, get_args

import pandas as pd

from explorer.analysis.layers import Layer, Totals, layers
from explorer.errors import Refusal
from explorer.jobs import Progress
from explorer.spec import ResNetSpec, SpecError, knob

Quantity = Literal["params", "macs"]
Depths = tuple[int, ...]

PERCENT = 2  # of the budget: no proposal is farther from it
_FRIENDLY = 8  # channels; libraries compute whole multiples of it fastest
_FRIENDLY_FROM = 32  # channels; below, a step of 8 would change the cost by half


class BudgetError(Refusal):
    """A budget that no net of the kind meets; the message says what they reach and which is nearest."""


@dataclass(frozen=True)
class UnitCosts:
    """What nets of one kind and width are the sum of, whatever their depths.

    The blocks of a stage after its first are all alike. So there is what stands `once` (stem, the first block of each
    stage, head), and the `repeated` block of each stage, as often as the stage has blocks after its first.
    """

    once: Totals
    repeated: tuple[Totals, ...]

    def totals(self, depths: Depths) -> Totals:
        """Exactly `totals(layer_table(spec))` of the net with this many blocks in each stage."""
        return Totals(*(self.count(item.name, depths) for item in fields(Totals)))

    def count(self, quantity: str, depths: Depths) -> int:
        """One field of the totals."""
        once: int = getattr(self.once, quantity)
        return once + sum(
            (depth - 1) * getattr(block, quantity) for depth, block in zip(depths, self.repeated, strict=True)
        )


def unit_costs(spec: ResNetSpec) -> UnitCosts:
    """The costs of a net's parts, measured on the net with two blocks in each stage; its depths do not matter.

    >>> unit_costs(ResNetSpec(depths=(3, 4, 6, 3))).totals((3, 4, 23, 3)).params  # ResNet-101 from ResNet-50
    44549160
    """
    rows = layers(replace(spec, depths=(2,) * len(spec.depths)))
    return UnitCosts(
        _sum(row for row in rows if row.block != 2),
        tuple(
            _sum(row for row in rows if (row.stage, row.block) == (str(stage), 2))
            for stage in range(1, len(spec.depths) + 1)
        ),
    )


@dataclass(frozen=True)
class Proposal:
    """A net that meets a budget, its counts, and how many percent of the budget it is above (below is negative)."""

    spec: ResNetSpec
    totals: Totals
    difference: float


def budget_search(spec: ResNetSpec, quantity: Quantity, budget: int, progress: Progress | None = None) -> pd.DataFrame:
    """The table of the `proposals` for a budget.

    >>> table = budget_search(ResNetSpec(), "macs", 4089184256)
    >>> table[table.depth == 50][["depths", "width", "macs"]].to_dict("records")
    [{'depths': '3, 4, 6, 3', 'width': 64, 'macs': 4089184256}]
    """
    return proposal_table(proposals(spec, quantity, budget, progress))


def proposal_table(rows: Iterable[Proposal]) -> pd.DataFrame:
    """A row a proposal, in the order given.

    Returns:
        depths: blocks of each stage, as text. width: the spec's, in channels. depth: layers, as the papers count.
        params, macs, activation_bytes: the whole net's, as in a layer table. difference: percent of the budget.
    """
    return pd.DataFrame(
        [
            {
                "depths": _text(row.spec.depths),
                "width": row.spec.width,
                "depth": row.spec.depth,
                "params": row.totals.params,
                "macs": row.totals.macs,
                "activation_bytes": row.totals.activation_bytes,
                "difference": row.difference,
            }
            for row in rows
        ]
    )


def proposals(spec: ResNetSpec, quantity: Quantity, budget: int, progress: Progress | None = None) -> list[Proposal]:
    """Nets of the spec's kind within 2% of a budget, from thin and deep to wide and shallow.

    The depths of all stages are scaled by one factor and rounded; the width, and with it `stage_widths`, is solved for.
    A stem width of its own and all other fields stay. The depths that a factor can give are divided into bands, each
    about 1.4 times as deep as the one before. A band gives one net at most: the nearest to its middle whose width is a
    multiple of 8 (any is welcome below 32), else the nearest to its middle. So the spec itself is among the proposals
    for what it costs, if its width is such. Each net is wider than those that are deeper.

    Args:
        spec: its depths give the proportions of the stages, its width those of `stage_widths`.
        quantity: what the budget is of, "params" or "macs".
        budget: a whole number of them, for one image.
        progress: told how far the search is, and asked whether to stop.

    Raises:
        BudgetError: no such net, or an unknown quantity.
    """
    if quantity not in get_args(Quantity):
        raise BudgetError(f"quantity (={quantity!r}) must be one of {', '.join(map(repr, get_args(Quantity)))}.")
    progress = progress or Progress()
    family = _Family(spec, quantity, budget, progress)
    found: list[_Member] = []  # the deepest first
    for number, band in enumerate(sorted(family.bands, key=lambda band: (band < 0, abs(band)))):
        progress.report(number / len(family.bands), "Solving for the width")
        if band >= 0:  # from the spec's own depths to deeper and deeper ones, then to shallower and shallower ones
            narrower_than = found[0][1] if found else math.inf
            found[:0] = family.best(band, 0, narrower_than)
        else:
            wider_than = found[-1][1] if found else 0
            found += family.best(band, wider_than, math.inf)
    if not found:
        raise BudgetError(family.refusal())
    return [family.proposal(member) for member in found]


_Member = tuple[Depths, int]  # depths and width


class _Family:
    """The nets that a spec becomes as its depths and its widths are scaled; each width is measured once.

    `bands` holds all depths by how many factors of about 1.4 they are deeper than the spec's, those in the middle of a
    band first.

    Raises:
        BudgetError: not even the narrowest net of two blocks a stage, on which `unit_costs` measures, can be.
    """

    def __init__(self, spec: ResNetSpec, quantity: Quantity, budget: int, progress: Progress) -> None:
        self._spec = spec
        self._quantity = quantity
        self._budget = budget
        self._progress = progress
        self._costs: dict[int, UnitCosts] = {}
        self._shallowest = (1,) * len(spec.depths)
        self._measured = (2,) * len(spec.depths)
        rules = knob("width")
        widths = range(int(rules.low), int(rules.high) + 1)
        self._widths = [width for width in widths if self._net((self._measured, width))]
        if not self._widths:
            raise BudgetError(
                f"image_size (={spec.image_size}) leaves no net of this kind with two blocks a stage, and on such the "
                f"search counts; use smaller images or fewer channels."
            )
        self._friendly = [width for width in self._widths if width < _FRIENDLY_FROM or width % _FRIENDLY == 0]
        self._depths = [depths for depths in _scaled(spec.depths) if self._net((depths, self._widths[0]))]
        place = {depths: 2 * math.log2(sum(depths) / sum(spec.depths)) for depths in self._depths}
        self.bands: dict[int, list[Depths]] = {}
        for depths in sorted(self._depths, key=lambda depths: abs(place[depths] - round(place[depths]))):
            self.bands.setdefault(round(place[depths]), []).append(depths)

    def best(self, band: int, wider_than: float, narrower_than: float) -> list[_Member]:
        """The member of a band that is proposed, or none."""
        for widths in (self._friendly, self._widths):
            for depths in self.bands[band]:
                for width in self._around(depths, widths):
                    fits = 100 * self._miss((depths, width)) <= PERCENT * self._budget
                    if fits and wider_than < width < narrower_than:
                        return [(depths, width)]
        return []

    def proposal(self, member: _Member) -> Proposal:
        """A member with its counts."""
        depths, width = member
        spec = self._net(member)
        assert spec is not None  # only nets that can be are proposed
        percent = 100 * (self._count(member) - self._budget) / self._budget
        return Proposal(spec, self._unit_costs(width).totals(depths), percent)

    def refusal(self) -> str:
        """Why there is no proposal, with the counts of the smallest, the largest and the nearest member."""
        unit = {"macs": "MACs", "params": "parameters"}[self._quantity]
        least = self._shallowest, self._widths[0]
        most = max(((depths, self._possible(depths, self._widths)[-1]) for depths in self._depths), key=self._count)
        nearest = min(
            ((depths, width) for depths in self._depths for width in self._around(depths, self._widths)), key=self._miss
        )

        def said(member: _Member) -> str:
            depths, width = member
            return f"{self._count(member):,} (width {width}, blocks {_text(depths)})"

        between = "" if nearest in (least, most) else f"; the nearest has {said(nearest)}"
        return (
            f"budget (={self._budget:,} {unit}) must be within {PERCENT}% of what a net of this kind has; they reach "
            f"from {said(least)} to {said(most)}{between}."
        )

    def _net(self, member: _Member) -> ResNetSpec | None:
        """The spec of these depths and this width, or None where there can be none."""
        depths, width = member
        own = self._spec
        stage_widths = tuple(max(1, round(channels * width / own.width)) for channels in own.stage_widths)
        try:
            return replace(own, depths=depths, width=width, stage_widths=stage_widths)
        except SpecError:
            return None

    def _around(self, depths: Depths, widths: list[int]) -> list[int]:
        """Of some widths those next to the budget, the nearest first."""
        widths = self._possible(depths, widths)
        above = bisect_left(widths, self._budget, key=lambda width: self._count((depths, width)))
        return sorted(widths[max(above - 1, 0) : above + 1], key=lambda width: self._miss((depths, width)))

    def _possible(self, depths: Depths, widths: list[int]) -> list[int]:
        """The widths that these depths go with: on huge images deep nets cannot be as wide as shallow ones."""
        if not widths or self._net((depths, widths[-1])):
            return widths
        return widths[: bisect_left(widths, True, key=lambda width: self._net((depths, width)) is None)]

    def _count(self, member: _Member) -> int:
        """What a member has of the quantity."""
        depths, width = member
        return self._unit_costs(width).count(self._quantity, depths)

    def _miss(self, member: _Member) -> int:
        return abs(self._count(member) - self._budget)

    def _unit_costs(self, width: int) -> UnitCosts:
        if width not in self._costs:
            self._progress.check()
            spec = self._net((self._measured, width))
            assert spec is not None  # as for all of `_widths`
            self._costs[width] = unit_costs(spec)
        return self._costs[width]


def _scaled(depths: Depths) -> Iterator[Depths]:
    """All that depths times one factor, rounded, can be, the shallowest first; each stage keeps a block at least."""
    yield (1,) * len(depths)
    most = int(knob("depths").high)
    steps = {Fraction(2 * blocks + 1, 2 * depth) for depth in depths for blocks in range(1, most)}
    for step in sorted(steps):  # from here on one stage has a block more
        yield tuple(max(1, math.floor(depth * step + Fraction(1, 2))) for depth in depths)


def _text(depths: Depths) -> str:
    return ", ".join(map(str, depths))


def _sum(rows: Iterable[Layer]) -> Totals:
    counted = [(1, row.params, row.macs, row.activation_bytes) for row in rows]
    return Totals(*map(sum, zip(*counted, strict=True)))
