"""Cosines of neighbouring gradients against autograd image by image, noise against theory, and FACTS' numbers."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.analysis.gradients import GradientError, classes, patterns
from explorer.analysis.profile import profile
from explorer.analysis.shattering import (
    DISTANCES,
    IMAGES,
    STEPS,
    Shattering,
    autocorrelation,
    brown_autocorrelation,
    check_room,
    distance_curves,
    half_way,
    input_gradients,
    lag_curves,
    noise,
    shattering,
    summary,
    white_autocorrelation,
)
from explorer.models.observe import seeded
from explorer.models.resnet import ResNet, build
from explorer.models.variants import variant
from explorer.spec import ResNetSpec

SMALL = variant("a", 8, width=4, image_size=(8, 8))


def net(spec: ResNetSpec, seed: int = 0) -> ResNet:
    with seeded(seed):
        return build(spec, "cpu")


def batch(spec: ResNetSpec, seed: int = 0, count: int = IMAGES) -> tuple[Tensor, Tensor]:
    return patterns(seed, count, spec.image_size[0], spec.in_channels), classes(seed, count, spec.num_classes)


def cosine(one: Tensor, other: Tensor) -> float:
    return (one.flatten() @ other.flatten() / one.norm() / other.norm()).item()


# --- one net


def test_without_batch_norm_each_gradient_is_that_of_its_image_alone() -> None:
    """Then no image sees the others, so that passes of one image each must give the same."""
    spec = replace(SMALL, norm="group")
    network, (images, targets) = net(spec).double(), batch(spec, count=3)
    images = images.double()
    found = shattering(network, images, targets)

    def alone(image: Tensor, target: Tensor) -> Tensor:
        x = image[None].clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(network(x), target[None]), x)[0].flatten()

    expected = []
    for distance in DISTANCES:
        pairs = [
            (
                alone(images[i], targets[i]),
                alone((1 - distance) * images[i] + distance * images[(i + 1) % 3], targets[i]),
            )
            for i in range(3)
        ]
        expected.append(sum(cosine(*pair) for pair in pairs) / 3)
    assert found.cosines == pytest.approx(expected, rel=1e-9)

    line = [images[0] + step / STEPS * (images[1] - images[0]) for step in range(STEPS + 1)]
    along = torch.stack([alone(point, targets[0]) for point in line])
    neighbours = [cosine(one, other) for one, other in pairwise(along)]
    assert found.step_cosine == pytest.approx(sum(neighbours) / STEPS, rel=1e-9)
    slopes = along @ (images[1] - images[0]).flatten()
    assert found.walk == pytest.approx((slopes / slopes.square().mean().sqrt()).tolist(), rel=1e-9)
    assert found.autocorrelation == pytest.approx(autocorrelation(along.numpy()).tolist(), rel=1e-9)


def test_with_batch_norm_the_gradient_is_that_of_the_whole_batch() -> None:
    network, (images, targets) = net(SMALL).double(), batch(SMALL, count=6)
    x = images.double().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(network(x), targets), x)
    found = input_gradients(network, images.double(), targets, lambda fraction, text: None)
    assert torch.allclose(found, expected, rtol=1e-12)


class Square(nn.Module):
    """Two logits whose cross-entropy is softplus of the squared norm of x: its gradient points along x."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = SMALL
        for stage in (1, 2, 3):
            self.add_module(f"layer{stage}", nn.Sequential(nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        square = x.flatten(1).square().sum(1)
        return torch.stack([torch.zeros_like(square), square], 1)


def test_of_a_known_function_the_cosines_are_known() -> None:
    """Images (1, 0) and (0, 1): a neighbour's gradient points along (1 - d, d)."""
    images = torch.eye(2, dtype=torch.float64).view(2, 1, 1, 2)
    found = shattering(Square(), images, torch.zeros(2, dtype=torch.long))  # type: ignore[arg-type]
    assert found.cosines == pytest.approx([(1 - d) / math.hypot(1 - d, d) for d in DISTANCES], abs=1e-12)
    angles = [math.atan2(step, STEPS - step) for step in range(STEPS + 1)]
    steps = [math.cos(after - before) for before, after in pairwise(angles)]
    assert found.step_cosine == pytest.approx(sum(steps) / STEPS, rel=1e-12)
    signs = np.sign(found.walk)  # along (-1, 1) the square falls to the middle and rises again
    assert list(signs[: STEPS // 2]) == [-1] * (STEPS // 2)
    assert list(signs[STEPS // 2 + 1 :]) == [1] * (STEPS // 2)
    assert np.mean(np.square(found.walk)) == pytest.approx(1)
    assert len(found.walk) == len(found.autocorrelation) == STEPS + 1
    assert found.autocorrelation[0] == 1


def test_an_image_without_gradient_does_not_count() -> None:
    """At (0, 0) the gradient is 0; the others' neighbours point along (1 - d, d) and (0, 1 - d)."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64).view(3, 1, 1, 2)
    found = shattering(Square(), images, torch.zeros(3, dtype=torch.long))  # type: ignore[arg-type]
    expected = [((1 - d) / math.hypot(1 - d, d) + 1) / 2 for d in DISTANCES[:-1]]
    assert found.cosines[:-1] == pytest.approx(expected, abs=1e-12)
    assert found.cosines[-1] == pytest.approx(0, abs=1e-12)  # there the second one's neighbour has none either


def test_a_small_gradient_keeps_its_direction() -> None:
    """Of 1e-25, whose square float32 has no place for; small logits give a gradient in proportion to them."""
    found = []
    for scale in (1e-4, 1e-25):
        network = net(SMALL)
        network.fc.weight.data *= scale
        network.fc.bias.data.zero_()
        found.append(shattering(network, *batch(SMALL)))
    assert found[1].cosines == pytest.approx(found[0].cosines, abs=1e-3)
    assert found[1].step_cosine == pytest.approx(found[0].step_cosine, abs=1e-3)


def test_a_net_without_gradient_has_unknown_cosines() -> None:
    network = net(SMALL)
    nn.init.zeros_(network.fc.weight)
    found = shattering(network, *batch(SMALL))
    assert all(math.isnan(each) for each in (*found.cosines, *found.walk, *found.autocorrelation, found.step_cosine))


def state(network: ResNet) -> list[Any]:
    return [
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        [(parameter.grad, parameter.requires_grad) for parameter in network.parameters()],
        [module.training for module in network.modules()],
        [dict(module._forward_hooks) for module in network.modules()],
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(one[0][name], other[0][name]) for name in one[0]) and one[1:] == other[1:]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    network, (images, targets) = net(SMALL).train(training), batch(SMALL)
    before, kept, drawn = state(network), images.clone(), torch.get_rng_state()
    shattering(network, images, targets)
    assert same(state(network), before)
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("calls", [1, 2, 5, 8, 12])
def test_it_is_so_when_it_is_stopped_on_the_way_there_or_back(calls: int) -> None:
    """Three blocks: six reports a pass, two passes."""
    network, reports = net(SMALL), []
    before = state(network)

    def stop(fraction: float, text: str) -> None:
        reports.append((fraction, text))
        if len(reports) == calls:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        shattering(network, *batch(SMALL), report=stop)
    assert same(state(network), before)
    assert [fraction for fraction, _ in reports] == pytest.approx([(call + 1) / 12 for call in range(calls)])


def test_the_reports_say_which_block_there_and_back() -> None:
    texts: list[str] = []
    shattering(net(SMALL), *batch(SMALL), report=lambda fraction, text: texts.append(text))
    blocks = [1, 2, 3, 3, 2, 1]
    assert texts == [f"{part}, block {block} of 3" for part in ("Neighbours", "Line") for block in blocks]


# --- noise


def test_the_autocorrelation_is_the_textbooks() -> None:
    series = np.random.default_rng(0).standard_normal((7, 3))
    centred = series - series.mean(0)
    expected = [sum(centred[i] @ centred[i + k] for i in range(7 - k)) / (centred**2).sum() for k in range(7)]
    np.testing.assert_allclose(autocorrelation(series), expected, rtol=1e-12)


def test_brown_and_white_noise_are_what_many_draws_give() -> None:
    white = np.random.default_rng(0).standard_normal((STEPS + 1, 40_000))
    np.testing.assert_allclose(white_autocorrelation(), autocorrelation(white), atol=0.01)
    np.testing.assert_allclose(brown_autocorrelation(), autocorrelation(white.cumsum(0)), atol=0.01)


def test_a_draw_of_noise_has_its_size_and_brown_is_the_sum_of_white() -> None:
    drawn = noise(seed=3)
    assert list(drawn) == ["Brown noise", "White noise"]
    for values in drawn.values():
        assert len(values) == STEPS + 1
        assert np.mean(np.square(values)) == pytest.approx(1)
    steps, white = np.diff(drawn["Brown noise"]), np.array(drawn["White noise"])[1:]
    np.testing.assert_allclose(steps / white, steps[0] / white[0], rtol=1e-9)
    assert noise(seed=3) == drawn != noise(seed=4)


# --- several nets


def made(cosine: float, step: float = 0.5) -> Shattering:
    falling = tuple(cosine * (1 - place / 10) for place in range(len(DISTANCES)))
    lags = tuple(cosine / (1 + lag) for lag in range(STEPS + 1))
    return Shattering(falling, (1.0,) * (STEPS + 1), step, lags)


MADE = {"one": [made(0.9, 0.1), made(0.5, 0.3), made(0.6, 0.2)], "other": [made(0.2)]}


def test_the_curves_are_median_least_and_greatest() -> None:
    distances, lags = distance_curves(MADE), lag_curves(MADE)
    assert list(distances.columns) == ["net", "distance", "cosine", "low", "high"]
    assert list(lags.columns) == ["net", "lag", "autocorrelation", "low", "high"]
    assert list(distances["net"]) == ["one"] * len(DISTANCES) + ["other"] * len(DISTANCES)
    assert list(distances["distance"]) == [*DISTANCES, *DISTANCES]
    assert list(lags["lag"][: STEPS + 1]) == list(range(STEPS + 1))
    third = distances.iloc[2]
    assert tuple(third[["cosine", "low", "high"]]) == pytest.approx((0.6 * 0.8, 0.5 * 0.8, 0.9 * 0.8))
    assert tuple(lags.iloc[1][["autocorrelation", "low", "high"]]) == pytest.approx((0.3, 0.25, 0.45))


def test_what_one_seed_does_not_know_is_unknown() -> None:
    rows = distance_curves({"one": [made(0.5), made(math.nan)]})
    assert rows[["cosine", "low", "high"]].isna().all(axis=None)


def test_the_summary_has_a_row_a_net() -> None:
    found = summary(MADE, {"one": variant("a", 20), "other": variant("plain", 56)}, DISTANCES[1])
    expected = pd.DataFrame(
        {
            "net": ["one", "other"],
            "depth": [20, 56],
            "cosine": [0.6 * 0.9, 0.2 * 0.9],
            "low": [0.5 * 0.9, 0.2 * 0.9],
            "high": [0.9 * 0.9, 0.2 * 0.9],
            "half": [half_way([0.6 * (1 - place / 10) for place in range(9)]), "below 0.00001"],
            "step_cosine": [0.2, 0.5],
        }
    )
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("cosines", "words"),
    [
        ([0.49, *[0.0] * 8], "below 0.00001"),
        ([1, 0, 0, 0, 0, 0, 0, 0, 0], "0.000032"),  # half-way between 1e-5 and 1e-4 on a logarithmic scale
        ([1, 1, 1, 1, 1, 1, 1, 1, 0], "0.55"),  # sqrt(0.3)
        ([1, 1, 1, 1, 1, 1, 0.5, 0.4, 0], "0.1"),
        ([0.9] * 9, "never"),
        ([0.9, math.nan, *[0.1] * 7], "unknown"),
    ],
)
def test_where_a_curve_falls_below_a_half(cosines: list[float], words: str) -> None:
    assert half_way(cosines) == words


def test_what_does_not_fit_into_memory_is_refused() -> None:
    check_room(profile(variant("a", 218)).totals)
    for net in (variant("highway", 1202), "resnet50"):
        totals = profile(net).totals
        with pytest.raises(GradientError, match=f"{51 * totals.activation_bytes / 1e9:.0f} GB"):
            check_room(totals)


# --- FACTS.md, "Gradients and degradation": neighbours on the line, 50 steps


@cache
def at_start(name: str, depth: int) -> Shattering:
    spec = variant(name, depth)
    return shattering(net(spec), *batch(spec))


@pytest.mark.parametrize(
    ("name", "depth", "cosine"),
    [("plain", 8, 0.74), ("plain", 20, 0.10), ("plain", 56, -0.01), ("a", 8, 0.85), ("a", 20, 0.68), ("a", 56, 0.40)],
)
def test_the_cosines_are_those_of_the_facts(name: str, depth: int, cosine: float) -> None:
    assert at_start(name, depth).step_cosine == pytest.approx(cosine, abs=0.08)


def test_with_depth_gradients_decorrelate_and_much_sooner_in_plain_nets() -> None:
    for near in (4, 5):  # 1% and 3% of the way
        plain = [at_start("plain", depth).cosines[near] for depth in (8, 20, 56)]
        residual = [at_start("a", depth).cosines[near] for depth in (8, 20, 56)]
        assert plain == sorted(plain, reverse=True)
        assert residual == sorted(residual, reverse=True)
        assert all(one < other for one, other in zip(plain, residual, strict=True))
    assert abs(at_start("plain", 56).cosines[2]) < 0.1
    assert at_start("a", 56).cosines[2] > 0.9


def test_a_plain_net_of_56_layers_is_white_noise_along_the_line() -> None:
    lags = np.array(at_start("plain", 56).autocorrelation)
    np.testing.assert_allclose(lags[1:10], white_autocorrelation()[1:10], atol=0.06)
    assert at_start("plain", 8).autocorrelation[1] > 0.5
