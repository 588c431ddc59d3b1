"""The receptive fields of single paths."""

import itertools
from collections import Counter
from math import comb

import pytest
from hypothesis import given
from strategies import FEW, specs
from torch import nn

from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.layers import operators
from explorer.analysis.paths import Paths, path_sweep, path_table
from explorer.analysis.receptive import field_sweep, receptive_fields
from explorer.spec import ResNetSpec


def last(name: str) -> Paths:
    return [paths for paths in path_sweep(operators(name)) if paths is not None][-1]


def sizes(paths: Paths) -> dict[int, int]:
    return {paths.least + place: int(count) for place, count in enumerate(paths.counts) if count}


def walked(graph: list[Operator], here: int) -> Counter[int]:
    """The field's height of every single path to an operator, walked one by one from there back to the image."""
    heights: Counter[int] = Counter()

    def back(at: int, height: int) -> None:
        """`height` pixels of what operator `at` gives make one unit at the end: h pixels need (h - 1) s + k."""
        if at == IMAGE:
            heights[height] += 1
            return
        operator = graph[at]
        window = operator.effect.window
        if window is not None:
            reach = window.dilation[0] * (window.kernel[0] - 1) + 1
            height = (height - 1) * window.stride[0] + reach
        for made_by in operator.inputs:
            back(made_by, height)

    back(here, 1)
    return heights


@pytest.mark.parametrize("name", ["vgg11", "cifar_resnet20 shortcut=B", "resnet18", "googlenet_2014", "alexnet_2012"])
def test_every_path_is_counted_as_if_walked_one_by_one(name: str) -> None:
    graph = operators(name)
    found = path_sweep(graph)
    here = max(place for place, paths in enumerate(found) if paths is not None)
    paths = found[here]
    assert paths is not None
    assert sizes(paths) == walked(graph, here)


def test_a_residual_nets_paths_are_the_ways_to_pass_or_skip_its_blocks() -> None:
    """ResNet-20: the stem sees 3; a block adds 2 (3 - 1) pixels at each of its own steps, 1, 2 and 4."""
    adds = []
    for stage, step in enumerate((1, 2, 4)):
        for block in range(3):
            first = step // 2 if stage and not block else step  # the first convolution still steps as the stage before
            adds.append(2 * first + 2 * step)
    ways = Counter(3 + sum(chosen) for n in range(10) for chosen in itertools.combinations(adds, n))
    assert sizes(last("cifar_resnet20")) == ways
    assert sum(ways.values()) == 2**9


def test_blocks_that_are_alike_give_a_binomial_distribution() -> None:
    spec = ResNetSpec.from_text("cifar_resnet20 depths=40 strides=1 shortcut=B")
    found = [paths for paths in path_sweep(operators(spec)) if paths is not None][-1]
    assert sizes(found) == {3 + 4 * passed: comb(40, passed) for passed in range(41)}
    assert found.mean == 3 + 4 * 20


@pytest.mark.parametrize(
    ("name", "number", "shortest", "longest"),
    [
        ("resnet50", 2**16, 11, 427),  # 7x7, then 3x3 pool: 7 + 2 * 2; FACTS' field
        ("resnet152", 2**50, 11, 1451),
        ("cifar_resnet1202", 2**600, 3, 5597),
        ("vgg16", 1, 212, 212),
        ("plain34", 1, 899, 899),
        ("seresnet50", 2**16, 11, 427),  # its gates are no paths
    ],
)
def test_known_networks(name: str, number: int, shortest: int, longest: int) -> None:
    found = last(name)
    assert (found.number, found.shortest, found.longest) == (number, shortest, longest)
    assert shortest <= found.mean <= longest


def test_the_longest_path_has_the_field_of_the_map_where_branches_are_aligned() -> None:
    for name in ("resnet50", "densenet121", "googlenet", "inception_v3", "mobilenet_v2"):
        graph = operators(name)
        for field, paths in zip(field_sweep(graph), path_sweep(graph), strict=True):
            assert (field is None) == (paths is None)
            if field is not None and paths is not None and field.aligned:
                assert paths.longest == field.height.size


def test_behind_an_enlarged_map_no_path_has_a_field_of_its_own() -> None:
    """Of which size it is depends on the unit that the path leads to; a path beside it is lost in the count too."""
    graph = operators("hrnet_w18_small")
    fields, found = field_sweep(graph), path_sweep(graph)
    first = next(here for here, field in enumerate(fields) if field is not None and not field.even)
    behind = {first}
    for here, operator in enumerate(graph):
        if fields[here] is not None and behind & {*operator.inputs}:
            behind.add(here)
    known = {here for here, paths in enumerate(found) if paths is not None}
    enlarged = {here for here, field in enumerate(fields) if field is not None and not field.even}
    assert graph[first].name == "stage2.0.fuse_layers.0.1.2"
    assert behind <= enlarged | {here for here, paths in enumerate(found) if paths is None}
    assert not known & (behind | enlarged)
    assert len(known) > 80
    assert all(fields[here] is not None for here in known)


def test_a_path_through_an_enlarged_map_stays_unknown_when_windows_are_even_again() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 2, 2), nn.Upsample(scale_factor=2), nn.AvgPool2d(2, 2), nn.Conv2d(1, 1, 3))
    graph = operators(net, (32, 32))
    assert [field is not None and field.even for field in field_sweep(graph)] == [True, False, True, True]
    assert [paths is not None for paths in path_sweep(graph)] == [True, False, False, False]


@given(specs())
@FEW
def test_no_path_sees_more_than_the_map(spec: ResNetSpec) -> None:
    graph = operators(spec)
    for field, paths in zip(field_sweep(graph), path_sweep(graph), strict=True):
        assert (field is None) == (paths is None)
        if field is not None and paths is not None:
            assert 1 <= paths.shortest <= paths.longest <= field.height.size
            assert paths.counts[0] > 0
            assert paths.counts[-1] > 0


def test_the_table_has_a_row_an_operator() -> None:
    table = path_table("resnet18")
    fields = receptive_fields("resnet18")
    assert list(table["name"]) == list(fields["name"])
    assert [value is None for value in table["longest"]] == [value is None for value in fields["size"]]
    row = table.set_index("name").loc["conv1"]
    assert row[["paths", "shortest", "longest", "mean"]].tolist() == [1, 7, 7, 7.0]
