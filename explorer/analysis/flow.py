"""What reaches each block and each layer of a ResNet in one pass forward and back, and how large its values are.

Three sizes of gradients are told apart, as they say different things. That of the loss with respect to what a block
returns: the signal that arrives there. The raw one with respect to the weights, which depends on how large the weights
are, though behind a convolution with batch norm their size changes nothing. And ||W|| ||dL/dW||, which does not.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from explorer.analysis.gradients import BATCH, GradientError, Report, Spread, mark_of, norm_of, quotient, spread, worst
from explorer.analysis.layers import Totals
from explorer.models.blocks import Block
from explorer.models.observe import seeded, watching
from explorer.models.resnet import ResNet, block_names

OF_BLOCKS = ("gradient_norm", "norm_product", "weight_gradient_norm", "activation_rms")
OF_LAYERS = ("norm_product", "weight_gradient_norm", "weight_norm", "response_std")
_SUMS = ("inner_product",)  # of layers: may be negative


@dataclass(frozen=True)
class Flow:
    """One pass at one draw of weights.

    loss: the mean over the batch.
    blocks: a row a block, from the input. `name`; `index`, from 1; `place`, from 0, the first, to 1, the last;
        `gradient_norm`, the root of the sum of squares of dL/d(the block's output) over the batch;
        `weight_gradient_norm`, that of dL/dW over all weights of the main branch's convolutions; `norm_product`, the
        root of the sum of the squares of ||W|| ||dL/dW|| of these convolutions; `activation_rms`, the root of the mean
        square of the block's output. Behind each of these a column of its mark, `gradient_norm_mark` say: "zero",
        "subnormal", "not finite" or nothing, as in `activation_gradients`.
    layers: a row a convolution of stem and main branches. `name`, `index`, `place` and marks as there; `block`, the
        name of its block, "stem" before the first; `weight_norm`, ||W||; `weight_gradient_norm`, ||dL/dW||;
        `norm_product`, the two multiplied; `inner_product`, the sum of W times dL/dW; `response_std`, the standard
        deviation of all numbers of its response (`Layer`).
    """

    loss: float
    blocks: pd.DataFrame
    layers: pd.DataFrame


@dataclass(frozen=True)
class Layer:
    """A convolution of stem or main branch.

    name, block: of the module, and of the block that it is in or "stem".
    responds: the module that returns its response, "after BN and before other nonlinearity (ReLU/addition)" (He et al.
        2015, section 4.2): the norm that follows at once, or the convolution itself where none does before the sum.
    """

    name: str
    block: str
    responds: str


def layers_of(network: ResNet) -> list[Layer]:
    """The convolutions of stem and main branches, from the input.

    >>> from explorer.models.resnet import build
    >>> from explorer.models.variants import variant
    >>> [layer.responds for layer in layers_of(build(variant("a", 8), "meta"))][:3]
    ['bn1', 'layer1.0.bn1', 'layer1.0.bn2']
    """
    found = list(_stem(network))
    order = network.spec.activation_order
    for name in block_names(network.spec):
        block = network.get_submodule(name)
        assert isinstance(block, Block)
        for number in range(1, block.length + 1):
            normed = order != "preact" and not (order == "bn_after_add" and number == block.length)
            found.append(Layer(f"{name}.conv{number}", name, f"{name}.{'bn' if normed else 'conv'}{number}"))
    return found


def _stem(network: ResNet) -> Iterator[Layer]:
    normed = "conv1" if network.bn1 is None else "bn1"
    if isinstance(network.conv1, nn.Conv2d):
        yield Layer("conv1", "stem", normed)
        return
    parts = dict(network.conv1.named_children())
    numbers = [number for number, part in parts.items() if isinstance(part, nn.Conv2d)]
    for number in numbers[:-1]:
        yield Layer(f"conv1.{number}", "stem", f"conv1.{int(number) + 1}")
    yield Layer(f"conv1.{numbers[-1]}", "stem", normed if network.bn1 is not None else f"conv1.{numbers[-1]}")


def flow(
    network: ResNet,
    images: Tensor,
    targets: Tensor,
    *,
    seed: int = 0,
    report: Report = lambda fraction, text: None,
) -> Flow:
    """One forward and one backward pass of the cross-entropy, at the weights and in the mode that the network has.

    The network is left as it was. Sizes are taken while values pass, so that nothing is kept for longer than the pass
    itself keeps it, but for the weights' gradients.

    Args:
        network: in its own precision, on the device of the images.
        images: (n, in_channels, height, width).
        targets: classes, (n,).
        seed: of what dropout and stochastic depth draw.
        report: called at each block, forward and back, with the fraction done and a sentence; what it raises ends the
            work.

    Raises:
        GradientError: batch norm on one number a channel.
    """
    blocks, layers = block_names(network.spec), layers_of(network)
    outputs: dict[str, _Size] = {}
    gradients: dict[str, _Size] = {}
    responses: dict[str, _Size] = {}

    def watch_block(name: str, output: Tensor) -> None:
        outputs[name] = _size(output.detach())
        output.register_hook(partial(arrive, name))  # type: ignore[no-untyped-call]
        report(len(outputs) / len(blocks) / 3, "Forward")

    def arrive(name: str, gradient: Tensor) -> None:
        gradients[name] = _size(gradient)
        report((1 + 2 * len(gradients) / len(blocks)) / 3, "Backward")

    def watch_layer(name: str, response: Tensor) -> None:
        responses[name] = _size(response.detach())

    # Stand-ins for parameters and buffers: the network's own get no gradient and no new statistics
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    weights = [state[f"{layer.name}.weight"].requires_grad_() for layer in layers]
    state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    watched = [(network.get_submodule(name), partial(watch_block, name)) for name in blocks]
    watched += [(network.get_submodule(layer.responds), partial(watch_layer, layer.name)) for layer in layers]
    try:
        with seeded(seed), watching(watched):
            loss = F.cross_entropy(functional_call(network, state, (images,)), targets)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise GradientError("Batch norm would see one number a channel; give two images or more.") from error
    of_weights = torch.autograd.grad(loss, weights)
    weighed = [
        _Weights(_size(weight.detach()), _size(gradient), (weight.detach().double() * gradient).sum().item())
        for weight, gradient in zip(weights, of_weights, strict=True)
    ]
    of_block: dict[str, list[_Weights]] = {}
    for layer, each in zip(layers, weighed, strict=True):
        of_block.setdefault(layer.block, []).append(each)
    of_blocks = [
        {
            "name": name,
            **gradients[name].column("gradient_norm", gradients[name].norm, gradients[name].numbers),
            **_together(of_block[name]),
            **outputs[name].column("activation_rms", outputs[name].rms),
        }
        for name in blocks
    ]
    of_layers = [
        {
            "name": layer.name,
            "block": layer.block,
            **_together([each]),
            **each.weight.column("weight_norm", each.weight.norm, each.weight.numbers),
            "inner_product": each.inner_product,
            **responses[layer.name].column("response_std", responses[layer.name].std),
        }
        for layer, each in zip(layers, weighed, strict=True)
    ]
    return Flow(loss.item(), _numbered(pd.DataFrame(of_blocks)), _numbered(pd.DataFrame(of_layers)))


@dataclass(frozen=True)
class _Size:
    """Of a tensor's numbers: root of the sum of squares, sum, how many there are, and in which format."""

    norm: float
    sum: float
    numbers: int
    dtype: torch.dtype

    @property
    def rms(self) -> float:
        return self.norm / math.sqrt(self.numbers)

    @property
    def std(self) -> float:
        mean = self.sum / self.numbers
        return math.sqrt(max(self.rms**2 - mean**2, 0.0)) if math.isfinite(self.norm) else math.nan

    def column(self, quantity: str, value: float, numbers: int = 1) -> dict[str, Any]:
        """A value, the root of the sum of squares of so many numbers, and its mark."""
        return {quantity: value, f"{quantity}_mark": mark_of(value, numbers, self.dtype)}


def _size(tensor: Tensor) -> _Size:
    exact = tensor.double()
    return _Size(norm_of(exact), exact.sum().item(), tensor.numel(), tensor.dtype)


@dataclass(frozen=True)
class _Weights:
    """A convolution's weights, the loss's gradient with respect to them, and the sum of one times the other."""

    weight: _Size
    gradient: _Size
    inner_product: float


def _together(convolutions: Sequence[_Weights]) -> dict[str, Any]:
    """Raw gradient and ||W|| ||dL/dW|| of one convolution or of several: roots of sums of squares."""
    gradient = math.hypot(*(each.gradient.norm for each in convolutions))
    product = math.hypot(*(each.weight.norm * each.gradient.norm for each in convolutions))
    numbers, dtype = sum(each.gradient.numbers for each in convolutions), convolutions[0].gradient.dtype
    mark = mark_of(gradient, numbers, dtype)
    return {
        "weight_gradient_norm": gradient,
        "weight_gradient_norm_mark": mark,
        "norm_product": product,
        "norm_product_mark": mark if product else "zero",  # its digits are no better than the gradient's
    }


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """With the place of each row: its number from 1, and how far it is from the first, 0, to the last, 1."""
    last = max(1, len(table) - 1)
    table.insert(1, "index", range(1, len(table) + 1))
    table.insert(2, "place", [row / last for row in range(len(table))])
    return table


# Several seeds


@dataclass(frozen=True)
class Flows:
    """A net's flows over the seeds.

    losses: one a seed.
    batch: images in each pass.
    blocks, layers: the tables of `Flow`, with the median in each column, the least and the greatest in two more,
        `gradient_norm_low` and `gradient_norm_high` say, and the worst mark.
    ratios: of `OF_BLOCKS`, the first block's over the last one's.
    """

    losses: tuple[float, ...]
    batch: int
    blocks: pd.DataFrame
    layers: pd.DataFrame
    ratios: dict[str, Spread]


def over_seeds(flows: Sequence[Flow], batch: int) -> Flows:
    """The flows of one net, one a seed, as one."""
    return Flows(
        tuple(each.loss for each in flows),
        batch,
        _spread([each.blocks for each in flows], OF_BLOCKS),
        _spread([each.layers for each in flows], (*OF_LAYERS, "inner_product")),
        {
            quantity: spread(
                [quotient(each.blocks[quantity].iloc[0], each.blocks[quantity].iloc[-1]) for each in flows]
            )
            for quantity in OF_BLOCKS
        },
    )


def _ratio(column: "pd.Series[float]") -> float:
    return quotient(column.iloc[0], column.iloc[-1])


def _spread(tables: Sequence[pd.DataFrame], quantities: Sequence[str]) -> pd.DataFrame:
    joined = tables[0][[name for name in ("name", "index", "place", "block") if name in tables[0]]].copy()
    for quantity in quantities:
        spreads = [spread(values) for values in zip(*(table[quantity] for table in tables), strict=True)]
        joined[quantity] = [each.median for each in spreads]
        joined[f"{quantity}_low"] = [each.low for each in spreads]
        joined[f"{quantity}_high"] = [each.high for each in spreads]
        if (name := f"{quantity}_mark") in tables[0]:
            joined[name] = [worst(marks) for marks in zip(*(table[name] for table in tables), strict=True)]
    return joined


def ranked(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of a table of `Flows` from the greatest median to the least, numbered anew."""
    return _numbered(table.drop(columns=["index", "place"]).sort_values(quantity, ascending=False, ignore_index=True))


def together(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several nets below each other, the first column `net` the name of each."""
    return pd.concat(
        [table.assign(net=net)[["net", *table.columns]] for net, table in tables.items()], ignore_index=True
    )


def summary(flows: Mapping[str, Flows]) -> pd.DataFrame:
    """A row a net, and of each quantity of `OF_BLOCKS` the first block's over the last one's.

    Columns: `net`; `batch`; `loss`, the median over the seeds; a column a quantity with the median ratio, and two with
    `_low` and `_high` behind its name. What is not finite is unknown.
    """
    rows = [
        {"net": net, "batch": each.batch, "loss": spread(each.losses).median}
        | {
            f"{quantity}{end}": getattr(ratio, of)
            for quantity, ratio in each.ratios.items()
            for end, of in (("", "median"), ("_low", "low"), ("_high", "high"))
        }
        for net, each in flows.items()
    ]
    return pd.DataFrame(rows).replace(math.inf, math.nan)


# What a pass costs

_MEMORY = 1.0e9  # bytes of maps that one pass may keep
_RATE = 8e9  # multiply-accumulates a second, of one thread of an ordinary processor
_PATIENCE = 180  # seconds for one net
_BACK = 3  # a pass forward and back costs about so many forward ones


def batch_for(totals: Totals, most: int = BATCH) -> int:
    """How many images go through at once: as many as asked for, or half of them, a quarter ... where memory ends.

    Raises:
        GradientError: two images take too much, and batch norm needs two.
    """
    batch = most
    while batch * totals.activation_bytes > _MEMORY:
        batch //= 2
    if batch < 2:
        raise GradientError(
            f"Two images would keep maps of {2 * totals.activation_bytes / 1e9:.1f} GB; "
            f"choose a net or an image size that needs at most {_MEMORY / 1e9:.0f} GB."
        )
    return batch


def seconds_for(totals: Totals, images: int) -> float:
    """About how long it takes to pass so many images forward and back, on one thread.

    Raises:
        GradientError: too long.
    """
    seconds = _BACK * totals.macs * images / _RATE
    if seconds > _PATIENCE:
        raise GradientError(
            f"This would take about {seconds / 60:.0f} minutes here, and {_PATIENCE // 60} at most may be asked for; "
            "choose fewer seeds or steps, or a smaller net."
        )
    return seconds
