"""How alike maps are, and what they add up to."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import pearsonr, rankdata

from explorer.attribution import Attribution
from explorer.attribution.alike import correlation, rank, ranks, summary, view


def made(channels: object, method: str = "grad_cam", **more: object) -> Attribution:
    fields = {
        "checkpoint": "tiny",
        "target": 3,
        "target_name": "cat",
        "against": None,
        "against_name": None,
        "picture": Image.new("RGB", (4, 4)),
        "score": 2.0,
        "expected_sum": None,
        "expected_sum_is": None,
        "sum": float(np.sum(channels)),
        "device": "CPU",
        "seconds": 0.5,
    }
    return Attribution(method=method, channels=np.asarray(channels, np.float32), **fields | more)  # type: ignore[arg-type]


def test_a_signed_map_is_the_sum_of_its_channels_and_sizes_are_the_largest() -> None:
    channels = [[[1.0, -4.0]], [[2.0, 3.0]]]
    assert view(made(channels, "grad_cam")).tolist() == [[3, -1]]
    assert view(made(channels, "saliency")).tolist() == [[2, 4]]


def test_correlation_is_pearsons_and_does_not_see_scale_or_offset() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 5, 6))
    assert correlation(one, other) == pytest.approx(pearsonr(one.ravel(), other.ravel()).statistic)
    assert correlation(one, 3 * one + 2) == pytest.approx(1)
    assert correlation(one, -one) == pytest.approx(-1)
    assert np.isnan(correlation(one, np.ones((5, 6))))


def test_rank_is_pearsons_of_the_ranks_of_the_sizes() -> None:
    one, other = np.random.default_rng(1).normal(size=(2, 5, 6))
    expected = pearsonr(rankdata(np.abs(one).ravel()), rankdata(np.abs(other).ravel())).statistic
    assert rank(one, other) == pytest.approx(expected)
    assert rank(one, -one) == pytest.approx(1)
    assert rank(np.exp(one), np.exp(one) ** 3) == pytest.approx(1)
    assert np.isnan(rank(one, np.zeros((5, 6))))


def test_a_finer_map_is_averaged_over_the_cells_of_the_coarser_without_signs() -> None:
    coarse = np.array([[1.0, 4.0], [3.0, 2.0]])
    fine = np.kron(coarse, [[1, -1], [-1, 1]])  # in each cell the signs cancel
    assert rank(coarse, fine) == rank(fine, coarse) == pytest.approx(1)
    upside_down = np.kron(5 - coarse, np.ones((2, 2)))
    assert rank(coarse, upside_down) == pytest.approx(-1)


def test_ranks_are_symmetric_with_ones() -> None:
    maps = dict(zip("abc", np.random.default_rng(2).normal(size=(3, 4, 4)), strict=True))
    table = ranks(maps)
    assert list(table) == list(table.index) == ["a", "b", "c"]
    assert np.diag(table).tolist() == [1, 1, 1]
    assert table.loc["a", "c"] == table.loc["c", "a"] == rank(maps["a"], maps["c"])
    assert table.loc["a", "b"] != table.loc["a", "c"]


def test_the_summary_has_a_sum_only_where_it_says_something() -> None:
    kept = made([[[1.0, 2.0]]], "integrated_gradients", expected_sum=2.5, settings={"steps": 20, "captum": "0"})
    free = made([[[1.0, 2.0]]], "saliency")
    table = summary({"IG": kept, "Saliency": free}).set_index("map")
    assert table.loc["IG", ["sum", "expected_sum", "delta"]].tolist() == [3, 2.5, 0.5]
    assert table.loc["Saliency", ["sum", "expected_sum", "delta"]].isna().all()
    assert table[["forward", "back"]].to_numpy().tolist() == [[22, 20], [1, 1]]
    assert table[["rows", "columns"]].to_numpy().tolist() == [[1, 2]] * 2
    assert table["target"].tolist() == ["cat"] * 2
