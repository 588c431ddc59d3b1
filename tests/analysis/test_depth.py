"""Depth against what papers print, against the specs, and against every path of small graphs, walked one by one."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.analysis.depth import network_depth
from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.layers import operators
from explorer.analysis.rules import Activation, Effect
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec


@cache
def depth(name: str) -> int:
    return network_depth(operators(name))


# --- what papers print

PUBLISHED = {
    "alexnet_2012": 8,  # Krizhevsky et al. 2012, section 3.5: eight layers
    "alexnet": 8,
    **{f"vgg{depth}": depth for depth in (11, 13, 16, 19)},  # Simonyan & Zisserman 2014, 1409.1556, table 1
    **{f"vgg{depth}_bn": depth for depth in (11, 13, 16, 19)},
    "googlenet_2014": 22,  # Szegedy et al. 2014, 1409.4842, section 5: layers with parameters
    "googlenet": 22,
    **{f"resnet{depth}": depth for depth in (18, 34, 50, 101, 152)},  # He et al. 2015, 1512.03385, table 1
    **{f"cifar_resnet{depth}": depth for depth in (20, 110)},  # table 6
    "highway19_2015": 19,  # the same table
    "mobilenetv1_100": 28,  # Howard et al. 2017, 1704.04861, section 3.2: depthwise and pointwise as separate layers
    **{f"densenet{depth}": depth for depth in (121, 169, 201)},  # Huang et al. 2016, 1608.06993, table 1
    "squeezenet1_0": 1 + 8 * 2 + 1,  # Iandola et al. 2016, 1602.07360, table 1: conv1, fire2 ... fire9, conv10
    "squeezenet1_1": 1 + 8 * 2 + 1,
    "resnext101_32x8d": 101,  # Xie et al. 2016, 1611.05431
    "timm/dpn92": 92,  # Chen et al. 2017, 1707.01629, table 1
    "timm/dpn98": 98,
    "timm/legacy_senet154": 154,  # Hu et al. 2017, 1709.01507
    "timm/darknet53": 53,  # Redmon & Farhadi 2018, 1804.02767, table 1
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_depth_is_the_published_one(name: str) -> None:
    assert depth(name) == PUBLISHED[name]


def test_inception_v3_counts_48_by_its_longest_path() -> None:
    """Its paper says 42, by another rule."""
    stem, a, b, c, d, e, fc = 5, 3 * 3, 3, 4 * 5, 4, 2 * 3, 1
    assert depth("inception_v3") == stem + a + b + c + d + e + fc == 48


def test_mobilenet_v2_counts_three_convolutions_a_block_and_two_in_the_first() -> None:
    assert depth("mobilenet_v2") == 1 + 2 + 16 * 3 + 1 + 1


# --- what only weighs a map


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("seresnet18", "resnet18"),
        ("seresnet50", "resnet50"),
        ("cbam_resnet50", "resnet50"),
        ("ecaresnet50d", "resnet50d"),
        ("timm/seresnet50", "resnet50"),
        ("timm/ecaresnet50d", "resnet50d"),
        ("timm/skresnet18", "resnet18"),  # its gate weighs two branches in one tensor
        ("timm/resnest50d", "resnet50d"),
        ("timm/ghostnetv2_100", "timm/ghostnet_100"),  # its gate is half as large and then enlarged
    ],
)
def test_attention_adds_no_depth(name: str, without: str) -> None:
    assert depth(name) == depth(without)


class Gated(nn.Module):
    """A convolution and a pool, and a gate of several linear layers on what comes in."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.gate = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        small = F.max_pool2d(x, x.shape[-1])
        if self.how == "repeated":
            return y * self.gate(small).expand_as(y).sigmoid()
        if self.how == "enlarged":
            return F.interpolate(self.gate(small), y.shape[-2:]) * y
        if self.how == "last":
            return (y * self.gate(small)).mean((2, 3))
        if self.how == "added":
            return y + self.gate(small)
        return y * self.gate(x)


@pytest.mark.parametrize(
    ("how", "expected"), [("repeated", 1), ("enlarged", 1), ("last", 1), ("added", 4), ("as large", 4)]
)
def test_a_gate_that_is_smaller_than_the_map_is_off_the_path(how: str, expected: int) -> None:
    assert network_depth(operators(Gated(how))) == expected


def test_on_a_map_of_one_pixel_a_gate_is_what_comes_of_the_map() -> None:
    """There squeeze-and-excitation is as large as what it weighs."""
    one_pixel = (17, 17)
    assert network_depth(operators("seresnet18", one_pixel)) == 18
    assert network_depth(operators("ecaresnet50d", one_pixel)) == network_depth(operators("resnet50d", one_pixel))


def test_a_branch_that_ends_in_an_output_of_its_own_counts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deep = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)))
            self.shallow = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.deep(x), self.shallow(x)

    assert network_depth(operators(Two())) == 3


def test_a_net_without_layers_has_no_depth() -> None:
    assert network_depth([]) == 0
    assert network_depth(operators(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()))) == 0


# --- specs


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_depth_is_its_specs(name: str) -> None:
    assert depth(name) == PRESETS[name].depth


@FEW
@given(specs())
def test_any_specs_depth_is_that_of_its_graph(spec: ResNetSpec) -> None:
    assert network_depth(operators(build(spec, "meta"), spec.image_size)) == spec.depth


# --- every path, one by one

KINDS = st.sampled_from(["conv", "linear", "activation", "add", "concat", "pool", "multiply"])


@st.composite
def graphs(draw: st.DrawFn) -> list[Operator]:
    """Up to nine operators, each of one to three before it or of the image; their maps have one of two sizes."""
    found: list[Operator] = []
    for place in range(draw(st.integers(1, 9))):
        kind = draw(KINDS)
        most = 3 if kind in ("add", "concat", "multiply") else 1
        inputs = tuple(draw(st.lists(st.integers(IMAGE, place - 1), min_size=1, max_size=most)))
        takes = tuple(Activation((1, 3, 4, 4)) if i == IMAGE else found[i].gives[0] for i in inputs)
        keeps = kind == "activation"
        output = takes[0] if keeps else Activation((1, 3, 4, 4) if draw(st.booleans()) else (1, 3, 1, 1))
        found.append(Operator(str(place), inputs, takes, (output,), Effect(kind, output), 0))
    return found


def forebears(graph: list[Operator], at: int) -> set[int]:
    """All that an operator's output was made from."""
    own = set() if at == IMAGE else set(graph[at].inputs)
    return own.union(*(forebears(graph, made_by) for made_by in own))


def paths(graph: list[Operator], end: int) -> Iterator[list[str]]:
    """The kinds along each path from the image to an operator, itself included; not through a multiply's gate."""
    operator = graph[end]
    largest = max(taken.elements for taken in operator.takes)
    rivals = {i for i, taken in zip(operator.inputs, operator.takes, strict=True) if taken.elements == largest}
    for made_by, taken in zip(operator.inputs, operator.takes, strict=True):
        if operator.effect.kind == "multiply":
            if taken.elements < largest:
                continue
            if operator.takes[0].shape == (1, 3, 1, 1) and rivals & forebears(graph, made_by):
                continue
        before = [[]] if made_by == IMAGE else paths(graph, made_by)
        yield from ([*path, operator.effect.kind] for path in before)


@settings(FEW, max_examples=300)
@given(graphs())
def test_the_depth_is_that_of_the_longest_of_all_paths(graph: list[Operator]) -> None:
    outputs = [end for end in range(len(graph)) if not any(end in operator.inputs for operator in graph)]
    lengths = [sum(kind in ("conv", "linear") for kind in path) for end in outputs for path in paths(graph, end)]
    assert network_depth(graph) == max(lengths)


def test_a_thousand_additions_in_a_row_have_2_to_the_1000_paths_and_take_no_time() -> None:
    output = Activation((1, 1, 1, 1))
    graph = [
        Operator(str(place), (place - 1, place - 1), (output, output), (output,), Effect("add", output), 0)
        for place in range(1000)
    ]
    assert network_depth(graph) == 0
