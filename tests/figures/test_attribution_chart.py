"""What the chart of a map sends to the browser: little, and all that is seen."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from explorer.attribution import Attribution
from explorer.figures.attribution import attribution_chart

SIDE = 224


def explained(values: NDArray[np.float64], picture: Image.Image) -> Attribution:
    channels = np.asarray(values, dtype=np.float32)[None]
    return Attribution(
        checkpoint="tiny",
        method="integrated_gradients",
        target=0,
        target_name="tench",
        against=None,
        against_name=None,
        channels=channels,
        picture=picture,
        score=1.0,
        expected_sum=None,
        expected_sum_is=None,
        sum=float(channels.sum()),
        device="CPU",
        seconds=0.1,
    )


def photo(name: str) -> Image.Image:
    whole = Image.fromarray(getattr(data, name)())
    shorter = min(whole.size)
    return whole.crop((0, 0, shorter, shorter)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def below(record: Attribution) -> tuple[str, Image.Image]:
    """Its kind, and what the browser decodes."""
    head, _, body = attribution_chart(record).layout.images[0].source.partition(",")
    return head, Image.open(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize("name", ["chelsea", "coffee", "astronaut", "rocket"])
def test_a_map_of_224_px_over_a_photo_takes_less_than_300_kb(name: str) -> None:
    # Shares of some logits in 50,176 pixels, most of them far below the mean of their sizes
    values = np.random.default_rng(0).normal(size=(SIDE, SIDE)) ** 3 * 10 / SIDE**2
    figure = attribution_chart(explained(values, photo(name)))
    sent = figure.to_json()  # what Streamlit hands on
    numbers = (SIDE * SIDE * 4 + 2) // 3 * 4  # float32 in base64: 4 characters for 3 bytes
    assert numbers == 267_608
    template = len(json.dumps(figure.layout.template.to_plotly_json()))
    picture = len(figure.layout.images[0].source)
    slashes = 5 * sent.count("\\u002f")  # what "/" takes more than one character
    assert slashes < 5 * (picture / 64 + numbers / 64 / 4) * 1.2, "most are of the picture, whose bits are random"
    assert numbers + picture + template + slashes <= len(sent) < numbers + picture + template + slashes + 1_500
    assert len(sent) < 300_000


@given(
    st.lists(
        st.one_of(
            st.floats(2.0**-120, 2.0**120, width=32),
            st.integers(1, 99_999).map(lambda number: number / 1000),  # halves and ends of three digits
        ),
        min_size=1,
        max_size=50,
    ),
    st.sampled_from([1, -1]),
)
def test_what_stands_under_the_pointer_is_the_number_to_three_digits(sizes: list[float], sign: int) -> None:
    values = sign * np.array([sizes], dtype=np.float32).astype(float)
    drawn = attribution_chart(explained(values, Image.new("RGB", values.shape[::-1]))).data[0]
    assert drawn.z.dtype == np.float32
    assert "%{z:.3g}" in drawn.hovertemplate
    assert [f"{number:.3g}" for number in drawn.z[0].tolist()] == [f"{number:.3g}" for number in values[0].tolist()]


def test_what_is_0_or_no_number_stays_so() -> None:
    values = np.array([[0.0, np.nan, np.inf, -np.inf, 1e-41]])
    drawn = attribution_chart(explained(values, Image.new("RGB", (5, 1)))).data[0].z
    np.testing.assert_allclose(drawn, values, rtol=5e-3)


def test_a_photo_below_is_as_the_eye_sees_it_and_a_small_picture_is_exact() -> None:
    values = np.ones((SIDE, SIDE))
    large = photo("chelsea")
    kind, shown = below(explained(values, large))
    assert kind == "data:image/webp;base64"
    assert shown.size == (SIDE, SIDE)
    expected = np.asarray(large, dtype=float) @ (0.299, 0.587, 0.114)  # ITU-R 601-2 luma, as Pillow's manual says
    differences = np.abs(np.asarray(shown.convert("L"), dtype=float) - expected)
    assert differences.mean() < 2  # of 256 greys
    assert differences.max() < 16
    small = large.resize((32, 32))  # as nets for CIFAR-10 see it, enlarged on the page
    kind, shown = below(explained(np.ones((32, 32)), small))
    assert kind == "data:image/png;base64"
    exact = np.asarray(small, dtype=float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(np.asarray(shown), exact, atol=1)
