"""Weights from strangers: what comes out of a good file, and the sentence that each bad one gets."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save
from skimage import data
from torch import Tensor, nn

from explorer.attribution import predict
from explorer.models import uploaded
from explorer.models.checkpoints import REGISTRY, untrained, weights_file
from explorer.models.resnet import build
from explorer.models.uploaded import (
    MAX_BYTES,
    MismatchError,
    WeightsError,
    class_names,
    fit,
    mismatch_table,
    newest,
    preprocessings,
    read_weights,
    trained_from,
)
from explorer.spec import PRESETS, ResNetSpec

SPEC = replace(PRESETS["cifar_resnet20"], depths=(1, 1, 1), width=4)


def saved(content: Any, **more: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **more)
    return buffer.getvalue()


def repacked(content: bytes, change: Callable[[str, bytes], tuple[str, bytes] | None], **more: Any) -> bytes:
    """The archive with other entries; an entry that becomes None is left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(buffer, "w", **more) as after:
        for entry in before.infolist():
            if changed := change(entry.filename, before.read(entry)):
                after.writestr(*changed)
    return buffer.getvalue()


def with_pickle(body: bytes) -> bytes:
    """A file of torch.save whose pickle is this one."""
    return repacked(STATE_FILE, lambda name, old: (name, body if name.endswith("data.pkl") else old))


def header(described: str, tensors: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    return struct.pack("<Q", len(described)) + described.encode() + tensors


STATE: dict[str, Tensor] = build(SPEC, "cpu").state_dict()
STATE_FILE = saved(STATE)
SAFE_FILE = save(STATE)


def refusal(content: bytes) -> str:
    """The sentence; nothing of PyTorch's own advice, nor of a path, is in it."""
    with pytest.raises(WeightsError) as caught:
        read_weights(content, "net.pt")
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "weights_only" not in text
    assert "Traceback" not in text
    return text


# Good files


@pytest.mark.parametrize("content", [STATE_FILE, SAFE_FILE], ids=["torch.save", "safetensors"])
def test_what_was_saved_is_read_number_by_number(content: bytes) -> None:
    weights = read_weights(content, "net.pt")
    assert weights.tensors.keys() == STATE.keys()
    assert all(torch.equal(weights.tensors[name], value) for name, value in STATE.items())
    assert weights.notes == ()
    assert fit(SPEC, weights) == ()


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "network"])
def test_a_training_scripts_checkpoint_is_opened_and_what_is_left_out_is_said(wrapper: str) -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1, momentum=0.9).state_dict()
    weights = read_weights(saved({"epoch": 3, wrapper: STATE, "optimizer": optimiser, "best": 0.5}), "net.pt")
    assert weights.tensors.keys() == STATE.keys()
    assert weights.notes == (f"The weights are what the file holds as {wrapper!r}; the rest of it is left out.",)


def test_the_prefixes_of_data_parallel_and_compile_are_taken_off() -> None:
    weights = read_weights(saved(nn.DataParallel(build(SPEC, "cpu")).state_dict()), "net.pt")
    assert weights.tensors.keys() == STATE.keys()
    assert weights.notes == ("'module.' was taken off every name.",)
    one = read_weights(saved({"_orig_mod.fc.bias": torch.zeros(2)}), "net.pt")
    assert list(one.tensors) == ["fc.bias"]
    mixed = read_weights(saved({"module.fc.bias": torch.zeros(2), "fc.weight": torch.zeros(2)}), "net.pt")
    assert list(mixed.tensors) == ["module.fc.bias", "fc.weight"], "it is a name of the net where not all have it"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("write", [saved, save])
def test_other_precisions_are_converted_and_said(dtype: torch.dtype, write: Callable[[Any], bytes]) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in STATE.items()}
    weights = read_weights(write(state), "net")
    assert weights.notes == (f"Converted from {str(dtype)[6:]} to float32.",)
    assert {value.dtype for value in weights.tensors.values()} == {torch.float32, torch.int64}
    assert torch.equal(weights.tensors["fc.weight"], STATE["fc.weight"].to(dtype).float())


def test_parameters_are_tensors_and_want_no_gradient() -> None:
    weights = read_weights(saved({"fc.bias": nn.Parameter(torch.ones(3))}), "net.pt")
    assert not weights.tensors["fc.bias"].requires_grad


def test_a_file_from_before_norms_counted_batches_fits() -> None:
    old = {name: value for name, value in STATE.items() if not name.endswith("num_batches_tracked")}
    weights = read_weights(saved(old), "net.pt")
    assert fit(SPEC, weights) == ()
    with trained_from(SPEC, weights, "old").model.borrow() as model:
        assert int(model.get_buffer("bn1.num_batches_tracked")) == 0


# Bad files


class Code:
    """What a pickle does when it is obeyed."""

    def __reduce__(self) -> Any:
        return os.mkdir, (Code.folder,)

    folder = ""


def test_code_in_a_pickle_is_named_and_not_run(tmp_path: Any) -> None:
    Code.folder = str(tmp_path / "ran")
    for content in (
        saved({"fc.bias": Code()}),
        saved(OrderedDict(STATE, fc=Code())),
        with_pickle(pickle.dumps(Code())),
    ):
        assert "is no tensor and is not run" in refusal(content)
    assert "'posix.mkdir'" in refusal(saved({"fc.bias": Code()})) or os.name != "posix"
    assert "begins" not in refusal(pickle.dumps(Code()))
    assert "bare pickle, which may hold code" in refusal(pickle.dumps(Code()))
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Code()))
    assert (tmp_path / "ran").exists(), "so the code would have done what is looked for"


def test_a_hidden_name_is_not_followed() -> None:
    """Protocol 4 puts the name on the stack, where it can be made of pieces."""
    assert "asks for something by a hidden name" in refusal(with_pickle(pickle.dumps(Code(), 4)))


def test_a_bytearray_as_large_as_the_file_says_is_not_made() -> None:
    """PyTorch's own reader lets builtins.bytearray pass, and a pickle of 40 bytes would take 100 GB."""
    body = b"\x80\x02cbuiltins\nbytearray\n(\x8a\x05\x00\x00\x00\x19\x00tR."
    assert "'builtins.bytearray'" in refusal(with_pickle(body))
    assert "'torch.Sizeable'" in refusal(with_pickle(b"\x80\x02ctorch\nSizeable\n.")), "a name is compared to its end"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is neither safetensors nor a file of torch.save"),
        (b"I am a text", "begins with 'I am a t'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is neither safetensors"),
        (saved(STATE, _use_new_zipfile_serialization=False), "bare pickle"),
        (STATE_FILE[: len(STATE_FILE) // 2], "cut short or damaged"),
        (SAFE_FILE[: len(SAFE_FILE) // 2], "cut short or damaged"),
        (SAFE_FILE[:40], "inside of its header"),
        (saved(torch.zeros(3)), "The file holds a Tensor"),
        (saved([torch.zeros(3)]), "The file holds a list"),
        (saved({}), "The file holds nothing"),
        (saved({"state_dict": {}}), "The file holds nothing"),
        (saved({"fc.bias": torch.zeros(3), "epoch": 3}), "holds 'epoch', of type int"),
        (saved({3: torch.zeros(3)}), "holds '3', of type Tensor"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_what_is_no_file_of_weights_is_said_to_be_none(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploaded, "MAX_BYTES", len(STATE_FILE) - 1)
    assert f"has {len(STATE_FILE):,} bytes" in refusal(STATE_FILE)
    assert MAX_BYTES > 4 * 60_400_000, "ResNet-152 in float32"


def test_compressed_entries_are_refused_before_they_grow() -> None:
    """A deflated file of 584 KB grew to 572 MB."""
    packed = repacked(STATE_FILE, lambda name, old: (name, old), compression=zipfile.ZIP_DEFLATED)
    assert "is compressed or encrypted" in refusal(packed)


def test_entries_that_overlap_are_refused() -> None:
    """Twenty names for the same bytes: a list that points twenty times to one entry."""
    content = STATE_FILE
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        start = archive.start_dir
    buffer = io.BytesIO(content[:start])
    with zipfile.ZipFile(io.BytesIO(content)) as before:
        entries = before.infolist()
    buffer.seek(start)
    listed = b""
    for number, entry in enumerate([*entries, *[largest] * 200]):
        name = (entry.filename if number < len(entries) else f"archive/data/x{number}").encode()
        listed += struct.pack(
            "<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, entry.CRC, entry.file_size, entry.file_size,
            len(name), 0, 0, 0, 0, 0, entry.header_offset,
        ) + name  # fmt: skip
    count = len(entries) + 200
    buffer.write(listed)
    buffer.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), start, 0))
    assert "so that they overlap" in refusal(buffer.getvalue())


def test_a_list_of_very_many_entries_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "claims over 50,000 entries" in refusal(b"PK\3\4" + b"PK\1\2" * 50_001)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "archive/../../outside", "archive\\outside"])
def test_paths_that_lead_out_are_refused(path: str) -> None:
    def moved(name: str, old: bytes) -> tuple[str, bytes]:
        return (path if name == "archive/version" else name), old

    assert "no such paths" in refusal(repacked(STATE_FILE, moved))


def test_a_name_that_is_there_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(STATE_FILE)) as before, zipfile.ZipFile(buffer, "w") as after:
        for entry in before.infolist():
            after.writestr(entry.filename, before.read(entry))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            after.writestr("archive/data.pkl", b"another")
    assert "has 'archive/data.pkl' twice" in refusal(buffer.getvalue())
    twice = '{"fc.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    assert "has 'fc.bias' twice" in refusal(header(f"{twice},{twice[1:]}}}", bytes(4)))


def test_other_archives_are_told_from_weights() -> None:
    without = repacked(STATE_FILE, lambda name, old: None if name.endswith("data.pkl") else (name, old))
    assert "it has no data.pkl" in refusal(without)
    beside = repacked(STATE_FILE, lambda name, old: (name.replace("archive/version", "version"), old))
    assert "none of torch.save" in refusal(beside)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")
    assert "TorchScript program" in refusal(buffer.getvalue())


def test_a_long_pickle_and_a_huge_header_are_refused_unread() -> None:
    assert "data.pkl has 4,000,001 bytes" in refusal(with_pickle(bytes(4_000_001)))
    assert "claims 99,999,999,999 bytes" in refusal(struct.pack("<Q", 99_999_999_999) + b"{")
    assert "inside of its header" in refusal(struct.pack("<Q", 1000) + b"{")


@pytest.mark.parametrize(
    "described",
    [
        "{not json",
        "{" * 5000,
        '{"x":' + "[" * 100_000,
        '{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}',
        '{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        '{"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        '{"x":1}',
        '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_a_header_that_lies_is_damage(described: str) -> None:
    assert "cut short or damaged" in refusal(header(described, bytes(4)))


def test_a_pickle_that_claims_more_numbers_than_its_entry_holds_is_damage() -> None:
    cut = repacked(STATE_FILE, lambda name, old: (name, old[:4] if name == "archive/data/0" else old))
    assert "is damaged, or holds more than tensors" in refusal(cut)
    assert "is damaged" in refusal(with_pickle(b"\x80\x02}q"))


def test_tensors_that_share_their_numbers_are_refused_before_they_are_written_out() -> None:
    """One number, seen a million million times, is no memory in PyTorch until it is converted."""
    assert "they share numbers" in refusal(saved({"fc.bias": torch.zeros(1).expand(1_000_000, 1_000_000)}))
    one = torch.zeros(1000)
    assert "they share numbers" in refusal(saved({f"x{number}": one for number in range(100)}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("fc.bias", torch.tensor([1.0, float("nan")]), "'fc.bias' holds numbers that are not finite"),
        ("fc.bias", torch.tensor([1.0, float("-inf")]), "are not finite"),
        ("fc.bias", torch.tensor([1e300], dtype=torch.float64), "are not finite"),
        ("bn1.running_var", torch.tensor([1.0, -0.25]), "'bn1.running_var' holds -0.25; a variance cannot be negative"),
        ("fc.bias", torch.tensor([1]), "'fc.bias' holds int64 numbers"),
        ("fc.bias", torch.tensor([True]), "'fc.bias' holds bool numbers"),
        ("fc.bias", torch.tensor([1j]), "'torch.ComplexFloatStorage', which is no tensor"),
        ("bn1.num_batches_tracked", torch.tensor([1, 2]), "has 2 numbers; a count of batches is one"),
        ("bn1.num_batches_tracked", torch.tensor(True), "holds bool numbers"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(name: str, value: Tensor, words: str) -> None:
    state = {**STATE, name: value}
    assert words in refusal(saved(state))


def test_quantised_weights_are_refused() -> None:
    assert "asks for 'torch._utils._rebuild_qtensor'" in refusal(
        with_pickle(b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.")
    )
    assert "holds int8 numbers" in refusal(save({"fc.weight": torch.ones(4, dtype=torch.int8)}))
    assert "holds float8_e4m3fn numbers" in refusal(save({"fc.weight": torch.ones(4).to(torch.float8_e4m3fn)}))


def test_a_strangers_name_is_cut_short() -> None:
    assert len(refusal(saved({"x" * 100_000: torch.tensor([1])}))) < 300


# Into a net


def test_mismatches_are_listed_by_name_and_shape() -> None:
    state = dict(STATE)
    state["extra.weight"] = torch.zeros(2, 3)
    state["fc.weight"] = torch.zeros(7, 16)
    del state["conv1.weight"]
    weights = read_weights(saved(state), "net.pt")
    table = mismatch_table(fit(SPEC, weights)).set_index("tensor").fillna("-")
    assert table.loc["conv1.weight"].tolist() == ["missing in the file", "4x3x3x3", "-"]
    assert table.loc["fc.weight"].tolist() == ["of shape 7x16 where the net has 10x16", "10x16", "7x16"]
    assert table.loc["extra.weight"].tolist() == ["not in the net", "-", "2x3"]
    assert len(table) == 3
    with pytest.raises(MismatchError) as caught:
        trained_from(SPEC, weights, "mine")
    assert caught.value.mismatches == fit(SPEC, weights)
    assert str(caught.value).startswith(
        "The file is of another network: 3 tensors do not fit, the first is 'conv1.weight', missing in the file."
    )


def test_a_net_of_the_registry_says_the_same_when_it_is_uploaded() -> None:
    """The file of a net of our own, as a person would give it."""
    checkpoint = REGISTRY["cifar_resnet20"]
    photo = Image.fromarray(data.chelsea())
    weights = read_weights(weights_file(checkpoint).read_bytes(), "cifar_a20.safetensors")
    spec = PRESETS["cifar_resnet20"]
    mine = trained_from(spec, weights, "mine", class_names(spec)["CIFAR-10"], preprocessings(spec)["CIFAR-10"])
    assert mine.checkpoint.preprocessing == checkpoint.preprocessing
    assert mine.checkpoint.last_features == checkpoint.last_features
    one, other = predict("cifar_resnet20", photo), predict(mine, photo)
    assert one.equals(other)
    assert mine.checkpoint.name not in REGISTRY
    assert mine.checkpoint.megabytes == pytest.approx(4 * 272_474 / 2**20, rel=0.02)  # its parameters, and statistics


def test_all_that_an_answer_depends_on_is_in_the_name() -> None:
    weights = read_weights(STATE_FILE, "net.pt")
    nets = [
        trained_from(SPEC, weights, "mine"),
        trained_from(SPEC, weights, "mine", class_names(SPEC)["Numbers"]),
        trained_from(SPEC, weights, "mine", None, preprocessings(SPEC)["-1 to 1"]),
        trained_from(SPEC, read_weights(saved({**STATE, "fc.bias": torch.ones(10)}), "net.pt"), "mine"),
        trained_from(replace(SPEC, residual=False), weights, "mine"),
    ]
    assert len({net.checkpoint.name for net in nets}) == len(nets)
    assert trained_from(SPEC, weights, "mine").checkpoint == nets[0].checkpoint


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, activation_order="preact"),
        replace(SPEC, activation_order="relu_preact"),
        replace(SPEC, depths=(1, 1), strides=()),
        PRESETS["resnet10t"],
    ],
    ids=["original", "preact", "relu_preact", "two stages", "imagenet"],
)
def test_the_last_maps_are_what_the_pool_averages(spec: ResNetSpec) -> None:
    state = build(spec, "cpu").state_dict()
    trained = trained_from(spec, read_weights(saved(state), "net.pt"), "mine")
    seen: dict[str, Tensor] = {}
    with trained.model.borrow() as model:
        features, linear = model.get_submodule(trained.checkpoint.last_features), model.get_submodule("fc")
        hooks = [
            features.register_forward_hook(lambda module, inputs, output: seen.update(map=output)),
            linear.register_forward_hook(lambda module, inputs, output: seen.update(vector=inputs[0])),
        ]
        model(torch.randn(1, 3, 64, 64, device=trained.device))
        for hook in hooks:
            hook.remove()
    assert trained.checkpoint.pooled
    torch.testing.assert_close(seen["vector"], seen["map"].mean((2, 3)))


def test_a_grey_net_sees_grey() -> None:
    spec = replace(SPEC, in_channels=1, image_size=(8, 8))
    weights = read_weights(saved(build(spec, "cpu").state_dict()), "digits.pt")
    assert list(preprocessings(spec)) == ["0 to 1", "-1 to 1"]
    trained = trained_from(spec, weights, "digits")
    preprocessing = trained.checkpoint.preprocessing
    photo = Image.fromarray(data.chelsea())
    crop = preprocessing.crop_of(photo)
    assert (crop.mode, crop.size) == ("RGB", (8, 8))
    red, green, blue = crop.split()
    assert (
        red.tobytes()
        == green.tobytes()
        == blue.tobytes()
        == preprocessing.crop_of(photo.convert("L").convert("RGB")).split()[0].tobytes()
    )
    tensor = preprocessing.tensor(crop)
    assert tensor.shape == (1, 1, 8, 8)
    assert torch.equal(
        (255 * tensor[0, 0]).round().byte().flatten(), torch.tensor(list(red.tobytes()), dtype=torch.uint8)
    )
    assert len(predict(trained, photo)) == 10


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (replace(SPEC, in_channels=4), "in_channels (=4) must be 3, or 1 for grey"),
        (replace(SPEC, image_size=(32, 48)), "image_size (=32 x 48) must be a square"),
    ],
)
def test_a_net_that_takes_no_pictures_is_refused(spec: ResNetSpec, words: str) -> None:
    weights = read_weights(saved(build(spec, "cpu").state_dict()), "net.pt")
    for ask in (lambda: preprocessings(spec), lambda: trained_from(spec, weights, "mine")):
        with pytest.raises(WeightsError) as caught:
            ask()
        assert words in str(caught.value)


def test_classes_and_channels_must_be_the_nets() -> None:
    weights = read_weights(STATE_FILE, "net.pt")
    with pytest.raises(WeightsError, match=r"There are 2 class names, and the net has num_classes \(=10\)"):
        trained_from(SPEC, weights, "mine", ("one", "two"))
    grey = preprocessings(replace(SPEC, in_channels=1))["0 to 1"]
    with pytest.raises(WeightsError, match=r"makes 1 channels, and the net has in_channels \(=3\)"):
        trained_from(SPEC, weights, "mine", None, grey)


def test_preprocessings_are_those_of_imagenet_and_cifar() -> None:
    ways = preprocessings(PRESETS["resnet18"])
    assert next(iter(ways)) == "ImageNet"
    assert ways["ImageNet"] == REGISTRY["resnet18"].preprocessing
    small = preprocessings(PRESETS["cifar_resnet20"])
    assert next(iter(small)) == "CIFAR-10"
    assert small["CIFAR-10"] == REGISTRY["cifar_plain20"].preprocessing
    assert small["-1 to 1"].mean == small["-1 to 1"].std == (0.5, 0.5, 0.5)
    crop = Image.new("RGB", (32, 32), (255, 0, 51))
    assert small["0 to 1"].tensor(crop)[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])


def test_classes_are_named_where_their_number_is_known() -> None:
    assert list(class_names(SPEC)) == ["CIFAR-10", "Numbers"]
    assert class_names(replace(SPEC, num_classes=3)) == {"Numbers": ("class 0", "class 1", "class 2")}


def test_a_title_is_no_markdown_and_no_html() -> None:
    weights = read_weights(STATE_FILE, "![x](http://a.b)<b>$x$`.pt")
    checkpoint = trained_from(SPEC, weights, weights.name).checkpoint
    for text in (checkpoint.title, checkpoint.source):
        assert not set(text) & set("![]<>$`*|#\\")


def test_the_newest_are_kept_within_the_memory() -> None:
    nets = []
    for number in range(5):
        base = trained_from(SPEC, read_weights(STATE_FILE, "net.pt"), f"net {number}")
        nets.append(replace(base, checkpoint=replace(base.checkpoint, megabytes=100.0)))
    assert newest(nets, 4, 1000) == nets[1:]
    assert newest(nets, 4, 250) == nets[3:]
    assert newest(nets[:1], 4, 50) == nets[:1], "the last one always"
    assert newest([], 4, 50) == []


def test_an_uploaded_net_has_a_before_training_too() -> None:
    trained = trained_from(SPEC, read_weights(STATE_FILE, "net.pt"), "mine")
    before = untrained(trained.checkpoint)
    assert before.checkpoint.title == "mine, before training"
    with before.model.borrow() as model:
        assert model.state_dict().keys() == STATE.keys()
        assert not torch.equal(model.get_parameter("fc.weight").cpu(), STATE["fc.weight"])


def test_the_header_is_what_safetensors_wrote() -> None:
    """The length that is checked is the one that the library writes."""
    length = int.from_bytes(SAFE_FILE[:8], "little")
    assert json.loads(SAFE_FILE[8 : 8 + length]).keys() == STATE.keys()
