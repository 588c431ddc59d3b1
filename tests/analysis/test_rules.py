"""The rules against PyTorch itself, and what they refuse."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FEW
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.graph import trace
from explorer.analysis.layers import layer_table, totals
from explorer.analysis.rules import Activation, DoesNotFit, UnknownOperator, function_rule, module_rule, output_side
from explorer.models.blocks import Add

SIDES = st.integers(1, 40)


def calls_of(model: nn.Module, side: int = 8) -> list[tuple[str, str]]:
    table = layer_table(model, (side, side))
    return list(zip(table.name, table.kind, strict=True))


def sides_by_torch(layer: nn.Module, n: int) -> int:
    """Pixels along an axis of n after the layer; 0 where PyTorch refuses."""
    try:
        return int(layer(torch.empty(1, 1, n, 50, device="meta")).shape[2])
    except RuntimeError:
        return 0


# --- windows


@FEW
@given(SIDES, st.integers(1, 9), st.integers(1, 5), st.integers(0, 5), st.integers(1, 4))
def test_the_output_side_is_that_of_torchs_convolution(n: int, kernel: int, stride: int, padding: int, d: int) -> None:
    conv = nn.Conv2d(1, 1, (kernel, 1), (stride, 1), (padding, 0), (d, 1), device="meta")
    assert output_side(n, kernel, stride, padding, d) == sides_by_torch(conv, n)


@FEW
@given(SIDES, st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(1, 4), st.booleans())
def test_the_output_side_is_that_of_torchs_max_pool(
    n: int, kernel: int, stride: int, padding: int, d: int, ceil: bool
) -> None:
    assume(padding <= kernel // 2)
    pool = nn.MaxPool2d((kernel, 1), (stride, 1), (padding, 0), (d, 1), ceil_mode=ceil)
    assert output_side(n, kernel, stride, padding, d, ceil) == sides_by_torch(pool, n)


@FEW
@given(SIDES, st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.booleans())
def test_the_output_side_is_that_of_torchs_average_pool(
    n: int, kernel: int, stride: int, padding: int, ceil: bool
) -> None:
    assume(padding <= kernel // 2)
    pool = nn.AvgPool2d((kernel, 1), (stride, 1), (padding, 0), ceil_mode=ceil)
    assert output_side(n, kernel, stride, padding, ceil=ceil) == sides_by_torch(pool, n)


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "dilation", "ceil", "side"),
    [
        (227, 11, 4, 0, 1, False, 55),  # AlexNet 2012
        (224, 7, 2, 3, 1, False, 112),  # ResNet's stem
        (112, 3, 2, 0, 1, True, 56),  # GoogLeNet's first pool
        (112, 3, 2, 0, 1, False, 55),
        (2, 3, 2, 0, 1, True, 1),  # overhangs at once
        (2, 3, 1, 0, 1, False, 0),
        (5, 2, 2, 1, 1, True, 3),  # a fourth window would start in the padding
        (7, 3, 1, 2, 2, False, 7),
    ],
)
def test_known_output_sides(
    n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool, side: int
) -> None:
    assert output_side(n, kernel, stride, padding, dilation, ceil) == side


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (2, 5)])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
# PyTorch itself warns that an even kernel needs a copy for this
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_padding_by_name_is_torchs(kernel: Any, dilation: int, padding: str) -> None:
    conv = nn.Conv2d(2, 3, kernel, padding=padding, dilation=dilation)
    [row] = layer_table(nn.Sequential(conv), (19, 23)).itertuples()
    assert row.output_shape == tuple(conv(torch.zeros(1, 2, 19, 23)).shape[1:])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, (3, 5), (2, 1), (0, 2), (1, 2), groups=2),
        nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d((None, 3)),
        nn.AdaptiveMaxPool2d(5),
        nn.BatchNorm2d(6),
        nn.GroupNorm(2, 6),
        nn.RMSNorm(10),
        nn.Hardswish(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Flatten(2),
        nn.ZeroPad2d((1, 0, 2, 3)),
        nn.Upsample(scale_factor=2),
        nn.PixelUnshuffle(1),
        nn.ChannelShuffle(3),
        nn.Linear(10, 4),
    ],
    ids=repr,
)
def test_a_layers_output_has_the_shape_that_torch_gives_it(layer: nn.Module) -> None:
    x = torch.zeros(1, 6, 9, 10)
    [row] = layer_table(nn.Sequential(nn.Conv2d(6, 6, 1), layer), (9, 10)).iloc[1:].itertuples()
    assert row.output_shape == tuple(layer.eval()(x).shape[1:])


def test_a_functions_output_has_the_shape_that_torch_gives_it() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))
            self.matrix = nn.Parameter(torch.ones(5, 8))

        def forward(self, x: Tensor) -> Tensor:
            a = F.relu(F.conv2d(x, self.weight, stride=2, padding=1))
            b = F.max_pool2d(x, 3, 2, 1)
            joined = torch.cat([a, b, b.mean(1, keepdim=True)], 1)
            first, second = joined.chunk(2, 1)
            pooled = F.adaptive_avg_pool2d(first * second + 1, (2, 1))
            return F.linear(pooled.view(pooled.size(0), -1), self.matrix)

    model = Functional()
    table = layer_table(model, (9, 11))
    shapes = dict(zip(table.name, table.output_shape, strict=True))
    assert shapes["conv2d"] == (4, 5, 6)
    assert shapes["cat"] == (4 + 3 + 1, 5, 6)
    assert shapes["mul"] == (4, 5, 6)
    assert shapes["adaptive_avg_pool2d"] == (4, 2, 1)
    assert shapes["view"] == (8,)
    assert shapes["linear"] == tuple(model(torch.zeros(1, 3, 9, 11)).shape[1:]) == (5,)
    assert totals(table).macs == 4 * 3 * 9 * 5 * 6 + 8 * 5
    assert totals(table).params == 4 * 3 * 9 + 8 * 5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.square(),
        lambda x: torch.square(x).add(1).rsqrt(),
        lambda x: torch.rsqrt(x.square() + 1),
        lambda x: x.norm(p=2, dim=(2, 3), keepdim=True),
        lambda x: x.norm(p=1, dim=1),
        lambda x: x.norm(),
        lambda x: torch.addcmul(x[:, :1], x, x.mean((2, 3), keepdim=True)),
        lambda x: x.roll((1, -2), dims=(2, 3)),
        lambda x: torch.roll(x, 3, 1),
        lambda x: x.repeat_interleave(2, dim=1),
        lambda x: F.rms_norm(x, (10,)),
        lambda x: F.avg_pool1d(x.flatten(2), 3, 2),
    ],
)
def test_a_functions_output_and_its_lack_of_macs_are_torchs(function: Callable[[Any], Any]) -> None:
    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    x = torch.zeros(1, 6, 9, 10)
    table = layer_table(nn.Sequential(nn.Conv2d(6, 6, 1), Calls()), (9, 10)).iloc[1:]
    with FlopCounterMode(display=False) as counter:
        expected = function(x)
    assert table.iloc[-1].output_shape == tuple(expected.shape[1:])
    assert table.macs.sum() == counter.get_total_flops() == 0


def test_root_mean_square_norm_mixes_the_axes_that_it_norms() -> None:
    x = Activation((1, 9, 10, 6))
    assert module_rule(nn.RMSNorm)(nn.RMSNorm(6), x).mixes == (-1,)
    assert function_rule(F.rms_norm)(x, (10, 6)).mixes == (-2, -1)


# --- weights


class Tables(nn.Module):
    """Two weights that only functions and a layer touch before an image's map is added, one unused, one asked only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.table = nn.Parameter(torch.ones(5, 2))
        self.scale = nn.Parameter(torch.ones(4, 7))
        self.layer = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        self.unused = nn.Parameter(torch.ones(11))
        self.asked = nn.Parameter(torch.ones(13))

    def bias(self) -> Tensor:
        return self.layer(self.table).t().sum(1).view(1, -1, 1, 1) * self.scale.exp().mean(1).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.asked.shape[0] == self.asked.size(0) == self.asked.numel()
        return self.conv(x) + self.bias()


def test_weights_that_functions_make_of_weights_are_counted_once_and_unused_ones_are_not() -> None:
    table = layer_table(Tables(), (6, 6)).set_index("name")
    conv, linear = 3 * 4 + 4, 2 * 4 + 4
    assert table.params[table.params > 0].to_dict() == {"conv": conv, "layer.0": linear + 5 * 2, "add": 4 * 7}
    twice = layer_table(nn.Sequential(Tables(), nn.Conv2d(4, 3, 1), (same := Tables()), nn.Conv2d(4, 3, 1), same))
    assert twice.params.sum() == 2 * (conv + linear + 5 * 2 + 4 * 7) + 2 * (4 * 3 + 3)


def test_a_layer_on_weights_alone_has_no_input_and_its_macs_are_those_that_torch_counts() -> None:
    model = Tables()
    found = {operator.name: operator for operator in trace(model, (3, 6, 6))}
    assert list(found) == ["conv", "layer.0", "layer.1", "add"]
    assert found["layer.0"].inputs == found["layer.0"].takes == ()
    assert found["layer.0"].gives == (Activation((5, 4)),)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 6, 6))
    assert sum(operator.effect.macs for operator in found.values()) * 2 == counter.get_total_flops()
    assert found["layer.0"].effect.macs == 5 * 2 * 4


def test_products_of_weights_alone_count_too_and_without_a_rule_the_network_is_refused() -> None:
    class Product(nn.Module):
        def __init__(self, multiply: Callable[[Tensor, Tensor], Tensor]) -> None:
            super().__init__()
            self.multiply = multiply
            self.left, self.right = nn.Parameter(torch.ones(2, 7)), nn.Parameter(torch.ones(7, 5))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.multiply(self.left, self.right).sum()

    for multiply in (torch.matmul, lambda left, right: left @ right, lambda left, right: F.linear(left, right.t())):
        total = totals(layer_table(Product(multiply), (4, 4)))
        assert (total.params, total.macs) == (2 * 7 + 7 * 5, 2 * 7 * 5)
    with pytest.raises(UnknownOperator, match=r"^There is no rule for the operator torch\.functional\.einsum, so its "):
        layer_table(Product(lambda left, right: torch.einsum("ij,jk->ik", left, right)), (4, 4))


# --- unknown operators


def test_an_unknown_function_is_refused_by_name() -> None:
    with pytest.raises(UnknownOperator, match=r"^There is no rule for the operator torch\.functional\.einsum, so its "):
        function_rule(torch.einsum)


def test_a_network_that_calls_an_unknown_function_is_refused() -> None:
    class Correlates(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bchw,bdhw->bcd", x, x)

    with pytest.raises(UnknownOperator, match=r"^There is no rule for the operator .*einsum, so its counts would be"):
        layer_table(Correlates())


def test_a_network_that_calls_an_unknown_tensor_method_is_refused() -> None:
    class Sorts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(-1)[0]

    with pytest.raises(
        UnknownOperator, match=r"^There is no rule for the operator sort, so its counts would be a guess"
    ):
        layer_table(Sorts())


def test_an_unknown_module_is_refused_and_not_taken_for_the_identity() -> None:
    assert module_rule(nn.ConvTranspose2d) is None
    with pytest.raises(UnknownOperator, match=r"There is no rule for the operator .*conv_transpose2d"):
        layer_table(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 3, 3)))


def test_a_network_that_decides_by_its_input_is_refused_in_a_sentence() -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnknownOperator, match=r"^The network decides by the values in a tensor, and shapes alone do"):
        layer_table(Decides())


def test_a_network_whose_code_fails_is_refused_in_a_sentence() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.numpy_of_old() if x.ndim == 4 else x

    with pytest.raises(UnknownOperator, match=r"^The code of Fails cannot be followed by shapes alone \(Attribut"):
        layer_table(Fails())


def test_a_network_that_decides_by_a_size_is_followed() -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] > 8:
                x = F.max_pool2d(x, 2)
            return F.relu(x)

    assert calls_of(Decides(), 8) == [("relu", "activation")]
    assert calls_of(Decides(), 9) == [("max_pool2d", "pool"), ("relu", "activation")]


def test_an_index_that_is_a_tensor_is_refused() -> None:
    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("order", torch.tensor([1, 0]))

        def forward(self, x: Tensor) -> Tensor:
            return x[:, self.order]

    with pytest.raises(UnknownOperator, match="an index that is a tensor"):
        layer_table(Picks())


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AdaptiveMaxPool2d])
def test_a_pool_that_returns_indices_is_refused(pool: Any) -> None:
    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = pool(2, return_indices=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x)[0]

    with pytest.raises(UnknownOperator, match="a max pool that returns indices"):
        layer_table(Picks())


# --- classes


def test_a_subclass_with_a_forward_of_its_own_is_looked_into() -> None:
    class Twice(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x)) + x

    assert module_rule(Twice) is None
    assert [kind for _, kind in calls_of(nn.Sequential(Twice(3, 3, 1))) if kind != "parameter"] == [
        *("conv", "activation", "add")
    ]


def test_a_subclass_without_one_is_what_it_inherits() -> None:
    class Named(nn.Conv2d):
        pass

    assert module_rule(Named) is module_rule(nn.Conv2d)
    assert calls_of(nn.Sequential(Named(3, 3, 1))) == [("0", "conv")]


def test_a_module_of_ones_own_is_looked_into() -> None:
    class Doubles(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    assert module_rule(Doubles) is None
    assert calls_of(nn.Sequential(Doubles())) == [("0.add", "add")]


# --- what does not fit


@pytest.mark.parametrize(
    ("layers", "image", "sentence"),
    [
        (
            [nn.Conv2d(3, 8, 3), nn.Conv2d(4, 8, 3)],
            (9, 9),
            "An image of 9x9 with 3 channels does not go through this network: at 1, it takes 4 channels and gets 8.",
        ),
        (
            [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(4)],
            (9, 9),
            "An image of 9x9 with 3 channels does not go through this network: at 1, it takes 4 channels and gets 8.",
        ),
        (
            [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5)],
            (9, 6),
            "An image of 9x6 with 3 channels does not go through this network: at 1, a 5x5 window does not fit on its "
            "7x4 feature map; the output would be below 1x1.",
        ),
        (
            [nn.Conv2d(3, 8, 3), nn.MaxPool2d(3)],
            (4, 4),
            "An image of 4x4 with 3 channels does not go through this network: at 1, a 3x3 window does not fit on its "
            "2x2 feature map; the output would be below 1x1.",
        ),
        (
            [nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 5)],
            (9, 9),
            "An image of 9x9 with 3 channels does not go through this network: at 2, it takes 288 features and gets "
            "392.",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence_with_the_layer_and_the_numbers(
    layers: list[nn.Module], image: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(DoesNotFit) as caught:
        layer_table(nn.Sequential(*layers), image)
    assert str(caught.value) == sentence


def test_a_sum_of_two_shapes_is_refused() -> None:
    class Mismatched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)
            self.add = Add()

        def forward(self, x: Tensor) -> Tensor:
            return self.add(self.conv(x), x)

    with pytest.raises(DoesNotFit, match=r"at add, it adds \(8, 9, 9\) and \(3, 9, 9\)\.$"):
        layer_table(Mismatched(), (9, 9))


@pytest.mark.parametrize("image", [(9, 9), (29, 32)])
def test_what_pytorch_refuses_is_a_sentence_too(image: tuple[int, int]) -> None:
    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 6, 5, stride=2)
            self.fc = nn.Linear(6 * 14 * 14, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).view(-1, 6 * 14 * 14))

    assert totals(layer_table(LeNet(), (32, 32))).macs == 6 * 25 * 14 * 14 + 6 * 14 * 14 * 10
    with pytest.raises(DoesNotFit, match=r"does not go through this network: at view, PyTorch says: .*-1, 1176"):
        layer_table(LeNet(), image)


def test_an_activation_knows_its_elements() -> None:
    assert Activation((1, 3, 4, 5)).elements == 3 * 4 * 5


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1, -2, -3, -4])
@pytest.mark.parametrize("call", [torch.cat, torch.concat])
def test_a_concatenation_has_the_shape_that_torch_gives_it(call: Any, dim: int) -> None:
    shapes = [[1, 4, 5, 6] for _ in range(3)]
    for extra, shape in enumerate(shapes):
        shape[dim] += extra
    effect = function_rule(call)([Activation(tuple(shape)) for shape in shapes], dim)
    assert effect.output.shape == tuple(call([torch.zeros(shape) for shape in shapes], dim).shape)
    assert effect.kind == "concat"


def test_what_cannot_be_concatenated_is_refused() -> None:
    shapes = [(1, 4, 5, 6), (1, 4, 6, 6)]
    for dim in (1, 3, 4):
        with pytest.raises(DoesNotFit):
            function_rule(torch.cat)([Activation(shape) for shape in shapes], dim)
    rows = [Activation((1, 7)), Activation((1, 8))]
    assert function_rule(torch.cat)(rows, 1).output.shape == (1, 15)
    assert function_rule(torch.cat)(rows, dim=-1).output.shape == (1, 15)


@pytest.mark.parametrize(
    "shapes", [((1, 4, 5, 6), (1, 4, 5, 6)), ((1, 4, 5, 6), (1, 4, 1, 1)), ((1, 1, 5, 6), (1, 4, 1, 1))]
)
def test_a_sum_has_the_shape_that_torch_gives_it(shapes: tuple[tuple[int, ...], ...]) -> None:
    effect = function_rule(operator.add)(*map(Activation, shapes))
    assert effect.output.shape == tuple(sum(torch.zeros(shape) for shape in shapes).shape)
    with pytest.raises(DoesNotFit):
        function_rule(operator.add)(Activation((1, 4, 5, 6)), Activation((1, 3, 5, 6)))
