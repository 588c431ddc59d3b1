"""What the lessons measure: against autograd by another way, and the orders of magnitude that their texts tell."""

import pytest
import torch
from torch.nn import functional as F

from explorer.analysis.gradients import classes, patterns
from explorer.analysis.lessons import PASS_BATCH, Pass, gradient_ratios, norms_by_net, one_pass, passes, passes_table
from explorer.analysis.memory import training_memory
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.models.variants import VARIANTS, variant


class Stopped(Exception):  # noqa: N818 - a test's own
    pass


def test_the_norms_are_autograds() -> None:
    spec = variant("b", 8)
    measured = one_pass(spec, seed=3)
    with seeded(3):
        network = build(spec, "cpu")
    images, targets = patterns(3, PASS_BATCH), classes(3, PASS_BATCH, 10)
    # The blocks called by hand, so that each output is at hand
    at = network.relu(network.bn1(network.conv1(images)))
    outputs = []
    for block in (network.layer1[0], network.layer2[0], network.layer3[0]):
        at = block(at)
        outputs.append(at)
    loss = F.cross_entropy(network.fc(at.mean((2, 3))), targets)
    expected = [gradient.norm().item() for gradient in torch.autograd.grad(loss, outputs)]
    assert measured.norms == pytest.approx(expected, rel=1e-5)
    assert measured.ratio == pytest.approx(expected[0] / expected[-1], rel=1e-5)
    assert measured.params == sum(parameter.numel() for parameter in network.parameters())
    assert measured.bytes_needed == training_memory(spec).total(PASS_BATCH, "SGD", "freed")
    assert min(measured.build_seconds, measured.forward_seconds, measured.backward_seconds) > 0


def test_another_seed_is_another_draw() -> None:
    assert one_pass(variant("a", 8)).norms == one_pass(variant("a", 8)).norms
    assert one_pass(variant("a", 8)).norms != one_pass(variant("a", 8), seed=1).norms


def test_the_pass_says_how_far_it_is_and_stops_when_told() -> None:
    told: list[tuple[float, str]] = []
    one_pass(variant("a", 20), report=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    for words in ("Forward through 9 blocks", "Backward through 9 blocks"):
        assert sum(text == words for _, text in told) == 9

    for words in ("Forward", "Backward"):

        def stop(fraction: float, text: str, words: str = words) -> None:
            if text.startswith(f"{words} through"):
                raise Stopped

        with pytest.raises(Stopped):
            one_pass(variant("a", 8), report=stop)


def test_several_nets_share_the_progress_by_their_depth() -> None:
    told: list[tuple[float, str]] = []
    nets = {"small": variant("a", 8), "large": variant("a", 14)}
    found = passes(nets, report=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert max(fraction for fraction, text in told if text.startswith("small: ")) == pytest.approx(8 / 22)
    assert told[-1] == (pytest.approx(1), "large: Backward through 6 blocks")
    assert {name: one_pass(spec).norms for name, spec in nets.items()} == {
        name: each.norms for name, each in found.items()
    }


def test_the_passes_as_tables() -> None:
    found = {"one": Pass(10, 0.1, 0.2, 0.3, 400, (8.0, 4.0)), "two": Pass(20, 1.0, 2.0, 3.0, 800, (3.0, 2.0, 6.0))}
    table = passes_table(found)
    assert [list(row) for _, row in table.iterrows()] == [
        ["one", 10, 0.1, 0.2, 0.3, 400, 2.0],
        ["two", 20, 1.0, 2.0, 3.0, 800, 0.5],
    ]
    assert norms_by_net(found).to_dict("records") == [
        {"net": "one", "seed": 0, "step": 0, "gradient_norms": (8.0, 4.0)},
        {"net": "two", "seed": 0, "step": 0, "gradient_norms": (3.0, 2.0, 6.0)},
    ]


def test_a_thousand_layers_pass_their_gradient_to_the_first_block() -> None:
    """The lesson says that it is larger behind the first block than behind the last."""
    measured = one_pass(variant("a", 1202))
    assert measured.params == 19_421_274
    assert len(measured.norms) == 600
    assert measured.ratio > 10
    assert measured.bytes_needed < 600e6


def test_the_ratios_are_a_row_a_depth_and_a_column_an_option() -> None:
    told: list[tuple[float, str]] = []
    table = gradient_ratios(("a", "c"), (8, 14), 2, lambda fraction, text: told.append((fraction, text)))
    titles = [VARIANTS[name].title for name in ("a", "c")]
    assert list(table) == ["depth", *titles]
    assert list(table["depth"]) == [8, 14]
    assert [fraction for fraction, _ in told] == [place / 8 for place in range(8)]
    assert told[-1][1] == "ResNet, option C, 14 layers, seed 1"
    by_seed = [gradient_ratios(("c",), (14,), 1), gradient_ratios(("c",), (14,), 2)]
    assert by_seed[0].iloc[0, 1] != by_seed[1].iloc[0, 1], "the second is the median of two"


def test_the_gradient_grows_toward_the_input_most_with_option_c() -> None:
    """What the second lesson says of its measurement."""
    table = gradient_ratios(("a", "b", "c"), (20, 56, 110))
    a, b, c = (table[VARIANTS[name].title] for name in ("a", "b", "c"))
    assert (table.drop(columns="depth") > 1).all(axis=None), "nothing vanishes"
    assert all(low < middle < high for low, middle, high in zip(a, b, c, strict=True))
    for option in (a, b, c):
        assert list(option) == sorted(option), "the deeper, the more"
    assert 10 < a.iloc[-1] < 1_000
    assert c.iloc[-1] > 1e5
