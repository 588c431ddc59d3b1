"""What the lessons on degradation measure live: untrained nets for CIFAR-10, their gradients, time and memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from explorer.analysis.gradients import classes, gradient_flow, patterns, spread
from explorer.analysis.memory import training_memory
from explorer.models.observe import seeded, watching
from explorer.models.resnet import block_names, build
from explorer.models.variants import VARIANTS, variant
from explorer.spec import ResNetSpec

Report = Callable[[float, str], object]

PASS_BATCH = 4  # pictures: ResNet-1202's pass then needs half a gigabyte


def gradient_ratios(
    variants: Sequence[str],
    depths: Sequence[int],
    seeds: int = 1,
    report: Report = lambda fraction, text: None,
) -> pd.DataFrame:
    """Gradient norm behind the first block over that behind the last, of untrained nets; a row a depth.

    Columns: `depth`, then each variant by its name on screen: the median over the seeds, 0 and up.

    Args:
        variants: keys of `VARIANTS`.
        depths: 8, 14, 20 ... 1202.
        seeds: draws of weights, pictures and classes, numbered from 0.
        report: called before each net with the fraction done and a sentence; what it raises ends the work.
    """
    rows = []
    for row, depth in enumerate(depths):
        ratios: dict[str, float] = {"depth": depth}
        for column, name in enumerate(variants):
            found = []
            for seed in range(seeds):
                done = (row + (column + seed / seeds) / len(variants)) / len(depths)
                report(done, f"{VARIANTS[name].title}, {depth} layers, seed {seed}")
                norms = gradient_flow(variant(name, depth), seed)["gradient_norm"]
                found.append(norms.iloc[0] / norms.iloc[-1])
            ratios[VARIANTS[name].title] = spread(found).median
        rows.append(ratios)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Pass:
    """One forward and one backward pass of an untrained net, on this machine's processor.

    Attributes:
        params: weights and biases.
        build_seconds, forward_seconds, backward_seconds: measured, with what else the machine did meanwhile.
        bytes_needed: of the passes at their busiest, weights and all gradients included; counted, not measured.
        norms: of the loss's gradient with respect to what each block returns, first block first.
    """

    params: int
    build_seconds: float
    forward_seconds: float
    backward_seconds: float
    bytes_needed: int
    norms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The gradient norm behind the first block over that behind the last."""
        return self.norms[0] / self.norms[-1]


def one_pass(spec: ResNetSpec, seed: int = 0, report: Report = lambda fraction, text: None) -> Pass:
    """Build a net and pass `PASS_BATCH` pictures forward and backward through it once, in training mode.

    Args:
        spec: any size; the pictures are `patterns` of its size.
        seed: of weights, pictures and classes.
        report: called at each block, forward and backward, with the fraction done and a sentence; what it raises ends
            the work.
    """
    counted = training_memory(spec, report=lambda fraction, text: report(0.5 * fraction, text))
    blocks = block_names(spec)
    norms: list[float] = []

    def forward(output: Tensor) -> None:
        report(0.6, f"Forward through {len(blocks)} blocks")
        output.register_hook(backward)  # type: ignore[no-untyped-call]

    def backward(gradient: Tensor) -> None:
        norms.append(torch.linalg.vector_norm(gradient, dtype=torch.float64).item())
        report(0.7 + 0.3 * len(norms) / len(blocks), f"Backward through {len(blocks)} blocks")

    started = time.perf_counter()
    with seeded(seed):
        network = build(spec, "cpu")
    built = time.perf_counter()
    images = patterns(seed, PASS_BATCH, spec.image_size[0], spec.in_channels)
    targets = classes(seed, PASS_BATCH, spec.num_classes)
    ready = time.perf_counter()
    with watching((network.get_submodule(block), forward) for block in blocks):
        loss = F.cross_entropy(network(images), targets)
    turned = time.perf_counter()
    loss.backward()  # type: ignore[no-untyped-call]
    ended = time.perf_counter()
    return Pass(
        params=sum(parameter.numel() for parameter in network.parameters()),
        build_seconds=built - started,
        forward_seconds=turned - ready,
        backward_seconds=ended - turned,
        bytes_needed=counted.total(PASS_BATCH, "SGD", "freed"),
        norms=tuple(reversed(norms)),
    )


def passes(
    nets: Mapping[str, ResNetSpec], seed: int = 0, report: Report = lambda fraction, text: None
) -> dict[str, Pass]:
    """`one_pass` through each net, by the same names; a net's share of the progress is as its depth's."""
    total = sum(spec.depth for spec in nets.values())
    found: dict[str, Pass] = {}
    done = 0
    for name, spec in nets.items():
        start, share = done / total, spec.depth / total
        found[name] = one_pass(spec, seed, partial(_within, report, start, share, name))
        done += spec.depth
    return found


def _within(report: Report, start: float, share: float, name: str, fraction: float, text: str) -> None:
    report(start + share * fraction, f"{name}: {text}")


def passes_table(measured: Mapping[str, Pass]) -> pd.DataFrame:
    """A row a net.

    Columns: net; params; build_seconds, forward_seconds, backward_seconds; bytes_needed; ratio, the gradient norm
    behind the first block over that behind the last.
    """
    return pd.DataFrame(
        [
            {
                "net": name,
                "params": each.params,
                "build_seconds": each.build_seconds,
                "forward_seconds": each.forward_seconds,
                "backward_seconds": each.backward_seconds,
                "bytes_needed": each.bytes_needed,
                "ratio": each.ratio,
            }
            for name, each in measured.items()
        ]
    )


def norms_by_net(measured: Mapping[str, Pass]) -> pd.DataFrame:
    """The norms as a record before the first step has them: net, seed, step and gradient_norms, first block first."""
    return pd.DataFrame(
        [{"net": name, "seed": 0, "step": 0, "gradient_norms": each.norms} for name, each in measured.items()]
    )
