"""The ONNX file computes what our net computes, with our names for its weights; the process that makes it ends."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from explorer.export.onnx import ExportUnavailable, export_onnx
from explorer.jobs import JobQueue, Progress
from explorer.models.resnet import ResNet, build
from explorer.spec import PRESETS, ResNetSpec, knob

onnx = pytest.importorskip("onnx", reason='needs pip install -e ".[onnx,test]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs pip install -e ".[onnx,test]"')
from onnx import numpy_helper

ROOT = Path(__file__).parents[1]
LONG = 120  # seconds that no export of these nets takes

SMALL: dict[str, Any] = {"width": 8, "num_classes": 5, "image_size": (40, 48)}
SPECS = {  # together they have every choice of CHOICES; odd sizes, so that strides, pads and pools have to round
    "option A": ResNetSpec(
        block="basic", depths=(1, 1), shortcut="A", stem="cifar", attention="se", **SMALL | {"image_size": (19, 21)}
    ),
    "dilated": ResNetSpec(
        block="bottleneck",
        depths=(1, 1, 1, 1),
        output_stride=8,
        cardinality=2,
        shortcut="B",
        downsample="avg",
        stem="deep",
        antialias="avg",
        activation_order="relu_before_add",
        activation="leaky_relu",
        residual_scale="constant",
        scale_start=0.5,
        **SMALL,
    ),
    "pre-activation": ResNetSpec(
        block="bottleneck",
        depths=(1, 1),
        stride_on="1x1",
        shortcut="C",
        stem="tiered",
        norm="group",
        weight_standardization=True,
        activation_order="preact",
        activation="silu",
        attention="cbam",
        residual_scale="skipinit",
        stochastic_depth=0.5,
        **SMALL,
    ),
    "no norm": ResNetSpec(
        block="basic",
        depths=(1, 1),
        shortcut="highway",
        norm="none",
        activation_order="relu_preact",
        activation="gelu",
        attention="eca",
        residual_scale="layerscale",
        block_dropout=0.5,
        head_dropout=0.5,
        in_channels=1,
        **SMALL,
    ),
    "gated": ResNetSpec(
        block="basic",
        depths=(1, 1),
        kernel_size=5,
        shortcut="gated",
        activation_order="bn_after_add",
        activation="tanh",
        antialias="blur",
        zero_init_residual=True,
        **SMALL,
    ),
    "sigmoid": ResNetSpec(block="basic", depths=(1,), stem="cifar", activation="sigmoid", **SMALL),
}
CHOICES = (
    "block",
    "shortcut",
    "downsample",
    "activation_order",
    "residual_scale",
    "stem",
    "attention",
    "antialias",
    "norm",
    "weight_standardization",
    "activation",
)


class Seen(Progress):
    """Keeps what was reported."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[tuple[float, str]] = []

    def report(self, fraction: float, text: str = "") -> None:
        self.reports.append((fraction, text))
        super().report(fraction, text)


@dataclass
class Exported:
    spec: ResNetSpec
    file: bytes
    reports: list[tuple[float, str]]

    @property
    def model(self) -> Any:
        return onnx.load_from_string(self.file)

    def net(self) -> ResNet:
        """Ours, as the file says that it was made."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(self.spec).eval()


@pytest.fixture(scope="module", params=SPECS, ids=str)
def exported(request: pytest.FixtureRequest) -> Exported:
    progress = Seen()
    spec = SPECS[request.param]
    return Exported(spec, export_onnx(spec, progress), progress.reports)


class Recorded(subprocess.Popen[bytes]):
    """Every process that was started."""

    started: list[subprocess.Popen[bytes]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started.append(self)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(Recorded, "started", started, raising=False)
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started


def weights(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and running statistics; how many batches there were is no part of inference."""
    return {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def initializers(model: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def assert_same_outputs(model: Any, net: ResNet) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 3):
        images = torch.randn(batch, net.spec.in_channels, *net.spec.image_size, generator=generator)
        with torch.inference_mode():
            expected = net(images)
        assert expected.std() > 1e-3  # or the comparison would say nothing
        (logits,) = session.run(["logits"], {"image": images.numpy()})
        np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CHOICES)
def test_every_kind_of_layer_is_among_the_nets(name: str) -> None:
    assert {getattr(spec, name) for spec in SPECS.values()} == set(knob(name).choices or (False, True))


def test_the_file_is_valid_and_says_what_goes_in_and_comes_out(exported: Exported) -> None:
    onnx.checker.check_model(exported.model, full_check=True)
    graph, spec = exported.model.graph, exported.spec
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"image": ["batch", spec.in_channels, *spec.image_size], "logits": ["batch", spec.num_classes]}


def test_it_computes_what_our_net_computes(exported: Exported) -> None:
    assert_same_outputs(exported.model, exported.net())


def test_its_weights_are_those_of_seed_0_under_the_names_of_the_state_dict(exported: Exported) -> None:
    held = initializers(exported.model)
    for name, value in weights(exported.net()).items():
        np.testing.assert_array_equal(numpy_helper.to_array(held.pop(name)), value.numpy())
    assert all(np.prod(constant.dims) <= 8 for constant in held.values())  # shapes and pads


def test_every_weight_can_be_replaced_by_a_trained_one(exported: Exported) -> None:
    model, net = exported.model, exported.net()
    held = initializers(model)
    generator = torch.Generator().manual_seed(2)
    state = net.state_dict()
    for name, value in weights(net).items():
        drawn = torch.randn(value.shape, generator=generator)
        if value.dim() > 1:
            drawn /= max(1, value[0].numel()) ** 0.5
        state[name] = drawn.abs() + 0.5 if name.endswith("running_var") else drawn
        held[name].CopyFrom(numpy_helper.from_array(state[name].numpy(), name))
    net.load_state_dict(state)
    assert_same_outputs(model, net)


def test_it_has_our_layers_and_nothing_beside_them(exported: Exported) -> None:
    net, calls = exported.net(), Counter[str]()
    names = {
        nn.Conv1d: "Conv",
        nn.Conv2d: "Conv",
        nn.BatchNorm2d: "BatchNormalization",
        nn.GroupNorm: "GroupNormalization",
    }
    for module in net.modules():
        for kind, name in names.items():
            if isinstance(module, kind):  # CBAM calls its two layers twice
                module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    with torch.inference_mode():
        net(torch.zeros(1, exported.spec.in_channels, *exported.spec.image_size))
    nodes = Counter(node.op_type for node in exported.model.graph.node)
    assert {name: nodes[name] for name in names.values()} == {name: calls[name] for name in names.values()}
    assert nodes["Gemm"] == 1
    assert not nodes.keys() & {"Cast", "CastLike", "Constant", "Dropout", "Expand", "Shape"}


def test_its_metadata_hold_the_spec_and_that_it_is_untrained(exported: Exported) -> None:
    metadata = {entry.key: entry.value for entry in exported.model.metadata_props}
    assert ResNetSpec.from_json(metadata["spec"]) == exported.spec
    assert (metadata["app"], metadata["weights"]) == ("ResNet Explorer", "untrained, seed 0")
    assert "Untrained" in exported.model.doc_string


def test_it_holds_no_paths_of_this_machine(exported: Exported) -> None:
    for path in (ROOT, Path(torch.__file__).parents[1]):
        assert str(path).encode() not in exported.file


def test_progress_goes_through_the_steps(exported: Exported) -> None:
    steps = ["Loading PyTorch", "Initialising the weights", "Tracing the net", "Writing the file"]
    assert exported.reports == sorted(exported.reports)
    texts = list(dict.fromkeys(text for _, text in exported.reports))
    assert texts == [step for step in steps if step in texts]  # a short one may fall between two looks
    assert {"Loading PyTorch", "Tracing the net"} <= set(texts)


def test_cancel_kills_the_process_and_removes_its_folder(processes: list[subprocess.Popen[bytes]]) -> None:
    queue = JobQueue()
    try:
        job = queue.submit("ada", lambda progress: export_onnx(PRESETS["cifar_resnet1202"], progress))
        deadline = time.monotonic() + LONG
        while job.text != "Tracing the net" and time.monotonic() < deadline:
            time.sleep(0.02)
        (process,) = processes
        folder = Path(process.args[-1])  # type: ignore[index]
        assert (job.state, process.returncode, folder.exists()) == ("running", None, True)
        job.cancel()
        assert job.wait(10)
        assert (job.state, process.returncode, folder.exists()) == ("cancelled", -signal.SIGKILL, False)
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
    finally:
        queue.shutdown()


def test_without_the_extra_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, processes: list[subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportUnavailable, match=r'pip install "resnet-explorer\[onnx\]"'):
        export_onnx(SPECS["option A"])
    assert processes == []


def test_a_net_beyond_two_gigabytes_is_refused_before_any_work(processes: list[subprocess.Popen[bytes]]) -> None:
    # torchvision's 25.6 million parameters at width 64, nearly all of them quadratic in it: x 8^2 and 4 bytes each
    spec = replace(PRESETS["resnet50"], width=512)
    with pytest.raises(ExportUnavailable, match=r"take 6\.1 GB .* holds 2\.1 GB.* width \(=512\)"):
        export_onnx(spec)
    assert processes == []


def test_a_failure_is_a_sentence_and_its_trace_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, processes: list[subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setattr(ResNetSpec, "to_json", lambda spec: json.dumps({"depths": "many"}))
    with caplog.at_level(logging.ERROR), pytest.raises(ExportUnavailable, match="failed; the details are in") as caught:
        export_onnx(SPECS["option A"])
    assert "Traceback" not in str(caught.value)
    assert "SpecError: depths (='many')" in caplog.text
    assert (processes[0].returncode, Path(processes[0].args[-1]).exists()) == (1, False)  # type: ignore[index]


def test_a_process_killed_from_outside_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Doomed(subprocess.Popen[bytes]):
        """As the system ends one when memory runs out."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(subprocess, "Popen", Doomed)
    with pytest.raises(ExportUnavailable, match="more memory than there is"):
        export_onnx(SPECS["option A"])
    assert "ended with -9" in caplog.text
