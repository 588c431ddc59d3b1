"""Variants of a picture against the paper's description, and a trained net's answers to them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from skimage import data
from strategies import FEW
from torchvision.transforms import v2

from explorer.attribution import predict
from explorer.errors import Refusal
from explorer.jobs import Cancelled, Progress
from explorer.models.checkpoints import REGISTRY
from explorer.training.augmentation import (
    EIGENVALUES,
    EIGENVECTORS,
    OFF,
    AugmentationError,
    Recipe,
    answers,
    classify,
    colour_shift,
    ten_crops,
    variants,
)

NET = "efficientnet_lite0"
CUP, CAT = Image.fromarray(data.coffee()), Image.fromarray(data.chelsea())


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def coordinates(width: int = 256, height: int = 256) -> Image.Image:
    """Red is the column, green the row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns, rows, 0 * rows], -1).astype(np.uint8))


def test_off_is_the_crop_that_the_net_is_tested_on() -> None:
    for variant in variants(CUP, OFF, 3, seed=5):
        assert variant.image.tobytes() == REGISTRY[NET].preprocessing.crop_of(CUP).tobytes()
        assert variant.window == (16, 16, 224, 224)
        assert not variant.flipped
        assert variant.shift == (0, 0, 0)
        assert variant.factors == (1, 1, 1)


def test_a_random_crop_is_where_it_says_mirrored_or_not() -> None:
    made = variants(coordinates(), Recipe("random", flip=True, colour=0.0), 24, seed=0)
    assert {variant.flipped for variant in made} == {True, False}
    for variant in made:
        left, top, width, height = variant.window
        assert (width, height) == (224, 224)
        upright = ImageOps.mirror(variant.image) if variant.flipped else variant.image
        assert pixels(upright)[0, 0].tolist() == [left, top, 0]
        assert pixels(upright)[223, 223].tolist() == [left + 223, top + 223, 0]


def test_every_place_of_the_paper_comes_up_and_half_are_mirrored() -> None:
    made = [variant for seed in range(60) for variant in variants(coordinates(), Recipe(colour=0.0), 24, seed)]
    assert {variant.window[0] for variant in made} == {variant.window[1] for variant in made} == set(range(33))
    share = sum(variant.flipped for variant in made) / len(made)
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(len(made))


def test_crops_are_counted_as_they_come_up() -> None:
    assert Recipe("random", flip=True).distinct_crops == len(
        {(x, y, m) for x in range(33) for y in range(33) for m in "ab"}
    )
    assert Recipe("random", flip=False).distinct_crops == 33**2
    assert Recipe("centre", flip=True).distinct_crops == 2
    assert OFF.distinct_crops == 1
    assert Recipe("resized").distinct_crops is None


@pytest.mark.parametrize("size", [(256, 256), (400, 256), (256, 1000), (5120, 256)])
def test_a_random_size_is_within_what_googlenet_used(size: tuple[int, int]) -> None:
    width, height = size
    picture = Image.new("RGB", size)
    made = [v for seed in range(8) for v in variants(picture, Recipe("resized", colour=0.0), 24, seed)]
    areas = []
    for variant in made:
        left, top, w, h = variant.window
        assert 0 <= left <= width - w
        assert 0 <= top <= height - h
        assert 3 / 4 - 0.02 <= w / h <= 4 / 3 + 0.02
        areas.append(w * h / (width * height))
        assert variant.image.size == (224, 224)
    if size == (256, 256):
        assert min(areas) < 0.15
        assert max(areas) > 0.85
        assert min(areas) > 0.08 - 0.01


def test_random_sizes_are_spread_as_torchvisions() -> None:
    ours = [v.window for seed in range(20) for v in variants(Image.new("RGB", (400, 256)), Recipe("resized"), 24, seed)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draw = v2.RandomResizedCrop(224)
        theirs = [draw.make_params([torch.empty(3, 256, 400)]) for _ in range(len(ours))]
    for own, key in zip(zip(*ours, strict=True), ("left", "top", "width", "height"), strict=True):
        other = np.array([params[key] for params in theirs], float)
        error = math.hypot(np.std(own), other.std()) / math.sqrt(len(ours))
        assert abs(np.mean(own) - other.mean()) < 4 * error, key
        assert np.std(own) == pytest.approx(other.std(), rel=0.15), key


def test_colour_adds_one_number_to_each_channel_and_stops_at_black_and_white() -> None:
    plain = variants(CUP, Recipe(colour=0.0), 6, seed=1)
    for before, after in zip(plain, variants(CUP, Recipe(colour=0.5), 6, seed=1), strict=True):
        assert before.window == after.window, "what is switched on changes nothing else"
        expected = np.clip(np.rint(pixels(before.image) + np.array(after.shift)), 0, 255)
        assert np.array_equal(pixels(after.image), expected)
        assert any(after.shift)


def test_the_shift_is_the_papers_sum() -> None:
    alphas = (0.3, -0.2, 0.1)
    expected = [
        255 * sum(vector * alpha * value for vector, alpha, value in zip(row, alphas, EIGENVALUES, strict=True))
        for row in EIGENVECTORS
    ]
    assert colour_shift(torch.tensor(alphas)) == pytest.approx(expected, rel=1e-6)


def test_the_components_are_at_right_angles_and_the_first_is_brightness() -> None:
    """As they come rounded to four digits."""
    vectors = np.array(EIGENVECTORS)
    assert vectors.T @ vectors == pytest.approx(np.eye(3), abs=2e-4)
    assert vectors[:, 0] == pytest.approx([-(3**-0.5)] * 3, abs=0.01)


def test_alphas_are_as_large_as_asked() -> None:
    shifts = np.array([v.shift for seed in range(40) for v in variants(CUP, Recipe("centre", colour=0.1), 24, seed)])
    alphas = shifts / 255 @ np.linalg.inv(np.array(EIGENVECTORS)).T / np.array(EIGENVALUES)
    assert alphas.std(0) == pytest.approx([0.1] * 3, rel=0.1)
    assert alphas.mean(0) == pytest.approx([0] * 3, abs=0.015)


def test_jitter_multiplies_brightness_contrast_and_saturation() -> None:
    made = variants(CUP, Recipe("centre", flip=False, colour=0.0, jitter=0.4), 24, seed=0)
    factors = np.array([variant.factors for variant in made])
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert (factors.max(0) - factors.min(0) > 0.4).all()
    mirrored = [v.flipped for seed in range(9) for v in variants(CUP, Recipe("centre", jitter=0.4), 24, seed)]
    bright = np.array([v.factors[0] for s in range(9) for v in variants(CUP, Recipe("centre", jitter=0.4), 24, s)])
    assert np.corrcoef(mirrored, bright)[0, 1] == pytest.approx(0, abs=0.35), "each has its own draw"
    grey = Image.new("RGB", (256, 256), (100, 100, 100))  # contrast and saturation leave it as it is
    for variant in variants(grey, Recipe("centre", flip=False, colour=0.0, jitter=0.4), 6, seed=3):
        assert pixels(variant.image)[0, 0] == pytest.approx([100 * variant.factors[0]] * 3, abs=1.01)


@FEW
@given(
    st.builds(
        Recipe,
        st.sampled_from(("centre", "random", "resized")),
        st.booleans(),
        st.floats(0, 2),
        st.floats(0, 1),
    ),
    st.integers(0, 999),
    st.tuples(st.integers(1, 300), st.integers(20, 300)).filter(lambda size: max(size) <= 20 * min(size)),
)
def test_any_recipe_gives_pictures_of_224_and_the_same_ones_again(
    recipe: Recipe, seed: int, size: tuple[int, int]
) -> None:
    picture = Image.new("RGB", size, (10, 200, 90))
    before = torch.random.get_rng_state()
    made, again = variants(picture, recipe, 2, seed), variants(picture, recipe, 2, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [v.image.size for v in made] == [(224, 224)] * 2
    assert [(v.image.tobytes(), v.window, v.shift, v.factors) for v in made] == [
        (v.image.tobytes(), v.window, v.shift, v.factors) for v in again
    ]


def test_more_variants_begin_with_the_same() -> None:
    few, many = variants(CUP, Recipe(), 3, seed=2), variants(CUP, Recipe(), 6, seed=2)
    assert [v.window for v in many[:3]] == [v.window for v in few]
    assert len({v.window for v in many}) == 6


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"crop": "left"}, r"crop \(='left'\) must be one of centre, random, resized"),
        ({"colour": -1.0}, r"colour \(=-1.0\) must be 0 or more"),
        ({"colour": math.inf}, r"colour \(=inf\)"),
        ({"jitter": 1.5}, r"jitter \(=1.5\) must be from 0 to 1"),
    ],
)
def test_recipes_that_cannot_be_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(AugmentationError, match=words):
        Recipe(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 25])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(AugmentationError, match=rf"count \(={count}\) must be from 1 to 24"):
        variants(CUP, Recipe(), count, 0)


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images() -> None:
    crops = ten_crops(coordinates())
    assert [pixels(crop)[0, 0, :2].tolist() for crop in crops[:5]] == [[0, 0], [32, 0], [0, 32], [32, 32], [16, 16]]
    for upright, mirrored in zip((1, 0, 3, 2, 4), crops[5:], strict=True):  # left and right change places
        assert np.array_equal(pixels(ImageOps.mirror(crops[upright])), pixels(mirrored))


def test_the_centre_crop_gets_the_answer_of_the_attribution_page() -> None:
    crop = variants(CAT, OFF, 1, 0)[0].image
    theirs = predict(NET, CAT)
    (ours,) = classify(NET, [crop])
    assert ours.sum() == pytest.approx(1)
    assert ours[theirs.class_index.tolist()].numpy() == pytest.approx(theirs.probability.to_numpy(), abs=1e-6)


def test_answers_are_those_of_each_picture_by_itself() -> None:
    made = variants(CAT, Recipe("resized", colour=1.0, jitter=0.5), 2, seed=1)
    progress = Progress()
    found = answers(NET, CAT, made, progress.report)
    assert progress.fraction == pytest.approx(11 / 12)
    names = REGISTRY[NET].classes
    probabilities = classify(NET, [*ten_crops(CAT), *(variant.image for variant in made)])
    centre, ten = probabilities[4], probabilities[:10].mean(0)
    reference = int(centre.argmax())
    assert (found.reference, found.centre) == (names[reference], float(centre.max()))
    assert (found.ten_name, found.ten_probability) == (names[int(ten.argmax())], float(ten.max()))
    assert found.ten_reference == float(ten[reference])
    assert found.table.variant.tolist() == [1, 2]
    for row, variant, own in zip(found.table.itertuples(), made, probabilities[10:], strict=True):
        assert (row.left, row.top, row.width, row.height) == variant.window
        assert (row.red, row.green, row.blue) == variant.shift
        assert (row.brightness, row.contrast, row.saturation) == variant.factors
        assert row.flipped == variant.flipped
        assert row.class_name == names[int(own.argmax())]
        assert (row.probability, row.reference) == (float(own.max()), float(own[reference]))
    assert found.agreeing == sum(names[int(own.argmax())] == found.reference for own in probabilities[10:])
    assert found.spread == pytest.approx(abs(float(probabilities[10, reference] - probabilities[11, reference])))


def test_off_all_variants_agree_and_nothing_is_spread() -> None:
    found = answers(NET, CUP, variants(CUP, OFF, 2, 0))
    assert found.reference == "espresso"
    assert found.agreeing == 2
    assert found.spread == 0
    assert found.table.reference.tolist() == [found.centre] * 2


def test_a_classification_stops_when_asked_and_an_unknown_net_is_refused() -> None:
    progress = Progress()
    progress._cancel_asked = True
    with pytest.raises(Cancelled):
        classify(NET, [CUP], progress.report)
    with pytest.raises(Refusal, match="no trained weights named 'nobody'"):
        classify("nobody", [CUP])
