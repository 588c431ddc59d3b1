"""A network to the graph of its operators: its own code is run once, with shapes in place of tensors.

torch.fx gives such a graph too, but while it traces it replaces `nn.Module.__call__` in the whole process: a model that
another thread runs at that moment would land in the trace, and two traces at once would leave the replacement behind.
Here only the modules of the network in hand are touched, and given back. It also takes a fifth of the time, and code
that decides by a size, which fx cannot follow, is followed.
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from explorer.analysis.rules import Activation, DoesNotFit, Effect, Shape, UnknownOperator, function_rule, module_rule
from explorer.errors import Refusal
from explorer.models.observe import evaluating, forwarding

IMAGE = -1  # stands among `Operator.inputs` for the network's input

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Operator:
    """One call of a layer or function.

    `inputs` are the positions in the graph of the operators that made what it takes, in order; `IMAGE` is the input of
    the network. A layer that the network applies to weights alone has none. `params` counts the parameters that it uses
    and no operator before it did, and those that went into the weights that it takes.
    """

    name: str
    inputs: tuple[int, ...]
    takes: tuple[Activation, ...]
    gives: tuple[Activation, ...]
    effect: Effect
    params: int


@dataclass(frozen=True, slots=True)
class Place:
    """A call of a module, counted from 0: what it returns is what an operator gives."""

    module: str
    call: int


def trace(model: nn.Module, input_shape: Shape) -> list[Operator]:
    """The operators of a network in the order in which they run; as `followed`."""
    return followed(model, input_shape)[0]


def followed(model: nn.Module, input_shape: Shape) -> tuple[list[Operator], dict[int, Place]]:
    """The operators of a network in the order in which they run, in eval mode; the model is left as it was.

    With them, by their numbers, the innermost modules that return what they give: not all operators have one.

    Args:
        model: one input, an image; on any device, as nothing is computed.
        input_shape: (channels, height, width) of the image.

    Raises:
        DoesNotFit: the image is too small, or has other channels than the network takes.
        UnknownOperator: the network uses something without a rule, or its code asks for a tensor's values.
    """
    tape = _Tape(input_shape)
    with evaluating(model), forwarding(tape.forwards(model)), _Noting(tape):
        try:
            model(_Symbol(Activation((1, *input_shape)), IMAGE, tape))
        except Refusal:
            raise
        except Exception as error:
            raise UnknownOperator(
                f"The code of {type(model).__name__} cannot be followed by shapes alone "
                f"({type(error).__name__}: {error})."
            ) from error
    return tape.operators, tape.returned


class _Tape:
    """Writes down what a network calls."""

    def __init__(self, input_shape: Shape) -> None:
        self.operators: list[Operator] = []
        self.returned: dict[int, Place] = {}
        self._calls: Counter[str] = Counter()
        self._input_shape = input_shape
        self._inside = [""]  # names of the modules whose code runs, the innermost last
        self._counted: set[int] = set()  # parameters, by identity
        self._used: list[nn.Parameter] = []  # by functions on weights alone, since the last operator
        self._aside = False  # whether PyTorch's own code runs, of which nothing is noted: it serves a rule, say

    def forwards(self, model: nn.Module) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
        """For each module, what stands in for its forward: its rule, or its own code between two notes."""
        for name, module in model.named_modules():
            rule = module_rule(type(module))
            if rule is None:
                yield module, partial(self._through, name, module.forward)
            else:
                yield module, partial(self._layer, name, module, rule, module.forward)

    def function(self, target: Callable[..., Any] | str, args: Any, kwargs: Any) -> Any:
        """A function on symbols, or a tensor method by its name."""
        name = target if isinstance(target, str) else target.__name__
        if not isinstance(target, str) and getattr(torch.Tensor, name, None) is target:
            target = name = name.strip("_")  # weight * x comes as Tensor.mul or Tensor.__mul__
        if name in ("expand_as", "view_as", "reshape_as", "type_as"):  # the other tensor lends its shape or type only
            own, other = args
            return own.to(other.dtype) if name == "type_as" else getattr(own, name.removesuffix("_as"))(other.shape)
        inside = self._inside[-1]
        return self._write(f"{inside}.{name}" if inside else name, function_rule(target), args, kwargs, [])

    def _through(self, name: str, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the code of a module that has no rule."""
        self._inside.append(name)
        try:
            result = own(*args, **kwargs)
        finally:
            self._inside.pop()
        self._note_return(name, result)
        return result

    def _note_return(self, name: str, result: Any) -> None:
        """A module returned: where it gave an operator's own output, that can be caught behind it."""
        call = self._calls[name]
        self._calls[name] += 1
        if type(result) is _Symbol and result.made_by != IMAGE and len(self.operators[result.made_by].gives) == 1:
            self.returned.setdefault(result.made_by, Place(name, call))

    def _layer(
        self, name: str, module: nn.Module, rule: Callable[..., Any], own: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Apply the rule of a module to what it takes."""
        if self._aside:
            return own(*args, **kwargs)
        symbols = [args[0]] if len(args) == 1 and type(args[0]) is _Symbol and not kwargs else None
        result = self._write(name, partial(rule, module), args, kwargs, [*module.parameters()], symbols)
        self._note_return(name, result)
        if symbols is None and next(_all(_Symbol, (args, kwargs)), None) is None:
            with self._set_aside():
                return own(*args, **kwargs)  # on weights: what comes of them is no symbol
        return result

    def on_weights(self, target: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """A function made tensors of weights alone: note them, and the operator if it multiplies and accumulates."""
        if self._aside:
            return
        self._used += _all(nn.Parameter, (args, kwargs))
        if target.__name__.strip("_") in _PRODUCTS:
            self.function(target, args, kwargs)

    @contextmanager
    def _set_aside(self) -> Iterator[None]:
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def _write(
        self,
        name: str,
        rule: Callable[..., Any],
        args: Any,
        kwargs: Any,
        parameters: list[nn.Parameter],
        symbols: list["_Symbol"] | None = None,
    ) -> Any:
        """Apply a rule and note the operator; with `symbols` the only argument is the first of them."""
        try:
            with self._set_aside():
                if symbols is None:
                    symbols = list(_all(_Symbol, (args, kwargs)))
                    effect = rule(*_plain(args, parameters), **_plain(kwargs, parameters))
                else:
                    effect = rule(symbols[0].activation)
        except DoesNotFit as error:
            channels, height, width = self._input_shape
            raise DoesNotFit(
                f"An image of {height}x{width} with {channels} channels does not go through this network: at {name}, "
                f"{error}."
            ) from None
        if not isinstance(effect, Effect):
            return effect
        here = len(self.operators)
        gives: list[Activation] = []
        result = self._wrap(effect.output, here, gives)
        self.operators.append(
            Operator(
                name,
                tuple(symbol.made_by for symbol in symbols),
                tuple(symbol.activation for symbol in symbols),
                tuple(gives),
                effect,
                self._new_params([*parameters, *self._used]),
            )
        )
        self._used.clear()
        return result

    def _wrap(self, output: Any, made_by: int, gives: list[Activation]) -> Any:
        if isinstance(output, Activation):
            gives.append(output)
            return _Symbol(output, made_by, self)
        return type(output)(self._wrap(part, made_by, gives) for part in output)

    def _new_params(self, parameters: Iterable[nn.Parameter]) -> int:
        fresh = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in self._counted}
        self._counted.update(fresh)
        return sum(fresh.values())


class _Symbol:
    """Stands for a tensor in a forward pass: it has a shape and came from somewhere, and that is all."""

    def __init__(self, activation: Activation, made_by: int, tape: _Tape) -> None:
        self.activation = activation
        self.made_by = made_by
        self._tape = tape

    dtype = torch.float32
    device = torch.device("meta")
    requires_grad = is_cuda = is_quantized = False

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.activation.shape)

    @property
    def ndim(self) -> int:
        return len(self.activation.shape)

    def size(self, axis: int | None = None) -> Any:
        return self.shape if axis is None else self.shape[axis]

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return self.activation.elements

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__") or not hasattr(torch.Tensor, name):
            raise AttributeError(f"a tensor has no {name}")
        return lambda *args, **kwargs: self._tape.function(name, (self, *args), kwargs)

    @classmethod
    def __torch_function__(cls, target: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first: _Symbol = next(_all(_Symbol, (args, kwargs)))
        return first._tape.function(target, args, kwargs or {})

    def _values(self, *args: object) -> NoReturn:
        raise UnknownOperator("The network decides by the values in a tensor, and shapes alone do not tell them.")

    __bool__ = __float__ = __int__ = __iter__ = __len__ = __lt__ = __gt__ = __le__ = __ge__ = _values


def _operators() -> None:
    """Give symbols Python's own operators, so that `x + y`, `x *= y` and `x[:, ::2]` are written down."""

    def forward(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *args: self._tape.function(call, (self, *args), {})

    def reflected(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, other: self._tape.function(call, (other, self), {})

    for name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
        setattr(_Symbol, f"__{name}__", forward(getattr(operator, name)))
        setattr(_Symbol, f"__r{name}__", reflected(getattr(operator, name)))
    for name in ("iadd", "imul", "isub", "itruediv", "neg", "getitem"):
        setattr(_Symbol, f"__{name}__", forward(getattr(operator, name)))


_operators()


def _all(kind: type[_Kind], value: Any) -> Iterator[_Kind]:
    """What is of a kind in some arguments, in order."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _all(kind, part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _all(kind, part)


# Functions of PyTorch that multiply and accumulate.
_PRODUCTS = {
    *("matmul", "rmatmul", "mm", "bmm", "mv", "dot", "addmm", "addbmm", "baddbmm", "tensordot", "einsum", "linear"),
    *("bilinear", "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention"),
}


class _Noting(TorchFunctionMode):
    """While it is entered, and in this thread only: tells a tape which functions make tensors of weights alone."""

    def __init__(self, tape: _Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_function__(self, target: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = target(*args, **kwargs)
        if next(_all(torch.Tensor, result), None) is not None:  # else a symbol came of it, or it asked for a shape
            self._tape.on_weights(target, args, kwargs)
        return result


def _plain(value: Any, parameters: list[nn.Parameter]) -> Any:
    """The arguments as a rule takes them: activations for symbols and tensors; the parameters among them are noted."""
    if isinstance(value, _Symbol):
        return value.activation
    if isinstance(value, torch.Tensor):
        if isinstance(value, nn.Parameter):
            parameters.append(value)
        return Activation(tuple(value.shape))
    if isinstance(value, tuple | list):
        return (
            [_plain(part, parameters) for part in value]
            if isinstance(value, list)
            else tuple(_plain(part, parameters) for part in value)
        )
    if isinstance(value, dict):
        return {key: _plain(part, parameters) for key, part in value.items()}
    return value
