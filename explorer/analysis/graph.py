"""A network to the graph of its operators, by torch.fx; nothing is computed."""

from torch import fx, nn

from explorer.analysis.rules import UnknownOperator, module_rule
from explorer.models.observe import evaluating


class _Tracer(fx.Tracer):
    """Looks into every module that has no rule of its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_rule(type(m)) is not None


def trace(model: nn.Module) -> fx.Graph:
    """The operators of a network in the order in which they run, in eval mode; the model is left as it was.

    Raises:
        UnknownOperator: its code decides by values that only a real input has, so fx cannot follow it.
    """
    with evaluating(model):
        try:
            return _Tracer().trace(model)
        except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
            raise UnknownOperator(
                f"The code of {type(model).__name__} cannot be followed without running it ({error})."
            ) from error


def place(node: fx.Node) -> str:
    """The dotted name of a node: its module's, or that of the module whose code calls the function, and the function.

    A graph of resnet18 has `layer1.0.conv1`; torchvision's own, which flattens by a function, ends in `flatten`, `fc`.
    """
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    inside = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    what = node.target if isinstance(node.target, str) else node.target.__name__
    return f"{inside[-1]}.{what}" if inside and inside[-1] else what
