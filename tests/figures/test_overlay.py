"""Maps as pictures: known colours at known numbers, and nothing else but colours changes."""

import gc
import io
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb

from explorer.attribution import Attribution
from explorer.figures import overlay as module
from explorer.figures.overlay import COLOURS, Colours, Look, bar, end_of, numbers, overlay, painted, png, sheet, usual

ORANGE, BLUE = (213, 94, 0), (0, 114, 178)  # Okabe and Ito 2008
GREY = 100


def explained(values: Any, method: str = "integrated_gradients", picture: Image.Image | None = None) -> Attribution:
    """A map of (channels, rows, columns) over an even grey, unless told."""
    channels = np.asarray(values, dtype=np.float32)
    return Attribution(
        checkpoint="tiny",
        method=method,
        target=0,
        target_name="tench",
        against=None,
        against_name=None,
        channels=channels,
        picture=picture or Image.new("RGB", channels.shape[:0:-1], (GREY, GREY, GREY)),
        score=1.0,
        expected_sum=None,
        expected_sum_is=None,
        sum=float(channels.sum()),
        device="CPU",
        seconds=0.1,
    )


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image, dtype=np.int64)


def mixed(colour: Any, opacity: float, below: float = GREY) -> list[int]:
    return [round(opacity * part + (1 - opacity) * below) for part in colour]


# Numbers


def test_channels_are_added_up_chosen_or_taken_by_their_sizes() -> None:
    signed = explained([[[1.0]], [[-4.0]], [[2.0]]])
    assert numbers(signed, Look()).tolist() == [[-1]]
    assert numbers(signed, Look(absolute=True)).tolist() == [[1]]  # of what all channels give together
    assert numbers(signed, Look(channel=1)).tolist() == [[-4]]
    assert numbers(signed, Look(channel=1, absolute=True)).tolist() == [[4]]
    unsigned = explained([[[1.0]], [[-4.0]], [[2.0]]], "saliency")
    assert numbers(unsigned, Look(absolute=True)).tolist() == [[4]]  # Simonyan et al. 2013, section 3.1
    assert numbers(unsigned, Look(channel=2, absolute=True)).tolist() == [[2]]


def test_a_map_without_channels_is_whole_whatever_channel_is_chosen() -> None:
    for channel in range(3):
        assert numbers(explained([[[1.0, -2.0]]]), Look(channel=channel)).tolist() == [[1, -2]]


def test_the_usual_look_is_that_of_the_method() -> None:
    assert usual(explained([[[1.0]]])) == Look()
    assert usual(explained([[[1.0]]], "saliency")) == Look(absolute=True)


@pytest.fixture
def quarters() -> Image.Image:
    """Each quarter another colour, 32 x 32: four superpixels."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    return Image.fromarray(corners.repeat(16, axis=0).repeat(16, axis=1))


def test_a_superpixel_has_the_mean_of_its_numbers_everywhere(quarters: Image.Image) -> None:
    values = np.random.default_rng(0).normal(size=(1, 32, 32))
    found = numbers(explained(values, picture=quarters), Look(parts=4))
    kept = values.astype(np.float32).astype(float)[0]
    for rows in (slice(16), slice(16, 32)):
        for columns in (slice(16), slice(16, 32)):
            np.testing.assert_allclose(found[rows, columns], kept[rows, columns].mean(), rtol=1e-4)


def test_superpixels_of_a_coarse_map_have_the_means_of_its_cells(quarters: Image.Image) -> None:
    record = explained([[[1.0, 3.0, 5.0, -5.0], [7.0, 7.0, 0.0, -2.0]]], picture=quarters)
    found = numbers(record, Look(parts=4))
    assert found[::16, ::16].tolist() == [[2, 0], [7, -1]]
    sizes = numbers(record, Look(parts=4, absolute=True))
    assert sizes[::16, ::16].tolist() == [[2, 5], [7, 1]]  # the means of what would else be drawn


def test_superpixels_are_found_once_a_picture_and_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = module.segments

    def counted(*args: Any) -> Any:
        asked.append(args[2])
        return plain(*args)

    monkeypatch.setattr(module, "segments", counted)
    gc.collect()
    kept = len(module._PARTS)
    record = explained(np.ones((1, 16, 16)))
    for count in (4, 4, 9, 4):
        numbers(record, Look(parts=count))
    assert asked == [4, 9]
    assert len(module._PARTS) == kept + 1
    del record
    gc.collect()
    assert len(module._PARTS) == kept  # a person's picture leaves nothing behind


# Colours


@pytest.mark.parametrize(
    ("value", "colour", "opacity"),
    [
        (1.0, ORANGE, 1.0),
        (-1.0, BLUE, 1.0),
        (0.0, (0, 0, 0), 0.0),
        (0.5, (230, 159, 0), 0.65),
        (-0.5, (86, 180, 233), 0.65),
        (7.0, ORANGE, 1.0),  # beyond the end
        (-7.0, BLUE, 1.0),
    ],
)
@pytest.mark.parametrize("strength", [1.0, 0.8, 0.0])
def test_signed_numbers_have_their_colours(value: float, colour: Any, opacity: float, strength: float) -> None:
    found = overlay(explained([[[value]]]), Look(strength=strength), end=1.0)
    assert pixels(found)[0, 0].tolist() == mixed(colour, opacity * strength)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_sizes_have_the_colours_of_what_is_above_0(value: float) -> None:
    drawn = overlay(explained([[[value, 0.0, value / 2]]]), Look(strength=1.0, absolute=True), end=1.0)
    assert pixels(drawn)[0].tolist() == [[*ORANGE], [GREY] * 3, mixed((230, 159, 0), 0.65)]


@pytest.mark.parametrize("colours", ["Viridis", "Inferno"])
def test_scales_of_one_side_are_those_of_plotly_from_end_to_end(colours: Colours) -> None:
    places = [0.0, 0.1, 0.4, 0.5, 1.0]
    expected = [unlabel_rgb(colour) for colour in sample_colorscale(colours, places)]
    sizes = overlay(explained([[places]]), Look(strength=1.0, absolute=True, colours=colours), end=1.0)
    np.testing.assert_allclose(pixels(sizes)[0], expected, atol=1)
    signed = overlay(explained([[[2 * place - 1 for place in places]]]), Look(strength=1.0, colours=colours), end=1.0)
    np.testing.assert_allclose(pixels(signed)[0], expected, atol=1)


def test_of_greys_white_is_the_largest() -> None:
    drawn = overlay(explained([[[0.0, 1.0]]]), Look(strength=1.0, absolute=True, colours="Greys"))
    assert pixels(drawn)[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_purple_and_green_part_in_a_middle_that_lets_the_picture_through() -> None:
    drawn = overlay(explained([[[-1.0, 0.0, 1.0]]]), Look(strength=1.0, colours="PRGn"))
    # ColorBrewer 2, PRGn of 11 classes, https://colorbrewer2.org
    assert pixels(drawn)[0].tolist() == [[64, 0, 75], [GREY] * 3, [0, 68, 27]]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("colours", get_args(Colours))
def test_every_scale_is_named_and_goes_from_0_to_1(colours: Colours, absolute: bool) -> None:
    assert colours in COLOURS
    places = [place for place, _ in module.scale(Look(absolute=absolute, colours=colours))]
    assert places[0] == 0
    assert places[-1] == 1
    assert places == sorted(places)


def test_at_strength_0_the_picture_is_seen_in_grey() -> None:
    field = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    record = explained(np.ones((1, 5, 4)), picture=Image.fromarray(field))
    expected = field @ (0.299, 0.587, 0.114)  # ITU-R 601-2 luma, as Pillow's manual says
    for channel in range(3):
        np.testing.assert_allclose(pixels(overlay(record, Look(strength=0.0)))[..., channel], expected, atol=1)


# Scales


def test_several_maps_on_one_scale() -> None:
    strong, weak = explained([[[4.0, 0.0]]]), explained([[[2.0, 0.0]]])
    look = Look(strength=1.0, percentile=100.0)
    assert pixels(overlay(weak, look))[0, 0].tolist() == [*ORANGE]
    shared = overlay(weak, look, end_of(numbers(strong, look), look.percentile))
    assert pixels(shared)[0, 0].tolist() == mixed((230, 159, 0), 0.65)


def test_the_scale_ends_at_the_percentile_of_the_sizes() -> None:
    values = np.arange(-100.0, 1.0)[None]  # sizes 0 to 100
    assert end_of(values, 90) == 90
    assert end_of(values, 100) == 100


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_left_out_and_sets_no_scale(bad: float) -> None:
    values = np.array([[[1.0, bad, -1.0]]])
    assert end_of(values[0], 99.5) == 1
    drawn = overlay(explained(values), Look(strength=1.0))
    assert pixels(drawn)[0].tolist() == [[*ORANGE], [GREY] * 3, [*BLUE]]
    assert end_of(np.full((2, 2), bad), 99.5) == 1
    assert pixels(overlay(explained(np.full((1, 2, 2), bad)), Look())).tolist() == [[[GREY] * 3] * 2] * 2


def test_zeros_leave_the_picture_as_it_is() -> None:
    for look in (Look(), Look(absolute=True)):
        assert (pixels(overlay(explained(np.zeros((3, 4, 5))), look)) == GREY).all()


# Sizes


def test_coarse_maps_are_smooth_for_the_eye_and_each_cell_covers_its_part() -> None:
    values = np.zeros((1, 2, 3))
    values[0, 1, 2] = 1
    drawn = overlay(explained(values, picture=Image.new("RGB", (60, 20))), Look(strength=1.0))
    assert drawn.size == (60, 20)
    red = pixels(drawn)[..., 0]
    y, x = np.unravel_index(red.argmax(), red.shape)
    assert (y // 10, x // 20) == (1, 2)
    assert red[19, 59] == ORANGE[0]  # constant from the cell's middle outwards
    assert (np.diff(red[15, 30:50]) >= 0).all()
    assert len(np.unique(red[15, 30:50])) > 10
    assert not red[:10, :20].any()


def test_larger_pictures_have_squares_for_pixels() -> None:
    record = explained(np.random.default_rng(0).normal(size=(1, 3, 2)))
    once, thrice = overlay(record, Look()), overlay(record, Look(), times=3)
    assert np.array_equal(pixels(thrice), pixels(once).repeat(3, axis=0).repeat(3, axis=1))


def test_any_numbers_can_be_painted_on_any_picture() -> None:
    drawn = painted(np.array([[1.0, -1.0]]), Image.new("L", (2, 1), 50), Look(strength=1.0))
    assert pixels(drawn)[0].tolist() == [[*ORANGE], [*BLUE]]


def test_the_bar_runs_through_the_colours_between_its_numbers() -> None:
    signed = pixels(bar(Look(strength=0.1), 0.25, "logits"))
    row = signed[(signed != 255).any((1, 2)).argmax()]  # the first that is not white
    coloured = (row != 255).any(-1).nonzero()[0]
    assert row[coloured[0]].tolist() == [*BLUE]
    assert row[coloured[-1]].tolist() == [*ORANGE]
    assert coloured[0] + coloured[-1] == len(row) - 1  # in the middle
    sizes = pixels(bar(Look(absolute=True), 0.25, "logits"))
    row = sizes[(sizes != 255).any((1, 2)).argmax()]
    assert (row[:, 2] >= row[:, 0]).sum() == (row == 255).all(-1).sum()  # nothing blue
    assert row[(row != 255).any(-1).nonzero()[0][-1]].tolist() == [*ORANGE]


@pytest.mark.parametrize("end", [1.0, 1.23456e-12, 9.99e30])
@pytest.mark.parametrize(
    "unit", ["logits", "(logits per unit of normalised input) squared · 2048 x 2048 pixels, green"]
)
def test_what_is_written_under_the_bar_is_not_cut_off(end: float, unit: str) -> None:
    drawn = pixels(bar(Look(), end, unit))
    below = (drawn < 128).any(-1)[len(drawn) // 3 + 8 :]
    assert below.any()
    assert not below[:, [0, 1, -2, -1]].any()
    assert not below[-1].any()


def test_the_sheet_has_the_overlay_larger_and_the_bar() -> None:
    record = explained(np.random.default_rng(0).normal(size=(3, 112, 112)))
    drawn = sheet(record, Look())
    assert np.array_equal(pixels(drawn)[:448, :448], pixels(overlay(record, Look(), times=4)))
    end = end_of(numbers(record, Look()), 99.5)
    assert np.array_equal(pixels(drawn)[448:], pixels(bar(Look(), end, module.unit_of(record, Look()))))
    small = sheet(explained(np.ones((3, 32, 32))), Look())
    assert small.width == 14 * 32  # 448 px again, as many as the bar has
    assert sheet(explained(np.ones((3, 32, 32))), Look(), times=1).width == 448


def test_a_png_holds_the_picture_exactly() -> None:
    drawn = overlay(explained(np.random.default_rng(0).normal(size=(1, 3, 2))), Look())
    again = Image.open(io.BytesIO(png(drawn)))
    assert again.format == "PNG"
    assert np.array_equal(pixels(again), pixels(drawn))
