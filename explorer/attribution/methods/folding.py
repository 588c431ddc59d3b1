"""Batch norm taken into the convolution before it: in eval mode the two are one linear map.

It spares passes over memory: a third of the time of EfficientNet-Lite0 on a CPU, a tenth of that of a ResNet. Sums are
rounded otherwise, which a gradient shows where a ReLU just opens: so it is for methods that take no gradient, or the
mean of those of many noisy pictures.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from explorer.attribution.subject import Score, Subject
from explorer.models.observe import forwarding
from explorer.models.ready import Tracer


@contextmanager
def passing(subject: Subject, score: Score) -> Iterator[int]:
    """The score's network with its batch norm folded, until the block ends; how many images go at once.

    Args:
        score: of the subject; its network may be another that was made ready, and holds the same layers.
    """
    at_once = subject.at_once  # is measured on the network as it is
    with folded(score.network):
        yield at_once


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """The network with batch norm in its convolutions, until the block ends; then it is as it was.

    Args:
        network: in eval mode. One that cannot be traced, or has no such pairs, stays as it is.
    """
    if network not in _PAIRS:
        _PAIRS[network] = _pairs(network)
    convolutions = {name: network.get_submodule(name) for name, _ in _PAIRS[network]}
    norms: list[Any] = [network.get_submodule(name) for _, name in _PAIRS[network]]
    before = [dict(conv._parameters) for conv in convolutions.values()]
    try:
        for conv, norm in zip(convolutions.values(), norms, strict=True):
            conv._parameters.update(_as_one(conv, norm))
        with forwarding([(norm, rest) for norm in norms if (rest := _behind(norm))]):
            yield
    finally:
        for conv, own in zip(convolutions.values(), before, strict=True):
            conv._parameters.update(own)


# By name, and not the weights: these change when they are drawn anew
_PAIRS: WeakKeyDictionary[nn.Module, list[tuple[str, str]]] = WeakKeyDictionary()


class _Whole(Tracer):
    """Batch norm as one module, that of timm too, which holds others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions, and of the batch norms that alone see what these return."""
    try:
        nodes = list(_Whole().trace(network).nodes)
    except Exception:  # a network of others may fail in any way
        return []
    calls = [node.target for node in nodes if node.op == "call_module"]
    found: list[tuple[str, str]] = []
    for node in nodes:
        before: Any = node.args[0] if node.op == "call_module" and node.args else None
        if getattr(before, "op", None) != "call_module" or len(before.users) > 1:
            continue
        if calls.count(node.target) > 1 or calls.count(before.target) > 1:
            continue
        conv, norm = network.get_submodule(before.target), network.get_submodule(str(node.target))
        if _is_plain(conv) and _behind(norm) is not None:
            found.append((before.target, str(node.target)))
    return found


def _is_plain(conv: nn.Module) -> bool:
    """Whether it is a convolution with the very weights that it holds; others may standardise them first."""
    if not isinstance(conv, nn.Conv2d) or "weight" not in conv._parameters:
        return False
    return _computes_as(conv, nn.Conv2d) or type(conv).__name__ == "Conv2dSame"  # timm's, that pads first


def _behind(norm: Any) -> Callable[[Tensor], Tensor] | None:
    """What remains of a batch norm that was folded; None of any other module."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        return None
    if _computes_as(norm, nn.BatchNorm2d):
        return _same
    if type(norm).__name__ == "BatchNormAct2d":  # timm's: dropout and activation are in it
        rest: Any = norm
        return lambda x: rest.act(rest.drop(x))
    return None


def _computes_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    return type(module).forward is kind.forward


def _same(x: Tensor) -> Tensor:
    return x


def _as_one(conv: Any, norm: Any) -> dict[str, nn.Parameter]:
    """Weight and bias of both together."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = (0 if conv.bias is None else conv.bias) - norm.running_mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    return {"weight": nn.Parameter(weight, False), "bias": nn.Parameter(bias, False)}
