"""Effective receptive fields, beside one plain forward and backward pass of the same batch to its pixels.

On one thread. The aim is 1.3 times the plain pass for the last map's field of weights that are
there; beside it stand the whole of `initial_fields`, which draws the weights first and takes batch norm's statistics
from the images, and the fields of twelve layers at once.
"""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.timing import median_ms, show
from explorer.analysis.effective import by_depth, effective_fields, initial_fields
from explorer.analysis.fields import field_profile
from explorer.analysis.gradients import patterns
from explorer.models import zoo
from explorer.models.observe import frozen

NETS = (("resnet18", 8), ("resnet50", 4), ("vgg16", 4), ("mobilenet_v2", 8), ("cifar_resnet110", 32))
AIM = 1.3


def plain(model: nn.Module, images: Tensor) -> None:
    images = images.detach().requires_grad_()
    with frozen(model):
        torch.autograd.grad(model(images).sum(), images)


def main(rounds: int = 5) -> None:
    """Print milliseconds for each network, and whether the aim is met."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    heads = ("plain, ms", "last map, ms", "ratio", "aim", "initial_fields, ms", "ratio", "12 layers, ms", "ratio")
    rows = [("net", "images", *heads)]
    for name, count in NETS:
        profile = field_profile(name)
        model, images = zoo.initialised(name, 0), patterns(0, count, profile.image[0])
        layers = by_depth(profile, 12)
        last = layers[-1:]
        works = {
            "plain": partial(plain, model, images),
            "last": partial(effective_fields, model, profile, last, images),
            "initial": partial(initial_fields, name, profile, last, images),
            "all": partial(effective_fields, model, profile, layers, images),
        }
        times = {key: median_ms(work, rounds) for key, work in works.items()}
        own = times["plain"]
        ratio = times["last"] / own
        rows.append(
            (
                name,
                str(count),
                f"{own:,.0f}",
                f"{times['last']:,.0f}",
                f"{ratio:.2f}x",
                f"{AIM}x: {'met' if ratio < AIM else 'MISSED'}",
                f"{times['initial']:,.0f}",
                f"{times['initial'] / own:.2f}x",
                f"{times['all']:,.0f}",
                f"{times['all'] / own:.2f}x",
            )
        )
    torch.set_num_threads(threads)
    show(rows)
