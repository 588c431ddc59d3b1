"""The chain of factors: what each block does to the gradient on its way back, through the shortcut and past it.

Where y = x + F(x), the gradient in front of the block is dL/dx = dL/dy + (dF/dx)^T dL/dy (the derivative that He et al.
2016, arXiv 1603.05027, section 2 builds on): one part comes through the shortcut as it is, the other through the main
branch. Both are measured here, and what else stands on the way: the ReLU behind the sum, a projection, a gate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from explorer.analysis.gradients import Report, mark_of, norm_of, quotient
from explorer.models.blocks import Block, NormAfterAddBlock, OriginalBlock
from explorer.models.observe import seeded
from explorer.models.resnet import ResNet, block_names
from explorer.spec import ResNetSpec

_BEHIND_THE_SUM = {OriginalBlock: "relu", NormAfterAddBlock: "bn"}  # the first layer there, but for its number


@dataclass(frozen=True)
class Parts:
    """The gradient of the loss around one block.

    behind: with respect to what the block returns.
    at_sum: with respect to the sum of main branch and shortcut, which is what the ReLU behind it lets through; in a
        plain block to what the branch gives instead; `behind` itself where nothing follows.
    shortcut: the part of the gradient at the block's input that comes through the shortcut; None in a plain block.
    branch: the part that comes through the main branch.
    gate: the part that comes through the gate's own look at the input; None without a gate.
    """

    behind: Tensor
    at_sum: Tensor
    shortcut: Tensor | None
    branch: Tensor
    gate: Tensor | None

    @property
    def in_front(self) -> Tensor:
        """The gradient with respect to the block's input: all parts together."""
        return sum((part for part in (self.shortcut, self.gate) if part is not None), self.branch)


def block_parts(network: ResNet, images: Tensor, targets: Tensor, seed: int = 0) -> Iterator[tuple[str, Parts]]:
    """Name and parts of each block, from the last to the first: the chain rule, one block at a time.

    A forward pass keeps what goes into each block; the way back runs each block once more on that, so that only one
    block's activations are held at a time. The network runs at the weights and in the mode that it has, and is left as
    it was.

    Args:
        network: in its own precision.
        images: (n, channels, height, width).
        targets: the classes (n,); the loss is the mean cross-entropy.
        seed: of what dropout and stochastic depth draw.
    """
    names = block_names(network.spec)
    # Stand-ins for parameters and buffers: the network's own get no gradient and no new statistics
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    with seeded(seed):
        entered, gradient = _forward(network, names, state, images, targets)
    for name in reversed(names):
        block = network.get_submodule(name)
        assert isinstance(block, Block)
        of_block = {key: state[f"{name}.{key}"] for key, _ in chain(block.named_parameters(), block.named_buffers())}
        x, drawn = entered.pop(name)
        with seeded(seed):
            torch.set_rng_state(drawn)  # the block drops what it dropped before
            parts = _parts(block, of_block, x.detach().requires_grad_(), gradient)
        yield name, parts
        gradient = parts.in_front


def _forward(
    network: ResNet, names: Sequence[str], state: dict[str, Tensor], images: Tensor, targets: Tensor
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """What goes into each block, with the random numbers' state there, and the gradient behind the last block."""
    entered: dict[str, tuple[Tensor, Tensor]] = {}
    outputs: list[Tensor] = []

    def enter(name: str, x: Tensor) -> None:
        entered[name] = x, torch.get_rng_state()

    def leave(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append(output.requires_grad_())  # autograd keeps nothing from before here

    with ExitStack() as hooks:
        for name in names:
            block = network.get_submodule(name)
            hook = block.register_forward_pre_hook(lambda module, inputs, name=name: enter(name, *inputs))
            hooks.callback(hook.remove)
        hooks.callback(network.get_submodule(names[-1]).register_forward_hook(leave).remove)
        loss = F.cross_entropy(functional_call(network, state, (images.detach(),)), targets)
    (gradient,) = torch.autograd.grad(loss, outputs)
    return entered, gradient


def _parts(block: Block, state: dict[str, Tensor], x: Tensor, behind: Tensor) -> Parts:
    """Run a block and go back through it, each way by itself."""
    sums: list[Tensor] = []  # what the layer behind the sum is given
    terms: list[Tensor] = []  # main branch and shortcut, before a gate weighs them; then the gate's share
    with ExitStack() as hooks:

        def joined(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            *others, branch, carried = inputs
            # An identity gives x itself, whose gradient is the branch's too; its view has one of its own
            terms.extend((branch, carried.view_as(carried)))
            return (*others, *terms)

        if block.add is not None:
            hooks.callback((block.gate or block.add).register_forward_pre_hook(joined).remove)
        if block.gate is not None:
            hook = block.gate.sigmoid.register_forward_hook(lambda module, inputs, output: terms.append(output))
            hooks.callback(hook.remove)
        if kind := _BEHIND_THE_SUM.get(type(block)):
            layer = block.get_submodule(f"{kind}{block.length}")
            hooks.callback(layer.register_forward_pre_hook(lambda module, inputs: sums.extend(inputs)).remove)
        output = functional_call(block, state, (x,))
    joint = sums[0] if sums else output
    (at_sum,) = torch.autograd.grad(output, joint, behind, retain_graph=True)
    if not terms:
        (branch,) = torch.autograd.grad(joint, x, at_sum)
        return Parts(behind, at_sum, None, branch, None)
    arriving = torch.autograd.grad(joint, terms, at_sum, retain_graph=True)
    branch, shortcut, *gate = (
        torch.autograd.grad(term, x, gradient, retain_graph=True)[0]
        for term, gradient in zip(terms, arriving, strict=True)
    )
    return Parts(behind, at_sum, shortcut, branch, gate[0] if gate else None)


# In numbers


def identity_path(
    network: ResNet,
    images: Tensor,
    targets: Tensor,
    seed: int = 0,
    report: Report = lambda fraction, text: None,
) -> pd.DataFrame:
    """How much gradient arrives behind each block and in front of it, and by which way: a row a block, the first first.

    All norms are roots of sums of squares over the batch. Columns: `name`; `index`, from 1;

    - `behind`, `at_sum`, `in_front`: the norms of the gradient behind the block, at the sum and in front of the block;
    - `shortcut`, `branch`, `gate`: the norms of the parts in front, unknown where there is no such way;
    - `shortcut_share`, `branch_share`, `gate_share`: <part, gradient> / |gradient|^2, which part of the gradient in
      front each makes up; they sum to 1, and one that points against it is negative;
    - `angle`: between the parts of shortcut and branch, in degrees; unknown where one of them is 0;
    - `lets_through`: at_sum / behind, what the layers behind the sum do to the norm;
    - `factor`: in_front / behind, what the block does to the norm;
    - `mark`: of the gradient in front, as in `activation_gradients`;
    - `product`: of the factors from the last block to this one, which is in_front over the norm behind the last block.

    What would be divided by 0 is unknown. Arguments as of `block_parts`.

    Args:
        report: called before each block with the fraction done and a sentence; what it raises ends the work.
    """
    rows: list[dict[str, Any]] = []
    total = sum(network.spec.depths)
    report(0.0, "Forward")
    for name, parts in block_parts(network, images, targets, seed):
        report(len(rows) / total, f"Back through {name}")
        rows.append({"name": name, "index": total - len(rows), **_measured(parts)})
    table = pd.DataFrame(reversed(rows))
    table["product"] = table["in_front"] / table["behind"].iloc[-1]
    return table.replace([math.inf, -math.inf], math.nan)


def chain_summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a net: net; blocks; product, of all factors; factor_low, factor and factor_high, the least, the median and
    the greatest of its blocks; shortcut_share and angle, the medians.

    Args:
        tables: of `identity_path`, by the net's name.
    """
    return pd.DataFrame(
        {
            "net": net,
            "blocks": len(table),
            "product": table["product"].iloc[0],
            "factor_low": table["factor"].min(),
            "factor": table["factor"].median(),
            "factor_high": table["factor"].max(),
            "shortcut_share": table["shortcut_share"].median(),
            "angle": table["angle"].median(),
        }
        for net, table in tables.items()
    )


def plain_twin(spec: ResNetSpec) -> ResNetSpec:
    """The same layers without any shortcut."""
    return replace(spec, residual=False)


def _measured(parts: Parts) -> dict[str, Any]:
    in_front = parts.in_front
    behind, at_sum, size = map(_norm, (parts.behind, parts.at_sum, in_front))
    row: dict[str, Any] = {"behind": behind, "at_sum": at_sum, "in_front": size}
    row["mark"] = mark_of(size, in_front.numel(), in_front.dtype)
    for way, part in (("shortcut", parts.shortcut), ("branch", parts.branch), ("gate", parts.gate)):
        row[way] = math.nan if part is None else _norm(part)
        row[f"{way}_share"] = math.nan if part is None else _dot(part / size, in_front / size)
    row["angle"] = math.nan
    if parts.shortcut is not None and row["shortcut"] and row["branch"]:
        cosine = _dot(parts.shortcut / row["shortcut"], parts.branch / row["branch"])
        row["angle"] = math.degrees(math.acos(max(-1.0, min(cosine, 1.0))))
    row["lets_through"] = quotient(at_sum, behind)
    row["factor"] = quotient(size, behind)
    return row


def _norm(tensor: Tensor) -> float:
    """Double precision has no place for the square of 1e-170, which a deep plain net reaches."""
    peak = tensor.abs().max().item()
    return peak * norm_of(tensor / peak) if peak and math.isfinite(peak) else peak


def _dot(one: Tensor, other: Tensor) -> float:
    return torch.dot(one.flatten().double(), other.flatten().double()).item()
