"""A net as an ONNX file, traced in a process of its own.

PyTorch's exporter patches PyTorch itself while it traces, and a thread inside it cannot be stopped. Beside other
sessions it would break their results, so `export_onnx` starts this module again as a program, waits and may kill it.
"""

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from explorer.errors import Refusal
from explorer.jobs import Progress
from explorer.models.resnet import build
from explorer.spec import ResNetSpec

_log = logging.getLogger(__name__)

OPSET = 21  # the first whose group norm has a weight a channel; in an older one it falls apart into reshapes
_STEPS = ("Loading PyTorch", "Initialising the weights", "Tracing the net", "Writing the file")
_POLL = 0.1  # seconds
_LIMIT = 2**31 - 1  # bytes of a protobuf message
_GRAPH = 2**25  # bytes that are plenty for all but the weights


class ExportUnavailable(Refusal):
    """There is no ONNX file of this net here; the message says why."""


def export_onnx(spec: ResNetSpec, progress: Progress | None = None) -> bytes:
    """The net of a spec as an ONNX file, untrained: its weights are drawn anew with seed 0.

    Input `image` (batch, in_channels, h, w) of the spec's image size and any batch, output `logits` (batch,
    num_classes). It is the net in eval mode, layer by layer: nothing is fused, and weights and running statistics have
    their names of the state_dict. Each can be replaced by a trained one, as nothing is folded by its value. The file's
    metadata hold the spec, as JSON.

    Args:
        spec: the net.
        progress: where to say how far it is; a cancel asked there kills the process.

    Raises:
        ExportUnavailable: the extra is not installed, the net is too large for one file, or the export failed.
        Cancelled: cancel was asked.
    """
    progress = progress or Progress()
    if importlib.util.find_spec("onnxscript") is None:
        raise ExportUnavailable('ONNX export is not installed here; pip install "resnet-explorer[onnx]" brings it.')
    size = sum(tensor.nbytes for tensor in build(spec, "meta").state_dict().values())
    if size > _LIMIT - _GRAPH:
        raise ExportUnavailable(
            f"The weights of this net take {size / 1e9:.1f} GB and an ONNX file holds {_LIMIT / 1e9:.1f} GB; choose "
            f"fewer blocks or a smaller width (={spec.width})."
        )
    with tempfile.TemporaryDirectory(prefix="onnx-") as name:
        folder = Path(name)
        (folder / "spec.json").write_text(spec.to_json())
        code = _run(folder, progress)
        if code != 0:
            errors = (folder / "errors").read_text(errors="replace")
            _log.error("The ONNX export of %r ended with %d:\n%s", spec, code, errors)
            raise ExportUnavailable(
                "The ONNX export of this net failed; the details are in the server's log. A large net may want more "
                "memory than there is."
            )
        return (folder / "net.onnx").read_bytes()


def _run(folder: Path, progress: Progress) -> int:
    """Run this module as a program on the folder; its exit code. Whatever ends the wait ends the process."""
    command = [sys.executable, "-m", "explorer.export.onnx", str(folder)]
    root = Path(__file__).parents[1]  # from there Python finds this package and no other of its name
    with (
        (folder / "steps").open("w") as steps,
        (folder / "errors").open("w") as errors,
        subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=steps, stderr=errors) as process,
    ):
        try:
            while process.poll() is None:
                done = len((folder / "steps").read_text().splitlines())
                progress.report(done / len(_STEPS), _STEPS[min(done, len(_STEPS) - 1)])
                time.sleep(_POLL)
        finally:
            process.kill()
    return process.returncode


def _export(folder: Path) -> None:
    """Write net.onnx beside the spec.json of the folder; a line on stdout ends each step."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)
    torch.set_num_threads(1)
    print(_STEPS[0], flush=True)
    spec = ResNetSpec.from_json((folder / "spec.json").read_text())
    torch.manual_seed(0)
    model = build(spec).eval()
    print(_STEPS[1], flush=True)
    image = torch.zeros(1).expand(2, spec.in_channels, *spec.image_size)  # a batch of 1 may be taken for a constant
    program = torch.onnx.export(
        model,
        (image,),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        opset_version=OPSET,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    _simplify(program)
    program.model.doc_string = "A network made with ResNet Explorer. Untrained: its weights were drawn with seed 0."
    program.model.metadata_props.update(app="ResNet Explorer", weights="untrained, seed 0", spec=spec.to_json())
    print(_STEPS[2], flush=True)
    # Its own `save` moves the weights out to a second file from 1.5 GiB on.
    (folder / "net.onnx").write_bytes(program.model_proto.SerializeToString())


def _simplify(program: torch.onnx.ONNXProgram) -> None:
    """Let the exporter's optimizer remove what is no layer, in place, without a look at the weights' values.

    A fresh net has zeros and ones that a trained one has not: it would drop biases, merge norms with equal weights and
    fold them into convolutions. So the weights are inputs meanwhile.
    """
    graph = program.model.graph
    weights = dict(graph.initializers)
    values = {name: weight.const_value for name, weight in weights.items()}
    graph.initializers.clear()
    graph.inputs.extend(weights.values())
    for weight in weights.values():
        weight.const_value = None
    program.optimize()
    del graph.inputs[1:]
    for name, weight in weights.items():
        weight.const_value = values[name]
    graph.initializers.update(weights)
    for node in graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # paths on this machine


if __name__ == "__main__":
    _export(Path(sys.argv[1]))
