import pytest

from explorer.models.resnet import build
from explorer.models.variants import MAX_DEPTH, VARIANTS, variant
from explorer.spec import PRESETS, SpecError

PAPER = (20, 32, 44, 56, 110, 1202)


@pytest.mark.parametrize("depth", PAPER)
def test_option_a_is_the_papers_net(depth: int) -> None:
    assert variant("a", depth) == PRESETS[f"cifar_resnet{depth}"]
    assert variant("a", depth).depth == depth


@pytest.mark.parametrize("depth", [depth for depth in PAPER if depth < 1202])
def test_plain_is_its_plain_twin(depth: int) -> None:
    assert variant("plain", depth) == PRESETS[f"cifar_plain{depth}"]


def params(name: str, depth: int) -> int:
    return sum(parameter.numel() for parameter in build(variant(name, depth), "meta").parameters())


def test_a_plain_twin_has_the_parameters_of_option_a() -> None:
    # He et al. 2015, section 4.2: "exactly the same depth, width, and number of parameters" is our reading of option A
    for depth in (8, 20, 56):
        assert params("plain", depth) == params("a", depth)


def test_what_each_choice_adds() -> None:
    base = params("a", 20)
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64  # two 1x1 with their batch norms
    assert params("b", 20) == base + projections
    identities = 3 * (16 * 16 + 2 * 16) + 2 * (32 * 32 + 2 * 32) + 2 * (64 * 64 + 2 * 64)
    assert params("c", 20) == base + projections + identities
    assert params("zero_gamma", 20) == base
    assert params("skipinit", 20) == base + 9  # a number a block
    gates = 3 * (16 * 16 + 16) + (16 * 32 + 32) + 2 * (32 * 32 + 32) + (32 * 64 + 64) + 2 * (64 * 64 + 64)
    assert params("highway", 20) == params("gated", 20) == base + projections + gates


def test_each_has_its_own_net_and_title() -> None:
    assert len({variant(name, 20) for name in VARIANTS}) == len(VARIANTS) == len({v.title for v in VARIANTS.values()})
    assert all(each.source for each in VARIANTS.values())


@pytest.mark.parametrize("depth", [2, 7, 21, MAX_DEPTH + 6])
def test_a_depth_that_is_not_the_papers_is_named(depth: int) -> None:
    with pytest.raises(SpecError, match=rf"depth \(={depth}\) must be 6n \+ 2"):
        variant("a", depth)


def test_an_unknown_variant_is_named_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=r"variant \(='d'\) must be one of plain, a, b, c"):
        variant("d", 20)


def test_further_fields_of_the_spec_may_be_changed() -> None:
    assert variant("b", 20, width=8, norm="none").stage_width(3) == 32
