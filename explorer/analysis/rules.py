"""One pure rule a kind of operator: shapes in; shape, multiply-accumulates and window out. Unknown operators raise.

A rule takes the layer (or the function's own arguments) with every tensor replaced by an `Activation`, which knows its
shape only. Convolutions, pools, norms and linear layers are arithmetic; what merely rearranges or combines tensors
takes its shape from PyTorch's own meta kernels, so that nothing of theirs is written again here.
"""

import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from explorer.errors import Refusal
from explorer.models.blocks import Add, NoNorm, PadShortcut

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
class Effect:
    """What an operator does: its output(s), its multiply-accumulates for one image, and what it looks at.

    A `view` shares its input's memory.
    """

    kind: str
    output: Any
    macs: int = 0
    window: Window | None = None
    view: bool = False


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
    if padding == "same":  # for an even kernel one more pixel behind than before
        same, padding = True, tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    window = Window(kernel, stride, (0, 0) if padding == "valid" else _pair(padding), dilation, groups)
    if same:  # as much padding as the last window needs, whatever the stride
        output = Activation(
            (*x.shape[:-3], weight[0], *(-(-n // s) for n, s in zip(x.shape[-2:], stride, strict=True)))
        )
    else:
        output = _slide(x.shape, window, weight[0])
    return Effect("conv", output, output.elements * math.prod(weight[1:]), window)


@_modules(nn.Conv2d)
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


def _multiply_matrix(x: Activation, weight: Shape) -> Effect:
    if x.shape[-1] != weight[1]:
        raise DoesNotFit(f"it takes {weight[1]} features and gets {x.shape[-1]}")
    output = Activation((*x.shape[:-1], weight[0]))
    return Effect("linear", output, output.elements * weight[1])


@_modules(nn.Linear)
def _linear(m: nn.Linear, x: Activation) -> Effect:
    return _multiply_matrix(x, m.weight.shape)


@_functions(F.linear)
def _linear_function(x: Activation, weight: Activation, bias: Any = None) -> Effect:
    return _multiply_matrix(x, weight.shape)


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
    sides = (n if size is None else size for n, size in zip(x.shape[-2:], _pair_or_none(output_size), strict=True))
    return Effect("pool", Activation((*x.shape[:-2], *sides)))


@_modules(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
def _adaptive_pool(m: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, x: Activation) -> Effect:
    effect: Effect = _adaptive_pool_function(x, m.output_size, getattr(m, "return_indices", False))
    return effect


def _pair_or_none(size: Any) -> tuple[int | None, int | None]:
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


# --- norms


@_modules(nn.BatchNorm2d, "timm.layers.norm_act.BatchNormAct2d")
def _batch_norm(m: nn.BatchNorm2d, x: Activation) -> Effect:
    if x.shape[1] != m.num_features:
        raise DoesNotFit(f"it takes {m.num_features} channels and gets {x.shape[1]}")
    return Effect("norm", x)


# --- operators whose output has the shape of their first input


def _keep_shape(kind: str, *targets: Any, view: bool = False) -> None:
    for target in targets:
        if isinstance(target, type):
            _MODULES[target] = lambda m, x: Effect(kind, x, view=view)
        else:
            _FUNCTIONS[target] = lambda x, *args, **kwargs: Effect(kind, x, view=view)


_keep_shape("norm", nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
_keep_shape("norm", F.batch_norm, F.group_norm, F.layer_norm, F.local_response_norm, F.normalize)
_keep_shape("activation", nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid)
_keep_shape("activation", nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softmax, nn.PReLU)
_keep_shape("activation", F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid)
_keep_shape("activation", F.hardtanh, F.sigmoid, F.softmax, torch.relu, torch.sigmoid, torch.tanh, torch.softmax)
_keep_shape("activation", "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "softmax")
# In eval mode, in which everything is counted, dropout hands on what it gets.
_keep_shape("dropout", nn.Dropout, nn.Dropout2d, F.dropout, F.dropout2d, view=True)
_MODULES["torchvision.ops.stochastic_depth.StochasticDepth"] = lambda m, x: Effect("dropout", x, view=True)
_keep_shape("identity", nn.Identity, NoNorm, "contiguous", "detach", "to", "float", "type_as", view=True)


# --- operators that only combine or rearrange: PyTorch's meta kernels know their shapes


def _ask_meta(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the call returns on the meta device, tensors as activations.

    Raises:
        DoesNotFit: PyTorch refuses the shapes.
    """

    def to_meta(value: Any) -> Any:
        return torch.empty(value.shape, device="meta") if isinstance(value, Activation) else value

    try:
        output = call(*tree_map(to_meta, args), **tree_map(to_meta, kwargs))
    except (RuntimeError, IndexError) as error:
        raise DoesNotFit(f"PyTorch says: {str(error).splitlines()[0]}") from None
    return tree_map(lambda value: Activation(tuple(value.shape)) if isinstance(value, torch.Tensor) else value, output)


def _combine(kind: str, *targets: Any, view: bool = False) -> None:
    for target in targets:
        if isinstance(target, type):
            _MODULES[target] = lambda m, *args: Effect(kind, _ask_meta(m, *args), view=view)
        else:
            call = getattr(torch.Tensor, target) if isinstance(target, str) else target
            _FUNCTIONS[target] = lambda *args, _call=call, **kwargs: Effect(
                kind, _ask_meta(_call, *args, **kwargs), view=view
            )


_combine("add", operator.add, operator.iadd, torch.add, "add", "add_")
_combine("multiply", operator.mul, operator.imul, torch.mul, "mul", "mul_")
_combine("arithmetic", operator.isub, operator.itruediv)
_combine("arithmetic", operator.sub, operator.truediv, operator.pow, operator.neg, torch.sub, torch.div, "sub", "div")
_combine("arithmetic", "pow", "sum", torch.sum, "clamp", torch.clamp, "exp", torch.exp, "sqrt", torch.sqrt, "rsqrt")
_combine("concat", torch.cat, torch.concat, torch.stack)
_combine("pool", "mean", torch.mean, "amax", torch.amax)
_combine("pad", nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, F.pad, PadShortcut)
_combine("upsample", nn.Upsample, F.interpolate)
_combine(
    "reshape", nn.Flatten, torch.flatten, "flatten", "view", "view_as", "unflatten", "expand", "expand_as", view=True
)
_combine(
    "reshape", "permute", torch.permute, "transpose", torch.transpose, "unsqueeze", "squeeze", torch.squeeze, view=True
)
_combine("reshape", torch.unsqueeze, "chunk", torch.chunk, "split", torch.split, "unbind", torch.unbind, view=True)
_combine("reshape", torch.reshape, "reshape", nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle)


@_functions(operator.getitem)
def _getitem(x: Activation, index: Any) -> Effect:
    if any(isinstance(part, Activation) for part in (index if isinstance(index, tuple) else (index,))):
        raise UnknownOperator("There is no rule for an index that is a tensor, so its counts would be a guess.")
    return Effect("reshape", _ask_meta(operator.getitem, x, index), view=True)


@_modules(Add)
def _add(m: Add, branch: Activation, shortcut: Activation) -> Effect:
    if branch.shape != shortcut.shape:
        raise DoesNotFit(f"it adds {branch.shape[1:]} and {shortcut.shape[1:]}")
    return Effect("add", branch)
