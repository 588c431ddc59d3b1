"""What papers and libraries print of networks: accuracies, counts, and who won ImageNet's challenge.

Each figure says where it was printed and how it was measured. Nothing here was measured by us.
"""

import csv
import math
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import torchvision

from explorer.models import zoo
from explorer.models.zoo import Published
from explorer.spec import PRESETS, ActivationOrder, ResNetSpec

Dataset = Literal["ImageNet", "CIFAR-10"]
Origin = Literal["paper", "authors", "torchvision", "timm"]


@dataclass(frozen=True)
class Accuracy:
    """One measured accuracy of a network, as it was printed; None is not printed.

    It is of ImageNet's 50,000 validation images, or of CIFAR-10's 10,000 test images.
    """

    top1: float | None  # percent right with the first guess
    top5: float | None  # percent right within the first five
    crop: str  # what the network saw of an image
    size: int | None  # side of that in pixels, the shorter one of a whole picture; None where it saw several sizes
    crops: int | None  # whose outputs were averaged; None where the network slid over whole pictures
    dataset: Dataset
    origin: Origin  # who measured; "authors" is what a paper's authors print beside the weights they gave away
    year: int | None
    source: str
    extra_data: bool = False  # whether it was trained on more pictures than the dataset's own
    note: str = ""  # where the network that was measured is not quite the zoo's


@dataclass(frozen=True)
class Winner:
    """An entry to ImageNet's challenge (ILSVRC), classification task, and its error on the challenge's test images."""

    year: int
    place: int
    team: str
    network: str
    layers: int | None  # with weights, on the way from image to output; None is no neural network, or not one depth
    top5_error: float  # percent; of everything that the team averaged, trained on the challenge's pictures alone
    models: int | None  # networks averaged
    net: str | None  # the zoo's name of such a network
    source: str


def accuracies(net: str | ResNetSpec) -> tuple[Accuracy, ...]:
    """What is printed of a network: by papers, their authors, torchvision and timm, in this order; () if nothing.

    Args:
        net: a spec, or what `zoo.resolve` reads. A spec that is a preset has what the preset's name has.

    Raises:
        UnknownNetwork: no such name. SpecError: the text makes no network.

    >>> [(found.origin, found.top1, found.crop) for found in accuracies("vgg11")]
    [('paper', 70.4, '256 px, whole picture'), ('torchvision', 69.02, '224 px, one crop from 256 px')]
    """
    name, key = _looked_up(net)
    return (*_PAPERS.get(key, ()), *_torchvisions(name), *_timms(name))


def counts(net: str | ResNetSpec) -> tuple[Published, ...]:
    """Parameters and multiply-accumulates as printed of a network: by papers, then by torchvision; () if nothing.

    Args:
        net: as in `accuracies`; `timm/...` has none of torchvision's, whose image may have another size.

    >>> [(found.params, found.gmacs) for found in counts("vgg16")]
    [(138000000, None), (None, 15.3), (138357544, 15.47)]
    """
    name, key = _looked_up(net)
    prefixed = isinstance(net, str) and net.startswith("timm/")  # whose image may have another size
    librarys = None if prefixed else zoo.published(name)
    return (*_COUNTS.get(key, ()), *((librarys,) if librarys else ()))


def _looked_up(net: str | ResNetSpec) -> tuple[str, str | ResNetSpec]:
    """The zoo's name of a network ("" if it has none), and its key in the tables: its spec, or else its name.

    Two libraries that share a name share the network, so that a library's prefix makes no difference.
    """
    if isinstance(net, str):
        net = zoo.resolve(net)
    if isinstance(net, str):
        net = net.rpartition("/")[2]
        net = PRESETS.get(net, net)
    if isinstance(net, str):
        return net, net
    return next((name for name, spec in PRESETS.items() if spec == net), ""), net


def _torchvisions(name: str) -> tuple[Accuracy, ...]:
    """A record for each of torchvision's weights of its own network, the oldest recipe first."""
    if zoo.published(name) is None:
        return ()
    found = []
    for weights in torchvision.models.get_model_weights(name):
        meta: dict[str, Any] = weights.meta
        printed = meta["_metrics"]["ImageNet-1K"]
        if math.isnan(printed["acc@1"]):  # the weights of a feature extractor
            continue
        view = weights.transforms()
        size, resized = view.crop_size[0], view.resize_size[0]
        found.append(
            Accuracy(
                printed["acc@1"],
                printed["acc@5"],
                _crop(size, resized),
                size,
                1,
                "ImageNet",
                "torchvision",
                None,
                f"torchvision {torchvision.__version__}, {type(weights).__name__}.{weights.name}",
                extra_data="SWAG" in weights.name,
            )
        )
    return tuple(found)


_TIMM = "timm, results/results-imagenet.csv at commit 7479d451"
# Datasets that timm names in a tag, beyond the 1.28 million pictures of ImageNet's challenge
_LARGER = re.compile(r"in12k|in21k|in22k|ig1b|yfcc100m|jft|laion")


@cache
def _timm_results() -> dict[str, tuple[Accuracy, ...]]:
    """By name: timm's own measurements, as it prints them.

    The file holds rows of github.com/huggingface/pytorch-image-models, results/results-imagenet.csv at commit
    7479d451a6dfd8af27f941b8e82a7402461fae80 (Apache-2.0), as they are there.

    A choice of them: its default weights or, where those were trained on more than ImageNet, weights that were not, if
    there are such; at the size they were trained for and the size they are best at. torchvision's are left out.
    """
    found: dict[str, list[Accuracy]] = {}
    with files("explorer.models").joinpath("timm_results.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            name, _, tag = row["model"].partition(".")
            size = int(row["img_size"])
            found.setdefault(name, []).append(
                Accuracy(
                    float(row["top1"]),
                    float(row["top5"]),
                    _crop(size, math.floor(size / float(row["crop_pct"]))),  # timm's own rounding
                    size,
                    1,
                    "ImageNet",
                    "timm",
                    None,
                    f"{_TIMM}, {row['model']}",
                    extra_data=_LARGER.search(tag) is not None,
                )
            )
    return {name: tuple(records) for name, records in found.items()}


def _timms(name: str) -> tuple[Accuracy, ...]:
    return _timm_results().get(name, ())


def _crop(size: int, resized: int) -> str:
    """The square in the middle, after the shorter side of the picture was made `resized` pixels long."""
    return f"{size} px, one crop from {resized} px"


# --- what papers print

# How a paper looked at an image: words, size, crops
_View = tuple[str, int | None, int | None]
_ONE: _View = ("224 px, one crop from 256 px", 224, 1)
_ONE_224: _View = ("224 px, one crop", 224, 1)  # of a picture that was shrunk to what the paper does not say
_TEN: _View = ("224 px, 10 crops", 224, 10)
_ONE_299: _View = ("299 px, one crop", 299, 1)
_ONE_320: _View = ("320 px, one crop", 320, 1)
_MANY: _View = ("224 to 640 px, whole pictures", None, None)
_CIFAR: _View = ("32 px, whole picture", 32, 1)

_HE15 = "He et al. 2015, arXiv 1512.03385"
_HE16 = "He et al. 2016, arXiv 1603.05027"
_VGG = "Simonyan & Zisserman 2014, arXiv 1409.1556"
_GOOGLENET = "Szegedy et al. 2014, arXiv 1409.4842"
_RESNEXT = "Xie et al. 2016, arXiv 1611.05431"
_SE = "Hu et al. 2017, arXiv 1709.01507"
_DENSENET = "Huang et al. 2016, arXiv 1608.06993"
_TRICKS = "He T. et al. 2018, arXiv 1812.01187"
_EFFICIENTNET = "Tan & Le 2019, arXiv 1905.11946"
_CONVNEXT = "Liu et al. 2022, arXiv 2201.03545"
_MOBILENET = "Howard et al. 2017, arXiv 1704.04861"
_MOBILENET2 = "Sandler et al. 2018, arXiv 1801.04381"
_MOBILENET3 = "Howard et al. 2019, arXiv 1905.02244"

_V1 = "The paper's net strides on the 1x1."
_V1_OR_NOT = "The paper does not say which convolution of a bottleneck strides."
_OPTION_A = "The paper's net has shortcut option A."


def _right(error: float | None) -> float | None:
    """The percentage that is right, with the decimals of the percentage that is wrong."""
    return None if error is None else round(100 - error, 2)


def _errors(
    top1: float | None,
    top5: float | None,
    view: _View,
    source: str,
    note: str = "",
    origin: Origin = "paper",
) -> Accuracy:
    """The record of a paper that prints errors."""
    year = re.search(r"\b(?:19|20)\d\d\b", source)
    dataset: Dataset = "CIFAR-10" if view is _CIFAR else "ImageNet"
    crop, size, crops = view
    return Accuracy(
        _right(top1),
        _right(top5),
        crop,
        size,
        crops,
        dataset,
        origin,
        int(year[0]) if year else None,
        source,
        note=note,
    )


def _rights(top1: float, top5: float | None, view: _View, source: str, origin: Origin = "paper") -> Accuracy:
    """The record of a paper that prints what was right."""
    return replace(_errors(None, None, view, source, origin=origin), top1=top1, top5=top5)


def _dense(*sizes: int) -> _View:
    """The network slid over whole pictures, whose shorter side is that long, and its outputs were averaged."""
    if len(sizes) == 1:
        return f"{sizes[0]} px, whole picture", sizes[0], None
    return f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]} px, whole pictures", None, None


def _shared(note: str, *records: Accuracy) -> tuple[Accuracy, ...]:
    """The records of a network that is not quite this one."""
    return tuple(replace(record, note=note) for record in records)


def _papers() -> dict[str | ResNetSpec, tuple[Accuracy, ...]]:
    """Accuracies by spec, where a network is a ResNet of ours, else by name; papers before their authors' releases."""
    resnet = {int(n): PRESETS[f"resnet{n}"] for n in (18, 34, 50, 101, 152, 200)}
    v1 = {n: replace(resnet[n], stride_on="1x1") for n in (50, 101, 152)}
    cifar110 = PRESETS["cifar_resnet110"]
    he = f"{_HE15}, table 3"
    released = "He et al. 2016, github.com/KaimingHe/deep-residual-networks"
    of_v1 = {
        50: (
            _errors(22.85, 6.71, _TEN, he),
            _errors(20.74, 5.25, _MANY, f"{_HE15}, table 4"),
            _errors(24.7, 7.8, _ONE, released, origin="authors"),
        ),
        101: (
            _errors(21.75, 6.05, _TEN, he),
            _errors(19.87, 4.60, _MANY, f"{_HE15}, table 4"),
            _errors(23.6, 7.1, _ONE, released, origin="authors"),
        ),
        152: (
            _errors(21.43, 5.71, _TEN, he),
            _errors(19.38, 4.49, _MANY, f"{_HE15}, table 4"),
            _errors(23.0, 6.7, _ONE, released, origin="authors"),
        ),
    }
    resnet18_a = _errors(27.88, None, _TEN, f"{_HE15}, table 2")
    tricks = f"{_TRICKS}, table 5"
    found: dict[str | ResNetSpec, tuple[Accuracy, ...]] = {
        # He et al. 2015, and what later papers measured of the same nets
        replace(resnet[18], shortcut="A"): (resnet18_a,),
        resnet[18]: _shared(_OPTION_A, resnet18_a),
        PRESETS["plain18"]: (_errors(27.94, None, _TEN, f"{_HE15}, table 2"),),
        PRESETS["plain34"]: (_errors(28.54, 10.02, _TEN, he),),
        PRESETS["resnet34_a"]: (_errors(25.03, 7.76, _TEN, he),),
        resnet[34]: (_errors(24.52, 7.46, _TEN, he), _errors(21.84, 5.71, _MANY, f"{_HE15}, table 4")),
        replace(resnet[34], shortcut="C"): (
            _errors(24.19, 7.40, _TEN, he),
            _errors(21.53, 5.60, _MANY, f"{_HE15}, table 4"),
        ),
        v1[50]: (*of_v1[50][:2], _rights(76.21, 92.97, _ONE, tricks), *of_v1[50][2:]),
        v1[101]: of_v1[101],
        v1[152]: of_v1[152],
        resnet[50]: (
            _rights(76.66, 93.28, _ONE, f"{tricks}, ResNet-50-B"),
            _errors(23.9, None, _ONE, f"{_RESNEXT}, table 3, 1 x 64d"),
        ),
        resnet[101]: (_errors(22.0, 6.0, _ONE, f"{_RESNEXT}, table 4, 1 x 64d"), *_shared(_V1, *of_v1[101])),
        resnet[152]: _shared(_V1, *of_v1[152]),
        PRESETS["resnet50c"]: (_rights(76.87, 93.48, _ONE, tricks),),
        PRESETS["resnet50d"]: (_rights(77.16, 93.52, _ONE, tricks),),
        # He et al. 2016
        resnet[200]: (_errors(21.8, 6.0, _ONE_320, f"{_HE16}, table 5", _V1_OR_NOT),),
        replace(resnet[200], activation_order="preact"): (
            _errors(20.7, 5.3, _ONE_320, f"{_HE16}, table 5", _V1_OR_NOT),
            _errors(20.1, 4.8, _ONE_320, f"{_HE16}, table 5, scale and aspect ratio augmentation", _V1_OR_NOT),
        ),
        PRESETS["resnetv2_152"]: (_errors(21.1, 5.5, _ONE_320, f"{_HE16}, table 5", _V1_OR_NOT),),
        # Variants
        PRESETS["resnext50_32x4d"]: (_errors(22.2, None, _ONE, f"{_RESNEXT}, table 3"),),
        PRESETS["resnext101_32x4d"]: (_errors(21.2, 5.6, _ONE, f"{_RESNEXT}, table 4"),),
        PRESETS["resnext101_64x4d"]: (_errors(20.4, 5.3, _ONE, f"{_RESNEXT}, table 4"),),
        PRESETS["wide_resnet50_2"]: (
            _errors(21.9, 6.03, _ONE, "Zagoruyko & Komodakis 2016, arXiv 1605.07146, table 8"),
        ),
        PRESETS["seresnext50_32x4d"]: (_errors(21.10, 5.49, _ONE, f"{_SE}, table 2"),),
        PRESETS["seresnext101_32x4d"]: (_errors(20.70, 5.01, _ONE, f"{_SE}, table 2"),),
        # The years before, and beside
        "alexnet_2012": (
            _errors(
                40.7,
                18.2,
                _TEN,
                "Krizhevsky et al. 2012, NeurIPS 25, table 2, 1 CNN",
                "The paper says 224 px; its first layer goes with 227.",
            ),
        ),
        "googlenet_2014": (
            _errors(None, 10.07, _ONE_224, f"{_GOOGLENET}, table 3"),
            _errors(None, 9.15, _TEN, f"{_GOOGLENET}, table 3"),
            _errors(None, 7.89, ("224 px, 144 crops", 224, 144), f"{_GOOGLENET}, table 3"),
        ),
        "vgg11": (_errors(29.6, 10.4, _dense(256), f"{_VGG}, table 3, net A"),),
        "vgg13": (
            _errors(28.7, 9.9, _dense(256), f"{_VGG}, table 3, net B"),
            _errors(28.2, 9.6, _dense(224, 256, 288), f"{_VGG}, table 4, net B"),
        ),
        "vgg16": (
            _errors(27.0, 8.8, _dense(256), f"{_VGG}, table 3, net D, trained at 256 px"),
            _errors(25.6, 8.1, _dense(384), f"{_VGG}, table 3, net D, trained at 256 to 512 px"),
            _errors(24.8, 7.5, _dense(256, 384, 512), f"{_VGG}, table 4, net D, trained at 256 to 512 px"),
        ),
        "vgg19": (
            _errors(27.3, 9.0, _dense(256), f"{_VGG}, table 3, net E, trained at 256 px"),
            _errors(25.5, 8.0, _dense(384), f"{_VGG}, table 3, net E, trained at 256 to 512 px"),
            _errors(24.8, 7.5, _dense(256, 384, 512), f"{_VGG}, table 4, net E, trained at 256 to 512 px"),
        ),
        "inception_v3": (_errors(21.2, 5.6, _ONE_299, "Szegedy et al. 2015, arXiv 1512.00567, abstract"),),
        "legacy_xception": (_rights(79.0, 94.5, _ONE_299, "Chollet 2016, arXiv 1610.02357, table 1"),),
        "squeezenet1_0": (_rights(57.5, 80.3, _ONE_224, "Iandola et al. 2016, arXiv 1602.07360, table 2"),),
        "densenet161": (
            _errors(22.2, None, _ONE_224, "Huang et al. 2017, github.com/liuzhuang13/DenseNet", origin="authors"),
        ),
        "legacy_senet154": (
            _errors(18.68, 4.47, _ONE, "Hu et al. 2018, github.com/hujie-frank/SENet", origin="authors"),
        ),
    }
    for name, one, ten in (
        ("densenet121", (25.02, 7.71), (23.61, 6.66)),
        ("densenet169", (23.80, 6.85), (22.08, 5.92)),
        ("densenet201", (22.58, 6.34), (21.46, 5.54)),
    ):
        found[name] = (_errors(*one, _ONE_224, f"{_DENSENET}, table 3"), _errors(*ten, _TEN, f"{_DENSENET}, table 3"))
    for depth, top1, top5 in ((50, 23.29, 6.62), (101, 22.38, 6.07), (152, 21.57, 5.73)):
        measured = _errors(top1, top5, _ONE, f"{_SE}, table 2")
        spec = PRESETS[f"seresnet{depth}"]
        found[replace(spec, stride_on="1x1")] = (measured,)
        found[spec] = _shared(_V1, measured)
    for depth, error in ((20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (1202, 7.93)):
        found[PRESETS[f"cifar_resnet{depth}"]] = (_errors(error, None, _CIFAR, f"{_HE15}, table 6"),)
    best = "The best of five runs; {} percent were wrong on average."
    found[cifar110] = (
        _errors(6.43, None, _CIFAR, f"{_HE15}, table 6", best.format("6.61 ± 0.16")),
        _errors(6.61, None, _CIFAR, f"{_HE16}, table 1", "The median of five runs."),
    )
    found["highway19_2015"] = (_errors(7.54, None, _CIFAR, f"{_HE15}, table 6", best.format("7.72 ± 0.16")),)
    found[replace(cifar110, shortcut="C")] = (_errors(12.22, None, _CIFAR, f"{_HE16}, table 1"),)
    orders: dict[ActivationOrder, float] = {
        "bn_after_add": 8.17,
        "relu_before_add": 7.84,
        "relu_preact": 6.71,
        "preact": 6.37,
    }
    for order, error in orders.items():
        changed = replace(cifar110, activation_order=order)
        found[changed] = (_errors(error, None, _CIFAR, f"{_HE16}, table 2"),)
    slim = "github.com/tensorflow/models, research/slim/nets"
    v1_mobile = (
        _rights(70.6, None, _ONE_224, f"{_MOBILENET}, table 8"),
        _rights(70.9, 89.9, _ONE_224, f"Howard et al. 2018, {slim}/mobilenet_v1.md", origin="authors"),
    )
    v2_mobile = (
        _rights(72.0, None, _ONE_224, f"{_MOBILENET2}, table 4"),
        _rights(71.8, 91.0, _ONE_224, f"Sandler et al. 2018, {slim}/mobilenet", origin="authors"),
    )
    large = (_rights(75.2, None, _ONE_224, f"{_MOBILENET3}, table 3"),)
    small = (_rights(67.4, None, _ONE_224, f"{_MOBILENET3}, table 3"),)
    found |= {"mobilenetv1_100": v1_mobile, "mobilenet_v2": v2_mobile, "mobilenetv2_100": v2_mobile}
    found |= {"mobilenet_v3_large": large, "mobilenetv3_large_100": large}
    found |= {"mobilenet_v3_small": small, "mobilenetv3_small_100": small}
    found["mobilenetv2_140"] = (_rights(74.7, None, _ONE_224, f"{_MOBILENET2}, table 4"),)
    for width, top1, top5 in (("0_5", 38.9, 17.4), ("1_0", 30.6, 11.1), ("1_5", 27.4, 9.4), ("2_0", 25.0, 7.6)):
        megvii = "Ma et al. 2018, github.com/megvii-model/ShuffleNet-Series, ShuffleNetV2"
        found[f"shufflenet_v2_x{width}"] = (_errors(top1, top5, _ONE_224, megvii, origin="authors"),)
    for n, (size, top1, top5) in enumerate(
        (
            (224, 77.1, 93.3),
            (240, 79.1, 94.4),
            (260, 80.1, 94.9),
            (300, 81.6, 95.7),
            (380, 82.9, 96.4),
            (456, 83.6, 96.7),
            (528, 84.0, 96.8),
            (600, 84.3, 97.0),
        )
    ):
        view: _View = (f"{size} px, one crop", size, 1)
        found[f"efficientnet_b{n}"] = (_rights(top1, top5, view, f"{_EFFICIENTNET}v5, table 2"),)
    for kind, top1 in (("tiny", 82.1), ("small", 83.1), ("base", 83.8), ("large", 84.3)):
        found[f"convnext_{kind}"] = (_rights(top1, None, _ONE_224, f"{_CONVNEXT}, table 1"),)
    return found


_PAPERS = _papers()


def _printed(million_params: float | None, gmacs: float | None, source: str) -> Published:
    return Published(None if million_params is None else round(1e6 * million_params), gmacs, source)


def _paper_counts() -> dict[str | ResNetSpec, tuple[Published, ...]]:
    """Counts as printed, by the keys of `_papers`; the papers' FLOPs are multiply-accumulates."""
    table1 = f"{_HE15}, table 1"
    resnet = {n: PRESETS[f"resnet{n}"] for n in (18, 34, 50, 101, 152)}
    found: dict[str | ResNetSpec, tuple[Published, ...]] = {
        replace(resnet[18], shortcut="A"): (_printed(None, 1.8, table1),),
        PRESETS["resnet34_a"]: (_printed(None, 3.6, table1),),
        PRESETS["resnet50_v1"]: (_printed(None, 3.8, table1),),
        replace(resnet[101], stride_on="1x1"): (_printed(None, 7.6, table1),),
        replace(resnet[152], stride_on="1x1"): (_printed(None, 11.3, table1),),
        PRESETS["plain34"]: (_printed(None, 3.6, f"{_HE15}, figure 3"),),
        resnet[50]: (
            _printed(25.5, 4.1, f"{_RESNEXT}, table 1"),
            _printed(25, 4.1, f"{_TRICKS}, table 5, ResNet-50-B"),
        ),
        PRESETS["resnet50d"]: (_printed(25, 4.3, f"{_TRICKS}, table 5"),),
        PRESETS["resnext50_32x4d"]: (_printed(25.0, 4.2, f"{_RESNEXT}, table 1"),),
        PRESETS["wide_resnet50_2"]: (_printed(68.9, None, "Zagoruyko & Komodakis 2016, arXiv 1605.07146, table 8"),),
        PRESETS["seresnext50_32x4d"]: (_printed(None, 4.25, f"{_SE}, table 2"),),
        PRESETS["seresnext101_32x4d"]: (_printed(None, 8.00, f"{_SE}, table 2"),),
        "alexnet_2012": (_printed(60, None, "Krizhevsky et al. 2012, NeurIPS 25, abstract"),),
        "googlenet_2014": (_printed(None, 1.5, f"{_GOOGLENET}, section 1, as a budget"),),
        "highway19_2015": (_printed(2.3, None, f"{_HE15}, table 6"),),
        "mobilenetv1_100": (_printed(4.2, 0.569, f"{_MOBILENET}, table 6"),),
        "mobilenetv2_140": (_printed(6.9, 0.585, f"{_MOBILENET2}, table 4"),),
        "squeezenet1_0": (_printed(1.248424, None, "Iandola et al. 2016, arXiv 1602.07360, table 1"),),
        "legacy_xception": (_printed(22.855952, None, "Chollet 2016, arXiv 1610.02357, table 3"),),
    }
    for name, millions in (("vgg11", 133.0), ("vgg13", 133.0), ("vgg16", 138.0), ("vgg19", 144.0)):
        found[name] = (_printed(millions, None, f"{_VGG}, table 2"),)
    for name, gmacs in (("vgg16", 15.3), ("vgg19", 19.6)):
        found[name] += (_printed(None, gmacs, f"{_HE15}, section 4.1"),)
    for depth, gmacs in ((50, 3.87), (101, 7.60), (152, 11.32)):
        spec = replace(PRESETS[f"seresnet{depth}"], stride_on="1x1")
        found[spec] = (_printed(None, gmacs, f"{_SE}, table 2"),)
    for depth, millions in ((20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)):
        found[PRESETS[f"cifar_resnet{depth}"]] = (_printed(millions, None, f"{_HE15}, table 6"),)
    for names, millions, gmacs, source in (
        (("mobilenet_v2", "mobilenetv2_100"), 3.4, 0.300, f"{_MOBILENET2}, table 4"),
        (("mobilenet_v3_large", "mobilenetv3_large_100"), 5.4, 0.219, f"{_MOBILENET3}, table 3"),
        (("mobilenet_v3_small", "mobilenetv3_small_100"), 2.5, 0.056, f"{_MOBILENET3}, table 3"),
    ):
        for name in names:
            found[name] = (_printed(millions, gmacs, source),)
    return found


_COUNTS = _paper_counts()

_CHALLENGE = "Russakovsky et al. 2014, arXiv 1409.0575"
WINNERS: tuple[Winner, ...] = (
    Winner(2010, 1, "NEC-UIUC", "SIFT and LBP features, SVM", None, 28.2, None, None, _CHALLENGE),
    Winner(2011, 1, "XRCE", "Fisher vectors, SVM", None, 25.8, None, None, _CHALLENGE),
    Winner(
        2012,
        1,
        "SuperVision",
        "AlexNet",
        8,
        16.4,
        5,
        "alexnet_2012",
        f"{_CHALLENGE}; Krizhevsky et al. 2012, table 2 (15.3 with more pictures)",
    ),
    Winner(2013, 1, "Clarifai", "Clarifai", 8, 11.7, None, None, f"{_CHALLENGE} (11.2 with more pictures)"),
    Winner(2014, 1, "GoogLeNet", "GoogLeNet", 22, 6.7, 7, "googlenet_2014", f"{_CHALLENGE}; {_GOOGLENET}, table 2"),
    Winner(2014, 2, "VGG", "VGG", 19, 7.3, 7, "vgg19", f"{_VGG}, table 7"),
    Winner(2015, 1, "MSRA", "ResNet", 152, 3.57, 6, "resnet152", f"{_HE15}, table 5"),
    Winner(
        2016,
        1,
        "Trimps-Soushen",
        "an ensemble of several kinds",
        None,
        2.99,
        None,
        None,
        "image-net.org/challenges/LSVRC/2016/results",
    ),
    Winner(2017, 1, "WMW", "SENet", 154, 2.25, None, "legacy_senet154", f"{_SE}, section 1"),
)

HUMAN_TOP5_ERROR = 5.1
"""Percent, of one person who had practised on 500 images and labelled 1,500 of the test images; another, with 100 and
258, erred on 12.0. Both of Russakovsky et al. 2014, arXiv 1409.0575, section 6.4."""
