"""Gradient norms by place: exact, marked where a number format ends, repeatable, and as the papers say."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from PIL import Image
from strategies import FEW, specs
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.analysis.gradients import (
    DEPTHS,
    GOOGLENET_PLACES,
    HEADS,
    MARKS,
    ActivationStudy,
    AuxiliaryStudy,
    GradientError,
    Outcome,
    Start,
    activation_gradients,
    activation_study,
    auxiliary_study,
    classes,
    crops,
    googlenet,
    gradient_flow,
    greatest_slope,
    heads_loss,
    over_seeds,
    patterns,
    spread,
)
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec, knob

SMALL = replace(PRESETS["cifar_resnet20"], depths=(1, 2), width=4, image_size=(8, 8))


def by_autograd(
    network: nn.Module, images: Tensor, targets: Tensor, places: list[str], loss: Callable[..., Tensor]
) -> list[tuple[float, float]]:
    """Gradient and activation norm of each place, by keeping the outputs and asking `torch.autograd.grad` for them."""
    kept: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(place).register_forward_hook(
            lambda module, inputs, output, place=place: kept.update({place: output})
        )
        for place in places
    ]
    value = loss(network(images.clone().requires_grad_()), targets)
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(value, [kept[place] for place in places])
    return [
        (gradient.double().norm().item(), kept[place].detach().double().norm().item())
        for place, gradient in zip(places, gradients, strict=True)
    ]


# --- one network


@FEW
@given(specs(norm="group", stochastic_depth=0.0, block_dropout=0.0, head_dropout=0.0))
def test_it_is_what_autograd_says_of_any_net(spec: ResNetSpec) -> None:
    with seeded(0):
        network = build(spec, "cpu")
    images = patterns(0, 2, max(spec.image_size), spec.in_channels)[:, :, : spec.image_size[0], : spec.image_size[1]]
    targets = classes(0, 2, spec.num_classes)
    places = [f"layer{stage}.{block}" for stage, depth in enumerate(spec.depths, 1) for block in range(depth)]
    table = activation_gradients(network, images, targets, places)
    expected = by_autograd(network, images, targets, places, F.cross_entropy)
    assert list(table.columns) == ["name", "index", "gradient_norm", "activation_norm", "mark"]
    assert list(table["name"]) == places
    assert list(table["index"]) == list(range(1, len(places) + 1))
    # to the last digits of double precision: the order of a sum is the only difference
    np.testing.assert_allclose(table["gradient_norm"], [gradient for gradient, _ in expected], rtol=1e-12)
    np.testing.assert_allclose(table["activation_norm"], [activation for _, activation in expected], rtol=1e-12)


@pytest.mark.parametrize("place", ["conv1", "inception3b", "inception4a", "inception4d"])
def test_it_is_what_autograd_says_where_heads_branch_off(place: str) -> None:
    network = googlenet(1, "kaiming", batch_norm=True)
    images, targets, loss = patterns(1, 2, 224), classes(1, 2, 1000), partial(heads_loss, weight=0.7)
    table = activation_gradients(network, images, targets, [place], loss)
    ((gradient, activation),) = by_autograd(network, images, targets, [place], loss)
    assert table["gradient_norm"][0] == pytest.approx(gradient, rel=1e-12)
    assert table["activation_norm"][0] == pytest.approx(activation, rel=1e-12)


def test_the_gradient_of_a_product_of_weights_is_known() -> None:
    """y = 2 * 3 * x, L = sum y: dL/d(first output) = 3, dL/d(second) = 1."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for layer, weight in zip(network, (2.0, 3.0), strict=True):
            layer.weight.fill_(weight)
    images = torch.full((4, 1), 5.0)
    table = activation_gradients(network, images, images, ["0", "1"], lambda y, targets: y.sum())
    assert list(table["gradient_norm"]) == [3 * math.sqrt(4), math.sqrt(4)]
    assert list(table["activation_norm"]) == [2 * 5 * math.sqrt(4), 2 * 3 * 5 * math.sqrt(4)]


def test_what_a_later_layer_changes_in_place_was_measured_before() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(inplace=True)), nn.Linear(3, 2))
    apart = nn.Sequential(network[0], nn.ReLU(), network[2])
    images, targets = torch.randn(5, 3), classes(0, 5, 2)
    table = activation_gradients(network, images, targets, ["0"])
    assert table.equals(activation_gradients(apart, images, targets, ["0"]))


def state(network: nn.Module) -> list[Any]:
    return [
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        [(parameter.grad, parameter.requires_grad) for parameter in network.parameters()],
        [module.training for module in network.modules()],
        [dict(module._forward_hooks) for module in network.modules()],
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    tensors = all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    return tensors and one[0].keys() == other[0].keys() and one[1:] == other[1:]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    network = build(SMALL, "cpu").train(training)
    next(network.parameters()).requires_grad_(False)
    before, drawn = state(network), torch.get_rng_state()
    images = patterns(0, 4, 8)
    kept = images.clone()
    activation_gradients(network, images, classes(0, 4, 10), ["layer1.0"])
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(images, kept)
    assert not images.requires_grad


def test_the_network_is_left_as_it_was_after_an_exception() -> None:
    network = build(SMALL, "cpu")
    before = state(network)

    def fail(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        activation_gradients(network, patterns(0, 4, 8), classes(0, 4, 10), ["layer1.0"], fail)
    with pytest.raises(RuntimeError):
        activation_gradients(network, torch.zeros(4, 5, 8, 8), classes(0, 4, 10), ["layer1.0"])
    assert same(state(network), before)


def test_training_mode_uses_the_batch_and_eval_mode_the_running_statistics() -> None:
    with seeded(0):
        network = build(SMALL, "cpu")
    images, targets = 5 + 3 * patterns(0, 4, 8), classes(0, 4, 10)
    batch, running = (activation_gradients(network.train(mode), images, targets, ["relu"]) for mode in (True, False))
    assert batch["activation_norm"][0] < 0.5 * running["activation_norm"][0]


@pytest.mark.parametrize("place", ["layer9.0", "nowhere", "layer1.0.conv"])
def test_a_place_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(GradientError, match=rf"place \(='{place}'\) must be the name of a module, such as 'fc'"):
        activation_gradients(build(SMALL, "cpu"), patterns(0, 4, 8), classes(0, 4, 10), [place])


class Odd(nn.Module):
    """A module that is called twice, one that never is, one that returns two tensors, one that the loss leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.last = (nn.Linear(2, 2) for _ in range(3))
        self.pair, self.aside = nn.LSTM(2, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x))
        x = x + self.pair(x.unsqueeze(1))[0].squeeze(1)
        self.aside(x)
        return self.last(x)


@pytest.mark.parametrize("place", ["twice", "never", "pair", "aside"])
def test_a_place_without_one_gradient_is_refused(place: str) -> None:
    with pytest.raises(GradientError, match=rf"place \(='{place}'\) must be a module that is called once"):
        activation_gradients(Odd(), torch.ones(3, 2), classes(0, 3, 2), ["last", place])


# --- where a number format ends

SMALLEST = 2.0**-149  # of float32's subnormal numbers
TINY = 2.0**-126  # of those with all their digits


@pytest.mark.parametrize(
    ("gradient", "dtype", "norm", "mark"),
    [
        (1.0, torch.float32, 2.0, ""),
        (TINY, torch.float32, 2 * TINY, ""),
        (TINY / 2, torch.float32, TINY, "subnormal"),
        (SMALLEST, torch.float32, 2 * SMALLEST, "subnormal"),
        (SMALLEST, torch.float64, 2 * SMALLEST, ""),
        (0.0, torch.float32, 0.0, "zero"),
        (math.inf, torch.float32, math.inf, "not finite"),
        (math.nan, torch.float32, math.nan, "not finite"),
    ],
)
def test_what_the_format_cannot_hold_is_marked(gradient: float, dtype: torch.dtype, norm: float, mark: str) -> None:
    """The gradient of sum(g * x) is g; the norm of four equal numbers is twice one of them."""
    network = nn.Sequential(nn.Identity())
    images = torch.ones(4, 1, dtype=dtype)
    factor = torch.full((4, 1), gradient, dtype=dtype)
    table = activation_gradients(network, images, images, ["0"], lambda y, targets: (factor * y).sum())
    assert table["gradient_norm"].tolist() == pytest.approx([norm], rel=1e-12, abs=0, nan_ok=True)
    assert table["mark"].tolist() == [mark]


def test_a_zero_of_float32_has_a_size_in_float64() -> None:
    spec = ActivationStudy(depth=56, init="pytorch").spec("sigmoid")
    single, double = (gradient_flow(spec, 0, double=double) for double in (False, True))
    marks = list(single["mark"])
    assert marks == sorted(marks, key=MARKS.index, reverse=True), "the nearer to the input, the worse"
    assert {"zero", "subnormal", ""} == set(marks)
    assert not any(double["mark"])
    assert (double["gradient_norm"] > 0).all()
    zero = double["gradient_norm"][single["mark"] == "zero"]
    assert zero.max() < 16 * 16 * 32 * 32 * SMALLEST, "each number was below what float32 holds"
    full = single["mark"] == ""
    np.testing.assert_allclose(single["gradient_norm"][full], double["gradient_norm"][full], rtol=1e-4)


# --- images, classes and seeds


def test_patterns_are_smooth_alike_in_scale_and_repeatable() -> None:
    images = patterns(3, 5, 40, 2)
    assert images.shape == (5, 2, 40, 40)
    assert torch.equal(images, patterns(3, 5, 40, 2))
    assert not torch.equal(images, patterns(4, 5, 40, 2))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(2))
    neighbours = torch.corrcoef(torch.stack([images[..., 1:].flatten(), images[..., :-1].flatten()]))[0, 1]
    assert 0.96 < neighbours < 0.98, "white noise has 0, no noise 0.989, twice the noise 0.93"
    between = torch.corrcoef(images.flatten(1))
    assert (between - torch.eye(5)).abs().max() < 0.8, "images differ"


GRADIENT = Image.linear_gradient("L").convert("RGB")  # 256 x 256, each row of one brightness: its own number


def test_crops_are_parts_of_all_pictures_in_turn_alike_in_scale_and_repeatable() -> None:
    pictures = [GRADIENT, GRADIENT.rotate(90)]
    images = crops(pictures, 3, 16, (24, 16), 3)
    assert images.shape == (16, 3, 24, 16)
    assert torch.equal(images, crops(pictures, 3, 16, (24, 16), 3))
    assert not torch.equal(images, crops(pictures, 4, 16, (24, 16), 3))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3))
    down, across = images.diff(dim=2).abs().mean((1, 2, 3)), images.diff(dim=3).abs().mean((1, 2, 3))
    assert all(down[0::2] > 5 * across[0::2]), "the first picture's brightness changes from row to row"
    assert all(across[1::2] > 5 * down[1::2]), "the second's from column to column"


def test_crops_are_squares_of_a_third_to_the_whole_of_a_picture() -> None:
    """In a ramp of brightness the range inside of a crop is the crop's side."""
    many = crops([GRADIENT], 0, 400, (32, 32), 1)
    ranges = (many.amax((1, 2, 3)) - many.amin((1, 2, 3))) / (many.max() - many.min())
    assert 0.3 < ranges.min() < 0.36
    assert 0.97 < ranges.max() <= 1
    middles = (many.amax((1, 2, 3)) + many.amin((1, 2, 3))) / 2
    assert abs(middles.mean()) < 0.1, "they lie anywhere"
    assert torch.equal(crops([GRADIENT], 0, 4, (32, 32), 1), crops([GRADIENT.convert("L")], 0, 4, (32, 32), 1))


def test_crops_of_one_colour_are_zero_and_odd_channels_are_refused() -> None:
    assert (crops([Image.new("RGB", (50, 40), "red")], 0, 4, (8, 8), 3) == 0).all()
    with pytest.raises(GradientError, match=r"in_channels \(=2\) must be 1 or 3, as pictures have"):
        crops([GRADIENT], 0, 4, (8, 8), 2)


def test_classes_are_all_of_them_and_repeatable() -> None:
    assert set(classes(0, 1000, 7).tolist()) == set(range(7))
    assert torch.equal(classes(0, 9, 5), classes(0, 9, 5))
    assert not torch.equal(classes(0, 99, 5), classes(1, 99, 5))


def test_a_seed_decides_everything_and_leaves_the_generator_alone() -> None:
    spec = replace(SMALL, image_size=(32, 32))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = gradient_flow(spec, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert gradient_flow(spec, 0).equals(first)
    assert not gradient_flow(spec, 1).equals(first)
    assert list(first["name"]) == ["layer1.0", "layer2.0", "layer2.1"]


def test_the_flow_of_a_seed_is_that_of_its_net_patterns_and_classes() -> None:
    torch.manual_seed(7)
    network = build(SMALL, "cpu")
    images, targets = patterns(7, 16, 8), classes(7, 16, 10)
    expected = activation_gradients(network, images, targets, ["layer1.0", "layer2.0", "layer2.1"])
    assert gradient_flow(SMALL, 7).equals(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0], (2, 2, 2)),
        ([5.0, 1.0, 2.0], (2, 1, 5)),
        ([1.0, 3.0], (2, 1, 3)),
        ([0.0, 4.0, math.nan], (4, 0, math.inf)),
        ([math.inf, math.nan, 1.0], (math.inf, 1, math.inf)),
    ],
)
def test_a_spread_is_median_least_and_greatest(values: list[float], expected: tuple[float, ...]) -> None:
    found = spread(values)
    assert (found.median, found.low, found.high) == expected


def table(gradients: list[float], activations: list[float], marks: list[str]) -> pd.DataFrame:
    columns = {"gradient_norm": gradients, "activation_norm": activations, "mark": marks}
    return pd.DataFrame({"name": ["a", "b"], "index": [1, 2], **columns})


def test_over_seeds_each_place_has_its_own_spread_and_the_worst_mark() -> None:
    joined = over_seeds(
        [
            table([1, 0], [10, 20], ["", "zero"]),
            table([4, 2], [30, 20], ["", "subnormal"]),
            table([9, math.nan], [20, 50], ["subnormal", "not finite"]),
        ]
    )
    expected = {
        "name": ["a", "b"],
        "index": [1, 2],
        "gradient_norm": [4, 2],
        "gradient_low": [1, 0],
        "gradient_high": [9, math.inf],
        "activation_norm": [20, 20],
        "activation_low": [10, 20],
        "activation_high": [30, 50],
        "mark": ["subnormal", "not finite"],
    }
    pd.testing.assert_frame_equal(joined, pd.DataFrame(expected), check_dtype=False)


# --- activation functions


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("relu", 1.0),
        ("leaky_relu", 1.0),
        ("tanh", 1.0),  # 1 - tanh(0)^2
        ("sigmoid", 0.25),  # s (1 - s) at s = 1/2
        # silu: by bisection, below
        # Phi(x) + x phi(x) has its greatest value where phi(x) (2 - x^2) = 0
        ("gelu", 0.5 * (1 + math.erf(1)) + math.sqrt(2) * math.exp(-1) / math.sqrt(2 * math.pi)),
    ],
)
def test_the_greatest_slope_is_the_calculated_one(activation: Any, slope: float) -> None:
    assert greatest_slope(activation) == pytest.approx(slope, abs=1e-6)


def test_silus_greatest_slope_by_bisection() -> None:
    """d/dx of s(x) (1 + x (1 - s(x))) is s' (2 + x (1 - 2 s)), which is zero where 2 + x (1 - 2 s) is."""

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    low, high = 2.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 + middle * (1 - 2 * s(middle)) > 0 else (low, middle)
    assert greatest_slope("silu") == pytest.approx(s(low) * (1 + low * (1 - s(low))), abs=1e-6)


def test_every_activation_of_the_spec_has_a_slope() -> None:
    assert all(0 < greatest_slope(activation) < 2 for activation in knob("activation").choices)


@cache
def studied(**change: Any) -> Outcome:
    return activation_study(ActivationStudy(**change))


def summary(**change: Any) -> pd.DataFrame:
    return studied(**change).summary.set_index("activation")


def test_the_study_is_of_the_papers_nets_for_cifar() -> None:
    study = ActivationStudy(depth=32, norm=True, residual=True, init="kaiming_fan_out")
    assert study.spec("relu") == PRESETS["cifar_resnet32"]
    assert replace(study, residual=False).spec("relu") == PRESETS["cifar_plain32"]
    assert replace(study, norm=False).spec("tanh") == replace(PRESETS["cifar_resnet32"], norm="none", activation="tanh")
    assert all(ActivationStudy(depth=depth).spec("relu").depth == depth for depth in DEPTHS)


def test_curves_and_summary_are_those_of_the_single_nets() -> None:
    outcome = studied(activations=("tanh", "relu"), depth=8, seeds=2)
    study = ActivationStudy(depth=8)
    flows = {name: [gradient_flow(study.spec(name), seed) for seed in (0, 1)] for name in ("tanh", "relu")}
    for name, tables in flows.items():
        curve = outcome.curves[outcome.curves["activation"] == name].drop(columns="activation").reset_index(drop=True)
        pd.testing.assert_frame_equal(curve, over_seeds(tables))
        ratios = [float(flow["gradient_norm"].iloc[0] / flow["gradient_norm"].iloc[-1]) for flow in tables]
        row = outcome.summary.set_index("activation").loc[name]
        assert row["ratio"] == pytest.approx(sum(ratios) / 2)
        assert (row["ratio_low"], row["ratio_high"]) == (min(ratios), max(ratios))
        assert row["mark"] == ""
        # 8 layers: the stem, three blocks of two and the head; between first and last block there are two blocks
        assert row["per_layer"] ** (2 * 2) == pytest.approx(row["ratio"])
        assert row["slope_alone"] == row["slope"] ** 4
    assert list(outcome.summary["activation"]) == ["tanh", "relu"]


def test_without_norm_sigmoid_vanishes_and_tanh_and_relu_do_not() -> None:
    found = summary()
    assert found.loc["sigmoid", "ratio"] < 1e-7
    assert 0.25**16 == found.loc["sigmoid", "slope_alone"] < found.loc["sigmoid", "ratio"], "weights multiply as well"
    assert 0.1 < found.loc["relu", "ratio"] < 1 < found.loc["tanh", "ratio"] < 10


def test_relu_vanishes_too_where_the_weights_start_small() -> None:
    assert summary(init="pytorch").loc["relu", "ratio_high"] < 1e-6
    assert 1e-4 < summary(init="xavier").loc["relu", "ratio"] < 1e-2


@pytest.mark.parametrize("depth", [20, 56])
def test_batch_norm_keeps_sigmoids_size_within_a_factor_of_ten(depth: int) -> None:
    assert 0.1 < summary(activations=("sigmoid",), depth=depth, norm=True, seeds=1).loc["sigmoid", "ratio"] < 1


def test_shortcuts_do_not_rescue_sigmoid() -> None:
    assert summary(activations=("sigmoid",), residual=True).loc["sigmoid", "ratio"] < 1e-4


def test_with_batch_norm_a_plain_nets_gradients_grow_toward_the_input() -> None:
    """Yang et al. 2019, arXiv 1902.08129; not vanish, as He et al. 2015 say in section 4.1."""
    plain, residual = (
        summary(activations=("relu",), norm=True, residual=residual).loc["relu"] for residual in (False, True)
    )
    assert plain["ratio_low"] > 10 > residual["ratio_high"] > residual["ratio_low"] > 1


def test_a_ratio_with_a_zero_is_zero_and_the_worst_mark_is_said() -> None:
    row = summary(activations=("sigmoid",), depth=56, init="pytorch", seeds=1).loc["sigmoid"]
    assert (row["ratio"], row["per_layer"], row["mark"]) == (0, 0, "zero")


def test_a_ratio_to_zero_or_to_nothing_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = [table([1, 0], [1, 1], ["", "zero"]), table([math.nan, 2], [1, 1], ["not finite", ""])]
    for flow in flows:
        monkeypatch.setattr("explorer.analysis.gradients.gradient_flow", lambda spec, seed, double, flow=flow: flow)
        row = activation_study(ActivationStudy(("relu",), seeds=1)).summary.iloc[0]
        assert row[["ratio", "ratio_low", "ratio_high", "per_layer"]].isna().all()
        assert row["mark"] == max(flow["mark"], key=MARKS.index)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"activations": ()}, r"activations \(=none\) must be one or more of relu, leaky_relu, "),
        ({"activations": ("relu", "cube")}, r"activations \(=relu, cube\) must be one or more of relu"),
        ({"depth": 21}, r"depth \(=21\) must be 6n \+ 2, one of 8, 14, "),
        ({"seeds": 0}, r"seeds \(=0\) must be a whole number from 1 to 5"),
        ({"seeds": 6}, r"seeds \(=6\) must be a whole number from 1 to 5"),
    ],
)
def test_a_study_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GradientError, match=sentence):
        ActivationStudy(**change)


class Stop(Exception):  # noqa: N818
    pass


def reports(run: Callable[[Callable[[float, str], None]], object], stop_at: int) -> list[tuple[float, str]]:
    """What a study reports until it is stopped at its n-th report."""
    seen: list[tuple[float, str]] = []

    def report(fraction: float, text: str) -> None:
        seen.append((fraction, text))
        if len(seen) == stop_at:
            raise Stop

    with pytest.raises(Stop):
        run(report)
    return seen


def test_it_reports_each_net_and_stops_when_asked() -> None:
    study = ActivationStudy(("relu", "tanh"), depth=8, seeds=2)
    seen = reports(lambda report: activation_study(study, report), 4)
    assert seen == [(0, "relu, seed 0"), (0.25, "relu, seed 1"), (0.5, "tanh, seed 0"), (0.75, "tanh, seed 1")]


def test_two_threads_one_after_the_other_find_the_same() -> None:
    found: list[pd.DataFrame] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(gradient_flow(SMALL, 3)))
        thread.start()
        thread.join()
    assert found[0].equals(found[1])


# --- auxiliary classifiers


@cache
def heads(start: Start = "caffe", batch_norm: bool = False, weight: float = 0.3, seeds: int = 1) -> Outcome:
    return auxiliary_study(AuxiliaryStudy(weight, start, batch_norm, seeds))


def ratios(**setting: Any) -> pd.Series:
    return heads(**setting).summary.set_index("name")["ratio"]


def test_each_place_before_the_heads_gets_more_and_each_behind_them_the_same() -> None:
    found = ratios()
    assert list(found.index) == list(GOOGLENET_PLACES)
    assert (found[:"inception4d"] > 1.05).all()
    assert (found["inception4e":] == 1).all()
    assert found["inception4a"] / found["inception4b"] > 1.3, "the first head's share comes in at 4a"
    assert list(HEADS) == ["inception4a", "inception4d"]


def test_how_much_the_heads_add_depends_on_the_start() -> None:
    """With Caffe's weights they about double it, with Kaiming's or batch norm they hardly matter, with PyTorch's ..."""
    assert 1.7 < ratios()["conv1"] < 2.2
    assert 1.02 < ratios(start="kaiming")["conv1"] < 1.2
    assert 1.02 < ratios(batch_norm=True)["conv1"] < 1.2
    assert ratios(start="pytorch")["conv1"] > 30


def test_without_weight_the_heads_change_nothing() -> None:
    outcome = heads(start="kaiming", weight=0.0)
    assert (outcome.summary["ratio"] == 1).all()
    assert list(outcome.summary["without"]) == list(outcome.summary["with_heads"])


def test_the_gradient_is_that_of_the_sum_of_the_losses() -> None:
    """g = g_last + w g_heads, so |g|^2 = a + 2 w b + w^2 c: three weights decide the fourth."""
    network, images, targets = googlenet(0, "kaiming", False), patterns(0, 2, 224), classes(0, 2, 1000)

    def squared(weight: float) -> float:
        found = activation_gradients(network, images, targets, ["conv1"], partial(heads_loss, weight=weight))
        return float(found["gradient_norm"][0]) ** 2

    a, at_half, at_one = squared(0), squared(0.5), squared(1)
    c = 2 * (at_one - 2 * at_half + a)
    b = (at_one - a - c) / 2
    assert squared(0.3) == pytest.approx(a + 2 * 0.3 * b + 0.3**2 * c, rel=1e-5)


def test_its_tables_are_those_of_the_single_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.analysis.gradients.GOOGLENET_BATCH", 1)  # takes less time
    outcome = auxiliary_study(AuxiliaryStudy(seeds=2))
    network_of = [googlenet(seed, "caffe", False) for seed in (0, 1)]
    expected: dict[float, list[list[float]]] = {0.0: [], 0.3: []}
    for seed, network in enumerate(network_of):
        for weight, found in expected.items():
            gradients = activation_gradients(
                network, patterns(seed, 1, 224), classes(seed, 1, 1000), ["conv1"], partial(heads_loss, weight=weight)
            )
            found.append(list(gradients["gradient_norm"]))
    first = outcome.summary.iloc[0]
    assert first["name"] == "conv1"
    quotients = [more[0] / less[0] for less, more in zip(*expected.values(), strict=True)]
    assert first["ratio"] == pytest.approx(sum(quotients) / 2, rel=1e-6)
    assert [first["ratio_low"], first["ratio_high"]] == pytest.approx([min(quotients), max(quotients)], rel=1e-6)
    for loss, found in zip(("without heads", "with heads"), expected.values(), strict=True):
        curve = outcome.curves[outcome.curves["loss"] == loss]
        assert list(curve["name"]) == list(GOOGLENET_PLACES)
        assert curve["gradient_low"].iloc[0] == pytest.approx(min(found)[0], rel=1e-6)
        assert curve["gradient_high"].iloc[0] == pytest.approx(max(found)[0], rel=1e-6)
    assert first["without"] == pytest.approx(sum(map(sum, expected[0.0])) / 2, rel=1e-6)
    assert first["with_heads"] == pytest.approx(sum(map(sum, expected[0.3])) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("start", "variance", "kurtosis", "bias"),
    [
        ("caffe", 1 / 480, 9 / 5, 0.2),  # include/caffe/filler.hpp: uniform on +-sqrt(3 / fan in)
        ("kaiming", 2 / 480, 3, 0.0),
        ("xavier", 2 / (480 + 192), 9 / 5, 0.0),
        ("pytorch", 1 / (3 * 480), 9 / 5, None),
    ],
)
def test_initial_weights_are_what_their_name_says(
    start: Start, variance: float, kurtosis: float, bias: float | None
) -> None:
    network = googlenet(0, start, batch_norm=False)
    conv = network.inception4a.branch1.conv  # 1x1, 480 channels to 192
    weight = conv.weight.detach().double()
    assert weight.var().item() == pytest.approx(variance, rel=0.02)
    assert (weight**4).mean().item() / weight.var().item() ** 2 == pytest.approx(kurtosis, rel=0.03)
    heads_of = [network.aux1, network.aux2]
    for module in (conv, network.fc, *(head.fc1 for head in heads_of if head is not None)):
        assert module.bias is not None
        assert bias is None or (module.bias == bias).all()
    linear = network.fc.weight  # 1024 to 1000
    expected = {"caffe": 1 / 1024, "kaiming": 2 / 1024, "xavier": 2 / 2024, "pytorch": 1 / (3 * 1024)}[start]
    assert linear.var().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_all_is_in_training_mode_but_dropout(batch_norm: bool) -> None:
    network = googlenet(0, "caffe", batch_norm)
    modes = {(isinstance(module, nn.Dropout), module.training) for module in network.modules()}
    assert modes == {(True, False), (False, True)}
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()) is batch_norm
    assert len(network(torch.zeros(2, 3, 224, 224))) == 3


def test_googlenet_comes_from_its_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (googlenet(seed, "xavier", False).conv3.conv.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_study_reports_each_pass_and_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.analysis.gradients.GOOGLENET_BATCH", 1)
    seen = reports(lambda report: auxiliary_study(AuxiliaryStudy(seeds=2), report), 3)
    assert seen == [(0, "Seed 0, without heads"), (0.25, "Seed 0, with heads"), (0.5, "Seed 1, without heads")]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weight": 1.1}, r"weight \(=1.1\) must be a number from 0 to 1"),
        ({"weight": -0.1}, r"weight \(=-0.1\) must be a number from 0 to 1"),
        ({"weight": math.nan}, r"weight \(=nan\) must be a number from 0 to 1"),
        ({"start": "zero"}, r"start \(='zero'\) must be one of caffe, kaiming, xavier, pytorch"),
        ({"seeds": 0}, r"seeds \(=0\) must be a whole number from 1 to 5"),
    ],
)
def test_an_auxiliary_study_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GradientError, match=sentence):
        AuxiliaryStudy(**change)
