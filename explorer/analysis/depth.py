"""The depth of a network as papers count it: convolutions and linear layers, one behind the other."""

from collections.abc import Sequence

from explorer.analysis.graph import IMAGE, Operator


def network_depth(graph: Sequence[Operator]) -> int:
    """Convolutions and linear layers on the longest path from the image to an output; 0 where there are none.

    As the papers count: of branches the longest, so that a projection beside a block adds nothing; depthwise and
    pointwise convolutions one each; pools, norms and activations not at all. What only weighs a map is left out: where
    a multiply takes inputs of different sizes, the path goes through the largest, so that squeeze-and-excitation, ECA
    and CBAM add nothing. A map that was repeated or enlarged counts with the size that it had before. A Highway
    network's gate is as large as the map, but no longer than the branch that it weighs. A product of two matrices
    (attention) adds nothing itself, but what computes queries, keys and values is on the path.

    A published depth may follow another rule: Szegedy et al. 2015 (arXiv 1512.00567) call Inception-v3 42 layers deep,
    and its longest path has 48.

    Args:
        graph: from `explorer.analysis.layers.operators`.

    >>> from explorer.analysis.layers import operators
    >>> network_depth(operators("resnet50")), network_depth(operators("googlenet")), network_depth(operators("vgg19"))
    (50, 22, 19)
    """
    used = {made_by for operator in graph for made_by in operator.inputs}
    return max((depth for here, depth in enumerate(operator_depths(graph)) if here not in used), default=0)


def operator_depths(graph: Sequence[Operator]) -> list[int]:
    """The same for the longest path from the image to each operator, itself included."""
    depths: list[int] = []
    sizes: list[int] = []  # numbers in what it gives, before they were repeated
    for here, operator in enumerate(graph):
        kind = operator.effect.kind
        came = [
            min(taken.elements, taken.elements if made_by == IMAGE else sizes[made_by])
            for made_by, taken in zip(operator.inputs, operator.takes, strict=True)
        ]
        path = set(operator.inputs)
        if kind == "multiply":
            path = {made_by for made_by, size in zip(operator.inputs, came, strict=True) if size == max(came)}
            if len(path) > 1 and operator.takes[0].shape[-2:] == (1, 1):  # of one pixel, a gate is as large as the map
                path = {made_by for made_by in path if not any(_comes_of(graph, made_by, one) for one in path)}
        depths.append(max((0 if made_by == IMAGE else depths[made_by] for made_by in path), default=0))
        depths[here] += kind in ("conv", "linear")
        own = sum(output.elements for output in operator.gives)
        enlarges = operator.effect.view or kind in ("upsample", "activation")
        sizes.append(min(own, *came) if enlarges and came else own)
    return depths


def _comes_of(graph: Sequence[Operator], later: int, earlier: int) -> bool:
    """Whether what one operator gives was made from what another gives."""
    ahead, seen = [later], {later}
    while ahead:
        at = ahead.pop()
        before = {made_by for made_by in graph[at].inputs if made_by >= earlier} - seen if at != IMAGE else set()
        if earlier in before:
            return True
        ahead += before
        seen |= before
    return False
