"""The same counts by torchinfo and by torch's FlopCounterMode, and why they differ from ours."""

import math

import pandas as pd
import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.layers import layer_table
from explorer.jobs import Progress
from explorer.models import zoo
from explorer.models.observe import evaluating
from explorer.spec import PRESETS, ResNetSpec


def second_opinion(
    network: ResNetSpec | str, image_size: tuple[int, int] | None = None, progress: Progress | None = None
) -> pd.DataFrame:
    """Counts of one network on one image, a row a tool: ours, torchinfo's, torch's, and torchvision's published ones.

    Between the tools `progress` is told how far it is, and asked whether to stop.

    Returns:
        tool; params (None where the tool does not count them); macs; difference (its MACs less ours); reason, in which
        every number is computed from the network and only said where it explains the difference exactly.

    >>> second_opinion("resnet50").macs.tolist()
    [4089184256, 4089238376, 4089184256, 4089000000]
    """
    progress = progress or Progress()
    progress.report(0, "Counting")
    table = layer_table(network, image_size)
    model, input_shape = zoo.network(network, image_size)
    params, macs = int(table.params.sum()), int(table.macs.sum())
    with evaluating(model):
        progress.report(0.2, "torchinfo counts")
        summary = torchinfo.summary(model, (1, *input_shape), device="meta", verbose=0)
        progress.report(0.8, "PyTorch counts")
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *input_shape, device="meta"))
    flops = counter.get_total_flops()
    extra = _torchinfo_extra(model, table)
    difference = summary.total_mult_adds - macs
    if difference == extra:
        reason = (
            f"It also counts a convolution's biases once for each output pixel, other biases and norms once: {extra:,}."
        )
    else:
        reason = (
            f"Biases and norms explain {extra:,} of it; the rest we cannot explain (torchinfo counts shared layers "
            f"twice and does not see functions)."
        )
    rows: list[tuple[str, int | None, int, int, str]] = [
        ("ResNet Explorer", params, macs, 0, "Convolutions and linear layers only."),
        ("torchinfo", int(summary.total_params), int(summary.total_mult_adds), difference, reason),
        (
            "torch FlopCounterMode / 2",
            None,
            flops // 2,
            flops // 2 - macs,
            "It counts a multiply-accumulate as two operations and no parameters.",
        ),
    ]
    if (printed := _published(network, image_size)) and printed.gmacs is not None:
        reason = "Printed to three decimals of 10^9 MACs, which it calls GFLOPS."
        theirs = round(1e9 * printed.gmacs)
        rows.append((f"published: {printed.source}", printed.params, theirs, theirs - macs, reason))
    return pd.DataFrame(rows, columns=["tool", "params", "macs", "difference", "reason"]).astype({"params": "Int64"})


def torchinfo_text(network: ResNetSpec | str, depth: int) -> str:
    """torchinfo's own summary of one image's way through the network, as text.

    Args:
        network: a spec or a name of the zoo.
        depth: how many levels of modules it goes down; 1 are the stages, 2 the blocks, 3 and 4 their layers.
    """
    model, input_shape = zoo.network(network)
    with evaluating(model):
        return str(
            torchinfo.summary(
                model,
                (1, *input_shape),
                device="meta",
                verbose=0,
                depth=depth,
                row_settings=("var_names", "depth"),
                col_names=("input_size", "output_size", "kernel_size", "num_params", "mult_adds"),
            )
        )


def _published(network: ResNetSpec | str, image_size: tuple[int, int] | None) -> zoo.Published | None:
    """What torchvision prints, where the network is its own, at the size that it was counted at."""
    if image_size is not None:
        return None
    if isinstance(network, ResNetSpec):
        network = next((name for name, spec in PRESETS.items() if spec == network), "")
    return zoo.published(network)


def _torchinfo_extra(model: nn.Module, table: pd.DataFrame) -> int:
    """What torchinfo 1.8 adds by its rule: all parameters of a convolution a pixel, of anything else once."""
    modules = dict(model.named_modules())
    extra = 0
    for name, kind, shape, params in zip(table.name, table.kind, table.output_shape, table.params, strict=True):
        bias = getattr(modules.get(name), "bias", None)
        if kind == "conv" and bias is not None:
            extra += bias.numel() * math.prod(shape[1:])
        elif kind == "linear" and bias is not None:
            extra += bias.numel()
        elif kind not in ("conv", "linear", "multiply"):  # a learned scale is neither weight nor bias to it
            extra += params
    return extra
