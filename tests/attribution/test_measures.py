"""Measures against closed forms on linear nets, and against Captum's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from captum.metrics import infidelity
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

from explorer.attribution import METHODS, Attribution, attribute
from explorer.attribution.assess import assess, draw_anew
from explorer.attribution.measures import (
    ABOUT,
    ORDERS,
    _parts,
    _squares,
    enlarged,
    order,
    passes,
    promised,
    randomised,
    sensitivity,
    unfaithful,
)
from explorer.attribution.posing import posed
from explorer.attribution.subject import Map, Subject
from explorer.errors import Refusal
from explorer.models.checkpoints import Trained
from explorer.models.observe import seeded

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")
SIDE = tiny.SIDE


class Stopped(Exception):  # noqa: N818
    pass


@contextmanager
def linear(against: int | None = None) -> Iterator[tuple[Subject, Tensor]]:
    """A linear net before a picture, and the weight of what is explained, (1, 3, h, w)."""
    model = tiny.linear()
    with posed(tiny.trained(model, 4), tiny.dots(), 2, against) as subject:
        weight = model[1].weight[2] - (0 if against is None else model[1].weight[against])
        yield subject, weight.detach().view(1, 3, SIDE, SIDE)


def contributions(subject: Subject, weight: Tensor, baseline: Any = "mean") -> Map:
    return Map.of(weight * (subject.x - subject.baseline(baseline)))


def test_every_measure_is_told_in_whole_sentences() -> None:
    assert list(ABOUT) == ["completeness", "infidelity", "max_sensitivity", "deletion", "insertion", "randomisation"]
    for about in ABOUT.values():
        assert about.good.endswith(".")
        assert about.bad.endswith(".")
        assert "arXiv" in about.source


# Deletion and insertion


def test_of_a_linear_net_each_pixel_that_goes_takes_its_contribution_along() -> None:
    with linear(against=1) as (subject, weight):
        found = contributions(subject, weight)
        result = order(subject, found, baseline="mean", steps=SIDE * SIDE)
        whole, nothing = subject.value(subject.x), subject.value(subject.baseline("mean"))
    falls = np.sort(found.values.sum(0).flatten().numpy())[::-1]
    gone = np.concatenate([[0], np.cumsum(falls)])
    assert whole - nothing == pytest.approx(falls.sum(), abs=1e-4)
    np.testing.assert_allclose(result.curves.deletion, whole - gone, atol=1e-4)
    np.testing.assert_allclose(result.curves.insertion, nothing + gone, atol=1e-4)
    np.testing.assert_allclose(result.curves["part"], np.arange(SIDE * SIDE + 1) / (SIDE * SIDE))
    trapezoids = ((whole - gone)[1:] + (whole - gone)[:-1]) / 2
    assert result.deletion == pytest.approx(trapezoids.mean(), abs=1e-4)


def test_the_exact_map_beats_every_other_order() -> None:
    with linear(against=1) as (subject, weight):
        exact = contributions(subject, weight)
        best = order(subject, exact, baseline="mean", steps=8)
        worst = order(subject, Map(-exact.values), baseline="mean", steps=8)
        for seed in range(5):
            other = Map(torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).double())
            result = order(subject, other, baseline="mean", steps=8)
            assert best.deletion < result.deletion < worst.deletion
            assert best.insertion > result.insertion > worst.insertion
    assert best.deletion < best.random_low <= best.deletion_random <= best.random_high < best.insertion
    # What the one puts first the other puts last
    np.testing.assert_allclose(worst.curves.insertion, best.curves.deletion[::-1], atol=1e-5)


def test_random_orders_lie_in_a_band_and_each_serves_for_both_kinds() -> None:
    with linear(against=1) as (subject, weight):
        result = order(subject, contributions(subject, weight), steps=10)
        again = order(subject, Map(torch.zeros(1, SIDE, SIDE).double()), steps=10)
        other = order(subject, contributions(subject, weight), steps=10, seed=1)
    curves = result.curves
    for kind in ("deletion", "insertion"):
        assert (curves[f"{kind}_random_low"] <= curves[f"{kind}_random"]).all()
        assert (curves[f"{kind}_random"] <= curves[f"{kind}_random_high"]).all()
        assert curves[f"{kind}_random_low"][5] < curves[f"{kind}_random_high"][5]
    np.testing.assert_array_equal(curves.insertion_random, curves.deletion_random[::-1])
    np.testing.assert_array_equal(curves.insertion_random_low, curves.deletion_random_low[::-1])
    assert result.orders == ORDERS
    assert (again.deletion_random, again.random_low) == (result.deletion_random, result.random_low)
    assert other.deletion_random != result.deletion_random


def test_a_class_alone_is_followed_by_its_probability() -> None:
    with linear() as (subject, weight):
        result = order(subject, contributions(subject, weight), steps=4)
        with torch.no_grad():
            ends = [subject.network(image).softmax(1)[0, 2].item() for image in (subject.x, subject.baseline("blur"))]
    assert result.curves.deletion.iloc[[0, -1]].tolist() == pytest.approx(ends, abs=1e-6)
    assert result.curves.insertion.iloc[[0, -1]].tolist() == pytest.approx(ends[::-1], abs=1e-6)


def test_it_shows_the_network_as_many_images_as_it_says() -> None:
    seen = []
    with linear() as (subject, weight):
        assert subject.at_once > 1  # one pass to know what an image costs
        with_hook = subject.network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        order(subject, contributions(subject, weight), steps=6)
        with_hook.remove()
    assert sum(seen) == passes(6) == 2 + (2 + 5) * 5


def test_equal_cells_are_taken_in_the_order_of_the_rows() -> None:
    with linear(against=1) as (subject, weight):
        coarse = Map(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]).double())
        result = order(subject, coarse, baseline="mean", steps=4)
        pixels = contributions(subject, weight).values.sum(0)
        whole = subject.value(subject.x)
    assert result.curves.deletion[1] == pytest.approx(whole - float(pixels[:4, :4].sum()), abs=1e-4)


# Infidelity


@pytest.mark.parametrize("baseline", ["black", "mean", "white", "blur", "noise"])
def test_what_a_linear_net_adds_up_foretells_everything_from_its_own_baseline(baseline: str) -> None:
    with linear() as (subject, weight):
        exact, settings = contributions(subject, weight, baseline), {"baseline": baseline}
        assert unfaithful(subject, exact, "integrated_gradients", settings) == pytest.approx(0, abs=1e-6)
        assert unfaithful(subject, Map(7 * exact.values), "deep_lift", settings) == pytest.approx(0, abs=1e-6)
        turned = Map(exact.values.flip(2))
        assert unfaithful(subject, turned, "integrated_gradients", settings) > 0.3
        assert unfaithful(subject, Map(-exact.values), "integrated_gradients", settings) == 1
        assert unfaithful(subject, Map(0 * exact.values), "integrated_gradients", settings) == 1


def test_slopes_of_a_linear_net_foretell_everything_and_as_contributions_do_not() -> None:
    with linear() as (subject, weight):
        assert unfaithful(subject, Map.of(weight), "saliency", {}) == pytest.approx(0, abs=1e-6)
        assert unfaithful(subject, Map.of(weight), "input_x_gradient", {}) > 0.1
        assert unfaithful(subject, Map.of(weight * subject.x), "input_x_gradient", {}) == pytest.approx(0, abs=1e-6)


def test_it_is_captums_by_the_mean_square_of_the_falls() -> None:
    falls: list[Tensor] = []
    with posed(tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()) as subject:
        found = METHODS["integrated_gradients"].explain(subject, {"baseline": "black", "steps": 20})
        mine = unfaithful(subject, found, "integrated_gradients", {"baseline": "black"}, samples=30)
        assert mine is not None
        draw = torch.Generator().manual_seed(0)
        masks = torch.stack([_squares(draw, SIDE, SIDE) for _ in range(30)]).float()
        start = subject.baseline("black")

        def hide(inputs: Tensor) -> tuple[Tensor, Tensor]:
            hidden = inputs * (1 - masks) + start * masks
            falls.append(subject.value(subject.x) - subject.network(hidden)[:, subject.target])
            return masks.expand_as(inputs), hidden

        captums = infidelity(
            lambda x: subject.network(x)[:, subject.target],
            hide,
            subject.x,
            found.values[None].float(),
            n_perturb_samples=30,
            normalize=True,
        )
    assert mine == pytest.approx(float(captums / torch.cat(falls).square().mean()), abs=1e-4)
    assert 0.05 < mine < 0.98


def test_where_nothing_is_foretold_or_nothing_moves_it_is_unknown() -> None:
    with linear() as (subject, weight):
        found = contributions(subject, weight)
        assert unfaithful(subject, found, "feature_maps", {}) is None
        for taken, known in (("smoothgrad", True), ("smoothgrad_sq", False), ("vargrad", False)):
            assert (promised("smooth_grad", {"of": "saliency", "taken": taken}) is not None) == known
        nn.init.zeros_(subject.network[1].weight)  # type: ignore[index]
        assert unfaithful(subject, found, "integrated_gradients", {"baseline": "mean"}) is None
    assert promised("smooth_grad", {"of": "input_x_gradient", "taken": "smoothgrad"}) == "contributions"
    assert {promised(method, {}) for method in METHODS if method not in ("smooth_grad", "feature_maps")} == {
        "contributions",
        "slopes",
    }


# Max-sensitivity


def test_the_gradient_of_a_linear_net_does_not_move() -> None:
    with linear() as (subject, _):
        assert sensitivity(subject, "saliency", {}) == 0


def test_input_times_gradient_of_a_linear_net_moves_by_the_weights_times_the_noise() -> None:
    with linear() as (subject, weight):
        found = sensitivity(subject, "input_x_gradient", {}, samples=200)
        norm = float((weight * subject.x).norm())
        # Every number moves by at most 0.02, and by even noise over a root of 3 in the mean square
        assert 1 / np.sqrt(3) < found / (0.02 * float(weight.norm()) / norm) < 1
        assert sensitivity(subject, "input_x_gradient", {}, samples=200) == found


# Weights drawn anew


def test_a_map_that_depends_on_weights_forgets_and_one_that_does_not_stays() -> None:
    with posed(tiny.trained(tiny.resnet(), 10, "layer2", side=32), tiny.dots(32)) as subject:
        found = METHODS["saliency"].explain(subject, {})
        before = {name: value.clone() for name, value in subject.network.state_dict().items()}
        rows = randomised(subject, "saliency", {}, found)
        again = randomised(subject, "saliency", {}, found)
        other = randomised(subject, "saliency", {}, found, seed=5)
        first = METHODS["feature_maps"].explain(subject, {"layer": "layer2", "channel": 0})
        fixed = randomised(subject, "feature_maps", {"layer": "layer2", "channel": 0}, first)
        after = subject.network.state_dict()
    assert rows["part"].tolist() == ["trained", "fc", "layer2", "layer1", "bn1", "conv1"]
    assert rows["rank"][0] == 1
    assert abs(rows["rank"].iloc[-1]) < 0.2
    for row in rows.itertuples():
        expected = spearmanr(rows["map"][0].ravel().__abs__(), np.abs(row.map).ravel()).statistic
        assert row.rank == pytest.approx(expected, abs=1e-12)
    assert rows["rank"].tolist() == again["rank"].tolist() != other["rank"].tolist()
    assert fixed["rank"][1] == pytest.approx(1)  # maps before the classifier do not know of it
    assert fixed["rank"].iloc[-1] < 0.9
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_map_of_the_picture_alone_stays_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_the_picture(subject: Subject, settings: Any) -> Map:
        return Map.of(subject.x)

    others = dict(METHODS) | {"saliency": replace(METHODS["saliency"], explain=of_the_picture)}
    monkeypatch.setattr("explorer.attribution.measures.METHODS", others)
    with posed(tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()) as subject:
        rows = randomised(subject, "saliency", {}, of_the_picture(subject, {}))
    assert rows["rank"].tolist() == [1.0] * 6


def test_a_map_without_a_shape_has_no_rank() -> None:
    with posed(tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()) as subject:
        flat = Map(torch.ones(1, SIDE, SIDE).double())
        assert randomised(subject, "saliency", {}, flat)["rank"].isna().tolist() == [False] + [True] * 5


class Scaled(nn.Module):
    """A weight of its own, without a way to draw it anew."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([size, size]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.mean()


def test_every_weight_is_drawn_anew_in_the_order_of_the_passes() -> None:
    network = nn.ModuleDict(
        {
            "last": nn.Linear(4, 2),
            "first": nn.Conv2d(3, 4, 3),
            "second": nn.Sequential(nn.BatchNorm2d(4), Scaled(0.01), nn.ReLU()),
        }
    )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor) -> Tensor:
            maps = self.inner["second"](self.inner["first"](x))
            return self.inner["last"](maps.mean((2, 3)))

    with posed(tiny.trained(Net(), 2, "inner.second"), tiny.dots(), 0) as subject:
        assert [name for name, _ in _parts(subject.network, subject.x)] == ["inner.first", "inner.second", "inner.last"]
        changed: list[set[str]] = []
        before = {name: value.clone() for name, value in subject.network.named_parameters()}

        def look(moved: Subject, settings: Any) -> Map:
            now = dict(moved.network.named_parameters())
            changed.append({name for name in before if not torch.equal(before[name], now[name])})
            assert not any(each.requires_grad for each in now.values())
            return Map.of(moved.x)

        with pytest.MonkeyPatch.context() as patch:
            others = dict(METHODS) | {"saliency": replace(METHODS["saliency"], explain=look)}
            patch.setattr("explorer.attribution.measures.METHODS", others)
            randomised(subject, "saliency", {}, Map.of(subject.x))
    last, scale = {"inner.last.weight", "inner.last.bias"}, {"inner.second.1.scale"}
    # A batch norm begins with ones and zeros, and so does this one
    assert changed == [last, last | scale, last | scale | {"inner.first.weight", "inner.first.bias"}]


def test_a_part_of_anothers_network_that_is_most_of_it_is_taken_apart() -> None:
    with seeded(0):
        features = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        model = nn.Sequential()
        model.add_module("features", features)
        model.add_module("pool", nn.AdaptiveAvgPool2d(1))
        model.add_module("flat", nn.Flatten())
        model.add_module("classifier", nn.Linear(4, 2))
    names = [name for name, _ in _parts(model, torch.zeros(1, 3, 4, 4))]
    assert names == ["features.0", "features.2", "features.3", "classifier"]


# Maps enlarged


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (224, 223), (2, 3)])
def test_enlarging_keeps_the_sum_of_every_cell(size: tuple[int, int]) -> None:
    values = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    large = enlarged(Map(values), size)
    assert tuple(large.shape) == (3, *size)
    rows, columns = (torch.arange(pixels) * cells // pixels for cells, pixels in zip((2, 3), size, strict=True))
    for row in range(2):
        for column in range(3):
            cell = large[:, rows == row][:, :, columns == column]
            torch.testing.assert_close(cell.sum((1, 2)), values[:, row, column])
            torch.testing.assert_close(cell.amax((1, 2)), cell.amin((1, 2)))


# What a notebook calls


def found_on(trained: Trained, picture: Image.Image, method: str = "integrated_gradients", **more: Any) -> Attribution:
    return attribute(trained, picture, method, **more)


def test_a_map_is_measured_with_its_own_class_comparison_and_settings() -> None:
    trained, picture = tiny.trained(tiny.linear(), 4), tiny.dots()
    found = found_on(trained, picture, target=3, against=0, baseline="white", steps=2)
    measured = assess(trained, picture, found)
    assert measured.delta == found.delta
    assert measured.infidelity == pytest.approx(0, abs=1e-6)
    with posed(trained, picture, 3, 0) as subject:
        map_ = Map(torch.from_numpy(found.channels).double())
        assert measured.order.curves.equals(order(subject, map_).curves)
        settings = {"baseline": "white", "steps": 2}
        assert measured.max_sensitivity == sensitivity(subject, "integrated_gradients", settings)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_measured_and_drawn_anew(method: str) -> None:
    trained, picture = tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()
    found = found_on(trained, picture, method)
    told: list[float] = []
    measured = assess(trained, picture, found, report=lambda fraction, text: told.append(fraction))
    assert told == sorted(told)
    assert told[0] == 0
    assert 0.7 < told[-1] <= 1
    assert (measured.infidelity is None) == (method == "feature_maps")
    assert measured.max_sensitivity >= 0
    told.clear()
    rows = draw_anew(trained, picture, found, report=lambda fraction, text: told.append(fraction))
    assert told == sorted(told)
    assert len(rows) == 6
    assert rows["map"].iloc[0].shape == found.map.shape


def test_a_map_of_another_net_or_picture_is_refused() -> None:
    trained, picture = tiny.trained(tiny.linear(), 4), tiny.dots()
    found = found_on(trained, picture, steps=2)
    with pytest.raises(Refusal, match="image and box must be those of the map"):
        assess(trained, tiny.dots(seed=1), found)
    with pytest.raises(Refusal, match=r"checkpoint \(='tiny'\) must be that of the map, which is of 'other'"):
        draw_anew(trained, picture, replace(found, checkpoint="other"))


@pytest.mark.parametrize("measure", [assess, draw_anew])
@pytest.mark.parametrize("reports_before", [0, 3, 9])
def test_measuring_stops_when_it_is_told_and_leaves_the_net(measure: Any, reports_before: int) -> None:
    model = tiny.resnet()
    trained, picture = tiny.trained(model, 10, "layer2"), tiny.dots()
    found = found_on(trained, picture, "deep_lift")
    before = [sorted(vars(module)) for module in model.modules()]
    first = assess(trained, picture, found)
    told = 0

    def stop(fraction: float, text: str) -> None:
        nonlocal told
        told += 1
        if told > reports_before:
            raise Stopped

    with pytest.raises(Stopped):
        measure(trained, picture, found, report=stop)
    assert told == reports_before + 1
    assert [sorted(vars(module)) for module in model.modules()] == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert assess(trained, picture, found).order.curves.equals(first.order.curves)
