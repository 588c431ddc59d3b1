"""Weights from strangers: the bytes of a file go in, a state_dict comes out, and of a spec it makes a trained network.

No code of a file is run. What it would take of memory is known before it is read: an archive's entries are stored as
they are and do not overlap, its pickle is short and names nothing but tensors, a header is short too.
"""

import hashlib
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.checkpoints import (
    CIFAR10_CLASSES,
    CIFAR10_JPEG_MEAN,
    CIFAR10_JPEG_STD,
    IMAGENET_CLASSES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Checkpoint,
    Trained,
    empty,
    fill,
    shared,
)
from explorer.models.device import best_device
from explorer.models.preprocessing import Preprocessing
from explorer.spec import ResNetSpec

MAX_BYTES = 250_000_000  # of the file; ResNet-152 in float32 has 241 million
_MOST_DESCRIBED = 4_000_000  # bytes of a pickle or a header; a training checkpoint of ResNet-1202 has 3 million
_MOST_ENTRIES = 50_000  # of an archive

# What torch.save writes of a state_dict, as pickle spells it. Even of what `weights_only` lets pass, no more is needed:
# a bytearray would be as large as the file says.
_HARMLESS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch Size|torch\.storage UntypedStorage"
    r"|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_NAMING = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # pickle's ways to name what is to be called

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network")  # under which training scripts keep the weights
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, and of torch.compile
_ANEW = "save it with torch.save(net.state_dict(), file) or as safetensors"

_LARGEST_WHOLE = 64  # px of side, up to which a net is taken to see whole pictures, as nets for CIFAR do
_CROPPED = 0.875  # of the shorter side that others see: 224 of 256 px


class WeightsError(Refusal):
    """Weights that cannot be used; the message is a sentence for the person who gave them."""


class MismatchError(WeightsError):
    """The weights are of another network; `mismatches` lists why, tensor by tensor."""

    def __init__(self, mismatches: tuple["Mismatch", ...]) -> None:
        self.mismatches = mismatches
        first = mismatches[0]
        super().__init__(
            f"The file is of another network: {len(mismatches):,} tensors do not fit, the first is "
            f"{_short(first.tensor)}, {first.problem}. Choose the net that the weights were trained in."
        )


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds.

    Attributes:
        name: of the file.
        tensors: float32, by name; how many batches a norm has counted is a whole number.
        notes: what was done to read it, a sentence each.
        digest: SHA-256 of the file.
    """

    name: str
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Mismatch:
    """A tensor that does not fit; a shape is None where there is no such tensor."""

    tensor: str
    net: tuple[int, ...] | None
    file: tuple[int, ...] | None

    @property
    def problem(self) -> str:
        """In words.

        >>> Mismatch("fc.weight", (10, 64), (1000, 64)).problem
        'of shape 1000x64 where the net has 10x64'
        """
        if self.file is None:
            return "missing in the file"
        if self.net is None:
            return "not in the net"
        return f"of shape {_shape(self.file)} where the net has {_shape(self.net)}"


def read_weights(data: bytes, name: str) -> Weights:
    """The weights in a safetensors file, or in one of torch.save (PyTorch 1.6 and later).

    A dictionary that holds the state_dict under "state_dict", "model_state_dict", "model" or "network" is opened, and
    the "module." of DataParallel is taken off.

    Args:
        data: the file. name: what it is called.

    Raises:
        WeightsError: it is too large, damaged, no such file, or holds something else than weights.
    """
    if len(data) > MAX_BYTES:
        raise WeightsError(f"The file has {len(data):,} bytes; give weights of at most {MAX_BYTES:,}.")
    if data.startswith(b"PK\3\4"):
        found = _of_archive(data)
    elif data[8:9] == b"{":
        found = _of_safetensors(data)
    elif data.startswith(b"\x80"):
        raise WeightsError(
            "The file is a bare pickle, which may hold code, so that it is not opened; it must be safetensors or a "
            f"file of PyTorch 1.6 or later: {_ANEW}."
        )
    else:
        raise WeightsError(
            f"The file begins with {_short(data[:8].decode('latin-1'))} and is neither safetensors nor a file of "
            f"torch.save; {_ANEW}."
        )
    tensors, notes = _state_dict(found)
    whole, more = _checked(tensors, len(data))
    return Weights(name, whole, (*notes, *more), hashlib.sha256(data).hexdigest())


def fit(spec: ResNetSpec, weights: Weights) -> tuple[Mismatch, ...]:
    """Which tensors do not fit a spec's network; () if all do. That a norm's count of batches is missing is no matter.

    Names and shapes do not tell a plain net from its residual twin: what has no weights is not in the file.
    """
    net = {name: tuple(value.shape) for name, value in zoo.network(spec)[0].state_dict().items()}
    file = {name: tuple(value.shape) for name, value in weights.tensors.items()}
    return tuple(
        Mismatch(name, net.get(name), file.get(name))
        for name in dict.fromkeys((*net, *file))
        if net.get(name) != file.get(name) and not (name not in file and _is_count(name))
    )


def mismatch_table(mismatches: Iterable[Mismatch]) -> pd.DataFrame:
    """A row a tensor: tensor, problem, and the shapes net and file ("64x3x7x7"), missing where there is no such tensor.

    >>> mismatch_table([Mismatch("fc.bias", (10,), None)]).loc[0].tolist()[:3]
    ['fc.bias', 'missing in the file', '10']
    """
    rows = [
        (each.tensor, each.problem, *(None if shape is None else _shape(shape) for shape in (each.net, each.file)))
        for each in mismatches
    ]
    return pd.DataFrame(rows, columns=["tensor", "problem", "net", "file"])


def trained_from(
    spec: ResNetSpec,
    weights: Weights,
    title: str,
    classes: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Trained:
    """The spec's network with these weights.

    Args:
        title: on screen.
        classes: their names, by default the first of `class_names`.
        preprocessing: how its pictures are prepared, by default the first of `preprocessings`.

    Raises:
        MismatchError: they are of another network. WeightsError: the spec takes no pictures.
    """
    if mismatches := fit(spec, weights):
        raise MismatchError(mismatches)
    checkpoint = checkpoint_of(
        spec,
        plain_name(title),
        classes or next(iter(class_names(spec).values())),
        preprocessing or next(iter(preprocessings(spec).values())),
        trained_on="what its file does not say",
        source=f"Uploaded: {plain_name(weights.name)}",
        weights=weights.digest,
        megabytes=_megabytes(weights.tensors),
    )
    model = empty(checkpoint)
    fill(model, weights.tensors)
    return shared(checkpoint, model, best_device())


def checkpoint_of(
    spec: ResNetSpec,
    title: str,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    *,
    trained_on: str,
    source: str,
    weights: str,
    megabytes: float,
    seed: int = 0,
) -> Checkpoint:
    """What is known of a person's own network; all that it depends on is in its name.

    Args:
        weights: letters and digits that stand for them. megabytes: how large they are.
        seed: draws the weights that it began with.

    Raises:
        WeightsError: another number of classes or channels than the spec has, or pictures that are no squares.
    """
    _check_pictures(spec)
    if len(classes) != spec.num_classes:
        raise WeightsError(
            f"There are {len(classes):,} class names, and the net has num_classes (={spec.num_classes:,})."
        )
    if preprocessing.channels != spec.in_channels:
        raise WeightsError(
            f"The preprocessing makes {preprocessing.channels} channels, and the net has in_channels "
            f"(={spec.in_channels})."
        )
    told = json.dumps([spec.to_json(), title, classes, repr(preprocessing), trained_on, weights])
    return Checkpoint(
        name=f"own_{hashlib.sha256(told.encode()).hexdigest()[:16]}",
        title=title,
        network=spec.to_text(),
        trained_on=trained_on,
        classes=classes,
        preprocessing=preprocessing,
        published=None,
        source=source,
        licence="yours",
        last_features=_last_features(spec),
        megabytes=megabytes,
        seed=seed,
    )


def plain_name(text: str, most: int = 60) -> str:
    """A stranger's name for something, of letters, digits and harmless signs: no Markdown, no HTML.

    >>> plain_name("<b>my_net</b> (2).pt")
    '-b-my_net-/b- (2).pt'
    """
    shown = re.sub(r"[^\w .,/()+-]", "-", text)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def newest(nets: Sequence[Trained], most: int, megabytes: float) -> list[Trained]:
    """As many of these, from the last one back, as may be kept; the last one always.

    Args:
        most: nets. megabytes: of weights, together.
    """
    kept, free = list(nets[-1:]), megabytes - sum(net.checkpoint.megabytes for net in nets[-1:])
    for net in reversed(nets[-most:-1]):
        free -= net.checkpoint.megabytes
        if free >= 0:
            kept.insert(0, net)
    return kept


def class_names(spec: ResNetSpec) -> dict[str, tuple[str, ...]]:
    """Names that a net's classes may have, by what they are called together; the likeliest first.

    >>> list(class_names(ResNetSpec()))
    ['ImageNet-1k', 'Numbers']
    """
    known = {"ImageNet-1k": IMAGENET_CLASSES, "CIFAR-10": CIFAR10_CLASSES}
    found = {title: names for title, names in known.items() if len(names) == spec.num_classes}
    return found | {"Numbers": tuple(f"class {number}" for number in range(spec.num_classes))}


def preprocessings(spec: ResNetSpec) -> dict[str, Preprocessing]:
    """Ways in which a net's pictures may be prepared, by what they are called; the likeliest first.

    Up to 64 px of side the whole picture's square is shrunk; above, it is 7/8 of the shorter side, as for ImageNet.

    >>> preprocessings(ResNetSpec())["ImageNet"].resize
    256

    Raises:
        WeightsError: the spec takes no pictures.
    """
    _check_pictures(spec)
    side = spec.image_size[0]
    resize = side if side <= _LARGEST_WHOLE else round(side / _CROPPED)
    colours = {
        "ImageNet": (IMAGENET_MEAN, IMAGENET_STD),
        "CIFAR-10": (CIFAR10_JPEG_MEAN, CIFAR10_JPEG_STD),
    }
    if resize == side:
        colours = dict(reversed(colours.items()))
    plain = {"0 to 1": ((0.0,), (1.0,)), "-1 to 1": ((0.5,), (0.5,))}
    ranges: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
        **(colours if spec.in_channels == 3 else {}),
        **{title: (mean * spec.in_channels, std * spec.in_channels) for title, (mean, std) in plain.items()},
    }
    return {title: Preprocessing(resize, side, "bilinear", mean, std) for title, (mean, std) in ranges.items()}


def _check_pictures(spec: ResNetSpec) -> None:
    if spec.in_channels not in (1, 3):
        raise WeightsError(f"in_channels (={spec.in_channels}) must be 3, or 1 for grey: pictures have no more.")
    height, width = spec.image_size
    if height != width:
        raise WeightsError(f"image_size (={height} x {width}) must be a square, as pictures are cut to one.")


def _last_features(spec: ResNetSpec) -> str:
    """The module whose output the average pool takes."""
    if spec.activation_order in ("preact", "relu_preact"):
        return "final_relu"
    return f"layer{len(spec.depths)}"


# Reading


def _of_safetensors(data: bytes) -> dict[Any, Any]:
    length = int.from_bytes(data[:8], "little")
    if length > _MOST_DESCRIBED:
        raise WeightsError(
            f"The header claims {length:,} bytes; a safetensors file of weights has at most {_MOST_DESCRIBED:,} there."
        )
    if 8 + length > len(data):
        raise WeightsError(
            f"The file ends after {len(data):,} bytes, inside of its header of {length:,}; it must be whole."
        )
    try:
        json.loads(data[8 : 8 + length], object_pairs_hook=_without_twins)
        return safetensors.torch.load(data)
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged file makes of the readers
        raise WeightsError(
            f"The file of {len(data):,} bytes is cut short or damaged: its header and its tensors do not agree; take a "
            "whole copy."
        ) from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _twin(next(name for name in found if names.count(name) > 1))
    return found


def _twin(name: str) -> WeightsError:
    return WeightsError(f"The file has {_short(name)} twice; each name must be there once.")


def _of_archive(data: bytes) -> Any:
    # A list of what is inside that is longer than this would itself fill the memory.
    if data.count(b"PK\1\2") > _MOST_ENTRIES:
        raise WeightsError(f"The archive claims over {_MOST_ENTRIES:,} entries; a file of weights has fewer.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except Exception as error:  # whatever a damaged file makes of the reader
        raise WeightsError(
            f"The file of {len(data):,} bytes is cut short or damaged: the list at its end is missing; take a whole "
            "copy."
        ) from error
    pickle = _pickle_among(entries, len(data))
    try:
        _check_calls(archive.read(pickle))
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except (
        Exception
    ) as error:  # whatever a damaged file makes of the readers; PyTorch's message advises to run its code
        raise WeightsError(
            f"The file of {len(data):,} bytes is damaged, or holds more than tensors: PyTorch does not read it as "
            f"weights alone; {_ANEW}."
        ) from error


def _pickle_among(entries: list[zipfile.ZipInfo], size: int) -> zipfile.ZipInfo:
    """The entry that says what the others are, if all of them are as torch.save writes them.

    Args:
        size: of the file, bytes.
    """
    by_name: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename
        if name in by_name:
            raise _twin(name)
        by_name[name] = entry
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise WeightsError(f"The archive has an entry {_short(name)}; a file of torch.save has no such paths.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise WeightsError(
                f"The entry {_short(name)} is compressed or encrypted, which torch.save does not do; {_ANEW}."
            )
    if sum(entry.file_size for entry in entries) > size:
        raise WeightsError(
            f"The entries claim more than the {size:,} bytes of the file, so that they overlap; {_ANEW}."
        )
    folder = entries[0].filename.partition("/")[0] if entries else ""
    pickle = by_name.get(f"{folder}/data.pkl")
    if pickle is None or any(not name.startswith(f"{folder}/") for name in by_name):
        raise WeightsError(f"The file is a zip archive, but none of torch.save: it has no data.pkl; {_ANEW}.")
    if f"{folder}/constants.pkl" in by_name:
        raise WeightsError(f"The file is a TorchScript program, which is code; {_ANEW}.")
    if pickle.file_size > _MOST_DESCRIBED:
        raise WeightsError(
            f"data.pkl has {pickle.file_size:,} bytes; that of weights has at most {_MOST_DESCRIBED:,}: {_ANEW}."
        )
    return pickle


def _check_calls(pickle: bytes) -> None:
    """Refuse a pickle that would call anything but what makes tensors; it is read, and not obeyed."""
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in _NAMING and not _HARMLESS.fullmatch(str(argument)):
            wanted = _short(str(argument).replace(" ", ".")) if argument else "something by a hidden name"
            raise WeightsError(f"The file asks for {wanted}, which is no tensor and is not run; {_ANEW}.")


def _state_dict(found: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by the net's names, and what was taken off to come to them."""
    notes = []
    wrapper = next((key for key in _WRAPPERS if isinstance(found, dict) and isinstance(found.get(key), dict)), None)
    if wrapper is not None:
        found = found[wrapper]
        notes.append(f"The weights are what the file holds as {wrapper!r}; the rest of it is left out.")
    if not isinstance(found, dict) or not found:
        what = "nothing" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise WeightsError(f"The file holds {what}; it must be a state_dict, which holds tensors by name: {_ANEW}.")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"The file holds {_short(str(key))}, of type {type(value).__name__}; a state_dict holds tensors alone, "
                f"by their names: {_ANEW}."
            )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
            notes.append(f"{prefix!r} was taken off every name.")
    return dict(found), notes


def _checked(tensors: dict[str, Tensor], size: int) -> tuple[dict[str, Tensor], list[str]]:
    """The same in float32.

    Args:
        size: of the file, bytes; views of one another could be any multiple of it.
    """
    for name, value in tensors.items():
        known = (*_FLOATS, *_WHOLE) if _is_count(name) else _FLOATS
        if value.dtype not in known:
            raise WeightsError(
                f"{_short(name)} holds {str(value.dtype).removeprefix('torch.')} numbers; weights must be float32, "
                "float16, bfloat16 or float64, and not quantised."
            )
        if _is_count(name) and value.numel() != 1:
            raise WeightsError(f"{_short(name)} has {value.numel():,} numbers; a count of batches is one.")
    claimed = sum(value.numel() * value.element_size() for value in tensors.values())
    if claimed > size:
        raise WeightsError(
            f"The tensors would take {claimed:,} bytes and the file has {size:,}: they share numbers; {_ANEW}."
        )
    found = {}
    for name, value in tensors.items():
        found[name] = (value.long().reshape(()) if _is_count(name) else value.float()).detach()
        if not found[name].isfinite().all():
            raise WeightsError(
                f"{_short(name)} holds numbers that are not finite; weights must be, so this training had failed."
            )
        if name.endswith("running_var") and (found[name] < 0).any():
            raise WeightsError(f"{_short(name)} holds {float(found[name].min()):.3g}; a variance cannot be negative.")
    others = sorted(
        {str(value.dtype).removeprefix("torch.") for value in tensors.values() if value.dtype in _CONVERTED}
    )
    return found, [f"Converted from {' and '.join(others)} to float32."] if others else []


_CONVERTED = (torch.float16, torch.bfloat16, torch.float64)
_FLOATS = (torch.float32, *_CONVERTED)
_WHOLE = (torch.int64, torch.int32)


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _megabytes(tensors: Mapping[str, Tensor]) -> float:
    return sum(value.numel() * value.element_size() for value in tensors.values()) / (1 << 20)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _short(text: str) -> str:
    """A stranger's text for a sentence."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
