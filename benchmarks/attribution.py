"""Attributions of one picture at 224 px, against Captum called as its tutorials and documentation do.

Both begin with the picture and end with the map. Captum is given the plain network: tensors in PyTorch's usual layout,
parameters that want gradients, and arguments about batches left out, as in its tutorials; ours is `attribute`. The
difference is the largest between the two maps, by the largest number of Captum's. The ratio is the median over rounds;
an aim between its quartiles is called even. Memory is what the process holds at most beyond what it held before.

ResNet-18 has random weights here; Captum gets torchvision's own, but for methods that hook ReLUs, which that network
uses twice: there both get ours. Through its max pool DeepLIFT differs: Captum's does not add up there.
"""

import contextlib
import copy
import ctypes
import gc
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from captum import attr
from PIL import Image
from skimage import data
from torch import Tensor, nn

from benchmarks.timing import show
from explorer.attribution import METHODS, attribute
from explorer.attribution.parameters import checked
from explorer.attribution.posing import parameters
from explorer.attribution.subject import segments
from explorer.models import checkpoints
from explorer.models.checkpoints import REGISTRY, Trained
from explorer.models.observe import Shared
from explorer.models.ready import ready
from explorer.models.resnet import build
from explorer.spec import PRESETS

SEED, TARGET = 0, 285
AIMS = {"integrated_gradients": 2.0, "occlusion": 2.0, "smooth_grad": 2.0, "gradient_shap": 2.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 50},
    "gradient_shap": {"samples": 50, "noise": 0.1},
    "smooth_grad": {"samples": 20, "noise": 0.15},
    "occlusion": {"window": 15, "stride": 8, "baseline": "mean"},
    "shapley": {"samples": 5},
    "kernel_shap": {"samples": 200},
    "lime": {"samples": 200},
}


@dataclass(frozen=True)
class Net:
    """Ours, and what Captum is given: the plain network, and one for methods that hook ReLUs."""

    trained: Trained
    plain: nn.Module
    hooked: nn.Module

    @property
    def layer(self) -> str:
        return self.trained.checkpoint.last_features


def resnet(name: str) -> Net:
    torch.manual_seed(SEED)
    plain = torchvision.models.get_model(name).eval()
    ours = build(PRESETS[name], "cpu")
    ours.load_state_dict(plain.state_dict())
    hooked = copy.deepcopy(ours).eval()
    lent = ours.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return Net(Trained(REGISTRY[name], Shared(lent), torch.device("cpu")), plain, hooked)


def lite0() -> Net:
    trained = checkpoints.load("efficientnet_lite0")
    with trained.model.borrow() as model:
        plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    plain.eval().requires_grad_(True)
    return Net(trained, plain, ready(plain, torch.zeros(1, 3, 224, 224)))


def captums(net: Net, image: Image.Image) -> dict[str, Callable[[], Tensor]]:
    """Captum's calls, each from the picture to (channels, rows, columns)."""
    preprocessing = net.trained.checkpoint.preprocessing
    layer, given = net.plain.get_submodule(net.layer), {"target": TARGET}

    def x() -> Tensor:
        return preprocessing.tensor(preprocessing.crop_of(image)).requires_grad_()

    def black(x: Tensor) -> Tensor:
        return preprocessing.normalise(torch.zeros_like(x))

    def noise(part: float, x: Tensor) -> float:
        torch.manual_seed(SEED)
        np.random.seed(SEED)
        return part * float(x.max() - x.min())

    def smooth() -> Tensor:
        one, some = x(), SETTINGS["smooth_grad"]
        tunnel = attr.NoiseTunnel(attr.Saliency(net.plain))
        spread = noise(some["noise"], one)
        return tunnel.attribute(one, nt_samples=some["samples"], stdevs=spread, abs=False, **given)

    def gradient_shap() -> Tensor:
        one, some = x(), SETTINGS["gradient_shap"]
        spread = noise(some["noise"], one)
        method = attr.GradientShap(net.plain)
        return method.attribute(one, black(one), n_samples=some["samples"], stdevs=spread, **given)

    def parts(method: Any, **more: Any) -> Tensor:
        mask = segments(preprocessing.crop_of(image), "superpixels", 49)
        one = x().detach()
        noise(0, one)
        found = method(net.plain).attribute(
            one, baselines=black(one), feature_mask=mask[None, None].expand_as(one).contiguous(), **given, **more
        )
        return found[:, :1] / torch.bincount(mask.flatten())[mask]

    def occlusion() -> Tensor:
        window, stride = SETTINGS["occlusion"]["window"], SETTINGS["occlusion"]["stride"]
        method = attr.Occlusion(net.plain)
        return method.attribute(x(), (3, window, window), strides=(3, stride, stride), baselines=0, **given)[:, :1]

    def path(method: Any, net: nn.Module, **more: Any) -> Tensor:
        one = x()
        return method(net).attribute(one, baselines=black(one.detach()), **given, **more)

    def grad_cam() -> Tensor:
        return attr.LayerGradCam(net.plain, layer).attribute(x(), **given)

    def guided_grad_cam() -> Tensor:
        """Both parts as its GuidedGradCam calls them; the one network has the layer, the other hooks."""
        fine = attr.GuidedBackprop(net.hooked).attribute(x(), **given)
        coarse = attr.LayerGradCam(net.plain, layer).attribute(x(), relu_attributions=True, **given)
        return fine * attr.LayerAttribution.interpolate(coarse, fine.shape[2:])

    calls: dict[str, Callable[[], Tensor]] = {
        "grad_cam": grad_cam,
        "cam": lambda: 7 * 7 * grad_cam(),
        "guided_grad_cam": guided_grad_cam,
        "feature_maps": lambda: attr.LayerActivation(net.plain, layer).attribute(x()).mean(1, keepdim=True),
        "integrated_gradients": lambda: path(
            attr.IntegratedGradients, net.plain, n_steps=SETTINGS["integrated_gradients"]["steps"]
        ),
        "gradient_shap": gradient_shap,
        "deep_lift": lambda: path(attr.DeepLift, net.hooked),
        "saliency": lambda: attr.Saliency(net.plain).attribute(x(), abs=False, **given),
        "input_x_gradient": lambda: attr.InputXGradient(net.plain).attribute(x(), **given),
        "smooth_grad": smooth,
        "guided_backprop": lambda: attr.GuidedBackprop(net.hooked).attribute(x(), **given),
        "deconvolution": lambda: attr.Deconvolution(net.hooked).attribute(x(), **given),
        "occlusion": occlusion,
        "feature_ablation": lambda: parts(attr.FeatureAblation),
        "shapley": lambda: parts(attr.ShapleyValueSampling, n_samples=SETTINGS["shapley"]["samples"]),
        "kernel_shap": lambda: parts(attr.KernelShap, n_samples=SETTINGS["kernel_shap"]["samples"]),
        "lime": lambda: parts(attr.Lime, n_samples=SETTINGS["lime"]["samples"]),
    }
    return {name: lambda call=call: call()[0].detach() for name, call in calls.items()}


def held() -> int:
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def extra(work: Callable[[], object]) -> tuple[Any, float]:
    """What it returns, and the MB that it takes at most."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's: what is free is given back, or it would not count
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before, most, done = held(), 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, held())

    watch = threading.Thread(target=look)
    watch.start()
    found = work()
    done.set()
    watch.join()
    return found, max(0, most - before) / 1e6


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(net: Net, image: Image.Image, rounds: int, only: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """A row a method."""
    rows = []
    theirs = captums(net, image)
    for name, method in METHODS.items():
        if only and name not in only:
            continue

        def ours(name: str = name) -> np.ndarray:
            return attribute(net.trained, image, name, TARGET, **SETTINGS.get(name, {})).channels

        ours()  # checks of the net are made once
        (expected, theirs_mb), (found, ours_mb) = extra(theirs[name]), extra(ours)
        expected = expected.numpy()
        times: list[list[float]] = [[], []]
        # In turn, so that what else the machine does falls on both; quick ones oftener
        values = checked(parameters(method, net.trained), SETTINGS.get(name, {}), name)
        for _ in range(rounds if method.passes(values)[0] > 10 else 5 * rounds):
            for kept, work in zip(times, (theirs[name], ours), strict=True):
                kept.append(seconds(work))
        slow, fast = map(statistics.median, times)
        low, ratio, high = statistics.quantiles([a / b for a, b in zip(*times, strict=True)])
        aim = AIMS.get(name, 1.0)
        rows.append(
            (
                method.title,
                f"{slow:.2f}",
                f"{fast:.2f}",
                f"{ratio:.2f}x",
                f"{low:.2f} to {high:.2f}",
                f"{aim:g}x: {'met' if low >= aim else 'MISSED' if high < aim else 'even'}",
                f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}",
                f"{theirs_mb:.0f}",
                f"{ours_mb:.0f}",
            )
        )
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def main(rounds: int = 3) -> None:
    """Print seconds, ratios, differences and memory for two nets."""
    image = Image.fromarray(data.chelsea())
    heads = ("Captum, s", "ours, s", "ratio", "quartiles", "aim", "difference", "Captum, MB", "ours, MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, net in (("ResNet-18, random", resnet("resnet18")), ("EfficientNet-Lite0", lite0())):
            show([(title, *heads), *compare(net, image, rounds)])
