"""Maps beside each other: whose scale is whose, and what the file shows."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from explorer.attribution import Attribution
from explorer.figures.overlay import Look
from explorer.figures.planted import pair, pointing_chart, same_chart, seen
from explorer.figures.side_by_side import alike_chart, density, kind, montage, panels

SIGNED, SIZES = Look(percentile=100), Look(percentile=100, absolute=True)


def made(values: object, method: str = "grad_cam", side: int = 8, **settings: object) -> Attribution:
    channels = np.asarray(values, np.float32)
    return Attribution(
        checkpoint="tiny",
        method=method,
        target=0,
        target_name="cat",
        against=None,
        against_name=None,
        channels=channels if channels.ndim == 3 else channels[None],
        picture=Image.new("RGB", (side, side), (120, 120, 120)),
        score=0.0,
        expected_sum=None,
        expected_sum_is=None,
        sum=float(channels.sum()),
        device="CPU",
        seconds=0.0,
        settings=settings,
    )


COARSE = made([[0.5, -1.0], [0.0, 0.25]])  # 2 x 2 cells
FINER = made(np.full((4, 4), 0.1))  # 4 x 4 cells
PIXELS = made(np.full((8, 8), 0.1), "integrated_gradients")


def test_each_has_its_own_scale_unless_asked() -> None:
    drawn = panels({"a": COARSE, "b": FINER}, {"a": SIGNED, "b": SIGNED}, together=False)
    assert drawn["a"].end == pytest.approx(1.0)
    assert drawn["b"].end == pytest.approx(0.1)
    assert drawn["a"].beside == drawn["b"].beside == ()
    assert "2 x 2 cells" in drawn["a"].unit


def test_parts_of_the_score_share_the_scale_of_the_largest_density() -> None:
    drawn = panels({"a": COARSE, "b": FINER}, {"a": SIGNED, "b": SIGNED}, together=True)
    assert drawn["a"].end == drawn["b"].end == pytest.approx(max(4 * 1.0, 16 * 0.1))
    assert drawn["a"].beside == ("b",)
    assert drawn["b"].beside == ("a",)
    assert drawn["a"].unit == drawn["b"].unit == "logits per area of the picture"


def test_a_density_has_the_maps_sum_as_its_mean() -> None:
    for each in (COARSE, FINER, PIXELS):
        assert density(each, each.channels.sum(0)).mean() == pytest.approx(each.channels.sum(), rel=1e-6)


def test_cam_is_a_density_already_and_the_same_as_grad_cams() -> None:
    cam = made(4 * COARSE.channels, "cam")
    np.testing.assert_allclose(density(cam, cam.channels[0]), density(COARSE, COARSE.channels[0]))


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("grad_cam", {}, "cells"),
        ("cam", {}, "cells"),
        ("integrated_gradients", {}, "cells"),
        ("deep_lift", {}, "cells"),
        ("input_x_gradient", {}, "cells"),
        ("shapley", {}, "parts"),
        ("occlusion", {}, "fall"),
        ("saliency", {}, None),
        ("guided_backprop", {}, None),
        ("feature_maps", {}, None),
        ("smooth_grad", {"of": "saliency", "taken": "smoothgrad"}, None),
        ("smooth_grad", {"of": "input_x_gradient", "taken": "smoothgrad"}, "cells"),
        ("smooth_grad", {"of": "input_x_gradient", "taken": "vargrad"}, None),
    ],
)
def test_only_numbers_of_a_kind_are_held_against_each_other(
    method: str, settings: dict[str, object], expected: str | None
) -> None:
    assert kind(made([[1.0]], method, **settings)) == expected


def test_pixels_and_cells_share_no_scale() -> None:
    assert kind(PIXELS) == "pixels"
    found = {"a": COARSE, "b": PIXELS, "c": PIXELS}
    drawn = panels(found, dict.fromkeys(found, SIGNED), together=True)
    assert [panel.end for panel in drawn.values()] == pytest.approx([4.0, 6.4, 6.4])
    assert [panel.beside for panel in drawn.values()] == [(), ("c",), ("b",)]


def test_other_kinds_keep_their_scale_and_say_so() -> None:
    found = {"a": COARSE, "occlusion": made([[3.0]], "occlusion"), "saliency": made([[7.0]], "saliency")}
    drawn = panels(found, {"a": SIGNED, "occlusion": SIGNED, "saliency": SIZES}, together=True)
    assert [panel.end for panel in drawn.values()] == pytest.approx([4.0, 3.0, 7.0])
    assert all(panel.beside == () for panel in drawn.values())
    assert drawn["occlusion"].unit == "fall of the logits"


def test_maps_with_and_without_sign_share_no_scale() -> None:
    drawn = panels({"a": COARSE, "b": FINER}, {"a": SIGNED, "b": SIZES}, together=True)
    assert drawn["a"].end == pytest.approx(4.0)
    assert drawn["b"].end == pytest.approx(1.6)


def test_on_one_scale_the_same_density_has_the_same_colour() -> None:
    one, other = made(np.full((2, 2), 1.0)), made(np.full((4, 4), 1 / 4))
    looks = {"a": SIGNED, "b": SIGNED}
    same = panels({"a": one, "b": other}, looks, together=True)
    assert np.array_equal(np.asarray(same["a"].image), np.asarray(same["b"].image))
    weaker = panels({"a": one, "b": made(np.full((4, 4), 1 / 8))}, looks, together=True)
    assert not np.array_equal(np.asarray(weaker["a"].image), np.asarray(weaker["b"].image))


def test_the_montage_holds_every_map_and_the_photo() -> None:
    found = dict.fromkeys("abc", COARSE)
    drawn = panels(found, dict.fromkeys(found, SIGNED), together=False)
    sheet = montage(drawn, COARSE.picture, "Why cat", across=2)
    assert sheet.size[0] > 2 * 224
    assert sheet.size[1] > 2 * 224
    pixels = np.asarray(sheet)
    tile = np.asarray(drawn["a"].image)
    corners = np.argwhere((pixels == tile[0, 0]).all(-1))
    copies = sum(
        np.array_equal(pixels[row : row + tile.shape[0], column : column + tile.shape[1]], tile)
        for row, column in corners
        if (pixels[row, column - 1] == 255).all() and (pixels[row - 1, column] == 255).all()
    )
    assert copies == 3
    assert (pixels == 120).all(-1).sum() >= 224 * 224, "the photo"


def test_the_square_has_the_tables_numbers() -> None:
    table = pd.DataFrame([[1.0, 0.25], [0.25, 1.0]], index=["A", "B"], columns=["A", "B"])
    figure = alike_chart(table)
    assert np.array_equal(figure.data[0].z, table.to_numpy())
    assert figure.data[0].text[0][1] == "0.25"
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-1, 1)
    unknown = alike_chart(table.where(table == 1))
    assert unknown.data[0].text[0][1] == ""


POINTED = pd.DataFrame(
    {
        "name": ["grad_cam", "saliency", "chance"],
        "method": ["Grad-CAM", "Saliency", "Chance"],
        "pointed": [1.0, 0.5, 0.1],
        "other": [0.0, 0.25, 0.1],
        "same": [-0.75, 0.5, None],
    }
)


def test_bars_of_pointing_have_the_tables_numbers_and_chance_is_a_line() -> None:
    figure = pointing_chart(POINTED)
    assert [list(bar.x) for bar in figure.data] == [[1.0, 0.5], [0.0, 0.25]]
    assert list(figure.data[0].y) == ["Grad-CAM", "Saliency"]
    assert figure.layout.shapes[0].x0 == 0.1


def test_bars_of_likeness_leave_out_what_is_unknown_and_hold_the_least() -> None:
    figure = same_chart(POINTED, "Correlation")
    assert list(figure.data[0].x) == [-0.75, 0.5]
    assert figure.layout.xaxis.range[0] <= -0.75


def test_the_frame_is_where_the_sign_is() -> None:
    one, other = (
        np.asarray(pair([made(np.zeros((32, 32)), side=32)] * 2, corners))
        for corners in (
            [(0, 0), (24, 24)],
            [(24, 24), (0, 0)],
        )
    )
    half = 32 * 6 + 6
    assert np.array_equal(one[:, : 32 * 6], other[:, half:])
    black = np.argwhere((one[:, : 32 * 6] == 0).all(-1))
    assert black.max(0).tolist() == [8 * 6 + 1, 8 * 6 + 1]
    framed = np.asarray(seen(Image.new("RGB", (32, 32)), [(8, 16)]))
    white = np.argwhere((framed == 255).all(-1))
    assert (white.min(0).tolist(), white.max(0).tolist()) == ([8 * 6 - 2, 16 * 6 - 2], [16 * 6 + 1, 24 * 6 + 1])
