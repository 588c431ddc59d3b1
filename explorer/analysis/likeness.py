"""Which library's network a spec is, and what keeps it from being one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from explorer.analysis.rules import Shape
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec, knob


@dataclass(frozen=True)
class Likeness:
    """A network of torchvision or timm beside a spec.

    Attributes:
        library, name: whose network, and what it is called there.
        fields: those of the spec in which the architectures differ; none where they are the same. What matters in
            training only (first weights, dropout) and the size of the picture make no other architecture.
    """

    library: str
    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """How the weights of a library's network go into a spec's.

    Attributes:
        params: weights and biases of the library's network.
        loads: whether its state_dict loads strictly: the same names and shapes.
        same_shapes: whether its tensors have the shapes of those here, whatever their names and order; a linear layer
            may be a 1x1 convolution there.
        mismatches: a sentence each on tensors of another shape, missing here, and missing there.
    """

    params: int
    loads: bool
    same_shapes: bool
    mismatches: tuple[str, ...]


def likeness(spec: ResNetSpec, preset: str | None = None) -> Likeness:
    """The library's network that a spec is, else the one of the preset it was made from, else the nearest.

    >>> likeness(PRESETS["resnet50"]).fields, likeness(PRESETS["resnet50_v1"]).fields
    ((), ('stride_on',))
    """
    known = _libraries()
    name = min(known, key=lambda name: (len(_differences(spec, name)), name != preset))
    if preset in known and _differences(spec, name):
        name = preset
    return Likeness(known[name], name, _differences(spec, name))


def fit(spec: ResNetSpec, other: Likeness) -> Fit:
    """Whether the weights of the library's network go into the spec's.

    >>> fit(PRESETS["resnet50"], likeness(PRESETS["resnet50"])).loads
    True
    """
    theirs, params = _library_shapes(f"{other.library}/{other.name}")
    ours = {name: tuple(tensor.shape) for name, tensor in build(spec, "meta").state_dict().items()}
    same_shapes = Counter(map(_squeezed, ours.values())) == Counter(map(_squeezed, theirs.values()))
    return Fit(params, ours == theirs, same_shapes, _mismatches(ours, theirs, other.library))


@cache
def _libraries() -> dict[str, str]:
    """Each preset that torchvision or timm has too, and which of the two it is taken from."""
    found = {name: zoo.library(name) for name in PRESETS}
    return {name: library for name, library in found.items() if library is not None}


def _differences(spec: ResNetSpec, preset: str) -> tuple[str, ...]:
    """The fields in which the architecture differs from a preset's, leaving out what has no effect in either."""
    other = PRESETS[preset]
    return tuple(
        field
        for field in spec.differences(other)
        if knob(field).architecture and (spec.applies(field) or other.applies(field))
    )


@lru_cache(maxsize=128)
def _library_shapes(name: str) -> tuple[Mapping[str, Shape], int]:
    """The shapes of a state_dict's tensors by name, in order, and how many parameters there are."""
    model, _ = zoo.entry(name).build("meta")
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    return shapes, sum(parameter.numel() for parameter in model.parameters())


def _mismatches(ours: Mapping[str, Shape], theirs: Mapping[str, Shape], library: str) -> tuple[str, ...]:
    other = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    extra = [name for name in ours if name not in theirs]
    missing = [name for name in theirs if name not in ours]
    sentences = []
    if other:
        first = other[0]
        sentences.append(
            f"{len(other)} of {len(theirs)} tensors have another shape, the first is {first}: "
            f"{_text(ours[first])} here, {_text(theirs[first])} in {library}'s."
        )
    if extra:
        sentences.append(f"{len(extra)} tensors are in this net only, the first is {extra[0]}.")
    if missing:
        sentences.append(f"{len(missing)} tensors are in {library}'s only, the first is {missing[0]}.")
    return tuple(sentences)


def _squeezed(shape: Shape) -> Shape:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"
