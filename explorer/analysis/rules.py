"""One pure rule a kind of operator: shapes in; shape, multiply-accumulates and where it looks out. Unknown ones raise.

A rule takes the layer (or the function's own arguments) with every tensor replaced by an `Activation`, which knows its
shape only. Convolutions, pools, norms and linear layers are arithmetic; what merely rearranges or combines tensors
takes its shape from PyTorch's own meta kernels, so that nothing of theirs is written again here.
"""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from explorer.errors import Refusal
from explorer.models.blocks import (
    Add,
    LearnedScale,
    NoNorm,
    PadShortcut,
    Scale,
    StandardizedConv2d,
    StochasticDepth,
)

Shape = tuple[int, ...]
Pair = tuple[int, int]


class UnknownOperator(Refusal):
    """An operator without a rule: its counts would be a guess."""


class DoesNotFit(Refusal):
    """A layer that cannot take what comes in."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What a sweep knows of a tensor: its shape, with a batch of one in front."""

    shape: Shape

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Window:
    """What a convolution or pool looks at, (height, width) each."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """Where the numbers along one axis of an output come from: number i from `reach` places, from start + i * step on.

    `axis` is the input's, counted from its last, -1; the places are `apart` from each other. In an enlarged map that
    holds for number i p; `between` has (start, reach) of the p - 1 numbers from one such to the next.
    """

    axis: int
    step: int = 1
    start: int = 0
    reach: int = 1
    apart: int = 1
    between: tuple[Pair, ...] = ()


Origin = tuple[Source | None, ...]  # an entry an axis; None where it is new, or all of an axis went into it
POINTWISE: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operator does: its output(s), its multiply-accumulates for one image, and what it looks at.

    A `view` shares its input's memory. Where it looks is its `window`, or else its `origins`: one for each output, or
    POINTWISE where each number is made of those at its own place. Without either nobody knows. What it `mixes` are the
    axes along which each number depends on all the others besides, as in a group norm.
    """

    kind: str
    output: Any
    macs: int = 0
    window: Window | None = None
    view: bool = False
    origins: tuple[Origin, ...] | None = None
    mixes: tuple[int, ...] = ()


Rule = Callable[..., Any]

_MODULES: dict[type | str, Rule] = {}
_RESOLVED: dict[type, Rule | None] = {}  # what module_rule found before
_FUNCTIONS: dict[Callable[..., Any] | str, Rule] = {}


def module_rule(kind: type[nn.Module]) -> Rule | None:
    """The rule of a module class, or of the class whose `forward` it has; None where there is none.

    Classes of libraries that are not imported here are known by name. A subclass with a forward of its own is another
    operator: it is looked into, not guessed.
    """
    if kind not in _RESOLVED:
        _RESOLVED[kind] = _resolve(kind)
    return _RESOLVED[kind]


def _resolve(kind: type) -> Rule | None:
    for base in kind.__mro__:
        rule = _MODULES.get(base) or _MODULES.get(f"{base.__module__}.{base.__qualname__}")
        if rule is not None:
            return rule if inspect.getattr_static(base, "forward") is inspect.getattr_static(kind, "forward") else None
    return None


def function_rule(target: Callable[..., Any] | str) -> Rule:
    """The rule of a function, or of a tensor method by its name.

    Raises:
        UnknownOperator: there is none.
    """
    rule = _FUNCTIONS.get(target)
    if rule is None:
        name = target if isinstance(target, str) else f"{target.__module__}.{target.__name__}"
        raise UnknownOperator(f"There is no rule for the operator {name}, so its counts would be a guess.")
    return rule


def _modules(*kinds: type[nn.Module] | str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _MODULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def _functions(*targets: Callable[..., Any] | str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _FUNCTIONS.update(dict.fromkeys(targets, rule))
        return rule

    return register


def _pair(value: int | tuple[int, ...]) -> Pair:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def output_side(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil: bool = False) -> int:
    """Pixels along one axis after a window: floor((n + 2p - d(k - 1) - 1) / s) + 1; 0 where it does not fit once.

    With `ceil` a last window that overhangs counts, unless it would start in the padding (torch.nn.MaxPool2d).

    >>> output_side(227, kernel=11, stride=4), output_side(112, kernel=3, stride=2, padding=1)
    (55, 56)
    """
    room = n + 2 * padding - dilation * (kernel - 1) - 1
    side = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (side - 1) * stride >= n + padding:
        side -= 1
    return max(side, 0)


def _slide(shape: Shape, window: Window, channels: int, ceil: bool = False) -> Activation:
    """The feature map that a window makes of (1, c, h, w)."""
    axes = zip(shape[-2:], window.kernel, window.stride, window.padding, window.dilation, strict=True)
    sides = [output_side(n, k, s, p, d, ceil) for n, k, s, p, d in axes]
    if min(sides) < 1:
        raise DoesNotFit(
            f"a {window.kernel[0]}x{window.kernel[1]} window does not fit on its {shape[-2]}x{shape[-1]} feature map; "
            f"the output would be below 1x1"
        )
    return Activation((*shape[:-3], channels, *sides))


# --- convolution and linear: the operators that have MACs


def _convolve(
    x: Activation, weight: Shape, stride: Any, padding: Any, dilation: Any, groups: int, same: bool = False
) -> Effect:
    if x.shape[-3] != weight[1] * groups:
        raise DoesNotFit(f"it takes {weight[1] * groups} channels and gets {x.shape[-3]}")
    kernel, stride, dilation = _pair(weight[2:]), _pair(stride), _pair(dilation)
    if same or padding == "same":  # as much as the last window needs; of an odd number one more behind than before
        sides = [-(-n // s) for n, s in zip(x.shape[-2:], stride, strict=True)]
        axes = zip(x.shape[-2:], sides, kernel, stride, dilation, strict=True)
        padding = tuple(max((side - 1) * s + d * (k - 1) + 1 - n, 0) // 2 for n, side, k, s, d in axes)
        window = Window(kernel, stride, padding, dilation, groups)
        output = Activation((*x.shape[:-3], weight[0], *sides))
    else:
        window = Window(kernel, stride, (0, 0) if padding == "valid" else _pair(padding), dilation, groups)
        output = _slide(x.shape, window, weight[0])
    return Effect("conv", output, output.elements * math.prod(weight[1:]), window)


@_modules(nn.Conv2d, StandardizedConv2d)
def _conv2d(m: nn.Conv2d, x: Activation) -> Effect:
    return _convolve(x, m.weight.shape, m.stride, m.padding, m.dilation, m.groups)


@_modules("timm.layers.conv2d_same.Conv2dSame")
def _conv2d_same(m: nn.Conv2d, x: Activation) -> Effect:
    return _convolve(x, m.weight.shape, m.stride, m.padding, m.dilation, m.groups, same=True)


@_functions(F.conv2d, torch.conv2d)
def _conv2d_function(
    x: Activation,
    weight: Activation,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Effect:
    return _convolve(x, weight.shape, stride, padding, dilation, groups)


@_functions(F.conv1d, torch.conv1d, F.conv3d, torch.conv3d)
def _convolve_other(
    x: Activation,
    weight: Activation,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Effect:
    """A convolution over other axes than an image's two: along the channels, say (efficient channel attention)."""
    if x.shape[1] != weight.shape[1] * groups:
        raise DoesNotFit(f"it takes {weight.shape[1] * groups} channels and gets {x.shape[1]}")
    call = F.conv1d if len(weight.shape) == 3 else F.conv3d
    output = _ask_meta(call, x, weight, None, stride, padding, dilation, groups)
    return Effect("conv", output, output.elements * math.prod(weight.shape[1:]))


@_modules(nn.Conv1d, nn.Conv3d)
def _conv_other(m: nn.Conv1d | nn.Conv3d, x: Activation) -> Effect:
    weight = Activation(tuple(m.weight.shape))
    effect: Effect = _convolve_other(x, weight, None, m.stride, m.padding, m.dilation, m.groups)
    return effect


def _multiply_matrix(x: Activation, weight: Shape) -> Effect:
    if x.shape[-1] != weight[1]:
        raise DoesNotFit(f"it takes {weight[1]} features and gets {x.shape[-1]}")
    output = Activation((*x.shape[:-1], weight[0]))
    origin = (*(Source(axis) for axis in range(-len(x.shape), -1)), None)
    return Effect("linear", output, output.elements * weight[1], origins=(origin,))


@_modules(nn.Linear)
def _linear(m: nn.Linear, x: Activation) -> Effect:
    return _multiply_matrix(x, m.weight.shape)


@_functions(F.linear)
def _linear_function(x: Activation, weight: Activation, bias: Any = None) -> Effect:
    return _multiply_matrix(x, weight.shape)


@_functions(operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm")
def _matrix_product(x: Activation, y: Activation) -> Effect:
    output = _ask_meta(torch.matmul, x, y)
    return Effect("matmul", output, output.elements * x.shape[-1])


@_functions(F.scaled_dot_product_attention)
def _attention(query: Activation, key: Activation, value: Activation, *args: Any, **kwargs: Any) -> Effect:
    """Two matrix products: of queries with keys, and of that with the values."""
    output = Activation((*query.shape[:-1], value.shape[-1]))
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return Effect("matmul", output, pairs * (query.shape[-1] + value.shape[-1]))


# --- pools


def _pool(x: Activation, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Effect:
    kernel = _pair(kernel)
    window = Window(kernel, kernel if stride in (None, (), []) else _pair(stride), _pair(padding), _pair(dilation))
    return Effect("pool", _slide(x.shape, window, x.shape[-3], ceil), window=window)


@_modules(nn.MaxPool2d)
def _max_pool(m: nn.MaxPool2d, x: Activation) -> Effect:
    settings = (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)
    effect: Effect = _max_pool_function(x, *settings)
    return effect


@_modules(nn.AvgPool2d)
def _avg_pool(m: nn.AvgPool2d, x: Activation) -> Effect:
    return _pool(x, m.kernel_size, m.stride, m.padding, 1, m.ceil_mode)


@_functions(F.max_pool2d, torch.max_pool2d)
def _max_pool_function(
    x: Activation,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Effect:
    if return_indices:
        raise UnknownOperator("There is no rule for a max pool that returns indices, so its counts would be a guess.")
    return _pool(x, kernel_size, stride, padding, dilation, ceil_mode)


@_functions(F.avg_pool2d)
def _avg_pool_function(
    x: Activation,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Effect:
    return _pool(x, kernel_size, stride, padding, 1, ceil_mode)


@_functions(F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
def _adaptive_pool_function(x: Activation, output_size: Any, return_indices: bool = False) -> Effect:
    if return_indices:
        raise UnknownOperator("There is no rule for a max pool that returns indices, so its counts would be a guess.")
    sides = [n if size is None else size for n, size in zip(x.shape[-2:], _pair_or_none(output_size), strict=True)]
    sources = [_even_windows(axis, x.shape[axis], side) for axis, side in zip((-2, -1), sides, strict=True)]
    if any(source is None and side > 1 for source, side in zip(sources, sides, strict=True)):
        sources = [None, None]
    origin = (*(Source(axis) for axis in range(-len(x.shape), -2)), *sources)
    return Effect("pool", Activation((*x.shape[:-2], *sides)), origins=(origin,))


@_modules(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
def _adaptive_pool(m: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, x: Activation) -> Effect:
    effect: Effect = _adaptive_pool_function(x, m.output_size, getattr(m, "return_indices", False))
    return effect


def _even_windows(axis: int, n: int, side: int) -> Source | None:
    """The windows that an adaptive pool lays over n pixels; None for the only one, and where their sizes differ."""
    if side == 1:
        return None
    starts = [i * n // side for i in range(side)]
    reaches = {-(-(i + 1) * n // side) - start for i, start in enumerate(starts)}
    even = len(reaches) == 1 and starts == [i * starts[1] for i in range(side)]
    return Source(axis, step=starts[1], reach=reaches.pop()) if even else None


def _pair_or_none(size: Any) -> tuple[int | None, int | None]:
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


# --- norms


@_modules(nn.BatchNorm2d, "timm.layers.norm_act.BatchNormAct2d")
def _batch_norm(m: nn.BatchNorm2d, x: Activation) -> Effect:
    if x.shape[1] != m.num_features:
        raise DoesNotFit(f"it takes {m.num_features} channels and gets {x.shape[1]}")
    return _normalise(x, 0 if m.running_mean is not None else len(x.shape) - 1)


def _normalise(x: Activation, axes: int) -> Effect:
    """A norm whose statistics are those of the last `axes` axes of the very image; 0 of them where they are stored."""
    return Effect("norm", x, origins=POINTWISE, mixes=tuple(range(-axes, 0)))


@_functions(F.batch_norm)
def _batch_norm_function(
    x: Activation, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False, **kwargs: Any
) -> Effect:
    return _normalise(x, len(x.shape) - 1 if training else 0)


_MODULES[nn.GroupNorm] = lambda m, x: _normalise(x, len(x.shape) - 1)
_MODULES[nn.LayerNorm] = lambda m, x: _normalise(x, len(m.normalized_shape))
_FUNCTIONS[F.group_norm] = lambda x, *args, **kwargs: _normalise(x, len(x.shape) - 1)
_MODULES[nn.RMSNorm] = _MODULES[nn.LayerNorm]
_FUNCTIONS[F.layer_norm] = lambda x, normalized_shape, *args, **kwargs: _normalise(x, len(normalized_shape))
_FUNCTIONS[F.rms_norm] = _FUNCTIONS[torch.rms_norm] = _FUNCTIONS[F.layer_norm]


def _mix_along(kind: str, x: Activation, axis: int) -> Effect:
    return Effect(kind, x, origins=POINTWISE, mixes=(axis if axis < 0 else axis - len(x.shape),))


@_functions(F.softmax, torch.softmax, "softmax")
def _softmax(x: Activation, dim: int | None = None, *args: Any, **kwargs: Any) -> Effect:
    return _mix_along("activation", x, int(len(x.shape) in (2, 4)) if dim is None else dim)  # PyTorch's choice


@_modules(nn.Softmax)
def _softmax_layer(m: nn.Softmax, x: Activation) -> Effect:
    effect: Effect = _softmax(x, m.dim)
    return effect


@_functions(F.normalize)
def _normalize(x: Activation, p: float = 2.0, dim: int = 1, *args: Any, **kwargs: Any) -> Effect:
    return _mix_along("norm", x, dim)


# --- operators whose output has the shape of their first input


def _keep_shape(kind: str, *targets: Any, view: bool = False) -> None:
    for target in targets:
        if isinstance(target, type):
            _MODULES[target] = lambda m, x: Effect(kind, x, view=view, origins=POINTWISE)
        else:
            _FUNCTIONS[target] = lambda x, *args, **kwargs: Effect(kind, x, view=view, origins=POINTWISE)


_keep_shape("norm", nn.LocalResponseNorm, F.local_response_norm)  # over channels, not over pixels
_keep_shape("activation", nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid)
_keep_shape("activation", nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.PReLU)
_keep_shape("activation", F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid)
_keep_shape("activation", F.hardtanh, F.sigmoid, torch.relu, torch.sigmoid, torch.tanh)
_keep_shape("activation", "relu", "relu_", "sigmoid", "sigmoid_", "tanh")
# In eval mode, in which everything is counted, dropout hands on what it gets.
_keep_shape("dropout", nn.Dropout, nn.Dropout2d, StochasticDepth, F.dropout, F.dropout2d, view=True)
_keep_shape("identity", nn.Identity, NoNorm, "contiguous", "detach", "to", "float", view=True)
_keep_shape("multiply", LearnedScale, Scale)
_MODULES["torchvision.ops.stochastic_depth.StochasticDepth"] = _MODULES[nn.Dropout]


# --- operators that only combine or rearrange: PyTorch's meta kernels know their shapes


def _on_meta(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the call returns on the meta device.

    Raises:
        DoesNotFit: PyTorch refuses the shapes.
    """

    def to_meta(value: Any) -> Any:
        return torch.empty(value.shape, device="meta") if isinstance(value, Activation) else value

    try:
        return call(*tree_map(to_meta, args), **tree_map(to_meta, kwargs))
    except (RuntimeError, IndexError) as error:
        raise DoesNotFit(f"PyTorch says: {str(error).splitlines()[0]}") from None


def _to_activations(output: Any) -> Any:
    return tree_map(lambda value: Activation(tuple(value.shape)) if isinstance(value, torch.Tensor) else value, output)


def _ask_meta(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the call returns on the meta device, tensors as activations."""
    return _to_activations(_on_meta(call, *args, **kwargs))


def _method(target: Callable[..., Any] | str) -> Callable[..., Any]:
    call: Callable[..., Any] = getattr(torch.Tensor, target) if isinstance(target, str) else target
    return call


def _combine(kind: str, *targets: Any, origins: tuple[Origin, ...] | None) -> None:
    def rule(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Effect:
        if not kwargs and len(args) == 2 and isinstance(args[0], Activation) and args[0] == args[1]:
            return Effect(kind, args[0], origins=origins)  # number by number; PyTorch takes its time to say so
        return Effect(kind, _ask_meta(call, *args, **kwargs), origins=origins)

    for target in targets:
        if isinstance(target, type):
            _MODULES[target] = rule
        else:
            _FUNCTIONS[target] = partial(rule, _method(target))


_combine("add", operator.add, operator.iadd, torch.add, "add", "add_", origins=POINTWISE)
_combine("multiply", operator.mul, operator.imul, torch.mul, "mul", "mul_", origins=POINTWISE)
_combine("arithmetic", operator.isub, operator.itruediv, torch.sub, torch.div, "sub", "div", origins=POINTWISE)
_combine("arithmetic", operator.sub, operator.truediv, operator.pow, operator.neg, "pow", "clamp", origins=POINTWISE)
_combine("arithmetic", torch.clamp, "exp", torch.exp, "sqrt", "sqrt_", torch.sqrt, "rsqrt", origins=POINTWISE)
_combine("arithmetic", torch.rsqrt, "square", torch.square, torch.maximum, torch.addcmul, origins=POINTWISE)
_combine("reshape", nn.ChannelShuffle, origins=POINTWISE)
_combine("reshape", nn.PixelShuffle, origins=None)
# Pixels that are pushed over an edge and come back at the other.
_combine("reshape", "roll", torch.roll, "repeat_interleave", origins=None)
_combine("pool", torch.avg_pool1d, origins=None)


@_functions(F.interpolate)
def _interpolate(
    x: Activation,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Effect:
    output = _ask_meta(
        F.interpolate, x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias=antialias
    )
    known = len(x.shape) == 4 and mode in _RESIZES and not align_corners and not antialias
    sides = [*zip(x.shape[-2:], output.shape[-2:], strict=True)]
    if not known or not _by_sizes(sides, scale_factor) or not all(_rounds_so(n, m, mode) for n, m in sides):
        return Effect("upsample", output)
    sources = [_resize(axis, n, m, mode) for axis, (n, m) in zip((-2, -1), sides, strict=True)]
    return Effect("upsample", output, origins=((Source(-4), Source(-3), *sources),))


@_modules(nn.Upsample)
def _upsample(m: nn.Upsample, x: Activation) -> Effect:
    effect: Effect = _interpolate(x, m.size, m.scale_factor, m.mode, m.align_corners, m.recompute_scale_factor)
    return effect


_RESIZES: dict[str, Callable[[int, int, int], Pair]] = {  # first place, and how many, behind number i of n to m
    "nearest": lambda i, n, m: (i * n // m, 1),
    "nearest-exact": lambda i, n, m: ((2 * i + 1) * n // (2 * m), 1),
    # i's centre lies ((2i + 1) n - m) / 2m places from the first one's: between two, or on one
    "bilinear": lambda i, n, m: (((2 * i + 1) * n - m) // (2 * m), 2 if ((2 * i + 1) * n - m) % (2 * m) else 1),
}


def _by_sizes(sides: Sequence[Pair], scale_factor: Any) -> bool:
    """Whether the sizes alone say where each number comes from: a factor that was rounded to them does not."""
    if scale_factor is None:
        return True
    factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor, scale_factor)
    return all(n * factor == m for (n, m), factor in zip(sides, factors, strict=True))


def _rounds_so(n: int, m: int, mode: str) -> bool:
    """Whether PyTorch, which multiplies in single precision, takes the same places; from 2 to 82 it does not."""
    if mode == "bilinear":
        return True  # there it is the weight of a neighbour that is not quite zero
    line = torch.arange(n, dtype=torch.float64, device="cpu").view(1, 1, 1, n)
    return F.interpolate(line, (1, m), mode=mode).flatten().tolist() == [_RESIZES[mode](i, n, m)[0] for i in range(m)]


def _resize(axis: int, n: int, m: int, mode: str) -> Source | None:
    """Where m numbers come from that are made of n; None where all are made of one."""
    if n == 1 < m:
        return None
    period, step = m // math.gcd(n, m), n // math.gcd(n, m)
    (start, reach), *between = (_RESIZES[mode](i, n, m) for i in range(period))
    return Source(axis, step, start, reach, between=tuple(between))


@_functions(torch.cat, torch.concat)
def _concat(tensors: Any, dim: int = 0) -> Effect:
    if not _alike_but_for(dim, tensors):
        return Effect("concat", _ask_meta(torch.cat, tensors, dim), origins=POINTWISE)
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return Effect("concat", Activation(tuple(shape)), origins=POINTWISE)


def _alike_but_for(dim: int, tensors: Any) -> bool:
    """Whether these are maps whose shapes differ along one axis at most, as in a DenseNet's hundred concatenations."""
    shapes = [list(tensor.shape) for tensor in tensors]
    if any(len(shape) != 4 for shape in shapes) or not -4 <= dim < 4:
        return False
    for shape in shapes:
        del shape[dim]
    return all(shape == shapes[0] for shape in shapes)


@_functions(torch.stack)
def _stack(tensors: Any, dim: int = 0) -> Effect:
    output = _ask_meta(torch.stack, tensors, dim)
    origin: list[Source | None] = [Source(axis) for axis in range(1 - len(output.shape), 0)]
    origin.insert(dim % len(output.shape), None)
    return Effect("concat", output, origins=(tuple(origin),))


def _reduce(kind: str, *targets: Callable[..., Any] | str) -> None:
    _FUNCTIONS.update({target: partial(_reduction, kind, _method(target)) for target in targets})


def _reduction(kind: str, call: Callable[..., Any], x: Activation, *args: Any, **kwargs: Any) -> Effect:
    output = _ask_meta(call, x, *args, **kwargs)
    axes = args[0] if args else kwargs.get("dim", kwargs.get("axis"))
    if axes is None or axes == () or isinstance(axes, bool):
        axes = range(len(x.shape))
    gone = {axis % len(x.shape) for axis in ((axes,) if isinstance(axes, int) else axes)}
    origin = tuple(None if axis in gone else Source(axis - len(x.shape)) for axis in range(len(x.shape)))
    if len(output.shape) < len(x.shape):
        origin = tuple(source for source in origin if source is not None)
    return Effect(kind, output, origins=(origin,))


_reduce("pool", "mean", torch.mean, "amax", torch.amax)
_reduce("arithmetic", "sum", torch.sum, "var", torch.var)


@_functions("norm")
def _length(x: Activation, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Effect:
    return _reduction("arithmetic", partial(torch.Tensor.norm, p=p), x, dim=dim, keepdim=keepdim)


# --- operators that only rearrange


def _view(call: Callable[..., Any], x: Activation, *args: Any, **kwargs: Any) -> Effect:
    """A view's strides and its offset tell which axes it follows, in what steps and from where on."""
    bits = 60 // max(len(x.shape), 1)  # strides far enough apart to keep the axes' steps and starts asunder
    probe = torch.empty_strided(x.shape, [1 << bits * axis for axis in reversed(range(len(x.shape)))], device="meta")
    views = _on_meta(call, probe, *args, **kwargs)
    origins = tuple(_origin_of_view(view, bits) for view in tree_leaves(views))
    return Effect("reshape", _to_activations(views), view=True, origins=origins)


def _origin_of_view(view: torch.Tensor, bits: int) -> Origin:
    origin: list[Source | None] = [None] * view.ndim
    widest: dict[int, int] = {}  # a new axis of one place has a stride too, and with it seems to follow another
    for place, (size, stride) in enumerate(zip(view.shape, view.stride(), strict=True)):
        axis = (stride.bit_length() - 1) // bits  # below 0 where it is expanded
        if axis < 0 or size <= widest.get(axis, 0):
            continue
        origin = [None if source and source.axis == -1 - axis else source for source in origin]
        start = int(view.storage_offset()) >> bits * axis & (1 << bits) - 1
        origin[place] = Source(-1 - axis, stride >> bits * axis, start)
        widest[axis] = size
    return tuple(origin)


def _refold(call: Callable[..., Any], x: Activation, *args: Any, view: bool = True, **kwargs: Any) -> Effect:
    output = _ask_meta(call, x, *args, **kwargs)
    return Effect("reshape", output, view=view, origins=(_origin_of_refolding(x.shape, output.shape),))


def _origin_of_refolding(before: Shape, after: Shape) -> Origin:
    """An axis that is split goes on in its first part, whose places reach over the others'; a merged one is gone.

    >>> [source and source.axis for source in _origin_of_refolding((1, 64, 7, 9), (1, 8, 8, 63))]
    [-4, -3, None, None]
    >>> _origin_of_refolding((6, 9), (3, 2, 9)) == (Source(-2, step=2, reach=2), None, Source(-1))
    True
    """
    origin: list[Source | None] = [None] * len(after)
    i, j = len(before), len(after)
    while i and j:
        if before[i - 1] != after[j - 1] and 1 in (before[i - 1], after[j - 1]):  # one that comes or goes
            i, j = (i - 1, j) if before[i - 1] == 1 else (i, j - 1)
            continue
        first, place = i - 1, j - 1  # of the next axes that hold equally many numbers
        while (have := math.prod(before[first:i])) != (wanted := math.prod(after[place:j])):
            first, place = (first - 1, place) if have < wanted else (first, place - 1)
        if first == i - 1:
            parts = math.prod(after[place + 1 : j])
            origin[place] = Source(first - len(before), step=parts, reach=parts)
        i, j = first, place
    return tuple(origin)


def _rearrange(how: Callable[..., Effect], *targets: Callable[..., Any] | str) -> None:
    _FUNCTIONS.update({target: partial(how, _method(target)) for target in targets})


_rearrange(_view, "permute", torch.permute, "transpose", torch.transpose, "expand")
_rearrange(_view, "unsqueeze", torch.unsqueeze, "squeeze", torch.squeeze)
_rearrange(_view, "chunk", torch.chunk, "split", torch.split, "unbind", torch.unbind)
_rearrange(_refold, torch.flatten, "flatten", "view", "unflatten")
_rearrange(partial(_refold, view=False), torch.reshape, "reshape")
_MODULES[nn.Flatten] = _refold


@_functions(operator.getitem)
def _getitem(x: Activation, index: Any) -> Effect:
    if any(isinstance(part, Activation) for part in (index if isinstance(index, tuple) else (index,))):
        raise UnknownOperator("There is no rule for an index that is a tensor, so its counts would be a guess.")
    return _view(operator.getitem, x, index)


@_modules(nn.PixelUnshuffle)
def _pixel_unshuffle(m: nn.PixelUnshuffle, x: Activation) -> Effect:
    r = m.downscale_factor
    origin = (*(Source(axis) for axis in range(-len(x.shape), -2)), Source(-2, r, 0, r), Source(-1, r, 0, r))
    return Effect("reshape", _ask_meta(m, x), origins=(origin,))


def _origin_of_padding(shape: Shape, pad: Sequence[int]) -> Origin:
    before = [*pad[::2], *[0] * len(shape)]  # the last axis first
    return tuple(Source(axis, start=-before[-1 - axis]) for axis in range(-len(shape), 0))


@_functions(F.pad)
def _pad_function(x: Activation, pad: Sequence[int], *args: Any, **kwargs: Any) -> Effect:
    return Effect("pad", _ask_meta(F.pad, x, pad, *args, **kwargs), origins=(_origin_of_padding(x.shape, pad),))


@_modules(nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)
def _pad(m: nn.ZeroPad2d | nn.ReflectionPad2d | nn.ReplicationPad2d, x: Activation) -> Effect:
    return Effect("pad", _ask_meta(m, x), origins=(_origin_of_padding(x.shape, m.padding),))


@_modules(PadShortcut)
def _pad_shortcut(m: PadShortcut, x: Activation) -> Effect:
    origin = (Source(-4), Source(-3), Source(-2, m.stride), Source(-1, m.stride))
    return Effect("pad", _ask_meta(m, x), origins=(origin,))


@_modules(Add)
def _add(m: Add, branch: Activation, shortcut: Activation) -> Effect:
    if branch.shape != shortcut.shape:
        raise DoesNotFit(f"it adds {branch.shape[1:]} and {shortcut.shape[1:]}")
    return Effect("add", branch, origins=POINTWISE)
