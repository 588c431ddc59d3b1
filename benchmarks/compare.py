"""Ten networks compared, cold and warm, and DenseNet-201 without a cache against torchinfo on the meta device.

Cold builds, follows and counts each network, receptive fields and depths included; warm is what a section of the page
costs when all are known. Beside DenseNet-201's whole profile stands its layer table alone, which is what torchinfo has;
both sides build the network.
"""

import gc

import torch
import torchinfo
import torchvision

from benchmarks.timing import median_ms, show
from explorer.analysis.comparison import comparison_table, depth_table, kind_table, profiles
from explorer.analysis.layers import layer_table
from explorer.analysis.profile import Profile, profile
from explorer.models import zoo

TEN = (
    "alexnet_2012",
    "vgg16",
    "googlenet_2014",
    "inception_v3",
    "resnet50",
    "resnet152",
    "densenet201",
    "squeezenet1_0",
    "mobilenetv1_100",
    "mobilenet_v3_large",
)


def sections(found: dict[str, Profile]) -> None:
    """What the page makes of profiles that it has."""
    comparison_table(found)
    for column in ("params", "macs", "activation_bytes"):
        kind_table(found, column)
        depth_table(found, column)


def summary(name: str) -> object:
    """As its user would write it; our own way to build does not help it."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    return torchinfo.summary(model, (1, 3, 224, 224), device="meta", verbose=0)


def main(rounds: int = 5) -> None:
    """Print milliseconds and ratios, after the libraries are loaded and the collector is calmed as in the app."""
    zoo.network("mobilenetv1_100")  # imports timm
    gc.collect()
    gc.freeze()
    found, refused = profiles({name: name for name in TEN}, None, profile)
    assert not refused, refused
    cold = median_ms(lambda: profiles({name: name for name in TEN}, None, profile), rounds)
    warm = median_ms(lambda: sections(found), rounds)
    show([("networks", "cold, ms", "all tables warm, ms"), (str(len(TEN)), f"{cold:.0f}", f"{warm:.0f}")])
    theirs = median_ms(lambda: summary("densenet201"), rounds)
    whole = median_ms(lambda: profile("densenet201"), rounds)
    table = median_ms(lambda: layer_table("densenet201"), rounds)
    rows = [("DenseNet-201", "ours, ms", "torchinfo meta, ms", "ratio")]
    rows += [
        (what, f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.1f}x")
        for what, ours in (("layer table", table), ("whole profile", whole))
    ]
    show(rows)
