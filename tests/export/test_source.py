"""The exported file builds the same net as `build`, without any package but PyTorch, and reads well."""

import ast
import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from strategies import FEW, specs
from torch import Tensor, nn

from explorer import export_source
from explorer.errors import Refusal
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

SAID = r'(?s)the same net is\n(.*)\nand its spec, [^\n]*\n(.*?)\n"""'
# Beside the usual nets, one for each class and each way of dilating that a file may hold
SHOWN = {
    name: PRESETS[name]
    for name in ("resnet18", "resnet50", "cifar_resnet20", "plain34", "resnext50_32x4d", "resnet50d", "resnet10t")
} | {
    "blurred": replace(PRESETS["resnet50d"], antialias="blur"),
    "averaged": PRESETS["seresnextaa101d_32x8d"],
    "grouped": replace(PRESETS["resnetv2_50d"], norm="group"),
    "narrow": replace(PRESETS["cifar_resnet20"], norm="group", weight_standardization=True, kernel_size=7),
    "bare": replace(PRESETS["resnet18"], norm="none", stem="deep", activation_order="relu_preact", attention="cbam"),
    "dilated": replace(PRESETS["resnet50"], output_stride=8),
    "v1": replace(PRESETS["resnet50_v1"], output_stride=16),
    "unnormed": replace(PRESETS["cifar_plain20"], norm="none"),
    "tanh": replace(PRESETS["cifar_plain20"], norm="none", activation="tanh", init="xavier"),
    "sigmoid": replace(PRESETS["resnet18"], activation="sigmoid", attention="se"),
    "highway": replace(PRESETS["resnet34"], shortcut="highway", zero_init_residual=True, output_stride=8),
    "gated": replace(PRESETS["resnet50d"], shortcut="gated", init="pytorch", attention="eca", output_stride=16),
    "constant": replace(PRESETS["resnet50"], residual_scale="constant", stochastic_depth=0.2, head_dropout=0.5),
    "all at once": replace(
        PRESETS["resnet50d"],
        antialias="blur",
        depths=(1, 2, 3, 4, 5),
        cardinality=128,
        width_per_group=16,
        kernel_size=7,
        weight_standardization=True,
        norm="group",
        activation="leaky_relu",
        activation_order="bn_after_add",
        attention="se",
        residual_scale="layerscale",
        stochastic_depth=0.2,
        block_dropout=0.1,
        head_dropout=0.5,
        output_stride=8,
        init="orthogonal",
        zero_init_residual=True,
    ),
}


def build_of(source: str, name: str = "build") -> nn.Module:
    """What the file's `build` returns, or another function of it."""
    namespace: dict[str, object] = {}
    exec(compile(source, "net.py", "exec"), namespace)
    make = namespace[name]
    assert callable(make)
    return make()


def parts(model: nn.Module) -> list[tuple[str, str]]:
    """The modules' names in order, with the settings of each layer."""
    return [(name, "" if list(module.children()) else repr(module)) for name, module in model.named_modules()]


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def any_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under which every layer counts: what starts at zero would hide what comes before it."""

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.dim() > 1 and tensor[0].numel() > 1:
            return torch.randn_like(tensor) / tensor[0].numel() ** 0.5
        return torch.rand_like(tensor) + 0.5

    return {name: drawn(tensor) for name, tensor in state.items()}


def check(spec: ResNetSpec) -> None:
    """The file's net has our modules, our first weights and, under any weights, our outputs."""
    torch.manual_seed(0)
    ours = build(spec)
    torch.manual_seed(0)
    theirs = build_of(export_source(spec))
    assert parts(theirs) == parts(ours)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    for name, tensor in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name

    ours, theirs = ours.double(), theirs.double()
    ours.load_state_dict(any_weights(ours.state_dict()))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(2, spec.in_channels, *spec.image_size, dtype=torch.float64)
    for training in (False, True):
        outputs = []
        for model in (ours.train(training), theirs.train(training)):
            torch.manual_seed(1)  # of dropout and stochastic depth
            outputs.append(model(images))
        assert outputs[0].isfinite().all()
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-9)


@FEW
@given(specs())
def test_the_file_builds_the_net_of_the_spec(spec: ResNetSpec) -> None:
    check(spec)


@pytest.mark.parametrize("spec", SHOWN.values(), ids=SHOWN)
def test_the_file_builds_the_nets_that_people_ask_for(spec: ResNetSpec) -> None:
    groups = {"cardinality": min(spec.cardinality, 4), "width_per_group": max(spec.width_per_group, 8)}
    check(replace(spec, width=8, num_classes=7, image_size=(65, 64), **groups))


def test_every_preset_has_its_modules_and_shapes_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (nn.Conv2d, nn.BatchNorm2d):  # on the meta device this takes most of the time, and sets nothing
        monkeypatch.setattr(kind, "reset_parameters", lambda self: None)
    for name, spec in PRESETS.items():
        with torch.device("meta"):
            theirs = build_of(export_source(spec), "ResNet")
        ours = build(spec, "meta")
        assert parts(theirs) == parts(ours), name
        assert shapes(theirs) == shapes(ours), name


@pytest.mark.parametrize("name", ["resnet18", "gated", "highway", "narrow"])
def test_the_file_builds_on_the_meta_device_too(name: str) -> None:
    with torch.device("meta"):
        model = build_of(export_source(SHOWN[name]))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    assert shapes(model) == shapes(build(SHOWN[name], "meta"))


@FEW
@given(specs())
def test_the_file_imports_pytorch_alone_and_defines_nothing_that_it_does_not_use(spec: ResNetSpec) -> None:
    tree = ast.parse(export_source(spec))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {"torch"} <= imported <= {"math", "torch", "torch.nn"}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    definitions = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert {node.name for node in definitions} <= used
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            inside = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            assert {argument.arg for argument in node.args.args} - {"self"} <= inside, node.name
    for node in (tree, *definitions):
        assert ast.get_docstring(node)


@pytest.mark.parametrize("spec", SHOWN.values(), ids=SHOWN)
def test_the_file_says_which_net_it_is(spec: ResNetSpec) -> None:
    source = export_source(spec)
    model = build(spec, "meta")
    params = sum(weight.numel() for weight in model.parameters())
    assert f"of {spec.depth} layers and {params:,} parameters" in source.splitlines()[0]
    said = re.search(SAID, source)
    assert said is not None
    known = {"PRESETS": PRESETS, "replace": replace, "build": lambda spec: spec}
    assert eval(said[1].strip(), known) == spec
    assert ResNetSpec.from_json(said[2]) == spec


def test_a_file_is_called_as_it_is_asked_to_be() -> None:
    assert export_source(PRESETS["resnet18"]).startswith('"""resnet18: a residual network of 18 layers')
    assert export_source(PRESETS["plain34"]).startswith('"""plain34: a plain network of 34 layers')
    assert export_source(PRESETS["resnet18"], "Übung 3, resnet-18").startswith('"""Übung 3, resnet-18: a residual')
    changed = replace(PRESETS["resnet18"], num_classes=7)
    assert export_source(changed).startswith('"""A variant of resnet18: a residual')


@pytest.mark.parametrize("name", ["", " a", 'a"""', "a\nb", "a\\", "x" * 51])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match=r"^name .* must be 1 to 50 letters"):
        export_source(PRESETS["resnet18"], name)


def test_the_file_runs_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(export_source(PRESETS["cifar_resnet20"]))
    done = subprocess.run([sys.executable, "-I", "-W", "error", file], capture_output=True, text=True)
    # 269,722 = 19 3x3 convolutions, 19 norms, a linear layer (He et al. 2015, table 6, says 0.27M)
    convs = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    expected = f"{convs + norms + 64 * 10 + 10:,} parameters\noutput of shape (1, 10)\n"
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for name, spec in SHOWN.items():
        (tmp_path / f"{name}.py").write_text(export_source(spec))

    @settings(FEW, max_examples=60)
    @given(specs())
    def write(spec: ResNetSpec) -> None:
        source = export_source(spec)
        (tmp_path / f"drawn{abs(hash(source))}.py").write_text(source)

    write()
    for command in (["check"], ["format", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "--line-length=120", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("name", "most"), [("resnet18", 100), ("resnet50", 110), ("cifar_resnet20", 115)])
def test_the_file_is_short_enough_to_read(name: str, most: int) -> None:
    lines = export_source(PRESETS[name]).splitlines()
    assert len(lines) <= most
    assert max(map(len, lines)) <= 120


def test_depth_costs_no_lines() -> None:
    lengths = {len(export_source(PRESETS[f"cifar_resnet{n}"]).splitlines()) for n in (20, 1202)}
    assert len(lengths) == 1
