"""The layer table from a spec, without a cache, against torchinfo.summary on the meta device and on the CPU.

Both sides build the module first, as both need it; on the CPU torchinfo also runs it.
"""

import gc

import torchinfo

from benchmarks.timing import median_ms, show
from explorer import PRESETS, build, layer_table
from explorer.spec import ResNetSpec


def summary(spec: ResNetSpec, device: str) -> object:
    size = (1, spec.in_channels, *spec.image_size)
    return torchinfo.summary(build(spec, device), size, device=device, verbose=0)


def main(rounds: int = 5) -> None:
    """Print milliseconds and ratios for three nets, after the collector is calmed as in the app."""
    gc.collect()
    gc.freeze()
    rows = [("net", "layer_table, ms", "torchinfo meta, ms", "ratio", "torchinfo CPU, ms", "ratio")]
    for name in ("resnet50", "resnet152", "cifar_resnet1202"):
        spec = PRESETS[name]
        ours = median_ms(lambda spec=spec: layer_table(spec), rounds)
        meta = median_ms(lambda spec=spec: summary(spec, "meta"), rounds)
        cpu = median_ms(lambda spec=spec: summary(spec, "cpu"), max(1, rounds // 2))
        rows.append((name, f"{ours:.0f}", f"{meta:.0f}", f"{meta / ours:.1f}x", f"{cpu:.0f}", f"{cpu / ours:.1f}x"))
    show(rows)
