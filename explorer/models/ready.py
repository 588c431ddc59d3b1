"""A network made ready for attribution: every ReLU is a module of its own, used once, and nothing is done in place.

Captum's hooks rely on it. Of a ReLU that is called twice they keep the last call alone, of one that is a function they
see nothing, and what is overwritten in place is gone when they come back: DeepLift and Guided Backpropagation are then
wrong without a word. Our own nets are built so; those of others are traced, and their graph is rewritten.
"""

import copy
import operator
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from explorer.errors import Refusal
from explorer.models.observe import evaluating, restoring, seeded
from explorer.models.resnet import ResNet

_TOLERANCE = 1e-4  # of the largest logit


class NotReady(Refusal):
    """The network cannot be made ready; the message says why."""


class ClippedReLU(nn.ReLU):
    """min(max(x, 0), most): to what explains ReLUs it is one.

    >>> ClippedReLU(6.0)(torch.tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return F.hardtanh(x, 0.0, self.most)


def ready(network: nn.Module, example: Tensor) -> nn.Module:
    """The network as it is if it is one of ours; else one that computes the same, with the same weights, not copied.

    It is made once for a network, and goes with it.

    Args:
        network: in eval mode.
        example: a batch (n, channels, height, width) that it takes, on which the two are compared.

    Raises:
        NotReady: it cannot be traced, or what was made of it computes something else.
    """
    if isinstance(network, ResNet):
        return network
    if network in _MADE:
        made, restore = _MADE[network]
        restore()  # a library that was stopped at its work leaves hooks on what is not the network's own
        return made
    with evaluating(network):
        try:
            graph = Tracer().trace(network)
        except Exception as error:  # a network of others may fail in any way
            raise NotReady(
                f"{type(network).__name__} cannot be traced, so that its ReLUs cannot be told apart; choose a method "
                "that needs gradients or passes alone."
            ) from error
        rewritten = _rewritten(network, graph).eval()
        _compare(network, rewritten, example)
    own = set(network.modules())
    _MADE[network] = rewritten, restoring(module for module in rewritten.modules() if module not in own)
    return rewritten


_MADE: WeakKeyDictionary[nn.Module, tuple[nn.Module, Callable[[], None]]] = WeakKeyDictionary()


class Tracer(fx.Tracer):
    """Follows every module down to those that hold no other; these may branch by sizes, as timm's convolutions do."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether it is one step of the graph."""
        return not any(True for _ in m.children())


def _rewritten(network: nn.Module, graph: fx.Graph) -> nn.Module:
    """The graph with a module of its own for each use of a ReLU, and without anything in place."""
    parts: dict[str, Any] = {}
    for node in list(graph.nodes):
        module = network.get_submodule(node.target) if node.op == "call_module" else None
        new = _activation(node, module)
        if new is not None:
            name = f"activation_{len(parts)}"
            parts[name] = new
            with graph.inserting_before(node):
                call = graph.call_module(name, (node.args[0] if node.args else node.kwargs["input"],))
            node.replace_all_uses_with(call)
            graph.erase_node(node)
        elif module is not None:
            parts[node.target] = module
        elif node.op == "get_attr":
            parts[node.target] = operator.attrgetter(node.target)(network)
        elif node.op == "call_function" and node.target in _OUT_OF_PLACE:
            node.target = _OUT_OF_PLACE[node.target]
    return fx.GraphModule(parts, graph)


def _activation(node: fx.Node, module: nn.Module | None) -> nn.Module | None:
    """What stands for this node: a ReLU for a ReLU, and a copy that is not in place for any other that is."""
    if isinstance(module, nn.Hardtanh) and module.min_val == 0:  # ReLU6 is one
        return ClippedReLU(module.max_val)
    if isinstance(module, nn.ReLU) or node.target in _RELUS:
        return nn.ReLU()
    if node.target is F.relu6:
        return ClippedReLU(6.0)
    if module is not None and getattr(module, "inplace", False):
        new = copy.deepcopy(module)
        new.inplace = False  # type: ignore[assignment]
        return new
    return None


_RELUS: tuple[Any, ...] = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
_OUT_OF_PLACE: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
}


def _compare(network: nn.Module, rewritten: nn.Module, example: Tensor) -> None:
    """Raise if the two do not compute the same."""
    with torch.no_grad(), seeded(0):
        noise = torch.randn(example.shape, dtype=example.dtype).to(example)
        for images in (example, noise):
            one, other = network(images), rewritten(images)
            if not torch.allclose(one, other, rtol=0, atol=_TOLERANCE * max(1.0, float(one.abs().max()))):
                raise NotReady(
                    f"{type(network).__name__} without shared ReLUs computes something else: its logits differ by "
                    f"{float((one - other).abs().max()):.2g}."
                )
