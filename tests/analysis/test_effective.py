"""The effective field against stacks worked by hand, plain autograd, and what is published of it."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from PIL import Image
from skimage import data
from strategies import FEW, specs
from torch import Tensor, nn

from explorer.analysis import effective
from explorer.analysis.effective import (
    NotMeasured,
    by_depth,
    effective_fields,
    effective_table,
    gaussian_fit,
    initial_fields,
    mass_span,
    measurable,
    prepared,
    trained_fields,
)
from explorer.analysis.fields import FieldProfile, box_of, field_profile
from explorer.analysis.gradients import patterns
from explorer.analysis.graph import Place
from explorer.models import zoo
from explorer.models.checkpoints import load
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec


def operator(profile: FieldProfile, name: str) -> int:
    return next(here for here, each in enumerate(profile.graph) if each.name == name)


def last(profile: FieldProfile) -> int:
    return by_depth(profile, 10_000)[-1]


def stack(layers: int, **settings: Any) -> nn.Sequential:
    """Convolutions of 3x3 whose weights are all alike; a path's weights add up to 1."""
    made = nn.Sequential(*(nn.Conv2d(1, 1, 3, bias=False, padding=1, **settings) for _ in range(layers)))
    for parameter in made.parameters():
        nn.init.constant_(parameter, 1 / 9)
    return made


def of_stack(model: nn.Module, side: int) -> effective.EffectiveField:
    profile = field_profile(model, (side, side))
    [field] = effective_fields(model, profile, [len(profile.graph) - 1], torch.ones(1, 1, side, side))
    return field


# --- known answers


@pytest.mark.parametrize("layers", [1, 2, 7])
def test_a_stack_of_equal_weights_counts_the_paths_to_each_pixel(layers: int) -> None:
    paths = np.array([1.0])
    for _ in range(layers):
        paths = np.convolve(paths, [1, 1, 1])
    expected = np.zeros(41)
    expected[20 - layers : 20 + layers + 1] = paths / 3**layers
    field = of_stack(stack(layers), 41)
    assert field.map == pytest.approx(np.outer(expected, expected), abs=1e-7)
    assert field.theoretical == (2 * layers + 1, 2 * layers + 1)
    assert field.whole


def test_one_pixel_or_a_box_of_equal_mass_has_95_percent_of_its_width() -> None:
    field = of_stack(stack(1), 9)
    assert field.widths == pytest.approx((0.95 * 3, 0.95 * 3))
    assert field.spans[0] == pytest.approx((4 - 0.95 * 1.5, 4 + 0.95 * 1.5))
    assert field.ratio == pytest.approx(0.95)


@pytest.mark.parametrize("layers", [12, 48])
def test_a_deep_stack_is_a_gaussian_of_the_variance_of_its_kernels(layers: int) -> None:
    """Luo et al. 2016: n uniform kernels of k pixels add up to a variance of n (k^2 - 1) / 12."""
    field = of_stack(stack(layers), 2 * layers + 3)
    deviation = math.sqrt(layers * (3**2 - 1) / 12)
    for fit, width in zip(field.gaussians, field.widths, strict=True):
        assert fit is not None
        assert fit.width == pytest.approx(4 * deviation, rel=0.02)
        assert fit.middle == pytest.approx(layers + 1)
        assert fit.explained > 0.999
        assert width == pytest.approx(2 * 1.96 * deviation, rel=0.02)


def test_dilation_leaves_holes_without_gradient() -> None:
    field = of_stack(stack(1, dilation=4), 15)
    rows = np.flatnonzero(field.map.sum(1))
    assert rows.tolist() == [3, 7, 11]
    assert field.field.height.holes == 9 - 3


def test_what_leaves_the_image_is_not_counted() -> None:
    profile = field_profile(model := stack(3), (5, 5))
    [corner] = effective_fields(model, profile, [2], torch.ones(1, 1, 5, 5), units=[(0, 0)])
    assert not corner.whole
    assert corner.unit == (0, 0)
    ways = np.eye(5)  # how many paths inside the image lead from each pixel of a row to each
    for _ in range(3):
        ways = sum(np.eye(5, k=k) for k in (-1, 0, 1)) @ ways
    inside = ways[0] / ways[0].sum()
    assert corner.map == pytest.approx(np.outer(inside, inside), abs=1e-7)
    assert np.count_nonzero(inside) == 1 + 3


def test_a_field_is_whole_if_no_edge_cuts_it() -> None:
    profile = field_profile(model := stack(1), (9, 9))
    units = [(4, 4), (1, 1), (7, 7), (0, 4), (4, 0), (8, 4), (4, 8)]
    fields = [effective_fields(model, profile, [0], torch.ones(1, 1, 9, 9), units=[unit])[0] for unit in units]
    assert [field.whole for field in fields] == [True, True, True, False, False, False, False]


# --- against plain autograd


def by_hand(model: nn.Module, module: str, images: Tensor, unit: tuple[int, int], generator: Any) -> np.ndarray:
    """The same by plain autograd, one image at a time, with batch norms that were told the batch's statistics."""
    caught: list[Tensor] = []
    hook = model.get_submodule(module).register_forward_hook(lambda m, i, output: caught.append(output))
    images = images.clone().requires_grad_()
    model(images)
    hook.remove()
    signs = torch.randint(0, 2, caught[0].shape[:2], generator=generator) * 2 - 1
    maps = []
    for number in range(len(images)):
        answer = (caught[0][number, :, unit[0], unit[1]] * signs[number]).sum()
        (gradient,) = torch.autograd.grad(answer, images, retain_graph=True)
        mass = gradient[number].abs().sum(0).double().numpy()
        maps.append(mass / mass.sum())
    return np.mean(maps, axis=0)


def told(model: nn.Module, images: Tensor) -> nn.Module:
    """The model in eval mode; its batch norms have the statistics that one step of training uses.

    What they store is the variance over n - 1, what they divide by that over n.
    """
    counts: dict[nn.BatchNorm2d, int] = {}
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.register_forward_hook(lambda norm, taken, _: counts.update({norm: taken[0][:, 0].numel()}))
    with torch.no_grad():
        model.train()(images)
    for norm, count in counts.items():
        assert norm.running_var is not None
        norm.running_var *= (count - 1) / count
    return model.eval()


@pytest.mark.parametrize(("unit", "module"), [((8, 8), "layer2.0.relu2"), ((3, 15), "layer2.2.add")])
def test_a_net_is_measured_as_by_plain_autograd(unit: tuple[int, int], module: str) -> None:
    spec = PRESETS["cifar_resnet20"]
    images = patterns(1, 3, 32)
    profile = field_profile(spec)
    here = operator(profile, module)
    [found] = initial_fields(spec, profile, [here], images, units=[unit])
    generator = effective._generator(0, here)
    expected = by_hand(told(zoo.initialised(spec, 0), images), module, images, unit, generator)
    assert found.map == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert found.averaged == 3
    assert found.left_out == 0


def test_several_layers_at_once_are_measured_as_one_by_one() -> None:
    spec = replace(PRESETS["cifar_resnet20"], norm="none")
    profile = field_profile(spec)
    images = patterns(0, 2)
    wanted = [operator(profile, name) for name in ("relu", "layer1.2.add", "layer3.0.conv1")]
    together = initial_fields(spec, profile, wanted[::-1], images)
    assert [field.operator for field in together] == wanted[::-1]
    for field in together:
        [alone] = initial_fields(spec, profile, [field.operator], images)
        assert field.map == pytest.approx(alone.map, rel=1e-4, abs=1e-9)


def test_images_that_do_not_fit_into_memory_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = field_profile(model := stack(3), (9, 9))
    images = torch.rand(4, 1, 9, 9)
    [whole] = effective_fields(model, profile, [2], images)
    told: list[str] = []
    monkeypatch.setattr(effective, "_ROOM", 1.0)
    [parts] = effective_fields(model, profile, [2], images, report=lambda fraction, text: told.append(text))
    assert parts.averaged == whole.averaged == 4
    assert parts.map == pytest.approx(whole.map)
    assert [text for text in told if "forward" in text] == [f"images {n}: forward" for n in (1, 2, 3, 4)]


def test_seeds_are_averaged_and_drawn_again_alike() -> None:
    spec = PRESETS["cifar_resnet20"]
    profile, images = field_profile(spec), patterns(0, 2)
    wanted = [last(profile)]
    [both] = initial_fields(spec, profile, wanted, images, seeds=2)
    [first] = initial_fields(spec, profile, wanted, images)
    [again] = initial_fields(spec, profile, wanted, images)
    assert np.array_equal(first.map, again.map)
    assert both.averaged == 4
    name = profile.graph[wanted[0]].name
    generator = effective._generator(1, wanted[0])
    second = by_hand(told(zoo.initialised(spec, 1), images), name, images, both.unit, generator)
    assert 2 * both.map - first.map == pytest.approx(second, rel=1e-3, abs=1e-7)


def test_a_relu_in_place_does_not_change_what_is_measured_before_it() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    profile = field_profile(model, (64, 64))
    wanted, images = [operator(profile, name) for name in ("bn1", "layer1.0.bn1")], patterns(0, 2, 64)
    found = effective_fields(model, profile, wanted, images)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    for one, other in zip(found, effective_fields(model, profile, wanted, images), strict=True):
        assert one.map == pytest.approx(other.map)


@FEW
@given(specs())
def test_no_gradient_leaves_the_theoretical_field(spec: ResNetSpec) -> None:
    """An independent oracle for both: what the weights of the real network do, and what the sweep says."""
    profile = field_profile(spec)
    local = profile.table[~profile.table["global_context"]]
    caught = [here for here in measurable(profile) if here in set(local["operator"])]
    if not caught or max(spec.image_size) > 64:
        return
    images = torch.randn(1, spec.in_channels, *spec.image_size, generator=torch.Generator().manual_seed(0))
    for here in {caught[0], caught[len(caught) // 2], caught[-1]}:
        try:
            [field] = initial_fields(spec, profile, [here], images)
        except NotMeasured as refusal:
            assert "Every gradient of" in str(refusal)  # noqa: PT017 - a dead unit is no defect
            continue
        box = box_of(field.field, field.unit)
        inside = field.map[max(box.top, 0) : box.bottom + 1, max(box.left, 0) : box.right + 1]
        assert inside.sum() == pytest.approx(field.map.sum()) == pytest.approx(1)
        assert np.count_nonzero(field.map) == np.count_nonzero(inside)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_measures_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    profile, images = field_profile("cifar_resnet20"), patterns(0, 4)
    [fast] = initial_fields("cifar_resnet20", profile, [last(profile)], images)
    monkeypatch.setattr(effective, "best_device", lambda: torch.device("cpu"))
    [slow] = initial_fields("cifar_resnet20", profile, [last(profile)], images)
    assert fast.widths == pytest.approx(slow.widths, rel=0.01)


# --- published and measured


def test_the_widths_measured_before_this_project() -> None:
    """FACTS.md has 205 of 435 pixels for ResNet-18 and 180 of 427 for ResNet-50: one seed, the rest undefined."""
    measured = {}
    for name, size, earlier in (("resnet18", 435, 205), ("resnet50", 427, 180)):
        profile = field_profile(name, (448, 448))
        [field] = initial_fields(name, profile, [last(profile)], patterns(0, 1, 448))
        assert field.theoretical == (size, size)
        assert field.whole
        measured[name] = math.sqrt(math.prod(field.widths))
        assert measured[name] == pytest.approx(earlier, rel=0.25)
    assert measured["resnet50"] / measured["resnet18"] == pytest.approx(180 / 205, rel=0.1)


def test_depth_uses_less_of_the_field_and_shortcuts_less_still() -> None:
    """Luo et al. 2016: the part that is used shrinks like 1 / sqrt(n), and shortcuts make the field smaller."""
    ratios = {}
    for name, side in (("plain20", 96), ("resnet20", 96), ("plain56", 256), ("resnet56", 256)):
        profile = field_profile(f"cifar_{name}", (side, side))
        [field] = initial_fields(f"cifar_{name}", profile, [last(profile)], patterns(0, 2, side))
        assert field.whole
        ratios[name] = field.ratio
        assert all(fit is not None and fit.explained > 0.97 for fit in field.gaussians)
    assert ratios["resnet20"] < ratios["plain20"]
    assert ratios["resnet56"] < ratios["plain56"]
    assert ratios["plain56"] / ratios["plain20"] == pytest.approx(math.sqrt(81 / 249), rel=0.15)


# --- trained networks


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_resnet56", "cifar_plain20", "cifar_plain56"])
def test_training_narrowed_the_fields_of_our_own_nets(name: str) -> None:
    """As the page says; Luo et al. 2016 saw theirs widened, so it depends on the net and its training."""
    trained, profile = load(name), field_profile(name)
    wanted = [here for here in by_depth(profile, 12) if box_of(profile.fields[here], (0, 0)).size[0] >= 7]
    preprocessing = trained.checkpoint.preprocessing
    photos = [Image.fromarray(getattr(data, photo)()) for photo in ("coffee", "chelsea", "rocket", "astronaut")]
    images = torch.cat([preprocessing.tensor(preprocessing.crop_of(photo)) for photo in photos])
    before = initial_fields(name, profile, wanted, images, seeds=2)
    after = trained_fields(trained, profile, wanted, images)
    assert len(before) == len(after) == len(wanted) >= 10
    for one, other in zip(before, after, strict=True):
        assert math.prod(other.widths) < math.prod(one.widths), one.name


def test_a_trained_network_is_measured_and_left_as_it_was() -> None:
    trained = load("efficientnet_lite0")
    profile = field_profile(trained.checkpoint.network, (224, 224))
    with trained.model.borrow() as model:
        before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = by_depth(profile, 3)
    fields = trained_fields(trained, profile, wanted, patterns(0, 1, 224))
    assert [field.operator for field in fields] == wanted
    assert all(0 < field.ratio < 1 for field in fields)
    assert fields[0].widths[0] < fields[1].widths[0] < fields[2].widths[0]
    with trained.model.borrow() as model:
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_module_is_left_as_it_was_when_the_work_is_stopped() -> None:
    model = build(PRESETS["cifar_resnet20"], "cpu").train()
    profile = field_profile(PRESETS["cifar_resnet20"])

    def stop(fraction: float, text: str) -> None:
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        effective_fields(model, profile, [last(profile)], patterns(0, 1), report=stop)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


# --- where units can be caught


def test_what_a_function_makes_is_caught_where_its_module_returns_it() -> None:
    profile = field_profile("googlenet")
    here = operator(profile, "inception3a.cat")
    assert profile.places[here] == Place("inception3a", 0)
    model = zoo.initialised("googlenet", 0)
    [field] = effective_fields(model, profile, [here], patterns(0, 1, 224))
    assert field.theoretical == (27 + 2 * 8, 27 + 2 * 8)  # its two branches with a 3x3, at stride 8


def test_a_module_that_is_called_twice_is_told_apart_by_its_calls() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    profile = field_profile(model, (64, 64))
    calls = [here for here, each in enumerate(profile.graph) if each.name == "layer1.0.relu"]
    assert [profile.places[here].call for here in calls] == [0, 1]
    first, second = effective_fields(model, profile, calls, patterns(0, 1, 64))
    assert first.theoretical == (19, 19)
    assert second.theoretical == (27, 27)
    assert first.widths < second.widths


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "densenet121", "mobilenet_v2", "convnext_tiny", "vgg11"])
def test_every_place_returns_what_its_operator_makes(name: str) -> None:
    model, shape = zoo.network(name)
    profile = field_profile(name)
    shapes: dict[Place, torch.Size] = {}
    calls: dict[str, int] = {}

    def note(module: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: object, output: object) -> None:
            place = Place(module, calls.get(module, 0))
            calls[module] = place.call + 1
            if isinstance(output, Tensor):
                shapes[place] = output.shape

        return hook

    for module_name, module in model.named_modules():
        module.register_forward_hook(note(module_name))
    model.eval()(torch.empty(1, *shape, device="meta"))
    assert len(measurable(profile)) > 0.7 * len(profile.table)
    for here, place in profile.places.items():
        assert shapes[place] == profile.graph[here].gives[0].shape, place


def test_layers_to_follow_are_spread_over_the_depth() -> None:
    profile = field_profile("resnet50")
    table = profile.table.set_index("operator")
    chosen = by_depth(profile, 8)
    depths = [int(table.loc[here, "depth"]) for here in chosen]
    assert depths == sorted(set(depths))
    assert (depths[0], depths[-1]) == (1, 49)
    assert max(np.diff(depths)) <= 8
    assert not any("downsample" in table.loc[here, "name"] for here in by_depth(profile, 1000))
    sizes = [int(table.loc[here, "receptive_field"]) for here in by_depth(profile, 1000)]
    assert sizes == sorted(sizes)
    assert len(sizes) == 49


# --- sentences


def test_what_cannot_be_measured_is_a_sentence() -> None:
    profile = field_profile("cifar_resnet20")
    images = patterns(0, 1)
    with pytest.raises(NotMeasured, match=r"unit \(=16, 0\) must lie in the 16x16 map of layer2.0.conv1"):
        initial_fields("cifar_resnet20", profile, [operator(profile, "layer2.0.conv1")], images, units=[(16, 0)])
    with pytest.raises(NotMeasured, match="fc has no local receptive field"):
        initial_fields("cifar_resnet20", profile, [operator(profile, "fc")], images)
    torchvisions = field_profile("torchvision/resnet18")
    add = next(here for here, each in enumerate(torchvisions.graph) if each.effect.kind == "add")
    with pytest.raises(NotMeasured, match="is no module of its own"):
        initial_fields("torchvision/resnet18", torchvisions, [add], patterns(0, 1, 224))


def test_a_unit_without_gradient_is_a_sentence_and_one_image_of_it_is_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU())
    nn.init.ones_(model[0].weight)
    profile = field_profile(model, (7, 7))
    images = torch.stack([torch.ones(1, 7, 7), -torch.ones(1, 7, 7)])
    [field] = effective_fields(model, profile, [1], images)
    assert (field.averaged, field.left_out) == (1, 1)
    assert field.map.sum() == pytest.approx(1)
    with pytest.raises(NotMeasured, match="Every gradient of 1 is 0 or not finite"):
        effective_fields(model, profile, [1], images[1:])
    [field] = effective_fields(model, profile, [0, 1], images[1:])
    assert field.name == "0", "a layer that is dead takes none of the others with it"


def test_pictures_become_what_the_network_takes() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)) for _ in range(2)]
    for channels in (1, 3):
        spec = replace(PRESETS["cifar_resnet20"], in_channels=channels, image_size=(32, 48))
        taken = prepared(pictures, field_profile(spec))
        assert taken.shape == (2, channels, 32, 48)
        assert taken.mean((0, 2, 3)).abs().max() < 1e-5
        assert taken.std((0, 2, 3)).tolist() == pytest.approx([1.0] * channels)
    spec = replace(PRESETS["cifar_resnet20"], in_channels=4)
    with pytest.raises(NotMeasured, match="takes 4 channels and a picture has 1 or 3"):
        prepared(pictures, field_profile(spec))


# --- widths


def test_spans_by_hand() -> None:
    assert mass_span([0, 1, 0, 0, 1, 0], 0.5) == pytest.approx((1.0, 4.0))
    assert mass_span([1.0], 0.95) == pytest.approx((-0.475, 0.475))
    assert mass_span(np.ones(100)) == pytest.approx((-0.5 + 2.5, 99.5 - 2.5))
    lone = np.zeros(11)
    lone[4] = 3.0
    assert mass_span(lone) == pytest.approx((4 - 0.475, 4 + 0.475))


def test_too_few_pixels_have_no_gaussian_and_a_box_is_no_gaussian() -> None:
    assert gaussian_fit(np.array([0, 1, 2, 1, 0, 0.0])) is None
    assert gaussian_fit(np.ones(50)) is None, "a level line has no width"
    box = gaussian_fit(np.concatenate([np.zeros(30), np.ones(40), np.zeros(30)]))
    assert box is not None
    assert box.explained < 0.95


def test_the_line_around_95_percent_encloses_95_percent() -> None:
    field = of_stack(stack(30), 101)
    enclosed = field.enclosing()
    assert enclosed.shape == (101, 101)
    assert np.unravel_index(enclosed.argmin(), enclosed.shape) == (50, 50)
    assert enclosed.max() == pytest.approx(1)
    # a round Gaussian has 95% within 2.448 deviations; smoothing over two pixels adds 4 to its variance
    radius = math.sqrt((enclosed <= 0.95).sum() / math.pi)
    assert radius == pytest.approx(2.448 * math.sqrt(30 * 8 / 12 + 4), rel=0.02)
    assert field.enclosing(most=30).shape == (26, 26)


def test_the_table_has_the_numbers_of_the_fields() -> None:
    profile = field_profile("cifar_resnet20", (96, 96))
    wanted = by_depth(profile, 4)
    fields = initial_fields("cifar_resnet20", profile, wanted, patterns(0, 1, 96))
    table = effective_table(profile, fields)
    assert list(table["depth"]) == sorted(table["depth"])
    assert table["theoretical"].iloc[-1] == 81
    assert list(table["ratio"]) == pytest.approx(list(table["effective"] / table["theoretical"]))
    assert table["whole"].all()
    assert set(table["averaged"]) == {1}
    assert table["gaussian"].iloc[-1] == pytest.approx(table["effective"].iloc[-1], rel=0.2)
