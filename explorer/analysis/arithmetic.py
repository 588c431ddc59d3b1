"""The arithmetic of one layer, written out with its own numbers, as on a blackboard."""

import math

from explorer.analysis.cost import output_sizes
from explorer.analysis.layers import BYTES, Layer


def written_out(layer: Layer) -> dict[str, str]:
    """How a layer's numbers come about; only what the rule here gives exactly, so a shared or fused layer has less.

    Returns:
        Any of: output, the formula of its height, and of its width where that is another; parameters; MACs; memory.

    >>> from explorer.analysis.comparison import layer_at
    >>> from explorer.analysis.profile import profile
    >>> for line in written_out(layer_at(profile("alexnet_2012"), 0)).values():
    ...     print(line)
    floor((227 - 11 + 2×0) / 4) + 1 = floor(216 / 4) + 1 = 54 + 1 = 55
    11×11×3 × 96 weights + 96 biases = 34,944
    11×11×3 × 96×55×55 = 105,415,200
    96×55×55 × 4 bytes = 1,161,600 bytes
    """
    lines = {
        "output": _output(layer),
        "parameters": _parameters(layer),
        "MACs": _macs(layer),
        "memory": _memory(layer),
    }
    return {what: line for what, line in lines.items() if line is not None}


def _output(layer: Layer) -> str | None:
    if layer.kernel is None or len(layer.input_shape) != 3:
        return None
    height, width = output_sizes(layer)
    return height.formula if height == width else f"height: {height.formula}; width: {width.formula}"


def _inputs(layer: Layer) -> tuple[str, int] | None:
    """The numbers that one output of a layer with weights is made of."""
    sides: tuple[int, ...]
    if layer.kind == "conv" and layer.kernel and layer.groups and layer.input_shape[0] % layer.groups == 0:
        sides = (*layer.kernel, layer.input_shape[0] // layer.groups)
    elif layer.kind == "linear" and len(layer.input_shape) == 1:
        sides = (layer.input_shape[0],)
    else:
        return None
    return _product(sides), math.prod(sides)


def _parameters(layer: Layer) -> str | None:
    made_of = _inputs(layer)
    if made_of is None:
        channels = layer.input_shape[0] if layer.input_shape else 0
        return f"2 × {channels} = {layer.params:,}" if layer.kind == "norm" and layer.params == 2 * channels else None
    text, inputs = made_of
    filters = layer.output_shape[0]
    biases = layer.params - inputs * filters
    if biases not in (0, filters):
        return None
    bias = f" weights + {biases:,} biases" if biases else ""
    return f"{text} × {filters:,}{bias} = {layer.params:,}"


def _macs(layer: Layer) -> str | None:
    made_of = _inputs(layer)
    if made_of is None or made_of[1] * math.prod(layer.output_shape) != layer.macs:
        return None
    return f"{made_of[0]} × {_product(layer.output_shape)} = {layer.macs:,}"


def _memory(layer: Layer) -> str | None:
    if not layer.activation_bytes or BYTES * math.prod(layer.output_shape) != layer.activation_bytes:
        return None
    return f"{_product(layer.output_shape)} × {BYTES} bytes = {layer.activation_bytes:,} bytes"


def _product(numbers: tuple[int, ...]) -> str:
    return "×".join(f"{number:,}" for number in numbers)
