"""The theoretical receptive field: which pixels of the image a unit of each layer can see, however weakly.

Along one axis of the image the units of a map see windows of one size at even steps: unit i those from lo + i * stride
to hi + i * stride. Every operator makes new windows of old ones, so one sweep over the graph gives all (Araujo, Norris
& Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, doi 10.23915/distill.00021). Behind a map that
was enlarged, as in HRNet, neighbours share a window or see ones of several sizes, and these repeat after some units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import pandas as pd
from torch import nn

from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.layers import label, operators
from explorer.analysis.rules import POINTWISE, Activation, Origin, Pair, Source, UnknownOperator, Window
from explorer.errors import Refusal
from explorer.spec import ResNetSpec

Bits = tuple[int, int]  # a window: its first pixel, and of the pixels from there on those that it sees


class NoField(Refusal):
    """Units of one layer that do not see windows of one size at even steps."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What the units along one axis of a map see: unit i the pixels from lo + i * stride to hi + i * stride.

    Pixels are counted from 0; those below 0 are padding. Of these pixels unit 0 sees lo + b wherever bit b of `seen` is
    set, its first and its last bit among them. `place` is the axis of the tensor, counted from its last, -1.

    Behind an enlarged map the windows are not even: `between` has lo and seen of units 1 to p - 1, and unit i + p sees
    what unit i does, p * stride pixels further on. There lo, hi, start and padding are those of unit 0.

    >>> axis = Axis(stride=2, lo=0, seen=0b1111, place=-1, between=((0, 0b11),))
    >>> axis.size, [axis.span(unit) for unit in range(4)]
    (4, [(0, 3), (0, 1), (4, 7), (4, 5)])
    """

    stride: int
    lo: int
    seen: int
    place: int
    between: tuple[Bits, ...] = ()

    @property
    def period(self) -> int:
        """Units until the windows repeat; 1 where they are even."""
        return 1 + len(self.between)

    @property
    def size(self) -> int:
        """Pixels from the first to the last; the most that a unit has."""
        if self.between:
            return max(seen.bit_length() for _, seen in self._windows)
        return self.seen.bit_length()

    @property
    def hi(self) -> int:
        """The last pixel that unit 0 sees."""
        return self.lo + self.seen.bit_length() - 1

    @property
    def holes(self) -> int:
        """Pixels between the first and the last that no path leads to; the most that a unit has."""
        return max(seen.bit_length() - seen.bit_count() for _, seen in self._windows)

    @property
    def start(self) -> float:
        """The centre of unit 0, in pixels whose own centres are at 0, 1, 2 ...: a half where the size is even."""
        return (self.lo + self.hi) / 2

    @property
    def padding(self) -> int:
        """Pixels that unit 0 sees before the image."""
        return -self.lo

    def window(self, unit: int) -> Bits:
        """The first pixel that a unit sees, and as bits from there on which it sees."""
        if not self.between:  # the common case, and the quick one
            return self.lo + unit * self.stride, self.seen
        period, number = divmod(unit, self.period)
        lo, seen = self._windows[number]
        return lo + period * self.period * self.stride, seen

    def span(self, unit: int) -> tuple[int, int]:
        """The first and the last pixel that a unit sees; beyond the image they are padding."""
        lo, seen = self.window(unit)
        return lo, lo + seen.bit_length() - 1

    @property
    def _windows(self) -> tuple[Bits, ...]:
        """Those of one period."""
        return ((self.lo, self.seen), *self.between)


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive field of a map: the smallest box with every pixel that any channel of a unit sees by any path.

    A channel may see less, as do those of an Inception module's shorter branches, also once they are split off again,
    and a pixel in the box may be a hole. Padding counts as nothing; one that mirrors the image shows units at its edge
    pixels outside of their box.
    `aligned`: wherever paths met, their windows had one centre. `global_context`: besides, a weight or a norm on the
    way depends on the whole image (squeeze-and-excitation, group norm).
    """

    height: Axis
    width: Axis
    aligned: bool = True
    global_context: bool = False

    @property
    def even(self) -> bool:
        """Whether all units see windows of one size at even steps."""
        return self.height.period == self.width.period == 1


IMAGE_FIELD = Field(Axis(1, 0, 1, -2), Axis(1, 0, 1, -1))


def field_sweep(operators: Sequence[Operator]) -> list[Field | None]:
    """The receptive field behind each operator of a graph.

    None: it has no local one, as it sees the whole image or is no map any more (global pooling, flattening and what
    comes of them), or as it is a map of parts of several sizes (an adaptive pool whose windows differ; a map resized by
    no whole factor, of which each unit sees the whole image).
    A gate of that kind leaves the field of the map that it weighs as it is, and so does a norm that takes its
    statistics from the map itself (group norm, layer norm over pixels; not batch norm in eval mode, nor local response
    norm): `global_context` says so.

    Raises:
        UnknownOperator: nobody knows where an operator looks. NoField: maps of two strides meet, say.
    """
    fields: list[Field | None] = []
    for operator in operators:
        came = [IMAGE_FIELD if made_by == IMAGE else fields[made_by] for made_by in operator.inputs]
        fields.append(_behind(operator, came))
        if operator.effect.kind == "upsample" and fields[-1] is None:
            _refuse_broken_steps(operator, came, _image_of(operators))
    return fields


def receptive_fields(network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None) -> pd.DataFrame:
    """A row an operator: the receptive field behind it, in input pixels; in the order of `layer_table`, row by row.

    Args:
        network, image_size: as for `layer_table`. The size of the image matters to adaptive pools and to padding
        "same" only.

    Returns:
        name, stage: as in `layer_table`.
        size, stride, start, padding: along both axes, and a pair (height, width) only where they differ. Unit i is
        centred on pixel start + i * stride (pixels from 0, a half where the size is even) and sees size pixels, the
        first of them -padding + i * stride. None where there is no local field.
        aligned: whether all paths to it have one centre; None where there is no local field.
        global_context: whether it depends on the whole image too, or only; see `field_sweep`.
        even: whether all units see as much at even steps; None where there is no local field. Where not, behind an
        enlarged map, size is the most that a unit sees, and start and padding are those of unit 0.

    Raises:
        UnknownNetwork, UnknownOperator, DoesNotFit: as `layer_table`. UnknownOperator, NoField: as `field_sweep`.

    >>> fields = receptive_fields("resnet50").set_index("name")
    >>> fields.loc["layer4.2.relu3", ["size", "stride", "start", "padding"]].tolist()
    [427, 32, 0.0, 213]
    """
    return field_table(operators(network, image_size))


def field_table(graph: Sequence[Operator]) -> pd.DataFrame:
    """The table of `receptive_fields`, of a graph."""
    rows, fields = label(list(graph)), field_sweep(graph)
    columns: dict[str, Iterable[object]] = {"name": [row.name for row in rows], "stage": [row.stage for row in rows]}
    for number in ("size", "stride", "start", "padding"):
        values = [field and _both(getattr(field.height, number), getattr(field.width, number)) for field in fields]
        columns[number] = pd.Series(values, dtype=object)  # else pandas makes floats of integers beside None
    columns["aligned"] = pd.Series([field and field.aligned for field in fields], dtype=object)
    columns["global_context"] = [field is None or field.global_context for field in fields]
    columns["even"] = pd.Series([field and field.even for field in fields], dtype=object)
    return pd.DataFrame(columns)


def field_by_stage(table: pd.DataFrame) -> pd.DataFrame:
    """The last local receptive field of each stage of such a table: stage, size, stride; None where there is none.

    >>> field_by_stage(receptive_fields("resnet50"))["size"].tolist()
    [11, 35, 91, 267, 427, None]
    """
    rows: dict[str, tuple[object, object]] = {}
    for stage, size, stride in zip(table["stage"], table["size"], table["stride"], strict=True):
        rows[stage] = (size, stride) if size is not None else rows.get(stage, (None, None))
    sizes, strides = zip(*rows.values(), strict=True)
    return pd.DataFrame(
        {"stage": list(rows), "size": pd.Series(sizes, dtype=object), "stride": pd.Series(strides, dtype=object)}
    )


def _both(height: float, width: float) -> object:
    return height if height == width else (height, width)


def _behind(operator: Operator, fields: list[Field | None]) -> Field | None:
    """The field behind an operator, from those of what it takes."""
    found = by_input(operator, fields)
    local = [field for field in found if field is not None]
    if not local:
        return None
    field = local[0] if len(local) == 1 else _hull(operator.name, local)
    mixes = operator.effect.mixes
    mixed = field.height.place in mixes or field.width.place in mixes
    if (mixed or len(local) < len(found)) and not field.global_context:
        field = replace(field, global_context=True)
    return field


def by_input(operator: Operator, fields: list[Field | None]) -> list[Field | None]:
    """What the units behind an operator see through each of its inputs alone, from the inputs' fields.

    Raises:
        UnknownOperator, NoField: as `field_sweep`.
    """
    if all(field is None for field in fields):
        return fields
    effect = operator.effect
    if (effect.window is not None or effect.kind == "linear") and any(field is not None for field in fields[1:]):
        raise UnknownOperator(f"At {operator.name} the weights depend on pixels, and there is no rule for that.")
    if effect.window is not None:
        return [field and _through_window(operator.name, field, effect.window) for field in fields]
    if effect.origins is None:
        raise UnknownOperator(
            f"There is no rule for what {operator.name} ({effect.kind}) sees, so the receptive field would be a guess."
        )
    if effect.origins == POINTWISE:
        taken = zip(fields, operator.takes, strict=True)
        return [field and _in_place(operator, field, activation) for field, activation in taken]
    found, *others = (
        [field and _through_origin(operator.name, field, origin, output) for field in fields]
        for origin, output in zip(effect.origins, operator.gives, strict=True)
    )
    if any(other != found for other in others):
        raise NoField(f"At {operator.name} the map is divided into parts that see different pixels.")
    return found


def _look(axis: Axis, source: Source, place: int) -> Axis:
    """What the units see that look at others: unit i at `reach` of them, from start + i * step on."""
    if axis.between or source.between:
        return _look_unevenly(axis, source, place)
    seen, apart = axis.seen, source.apart * axis.stride
    for other in range(1, source.reach):
        seen |= axis.seen << other * apart
    return Axis(axis.stride * source.step, axis.lo + source.start * axis.stride, seen, place)


def _look_unevenly(axis: Axis, source: Source, place: int) -> Axis:
    """The same where windows differ: they repeat after as many of the source's periods as the axis has units in one."""
    numbers = 1 + len(source.between)
    windows = [_looks_at(axis, source, unit) for unit in range(numbers * axis.period)]
    return _repeating(axis.stride * source.step // numbers, windows, place)


def _looks_at(axis: Axis, source: Source, unit: int) -> Bits:
    """The window of a unit that looks at others."""
    places = (source.start, source.reach), *source.between
    period, number = divmod(unit, len(places))
    start, reach = places[number]
    first = period * source.step + start
    return _union([axis.window(first + other * source.apart) for other in range(reach)])


def _union(windows: Sequence[Bits]) -> Bits:
    """All that several windows see."""
    lo = min(first for first, _ in windows)
    seen = 0
    for first, bits in windows:
        seen |= bits << first - lo
    return lo, seen


def _repeating(stride: int, windows: Sequence[Bits], place: int) -> Axis:
    """The axis whose first windows these are, and all others repeat them; its period is the shortest there is."""
    (lo, seen), *others = windows
    for period in range(1, len(windows)):
        ahead = [(first + period * stride, bits) for first, bits in windows]
        if len(windows) % period == 0 and ahead[:-period] == windows[period:]:
            return Axis(stride, lo, seen, place, tuple(others[: period - 1]))
    return Axis(stride, lo, seen, place, tuple(others))


def _through_window(name: str, field: Field, window: Window) -> Field:
    def slide(axis: Axis) -> Axis:
        place = axis.place
        if place < -2:
            raise NoField(f"At {name} a window slides along another axis than the image's two.")
        start, reach = -window.padding[place], window.kernel[place]
        return _look(axis, Source(place, window.stride[place], start, reach, window.dilation[place]), place)

    return Field(slide(field.height), slide(field.width), field.aligned, field.global_context)


def _through_origin(name: str, field: Field, origin: Origin, output: Activation) -> Field | None:
    looks = _looks(field, origin)
    if len(looks) < 2:
        if looks and output.shape[looks[0][-1]] > 1:
            raise NoField(f"At {name} one axis of the image is gone and the other is left.")
        return None
    if any(axis.stride * source.step % (1 + len(source.between)) for axis, source, _ in looks):
        return None  # its units are no whole pixels apart: `_refuse_broken_steps`
    height, width = (_look(*look) for look in looks)
    return Field(height, width, field.aligned, field.global_context)


def _looks(field: Field, origin: Origin) -> list[tuple[Axis, Source, int]]:
    """Both axes that a map looks along, how, and where they are in it; fewer where one is gone."""
    return [
        (axis, source, place - len(origin))
        for axis in (field.height, field.width)
        for place, source in enumerate(origin)
        if source is not None and source.axis == axis.place
    ]


def _refuse_broken_steps(operator: Operator, fields: list[Field | None], image: Pair) -> None:
    """A resized map has no local field where its units are no whole pixels apart; then each must see the whole image.

    Raises:
        NoField: it does not.
    """
    for field in fields:
        looks = _looks(field, operator.effect.origins[0]) if field and operator.effect.origins else []
        for (axis, source, place), pixels in zip(looks, image, strict=False):
            whole = (1 << pixels) - 1
            for lo, seen in (_looks_at(axis, source, unit) for unit in range(operator.gives[0].shape[place])):
                if lo > 0 or seen >> -lo & whole != whole:
                    apart = Fraction(axis.stride * source.step, 1 + len(source.between))
                    raise NoField(
                        f"At {operator.name} a map is resized so that its units are {apart} pixels apart, "
                        f"and there is no rule for that."
                    )


def _image_of(operators: Sequence[Operator]) -> Pair:
    """The (height, width) in pixels of the image that a graph takes."""
    shapes = (
        taken.shape
        for operator in operators
        for made_by, taken in zip(operator.inputs, operator.takes, strict=True)
        if made_by == IMAGE
    )
    *_, height, width = next(shapes)
    return height, width


def _in_place(operator: Operator, field: Field, taken: Activation) -> Field | None:
    """The field itself, unless it is one unit's that is handed to all."""
    [output] = operator.gives
    places = field.height.place, field.width.place
    before, after = ([shape[place] for place in places] for shape in (taken.shape, output.shape))
    if before == after:
        return field
    if before == [1, 1]:
        return None
    raise NoField(
        f"At {operator.name} a map of {before[0]}x{before[1]} goes into one of {after[0]}x{after[1]}, unit for unit."
    )


def _hull(name: str, fields: list[Field]) -> Field:
    """The smallest windows that hold those of all branches."""
    if all(field is fields[0] for field in fields):
        return fields[0]

    def union(axes: list[Axis]) -> Axis:
        strides = {(axis.stride, axis.place) for axis in axes}
        if len(strides) > 1:
            apart = " and ".join(str(stride) for stride, _ in sorted(strides))
            raise NoField(f"At {name} branches meet whose units do not belong together (strides of {apart}).")
        period = lcm(*(axis.period for axis in axes))
        windows = [_union([axis.window(unit) for axis in axes]) for unit in range(period)]
        return _repeating(axes[0].stride, windows, axes[0].place)

    units = range(lcm(*(axis.period for field in fields for axis in (field.height, field.width))))
    centres = {
        tuple(sum(axis.span(unit)) for axis in (field.height, field.width) for unit in units) for field in fields
    }
    return Field(
        union([field.height for field in fields]),
        union([field.width for field in fields]),
        len(centres) == 1 and all(field.aligned for field in fields),
        any(field.global_context for field in fields),
    )
