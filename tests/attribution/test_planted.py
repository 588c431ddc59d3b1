"""Planted evidence: the pictures, the net that comes with them, and how maps are judged whose place is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data

from explorer.attribution import Attribution, planted
from explorer.attribution.methods import METHODS
from explorer.attribution.planted import (
    CLASSES,
    FILE,
    METHODS_SHOWN,
    SIDE,
    SIGN,
    Pointing,
    Trained,
    likeness,
    pictures,
    pointing,
    summary,
    swapped,
)
from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.downloads import WeightsUnavailable
from explorer.models.preprocessing import Box


@pytest.fixture(scope="module")
def net() -> Trained:
    return planted.trained()


def test_pictures_differ_from_those_without_a_sign_in_that_sign_alone() -> None:
    drawn = pictures(20, 3, signs=2)
    for sign in range(2):
        for index in range(20):
            changed = (drawn.images[index] != drawn.without[sign, index]).any(0)
            top, left = drawn.corners[index, sign].tolist()
            assert changed[top : top + SIGN, left : left + SIGN].float().mean() > 0.9
            changed[top : top + SIGN, left : left + SIGN] = False
            assert not changed.any()


def test_the_signs_are_those_that_are_said_and_lie_apart() -> None:
    drawn = pictures(50, 1)
    many = drawn.there.sum(1)
    assert set(many.tolist()) == {0, 1, 2}
    for number, there, labels, corners in zip(many, drawn.there, drawn.labels, drawn.corners, strict=True):
        assert set(there.nonzero().flatten().tolist()) == set(labels[: int(number)].tolist())
        assert int((corners[0] - corners[1]).abs().max()) >= SIGN
    assert (drawn.images.min() >= 0) & (drawn.images.max() <= 1)
    none = many == 0
    assert torch.equal(drawn.images[none], drawn.without[0][none])
    one = many == 1
    assert torch.equal(drawn.images[one], drawn.without[1][one])
    assert not torch.equal(drawn.images[one], drawn.without[0][one])


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    assert torch.equal(pictures(3, 5).images, pictures(3, 5).images)
    assert not torch.equal(pictures(3, 5).images, pictures(3, 6).images)


def test_the_rectangles_edges_are_stronger_than_those_of_signs() -> None:
    drawn = pictures(40, 2, signs=1)
    edges = (drawn.images.diff(dim=3).abs().amax(1), drawn.without[0].diff(dim=3).abs().amax(1))
    inside = []
    for picture, (top, left) in zip(edges[0], drawn.corners[:, 0].tolist(), strict=True):
        inside.append(float(picture[top : top + SIGN, left : left + SIGN - 1].max()))
    assert max(inside) <= 0.6 + 1e-6
    assert np.median(edges[1].flatten(1).amax(1)) > np.median(inside)


def test_the_net_knows_the_signs_and_goes_by_its_own_alone(net: Trained) -> None:
    found = pointing(net, 20, 100, methods=())
    assert found.accuracy > 0.99
    assert found.pictures >= 18
    assert found.own > 10
    assert found.other < 0.15 * found.own


def test_a_few_steps_of_its_recipe_lower_the_loss() -> None:
    drawn = pictures(64, 9)

    def loss(network: torch.nn.Module) -> float:
        with torch.no_grad():
            x = planted.trained().checkpoint.preprocessing.normalise(drawn.images)
            return float(torch.nn.functional.binary_cross_entropy_with_logits(network(x), drawn.there))

    reported: list[float] = []
    network = planted.taught(0, 6, lambda fraction, text: reported.append(fraction))
    assert reported == [step / 6 for step in range(6)]
    assert not network.training
    assert loss(network) < 0.68  # a coin's is log 2 = 0.69


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_without_its_file_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / FILE.name
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(planted, "FILE", path)
    planted.trained.cache_clear()
    with pytest.raises(WeightsUnavailable, match=r"planted\.safetensors is missing or damaged"):
        planted.trained()
    planted.trained.cache_clear()


# Judging maps


def made(values: np.ndarray, method: str = "grad_cam", label: int = 0) -> Attribution:
    return Attribution(
        checkpoint="planted",
        method=method,
        target=label,
        target_name=CLASSES[label],
        against=None,
        against_name=None,
        channels=values.astype(np.float32),
        picture=Image.new("RGB", (SIDE, SIDE)),
        score=0.0,
        expected_sum=None,
        expected_sum_is=None,
        sum=0.0,
        device="CPU",
        seconds=0.0,
    )


def squares(corners: torch.Tensor, weights: tuple[float, float], rest: float = 0.0) -> np.ndarray:
    values = np.full((1, SIDE, SIDE), rest)
    for (top, left), weight in zip(corners.tolist(), weights, strict=True):
        values[0, top : top + SIGN, left : left + SIGN] = weight
    return values


def judged(monkeypatch: pytest.MonkeyPatch, net: Trained, weights: tuple[float, float]) -> pd.Series:
    """The row of a method that draws squares of these weights: of the sign that is asked for, and of the other."""
    drawn = pictures(6, 7, signs=2)
    images = [planted.tv.to_pil_image(image) for image in drawn.images]

    def attribute(net: Trained, image: Image.Image, method: str, target: int, **settings: object) -> Attribution:
        index = next(place for place, each in enumerate(images) if each.tobytes() == image.tobytes())
        sign = drawn.labels[index].tolist().index(target)
        own, other = weights
        return made(squares(drawn.corners[index], (own, other) if sign == 0 else (other, own)), method, target)

    monkeypatch.setattr(planted, "attribute", attribute)
    return pointing(net, 6, 7, ("grad_cam",)).table.iloc[0]


def test_a_map_of_the_sign_alone_points_at_it(monkeypatch: pytest.MonkeyPatch, net: Trained) -> None:
    row = judged(monkeypatch, net, (1.0, 0.0))
    assert (row.pointed, row.other) == (1, 0)
    assert row.inside == pytest.approx(1)
    assert row.beside == pytest.approx(0)
    # Two squares of 64 of 1024 places: the covariance is -(1/16)^2, the variance 1/16 - (1/16)^2
    assert row.same == pytest.approx(-((1 / 16) ** 2) / (1 / 16 - (1 / 16) ** 2))


def test_a_map_of_the_other_sign_points_there(monkeypatch: pytest.MonkeyPatch, net: Trained) -> None:
    row = judged(monkeypatch, net, (1.0, 3.0))
    assert (row.pointed, row.other) == (0, 1)
    assert row.inside == pytest.approx(1 / 4)
    assert row.beside == pytest.approx(3 / 4)


def test_maps_that_do_not_depend_on_the_class_are_the_same(monkeypatch: pytest.MonkeyPatch, net: Trained) -> None:
    row = judged(monkeypatch, net, (2.0, 2.0))
    assert row.same == pytest.approx(1)
    assert row.pointed + row.other == pytest.approx(1)


def test_what_speaks_against_a_class_does_not_point(monkeypatch: pytest.MonkeyPatch, net: Trained) -> None:
    row = judged(monkeypatch, net, (1.0, -5.0))
    assert (row.pointed, row.other) == (1, 0)
    assert row.inside == pytest.approx(1)


def test_an_empty_map_points_nowhere(monkeypatch: pytest.MonkeyPatch, net: Trained) -> None:
    row = judged(monkeypatch, net, (0.0, 0.0))
    assert (row.pointed, row.other, row.inside, row.beside) == (0, 0, 0, 0)
    assert np.isnan(row.same)


def test_chance_is_a_window_anywhere(net: Trained) -> None:
    found = pointing(net, 10, 7, methods=())
    row = found.table.iloc[-1]
    assert row["name"] == "chance"
    drawn = pictures(10, 7, signs=2)
    hits = []
    for top, left in drawn.corners.flatten(0, 1).tolist():
        middles = [range(max(0, edge - SIGN // 2), min(SIDE - SIGN, edge + SIGN // 2) + 1) for edge in (top, left)]
        hits.append(len(middles[0]) * len(middles[1]) / (SIDE - SIGN + 1) ** 2)
    assert found.pictures == 10
    assert row.pointed == pytest.approx(np.mean(hits), abs=1e-6)
    assert row.inside == 64 / 1024


# In words


def pointed(pictures: int, **shares: float) -> Pointing:
    """By methods that have no more than a share and a likeness: of a tenth more each."""
    rows = [
        {"name": name, "method": METHODS[name].title, "pointed": share, "same": 0.1 * number}
        for number, (name, share) in enumerate(shares.items())
    ]
    table = pd.DataFrame([*rows, {"name": "chance", "method": "Chance", "pointed": 0.125}])
    return Pointing(1.0, 1.0, 0.0, pictures, table, [], [], np.zeros((0, 2, 2), np.int64), {})


def test_the_sentences_hold_the_measured_numbers() -> None:
    found = summary(pointed(20, saliency=0.95, deconvolution=0.15, grad_cam=1.0, occlusion=1.0))
    assert found == [
        "The sign that was asked for was pointed at in 100% of 40 questions by Grad-CAM and Occlusion; in 95% by "
        "Saliency; in 15% by Deconvolution; in 12% by a window put anywhere.",
        "No more often than chance can explain (binomial test, one-sided, level 5%): Deconvolution.",
        "With Occlusion the maps for the two signs of a picture correlate at 0.30 on average, the most; with Saliency "
        "at 0.00, the least.",
    ]


@pytest.mark.parametrize(("hits", "explained"), [(1, True), (2, True), (3, True), (4, False), (8, False)])
def test_chance_explains_hits_that_one_in_twenty_trials_of_it_would_have(hits: int, explained: bool) -> None:
    # Of 8 questions at 1/8 each; 3 hits and more come by chance in 1 - P(0) - P(1) - P(2) = 0.067 of the trials
    odds = [math.comb(8, k) * 7 ** (8 - k) / 8**8 for k in range(9)]
    assert (sum(odds[hits:]) > 0.05) == explained
    said = summary(pointed(4, saliency=hits / 8))
    assert any(sentence.startswith("No more often than chance") for sentence in said) == explained


def test_fewer_hits_than_chance_would_have_are_no_more() -> None:
    assert summary(pointed(40, saliency=0.0))[1].endswith("level 5%): Saliency.")


def test_one_method_is_neither_the_most_nor_the_least_and_none_says_nothing() -> None:
    table = pd.DataFrame({"method": ["Saliency", "Grad-CAM"], "same": [-0.004, float("nan")]})
    assert likeness(table, "the maps") == ["With Saliency the maps correlate at 0.00 on average."]
    assert likeness(table[1:], "the maps") == []
    assert likeness(table[["method"]], "the maps") == []
    assert len(summary(pointed(3))) == 1


def test_a_net_that_sees_no_sign_is_a_sentence() -> None:
    with pytest.raises(Refusal, match=r"count \(=3\)"):
        pointing(planted.lent(planted.taught(0, 1)), 3, methods=())


# What comes out


def test_what_the_page_says_follows(net: Trained) -> None:
    found = pointing(net, 6)
    table = found.table.set_index("name")
    assert list(table.index) == [*METHODS_SHOWN, "chance"]
    for method in ("grad_cam", "integrated_gradients", "deep_lift", "occlusion", "guided_grad_cam"):
        assert table.pointed[method] > 0.9, method
    assert table.pointed["deconvolution"] < 0.3
    assert summary(found)[1].endswith("): Deconvolution.")
    assert summary(found)[2].startswith("With Guided Backpropagation the maps for the two signs of a picture correlate")
    others = table.same.drop(["guided_backprop", "chance"])
    assert table.same["guided_backprop"] > others.max() + 0.1
    assert table.beside["guided_backprop"] > 1.5 * table.beside.drop(["guided_backprop", "chance"]).max()
    assert [len(maps) for maps in found.maps.values()] == [4] * len(METHODS_SHOWN)
    assert len(found.shown) == len(found.labels) == len(found.corners) == 4


def test_progress_is_reported_and_stops_it(net: Trained) -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    seen: list[float] = []

    def report(fraction: float, text: str) -> None:
        seen.append(fraction)
        if len(seen) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        pointing(net, 4, methods=("saliency", "grad_cam"), report=report)
    assert seen == [0, 1 / 8, 2 / 8]


def test_the_warnings_figures_of_four_photos_come_out_again() -> None:
    net, methods = checkpoints.load("efficientnet_lite0"), ("grad_cam", "guided_backprop", "deconvolution")
    tables = [
        swapped(net, Image.fromarray(photo()), methods=methods).set_index("name")
        for photo in (data.coffee, data.chelsea, data.rocket, data.astronaut)
    ]
    same = pd.concat([table["same"] for table in tables], axis=1)
    assert (same.loc[["guided_backprop", "deconvolution"]] > 0.95).all(axis=None)
    assert same.loc["grad_cam"].max() < 0.6
    for method in ("guided_backprop", "deconvolution"):
        assert f"correlated at {same.loc[method].mean():.2f} over four photos" in (METHODS[method].warning or "")
    assert f"where Grad-CAM had {same.loc['grad_cam'].mean():.2f}," in (METHODS["guided_backprop"].warning or "")
    assert all(table["problem"].isna().all() and (table["least"] <= table["same"]).all() for table in tables)


def test_swapped_takes_the_classes_of_the_ranking(net: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    picture = planted.tv.to_pil_image(pictures(1, 4, signs=2).images[0])
    ranked = planted.predict(net, picture).class_index.tolist()

    def attribute(net: Trained, image: Image.Image, method: str, target: int, **_: object) -> Attribution:
        asked.append(target)
        values = np.zeros((1, 1, 2))
        values[0, 0, len(asked) % 2] = 1  # in turn, so that the second is the opposite of the first
        return made(values, method, target)

    monkeypatch.setattr(planted, "attribute", attribute)
    table = swapped(net, picture, methods=("grad_cam",))
    assert asked[0] == ranked[0]
    assert asked[1:] == sorted({ranked[1], ranked[2]})  # of four classes: the 2nd, a tenth down, the middle
    assert table.same.tolist() == [pytest.approx((-1 + 1) / 2)]
    assert table.least.tolist() == [pytest.approx(-1)]


def test_a_method_that_is_left_out_says_why(net: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "problem", lambda method, net, report: "Grad-CAM is left out.")
    table = swapped(net, Image.new("RGB", (32, 32)), methods=("grad_cam",))
    assert table.loc[0, "problem"] == "Grad-CAM is left out."
    assert table["same"].isna().all()


def test_a_box_beyond_the_picture_is_refused(net: Trained) -> None:
    with pytest.raises(Refusal, match="box"):
        swapped(net, Image.new("RGB", (32, 32)), Box(0.5, 0.5, 1.0))
