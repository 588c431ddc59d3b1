"""The whole analysis of a spec, without a cache, against torchinfo.summary on the meta device and on the CPU.

The analysis is graph, shapes and counts, and the receptive fields besides. Both sides build the module first, as both
need it; on the CPU torchinfo also runs it. The diagram's time is that of its outline and figure from the table.
"""

import gc

import torchinfo

from benchmarks.timing import median_ms, show
from explorer import PRESETS, build, layer_table, receptive_fields
from explorer.analysis.outline import outline
from explorer.figures.diagram import block_diagram
from explorer.spec import ResNetSpec


def summary(spec: ResNetSpec, device: str) -> object:
    size = (1, spec.in_channels, *spec.image_size)
    return torchinfo.summary(build(spec, device), size, device=device, verbose=0)


def main(rounds: int = 5) -> None:
    """Print milliseconds and ratios for three nets, after the collector is calmed as in the app."""
    gc.collect()
    gc.freeze()
    rows = [
        (
            "net",
            "analysis, ms",
            "torchinfo meta, ms",
            "ratio",
            "torchinfo CPU, ms",
            "ratio",
            "fields, ms",
            "diagram, ms",
        )
    ]
    for name in ("resnet50", "resnet152", "cifar_resnet1202"):
        spec = PRESETS[name]
        table = layer_table(spec)
        ours = median_ms(lambda spec=spec: layer_table(spec), rounds)
        fields = median_ms(lambda spec=spec: receptive_fields(spec), rounds)
        diagram = median_ms(lambda table=table: block_diagram(outline(table)).to_json(), rounds)
        meta = median_ms(lambda spec=spec: summary(spec, "meta"), rounds)
        cpu = median_ms(lambda spec=spec: summary(spec, "cpu"), max(1, rounds // 2))
        ratios = (f"{meta:.0f}", f"{meta / ours:.1f}x", f"{cpu:.0f}", f"{cpu / ours:.1f}x")
        rows.append((name, f"{ours:.0f}", *ratios, f"{fields:.0f}", f"{diagram:.0f}"))
    show(rows)
