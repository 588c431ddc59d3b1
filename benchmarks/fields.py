"""Receptive fields: following each network's code, the sweep over its graph, and torch.export of the same network.

All on the meta device, where no weight is allocated and nothing is computed: export is then at its fastest, and the
sweep's part of it at its largest. The aim is a sweep of less than 1% of torch.export's time, and of less than 200 ms
for ResNet-1202, whose 4,208 operators are not exported here: that takes many minutes.
"""

import gc

import torch
from torch import nn

from benchmarks.timing import median_ms, show
from explorer.analysis.graph import trace
from explorer.analysis.paths import path_sweep
from explorer.analysis.receptive import field_sweep
from explorer.models import zoo

EXPORTED = (
    "resnet18",
    "resnet50",
    "resnet152",
    "googlenet",
    "densenet201",
    "mobilenet_v2",
    "convnext_tiny",
    "hrnet_w18_small",
)
FOLLOWED = ("hrnet_w18", "cifar_resnet110", "cifar_resnet1202")
AIM = 0.01  # of torch.export's time
AIM_1202 = 200  # ms


def export(model: nn.Module, shape: tuple[int, ...]) -> object:
    return torch.export.export(model.eval(), (torch.empty(1, *shape, device="meta"),))


def main(rounds: int = 5) -> None:
    """Print milliseconds for each network, and whether the aims are met."""
    gc.collect()
    gc.freeze()
    rows = [("net", "operators", "trace, ms", "sweep, ms", "paths, ms", "torch.export, ms", "sweep / export", "aim")]
    for name in (*EXPORTED, *FOLLOWED):
        model, shape = zoo.network(name)
        graph = trace(model, shape)
        traced = median_ms(lambda model=model, shape=shape: trace(model, shape), rounds)
        sweep = median_ms(lambda graph=graph: field_sweep(graph), rounds)
        paths = median_ms(lambda graph=graph: path_sweep(graph), rounds)
        exported, share, aim = "", "", ""
        if name in EXPORTED:
            whole = median_ms(lambda model=model, shape=shape: export(model, shape), 1)
            exported, share = f"{whole:,.0f}", f"{sweep / whole:.2%}"
            aim = f"below {AIM:.0%}: {'met' if sweep < AIM * whole else 'MISSED'}"
        elif name == "cifar_resnet1202":
            aim = f"below {AIM_1202} ms: {'met' if sweep < AIM_1202 else 'MISSED'}"
        figures = (f"{traced:.0f}", f"{sweep:.1f}", f"{paths:.1f}", exported, share, aim)
        rows.append((name, f"{len(graph):,}", *figures))
    show(rows)
    gc.unfreeze()  # else what export imports complains at exit of what it cannot free
