"""The arithmetic of a layer, written out."""

import re

import pytest

from explorer.analysis.arithmetic import written_out
from explorer.analysis.layers import Layer, layers

NETS = ("alexnet_2012", "googlenet", "resnext50_32x4d", "mobilenet_v3_small", "densenet121", "inception_v3")


@pytest.fixture(scope="module", params=NETS)
def rows(request: pytest.FixtureRequest) -> list[Layer]:
    return layers(request.param)


def value(line: str) -> int:
    """The left side of a written-out product, computed."""
    left = line.split(" = ")[0]
    left = re.sub(r" (weights|biases|bytes)", "", left).replace(",", "").replace("×", "*").replace(" ", "")
    assert re.fullmatch(r"[\d*+]+", left), line
    return int(eval(left))


def test_every_line_is_true(rows: list[Layer]) -> None:
    seen: set[str] = set()
    for layer in rows:
        lines = written_out(layer)
        seen |= set(lines)
        if "parameters" in lines:
            assert value(lines["parameters"]) == layer.params
        if "MACs" in lines:
            assert value(lines["MACs"]) == layer.macs
        if "memory" in lines:
            assert value(lines["memory"]) == layer.activation_bytes
        if "output" in lines:
            assert lines["output"].endswith(str(layer.output_shape[-1]))
    assert seen == {"output", "parameters", "MACs", "memory"}


def test_convolutions_and_linear_layers_have_all_their_lines(rows: list[Layer]) -> None:
    for layer in rows:
        if layer.kind == "conv":
            assert set(written_out(layer)) == {"output", "parameters", "MACs", "memory"}, layer
        if layer.kind == "linear":
            assert set(written_out(layer)) == {"parameters", "MACs", "memory"}, layer


def test_alexnets_first_layer_as_a_lecture_walks_it() -> None:
    """CS231n: (227 - 11) / 4 + 1 = 55; (11 * 11 * 3) * 96 = 35K parameters. We count its 96 biases too."""
    lines = written_out(layers("alexnet_2012")[0])
    assert lines["output"].endswith("= 54 + 1 = 55")
    assert lines["parameters"] == "11×11×3 × 96 weights + 96 biases = 34,944"
    assert 11 * 11 * 3 * 96 == 34_848


def test_groups_divide_what_a_filter_sees() -> None:
    """conv2 of AlexNet on two GPUs: filters of 5x5x48."""
    conv2 = next(layer for layer in layers("alexnet_2012") if layer.name == "conv2")
    assert written_out(conv2)["parameters"].startswith("5×5×48 × 256 weights + 256 biases")


def test_an_oblong_window_has_both_sides() -> None:
    """Inception-v3's 1x7 on a map whose sides it keeps, and a stride that both share."""
    oblong = next(layer for layer in layers("inception_v3") if layer.kernel == (1, 7))
    assert written_out(oblong)["output"].startswith("height: floor((17 ")
    assert "; width: floor((17 " in written_out(oblong)["output"]


def test_what_has_no_weights_has_no_line_for_them() -> None:
    by_kind = {layer.kind: layer for layer in layers("resnet18")}
    assert set(written_out(by_kind["pool"])) <= {"output", "memory"}
    assert set(written_out(by_kind["activation"])) == {"memory"}
    assert written_out(by_kind["norm"])["parameters"] == "2 × 512 = 1,024"
    assert written_out(by_kind["reshape"]) == {}  # a view takes no memory
