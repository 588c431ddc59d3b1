"""The profile of a network's receptive fields, column by column, against other ways to the same numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn

from explorer.analysis.fields import box_of, centre_of, field_profile, pixels_inside, unit_at, units_of
from explorer.analysis.layers import layer_table
from explorer.analysis.paths import path_table
from explorer.analysis.receptive import Axis, Field, NoField, receptive_fields
from explorer.analysis.rules import DoesNotFit, UnknownOperator
from explorer.models.zoo import UnknownNetwork
from explorer.spec import ResNetSpec

NETS = ("resnet50", "alexnet_2012", "inception_v3", "densenet121", "seresnet50", "cifar_resnet20", "highway19_2015")


def both(value: object) -> tuple[object, object]:
    """A column of `receptive_fields`, which has a pair only where the axes differ, as a pair always."""
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("name", NETS)
def test_the_profile_has_the_rows_of_the_other_tables_that_have_a_local_field(name: str) -> None:
    profile = field_profile(name)
    fields, layers, paths = receptive_fields(name), layer_table(name), path_table(name)
    local = fields["size"].notna()
    table = profile.table
    assert table["operator"].tolist() == fields.index[local].tolist()
    assert len(profile.fields) == len(profile.graph) == len(fields)
    assert [field is not None for field in profile.fields] == local.tolist()
    for column, source in (("name", fields), ("stage", fields), ("kind", layers)):
        assert table[column].tolist() == source.loc[local, column].tolist()
    for column in ("size", "stride", "start", "padding"):
        assert table[column].tolist() == [both(value) for value in fields.loc[local, column]]
    for column in ("aligned", "global_context"):
        assert table[column].tolist() == fields.loc[local, column].tolist()
    for column in ("paths", "shortest", "longest", "mean"):
        assert table[column].tolist() == paths.loc[local, column].tolist()
    assert table["receptive_field"].tolist() == [max(sides) for sides in table["size"]]
    assert table["units"].tolist() == [shape[1:] for shape in layers.loc[local, "output_shape"]]
    assert [profile.graph[here].name for here in table["operator"]] == table["name"].tolist()


@pytest.mark.parametrize("image", [(224, 224), (96, 160), (33, 32)])
def test_the_part_inside_the_image_is_counted_pixel_by_pixel(image: tuple[int, int]) -> None:
    profile = field_profile("resnet18", image)
    assert profile.image == image
    for row in profile.table.itertuples():
        counts = []
        for side, units, size, stride, padding in zip(image, row.units, row.size, row.stride, row.padding, strict=True):
            first = units // 2 * stride - padding
            counts.append(sum(0 <= pixel < side for pixel in range(first, first + size)))
        assert row.inside == tuple(counts)
        assert row.covers == pytest.approx(counts[0] * counts[1] / (image[0] * image[1]))
    assert profile.table["covers"].min() > 0
    assert profile.table["covers"].iloc[-1] == 1  # 435 pixels around the middle


def test_the_size_of_the_image_changes_what_lies_inside_and_nothing_else() -> None:
    small, large = field_profile("resnet50", (64, 64)).table, field_profile("resnet50", (512, 512)).table
    same = [
        "name",
        "kind",
        "size",
        "stride",
        "start",
        "padding",
        "holes",
        "aligned",
        "paths",
        "longest",
        "mean",
        "depth",
    ]
    assert small[same].equals(large[same])
    assert small["inside"].iloc[-1] == (64, 64)
    assert large["inside"].iloc[-1] == (427, 427)
    assert large["covers"].iloc[-1] == (427 / 512) ** 2
    assert large["units"].iloc[-1] == (16, 16)


def test_each_network_has_its_own_image_by_default() -> None:
    assert field_profile("inception_v3").image == (299, 299)
    assert field_profile("cifar_resnet20").image == (32, 32)
    assert field_profile(ResNetSpec.from_text("resnet18 image_size=40,72")).image == (40, 72)
    assert field_profile(nn.Conv2d(5, 1, 3), (9, 7)).input_shape == (5, 9, 7)


def test_both_axes_go_their_own_way() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, (1, 5), (1, 2), (0, 2)), nn.MaxPool2d((3, 1), (3, 1)), nn.Conv2d(1, 1, (2, 1)))
    row = field_profile(net, (30, 20)).table.iloc[-1]
    assert row["size"] == (3 + 1 * 3, 5)
    assert row.stride == (3, 2)
    assert row.padding == (0, 2)
    assert row.start == (2.5, 0)
    assert row.units == (30 // 3 - 1, 20 // 2)
    assert row.receptive_field == 6
    assert row.inside == (6, 5)  # rows 4 * 3 to 17, columns 5 * 2 - 2 to 12
    assert row.covers == 6 * 5 / (30 * 20)
    assert row.longest == row.shortest == row["mean"] == 6  # along the height


def ones(net: nn.Module) -> nn.Module:
    """Every weight one, so that nothing cancels."""
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    return net.double()


def seen(net: nn.Module, sides: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Rows and columns of the image where the unit in the middle has a gradient."""
    image = torch.ones(1, 1, *sides, dtype=torch.float64, requires_grad=True)
    output: Tensor = net(image)
    [gradient] = torch.autograd.grad(output[0, 0, output.shape[2] // 2, output.shape[3] // 2], image)
    rows, columns = gradient[0, 0].amax(1).nonzero().flatten(), gradient[0, 0].amax(0).nonzero().flatten()
    return rows.tolist(), columns.tolist()


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 1, 2), nn.Conv2d(1, 1, 3, padding=1)],
        [nn.Conv2d(1, 1, (3, 2), (1, 3), dilation=(4, 1))],
        [nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 1, 7, 2, 3), nn.Conv2d(1, 1, 7, 2, 3)],  # a field beyond the image
    ],
)
def test_what_the_unit_in_the_middle_sees_is_what_its_gradient_shows(layers: list[nn.Module]) -> None:
    sides = (31, 26)
    net = ones(nn.Sequential(*layers))
    row = field_profile(net, sides).table.iloc[-1]
    for found, inside, size, holes in zip(seen(net, sides), row.inside, row["size"], row.holes, strict=True):
        assert found[-1] - found[0] + 1 == inside
        if inside == size:
            assert size - len(found) == holes


def test_a_stride_on_a_1x1_leaves_two_holes_in_a_field_of_five() -> None:
    row = field_profile(nn.Sequential(nn.Conv2d(1, 1, 1, 2), nn.Conv2d(1, 1, 3, padding=1)), (32, 32)).table.iloc[-1]
    assert row["size"] == (5, 5)
    assert row.holes == (2, 2)


@pytest.mark.parametrize("name", NETS)
def test_the_longest_path_has_the_height_of_the_field_where_branches_are_aligned(name: str) -> None:
    table = field_profile(name).table
    aligned = table[table["aligned"].astype(bool)]
    assert len(aligned) > 10
    assert aligned["longest"].tolist() == [height for height, _ in aligned["size"]]


def test_depth_counts_the_layers_with_weights_on_the_longest_way() -> None:
    table = field_profile("resnet50").table.set_index("name")
    assert table.loc["conv1", "depth"] == 1
    assert table.loc["layer4.2.relu3", "depth"] == 1 + 3 * (3 + 4 + 6 + 3)
    assert table.loc["layer1.0.downsample.0", "depth"] == 2


def test_a_network_without_a_field_is_refused_in_a_sentence() -> None:
    with pytest.raises(NoField, match=r"^At .* one axis of the image is gone and the other is left\.$"):
        field_profile("bat_resnext26ts")
    with pytest.raises(
        UnknownOperator, match=r"^There is no rule for the operator .*, so its counts would be a guess\.$"
    ):
        field_profile("tnt_s_patch16_224")
    with pytest.raises(UnknownNetwork, match=r"near names are resnet50"):
        field_profile("resnet5O")
    with pytest.raises(DoesNotFit, match=r"^An image of 8x8 with 3 channels does not go through this network"):
        field_profile("vgg16", (8, 8))


def test_behind_an_enlarged_map_each_unit_has_its_own_box_and_no_row_is_missing() -> None:
    profile, fields = field_profile("hrnet_w18_small"), receptive_fields("hrnet_w18_small")
    table = profile.table
    assert table["operator"].tolist() == fields.index[fields["size"].notna()].tolist()
    assert table["even"].tolist() == fields["even"][fields["size"].notna()].tolist()
    uneven = table[~table["even"].astype(bool)]
    assert len(uneven) > 100
    assert uneven["paths"].isna().all()
    for row in uneven.iloc[::20].itertuples():
        field = profile.fields[row.operator]
        assert field is not None
        assert {box_of(field, (unit, unit)).bottom - box_of(field, (unit, unit)).top + 1 for unit in range(8)} >= {
            row.size[0]
        }
        first, final = field.height.span(row.units[0] // 2)
        assert row.inside[0] == sum(0 <= pixel < 224 for pixel in range(first, final + 1))


# --- boxes and units


AXES = st.builds(
    lambda stride, lo, seen: Axis(stride, lo, seen | 1, -1),
    st.integers(1, 9),
    st.integers(-40, 40),
    st.integers(1, 2**30),
)
FIELDS = st.builds(lambda height, width: Field(height, width), AXES, AXES)


@given(AXES, st.integers(0, 20), st.integers(1, 60))
@FEW
def test_pixels_inside_are_counted_one_by_one(axis: Axis, unit: int, pixels: int) -> None:
    first = axis.lo + unit * axis.stride
    assert pixels_inside(axis, unit, pixels) == sum(0 <= first + number < pixels for number in range(axis.size))


@given(FIELDS, st.tuples(st.integers(0, 12), st.integers(0, 12)))
@FEW
def test_a_box_lies_around_its_centre_and_the_nearest_unit_is_its_own(field: Field, unit: tuple[int, int]) -> None:
    box, centre = box_of(field, unit), centre_of(field, unit)
    assert ((box.top + box.bottom) / 2, (box.left + box.right) / 2) == centre
    assert (box.bottom - box.top + 1, box.right - box.left + 1) == (field.height.size, field.width.size)
    assert unit_at(field, (13, 13), centre) == unit


@given(FIELDS, st.tuples(st.floats(-99, 99), st.floats(-99, 99)))
@FEW
def test_the_unit_at_a_pixel_has_the_nearest_centre(field: Field, point: tuple[float, float]) -> None:
    units = 6, 4
    chosen = unit_at(field, units, point)
    for axis, count, unit, pixel in zip((field.height, field.width), units, chosen, point, strict=True):
        distances = [abs(axis.start + number * axis.stride - pixel) for number in range(count)]
        assert distances[unit] == pytest.approx(min(distances))


@given(specs())
@FEW
def test_every_spec_has_a_profile_whose_parts_agree(spec: ResNetSpec) -> None:
    profile = field_profile(spec)
    for row in profile.table.itertuples():
        field = profile.fields[row.operator]
        assert field is not None
        assert row.units == units_of(profile.graph[row.operator], field)
        assert 0 <= row.covers <= 1
        assert all(
            part <= min(size, side) for part, size, side in zip(row.inside, row.size, profile.image, strict=True)
        )
        assert row.shortest <= row.mean <= row.longest <= row.size[0]


def test_a_network_without_any_local_field_is_refused_in_a_sentence() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(NoField, match="No unit of this network has a local receptive field"):
        field_profile(flat, (8, 8))
