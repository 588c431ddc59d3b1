"""Data sets: what the registry says of them, how they are drawn, fetched, read from strangers, resized and kept."""

import gzip
import hashlib
import http.server
import io
import itertools
import os
import pickle
import socket
import stat
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile
from strategies import FEW
from torch import Tensor

from explorer.training import datasets, shapes
from explorer.training.datasets import (
    CIFAR10_JPEG,
    DATASETS,
    DataError,
    Dataset,
    channel_statistics,
    dataset,
    decoding,
    downloads,
    entry,
    from_files,
    load,
    on_this_machine,
    own,
    parquet,
)


def silent(fraction: float, text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts with an empty memory and an empty folder for what is downloaded."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    datasets._KEPT.clear()
    yield
    torch.hub.set_dir(hub)
    datasets._KEPT.clear()


def said(work: Callable[[], object]) -> str:
    """The sentence with which something is refused."""
    with pytest.raises(DataError) as caught:
        work()
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def limit_files(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    for module in (datasets, dataset, own, parquet):
        monkeypatch.setattr(module, "MOST_FILES", most)


def digest(data: Dataset) -> str:
    return hashlib.sha256(data.train.numpy().tobytes() + data.test.numpy().tobytes()).hexdigest()


# The registry


def test_the_registry_says_which_sets_come_with_the_installation_and_what_others_cost() -> None:
    """Sizes in bytes: cifar-10-python.tar.gz 170498071; the four files of Fashion-MNIST and of MNIST."""
    assert {name: (known.offline, known.megabytes) for name, known in DATASETS.items()} == {
        "digits": (True, 0),
        "shapes": (True, 0),
        "cifar10": (False, 170498071 / 1e6),
        "cifar10_jpeg": (False, 0),
        "fashion_mnist": (False, (26421880 + 29515 + 4422102 + 5148) / 1e6),
        "mnist": (False, (9912422 + 28881 + 1648877 + 4542) / 1e6),
    }


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_is_named_by_its_key_and_says_where_its_pictures_come_from(name: str) -> None:
    known = DATASETS[name]
    assert known.name == name
    assert all((known.title, known.source, known.licence, known.note))
    assert len(set(known.classes)) == len(known.classes) == 10
    assert entry(name) == known


@pytest.mark.parametrize(("name", "kind"), [("fashion_mnist", "FashionMNIST"), ("mnist", "MNIST")])
def test_the_classes_are_torchvisions(name: str, kind: str) -> None:
    theirs = getattr(torchvision.datasets, kind).classes
    assert DATASETS[name].classes == tuple(label.split(" - ")[0] for label in theirs)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_a_bundled_set_is_what_its_entry_says_and_needs_no_connection(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)
    assert on_this_machine(name)
    known, data = DATASETS[name], load(name)
    assert (data.name, data.title, data.classes, data.source) == (name, known.title, known.classes, known.source)
    assert data.train.shape == (known.train, known.channels, *known.size)
    assert data.test.shape == (known.test, known.channels, *known.size)
    assert (data.channels, data.size, data.notes) == (known.channels, known.size, ())
    assert data.train.dtype == data.test.dtype == torch.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.train_labels.shape == (known.train,)
    assert data.test_labels.shape == (known.test,)
    assert set(data.train_labels.tolist()) == set(data.test_labels.tolist()) == set(range(10))


def test_the_digits_are_scikit_learns_in_their_order_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), load("digits")
    every = torch.cat([ours.train, ours.test])[:, 0]
    assert torch.equal(every, torch.tensor([round(level * 255 / 16) for level in range(17)]).byte()[theirs.images])
    assert torch.cat([ours.train_labels, ours.test_labels]).tolist() == theirs.target.tolist()
    # What was measured on them hangs on these very bytes.
    assert hashlib.sha256(ours.train.numpy().tobytes()).hexdigest().startswith("45f3a8d16591")


# The drawn shapes


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return load("shapes")


def test_the_shapes_are_the_same_bytes_on_every_machine(drawn: Dataset) -> None:
    assert digest(drawn).startswith("2f01172ee4201a7b")


def test_another_seed_draws_other_pictures_of_the_same_classes() -> None:
    (one, labels), (same, _), (other, others) = (shapes.draw(40, seed, silent) for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert labels.tolist() == others.tolist() == [*range(10)] * 4
    assert all(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_no_shape_of_the_test_part_is_in_the_training_part_and_all_classes_are_as_many(
    drawn: Dataset,
) -> None:
    rows = [picture.numpy().tobytes() for picture in torch.cat([drawn.train, drawn.test])]
    assert len(set(rows)) == 5000
    assert drawn.train_labels.bincount().tolist() == [400] * 10
    assert drawn.test_labels.bincount().tolist() == [100] * 10


def mask(name: str, radius: int, turn: int) -> NDArray[np.bool_]:
    """The points inside a shape about the middle, on a grid of 1/64 of the radius or so."""
    points = np.arange(-radius, radius + 1, max(1, radius // 50), dtype=np.int32)
    x, y = points[None, None, :], points[None, :, None]
    cosine, sine = (int(table[turn]) for table in (shapes._COSINES, shapes._SINES))
    whole = np.full((1, 1, 1), radius * 64, np.int32)
    return shapes._inside(name, x * cosine + y * sine, y * cosine - x * sine, whole)[0]


def polygon(*corners: complex) -> float:
    """The area, by the shoelace formula."""
    return sum((a.conjugate() * b).imag for a, b in zip(corners, (*corners[1:], corners[0]), strict=True)) / 2


def test_each_shape_has_the_area_that_its_geometry_gives() -> None:
    """In squares of its radius; the pentagram's inner corners lie at cos 72 / cos 36 of it."""
    inner = np.cos(np.radians(72)) / np.cos(np.radians(36))
    star = [np.exp(1j * np.pi * k / 5) * (inner if k % 2 else 1) for k in range(10)]
    # Two circles, of radius 1 and 3/4, half a radius apart, share a lens.
    first, second = np.arccos((1 / 4 + 1 - 9 / 16) / 1), np.arccos((1 / 4 + 9 / 16 - 1) / (3 / 4))
    lens = first - np.sin(2 * first) / 2 + 9 / 16 * (second - np.sin(2 * second) / 2)
    expected = {
        "circle": np.pi,
        "ring": np.pi * (1 - (5 / 8) ** 2),
        "half circle": np.pi / 2,
        "crescent": np.pi - lens,
        "triangle": polygon(*[np.exp(2j * np.pi * k / 3) for k in range(3)]),
        "square": (10 / 7) ** 2,
        "frame": (10 / 7) ** 2 - (6 / 7) ** 2,
        "bar": 2 * 1 / 2,
        "cross": 2 * (2 * 1 / 2) - (1 / 2) ** 2,
        "star": polygon(*star),
    }
    assert tuple(expected) == shapes.CLASSES
    for name, area in expected.items():
        inside = mask(name, 200, 0)
        assert inside.sum() * (4 / 200) ** 2 == pytest.approx(area, rel=0.03), name


def test_no_shape_can_be_turned_so_that_it_covers_another() -> None:
    """The overlap of any two, of what they cover together, is at most three quarters in any direction."""
    turned = np.stack([[mask(name, 48, turn).ravel() for turn in range(64)] for name in shapes.CLASSES]).astype(float)
    for number, name in enumerate(shapes.CLASSES):
        straight = turned[number, 0]
        both = turned @ straight
        overlap = (both / (turned.sum(2) + straight.sum() - both)).max(1)
        assert overlap[number] == 1
        assert np.delete(overlap, number).max() < 0.75, name


def test_a_shape_stands_out_from_its_ground_in_every_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """By 96 to 160 levels; without noise and stripes a channel has but two values and eight mixed at the edge."""
    monkeypatch.setattr(shapes, "_NOISE", 0)
    pictures, _ = shapes.draw(200, 3, silent)
    flat = [channel for channel in pictures.flatten(0, 1) if len(channel.unique()) <= 10]
    assert len(flat) > 100
    assert {96 <= int(channel.max()) - int(channel.min()) <= 160 for channel in flat} == {True}


def test_drawing_tells_how_far_it_is_and_can_be_stopped() -> None:
    fractions: list[float] = []
    load("shapes", lambda fraction, text: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] > 0.9, len(fractions) >= 50) == (0, True, True)
    datasets._KEPT.clear()
    stop_at(lambda report: load("shapes", report), 0.5)


class Stopped(Exception):  # noqa: N818
    pass


def stop_at(work: Callable[[datasets.Report], object], limit: float) -> None:
    """Stop the work at a fraction; its reason must come back, and nothing may be reported afterwards."""
    late: list[float] = []

    def report(fraction: float, text: str) -> None:
        if fraction >= limit:
            late.append(fraction)
            raise Stopped

    with pytest.raises(Stopped):
        work(report)
    assert len(late) == 1


# Names, sizes and numbers


def test_a_name_may_end_in_a_side_and_a_number() -> None:
    plain, ours = load("digits"), load("digits@20:300")
    assert (ours.name, ours.title) == ("digits@20:300", "Digits at 20 px, first 300")
    assert ours.train.shape == (300, 1, 20, 20)
    assert ours.test.shape == (797, 1, 20, 20)
    assert torch.equal(ours.train_labels, plain.train_labels[:300])
    assert torch.equal(ours.test_labels, plain.test_labels)
    known = entry("digits@20:300")
    assert (known.name, known.title, known.size, known.train, known.test) == (
        *(ours.name, ours.title),
        (20, 20),
        300,
        797,
    )
    assert torch.equal(load("digits:300").train, plain.train[:300])
    assert load("digits@20").train.shape == (1000, 1, 20, 20)


@pytest.mark.parametrize("name", ["digits@27", "shapes@13"])
def test_pictures_are_scaled_as_pillow_scales_them_between_lines_and_over_areas(name: str) -> None:
    unscaled, ours = load(name.split("@")[0]), load(f"{name}:40")
    side = ours.size[0]
    for before, after in zip(unscaled.train[:40], ours.train, strict=True):
        for channel, scaled in zip(before, after, strict=True):
            theirs = Image.fromarray(channel.numpy()).resize((side, side), Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(theirs).astype(int) - scaled.numpy().astype(int)).max() <= 1


def test_a_part_does_not_keep_the_whole_alive() -> None:
    part = load("digits:10")
    assert part.train.untyped_storage().nbytes() == 10 * 64


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digits@", "What follows the name in 'digits@' must be @ and a side"),
        ("digits@big", "What follows the name in 'digits@big' must be"),
        ("digits:", "What follows the name in 'digits:' must be"),
        ("digits@96:-5", "What follows the name in 'digits@96:-5' must be"),
        ("digits@٣٢", "What follows the name in 'digits@٣٢' must be"),
        ("digits@7", "The side of the pictures (=7) must be from 8 to 512 pixels."),
        ("digits@513", "The side of the pictures (=513) must be"),
        ("digits:0", "The number of training pictures (=0) must be from 1 to 1,000 for Digits."),
        ("digits:1001", "The number of training pictures (=1001) must be from 1 to 1,000 for Digits."),
        ("digit", "There is no data set and no file named 'digit'; there are digits, shapes, cifar10"),
        ("digits@32@32", "There is no data set and no file named 'digits@32'"),
        ("", "The name of a data set is missing; there are digits"),
        (" ", "The name of a data set is missing"),
        ("a\0b", "There is no data set and no file named"),
        ("x" * 5000, "There is no data set and no file named 'xxx"),
        ("~nobody-of-that-name/pictures", "There is no data set and no file named"),
    ],
)
def test_a_name_that_means_nothing_gets_a_sentence(name: str, sentence: str) -> None:
    text = said(lambda: load(name))
    assert text.startswith(sentence)
    assert len(text) < 300


def test_what_would_take_too_much_memory_is_refused_before_it_is_fetched_and_told_what_fits() -> None:
    """A gigabyte holds 36,168 pictures of 3 x 96 x 96 bytes, of which 10,000 are for testing."""
    assert 1_000_000_000 // (3 * 96 * 96) == 36_168
    text = said(lambda: load("cifar10@96"))
    assert "1,659 MB" in text
    assert text.endswith("cifar10@96:26000 fits.")
    assert entry("cifar10@96:26000").train == 26_000
    assert said(lambda: load("cifar10@512")).endswith("give a smaller side.")
    assert entry("fashion_mnist@96").size == (96, 96)  # 645 MB


def test_an_entry_of_no_name_gets_a_sentence() -> None:
    assert said(lambda: entry("imagenet")) == (
        "There is no data set named 'imagenet'; there are digits, shapes, cifar10, cifar10_jpeg, fashion_mnist, mnist."
    )


# Kept for the next


def test_a_set_is_read_once_for_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first, scaled = load("digits"), load("digits@16:50")
    monkeypatch.setattr(datasets, "_LOADERS", {})
    assert load("digits") is first
    assert load("digits@16:50") is scaled


def test_what_is_kept_has_a_limit_and_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1797 * 64
    monkeypatch.setattr(datasets, "MOST_BYTES", 3 * size)
    load("digits")
    load("digits:999")
    load("digits")
    load("digits@16:100")  # 897 x 256 bytes, twice the size of the first
    assert [key[0] for key in datasets._KEPT] == ["digits", "digits@16:100"]


def test_two_that_ask_at_once_share_one_reading_and_who_waits_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on, made = threading.Event(), threading.Event(), []
    draw = datasets._LOADERS["digits"]

    def slowly(known: datasets.Entry, report: datasets.Report) -> Dataset:
        reading.set()
        assert go_on.wait(30)
        made.append(known)
        return draw(known, report)

    monkeypatch.setitem(datasets._LOADERS, "digits", slowly)
    got: list[Dataset] = []
    threads = [threading.Thread(target=lambda: got.append(load("digits"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert reading.wait(30)

    def report(fraction: float, text: str) -> None:
        assert text == "Waiting for the same pictures, which another run is loading"
        raise Stopped

    begun = time.monotonic()
    with pytest.raises(Stopped):
        load("digits", report)
    assert time.monotonic() - begun < 5
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert got[0] is got[1] is got[2]


# Statistics


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_the_statistics_are_those_of_the_pixels_by_channel(name: str, drawn: Dataset) -> None:
    pictures = drawn.train if name == "shapes" else load(name).train
    mean, std = channel_statistics(pictures)
    std_right, mean_right = torch.std_mean(pictures.double() / 255, (0, 2, 3), correction=0, keepdim=True)
    assert mean.shape == std.shape == (1, pictures.shape[1], 1, 1)
    torch.testing.assert_close(mean, mean_right.float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(std, std_right.float(), rtol=0, atol=1e-6)


def test_a_channel_of_one_value_has_deviation_1() -> None:
    pictures = torch.stack([torch.full((4, 5, 5), 51), torch.arange(100).view(4, 5, 5)], 1).byte()
    mean, std = channel_statistics(pictures)
    assert mean.flatten().tolist() == pytest.approx([51 / 255, 49.5 / 255])
    assert std.flatten().tolist() == pytest.approx([1, ((100**2 - 1) / 12) ** 0.5 / 255])


# Sets that are fetched


class Server(http.server.ThreadingHTTPServer):
    """Serves files by name, whole or cut short or without end, and counts who asks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.share, self.endless = 1.0, False
        self.hung_up = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path.rsplit("/", 1)[-1])
        self.send_response(404 if content is None or "missing" in self.path else 200)
        content = content or b""
        self.send_header("Content-Length", str(10**12 if self.server.endless else len(content)))
        self.end_headers()
        try:
            while self.server.endless:
                self.wfile.write(bytes(1 << 16))
            self.wfile.write(content[: int(len(content) * self.server.share)])
        except ConnectionError:
            self.server.hung_up.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(values: NDArray[np.uint8]) -> bytes:
    """MNIST's format: 0, 0, 8 for bytes, the number of dimensions, each length, the values."""
    content = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    return gzip.compress(content, 1)


def offer_mnist(server: Server, monkeypatch: pytest.MonkeyPatch, kind: str = "MNIST") -> list[NDArray[np.uint8]]:
    """Let torchvision's MNIST be made-up files of this server: 400 training and 100 test pictures, and labels."""
    chance = np.random.default_rng(0)
    arrays = [chance.integers(256, size=(n, 28, 28), dtype=np.uint8) for n in (400, 100)]
    labels = [np.arange(n, dtype=np.uint8) % 10 for n in (400, 100)]
    names = [f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    for name, array in zip(names, (arrays[0], labels[0], arrays[1], labels[1]), strict=True):
        server.files[name] = idx(array)
    reader = getattr(torchvision.datasets, kind)
    monkeypatch.setattr(reader, "resources", [(name, md5(server.files[name])) for name in names])
    monkeypatch.setattr(reader, "mirrors", [server.address])
    name = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[kind]
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], megabytes=sum(map(len, server.files.values())) / 1e6))
    return [arrays[0], labels[0], arrays[1], labels[1]]


def offer_cifar10(server: Server, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Let torchvision's CIFAR-10 be a made-up archive of this server: 5 x 40 training and 40 test pictures."""
    values = np.random.default_rng(1).integers(256, size=(6, 40, 3072), dtype=np.uint8)
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    held = {
        name: pickle.dumps({"data": batch, "labels": [*range(10)] * 4})
        for name, batch in zip(names, values, strict=True)
    }
    held["batches.meta"] = pickle.dumps({"label_names": list(DATASETS["cifar10"].classes)})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in held.items():
            about = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    server.files["cifar-10-python.tar.gz"] = packed.getvalue()
    reader = torchvision.datasets.CIFAR10
    monkeypatch.setattr(reader, "url", f"{server.address}cifar-10-python.tar.gz")
    monkeypatch.setattr(reader, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(reader, "train_list", [[name, md5(held[name])] for name in names[:5]])
    monkeypatch.setattr(reader, "test_list", [[names[5], md5(held[names[5]])]])
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": md5(held["batches.meta"])})
    known = DATASETS["cifar10"]
    monkeypatch.setitem(DATASETS, "cifar10", replace(known, megabytes=len(packed.getvalue()) / 1e6))
    return values


def fetched() -> list[str]:
    """The files in the folder of downloads."""
    folder = Path(torch.hub.get_dir()) / "datasets"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_cifar10_is_fetched_once_with_progress_and_read_as_torchvision_reads_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = offer_cifar10(server, monkeypatch)
    reports: list[tuple[float, str]] = []
    assert not on_this_machine("cifar10")
    data = load("cifar10", lambda fraction, text: reports.append((fraction, text)))
    assert on_this_machine("cifar10")
    assert torch.equal(data.train, torch.from_numpy(values[:5].reshape(200, 3, 32, 32)))
    assert torch.equal(data.test, torch.from_numpy(values[5].reshape(40, 3, 32, 32)))
    assert data.train_labels.tolist() == [*range(10)] * 20
    assert data.test_labels.tolist() == [*range(10)] * 4
    assert data.train.is_contiguous()
    fractions = [fraction for fraction, text in reports if text.startswith("Downloading CIFAR-10")]
    assert fractions == sorted(fractions)
    assert (len(fractions) > 5, fractions[0] < 0.2, fractions[-1]) == (True, True, 1.0)
    assert fetched() == [
        "cifar-10-batches-py",
        "cifar-10-batches-py/batches.meta",
        *(f"cifar-10-batches-py/data_batch_{n}" for n in range(1, 6)),
        "cifar-10-batches-py/test_batch",
    ]
    datasets._KEPT.clear()
    again = load("cifar10")
    assert digest(again) == digest(data)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_and_fashion_mnist_are_fetched_and_read(
    name: str, kind: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, train_labels, test, test_labels = offer_mnist(server, monkeypatch, kind)
    data = load(name)
    assert torch.equal(data.train, torch.from_numpy(train)[:, None])
    assert torch.equal(data.test, torch.from_numpy(test)[:, None])
    assert data.train_labels.tolist() == train_labels.tolist()
    assert data.test_labels.tolist() == test_labels.tolist()
    assert fetched() == [kind, f"{kind}/raw", *sorted(f"{kind}/raw/{packed[:-3]}" for packed in server.files)]
    assert load(f"{name}@32:50").train.shape == (50, 1, 32, 32)
    assert len(server.asked) == 4


def test_an_address_that_fails_gives_way_to_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"{server.address}missing/", server.address])
    assert len(load("mnist").train) == 400
    assert len(server.asked) == 8


def refused(name: str) -> str:
    """The sentence with which a download is refused; it must name what works offline, and leave no file."""
    text = said(lambda: load(name))
    assert text.startswith(DATASETS[name].title)
    assert text.endswith("choose Digits or Drawn shapes, which work offline.")
    assert fetched() == []
    return text


def test_without_the_server_the_sentence_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_cifar10(server, monkeypatch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"http://127.0.0.1:{closed}/cifar-10-python.tar.gz")
    assert "(1 MB) could not be downloaded: its server cannot be reached" in refused("cifar10")


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_half_a_file_is_not_kept_and_the_next_try_fetches_it_whole(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_cifar10(server, monkeypatch) if name == "cifar10" else offer_mnist(server, monkeypatch)
    server.share = 0.5
    assert "could not be downloaded" in refused(name)
    server.share = 1.0
    load(name)


def test_a_file_with_another_hash_is_thrown_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)
    server.files["t10k-labels-idx1-ubyte.gz"] = idx(np.zeros(100, np.uint8))  # the last of four
    assert "MNIST arrived damaged and was thrown away." in refused("mnist")
    assert len(server.asked) == 4


def test_a_folder_that_cannot_be_made_gets_the_same_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)
    Path(torch.hub.get_dir()).write_text("a file stands where the folder would be")
    assert "there is no room to keep it" in said(lambda: load("mnist"))


def test_a_download_that_is_stopped_hangs_up_and_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_cifar10(server, monkeypatch)
    server.endless = True
    stop_at(lambda report: load("cifar10", report), 0.5)
    assert server.hung_up.wait(20)
    assert fetched() == []


def test_unpacking_that_is_stopped_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)

    def report(fraction: float, text: str) -> None:
        if text == "Unpacking MNIST":
            raise Stopped

    with pytest.raises(Stopped):
        load("mnist", report)
    assert fetched() == []


def test_two_processes_that_fetch_at_once_both_get_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)
    fetch, nested = downloads._fetch, []

    def twice(*arguments: object) -> None:
        if not nested:
            nested.append(True)
            unpack = downloads._unpack

            def meanwhile(*more: object) -> None:
                unpack(*more)  # type: ignore[arg-type]
                if len(nested) == 1:
                    nested.append(True)
                    fetch(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(downloads, "_unpack", meanwhile)
        fetch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(downloads, "_fetch", twice)
    assert len(load("mnist").train) == 400
    assert len(server.asked) == 8
    assert "MNIST/raw/train-images-idx3-ubyte" in fetched()
    assert len(fetched()) == 6


@pytest.mark.parametrize(("name", "home"), [("cifar10", "cifar-10-batches-py"), ("mnist", "MNIST")])
def test_files_that_are_damaged_later_are_told_with_their_folder(
    name: str, home: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_cifar10(server, monkeypatch) if name == "cifar10" else offer_mnist(server, monkeypatch)
    load(name)
    datasets._KEPT.clear()
    folder = Path(torch.hub.get_dir()) / "datasets"
    path = next(path for path in sorted(folder.rglob("t*")) if path.is_file())
    path.write_bytes(path.read_bytes()[:-100])
    text = said(lambda: load(name))
    assert "are damaged; delete the folder" in text
    assert str(folder / home) in text


# Parquet files


def encoded(picture: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def written_parquet(
    path: Path, labels: object, contents: object, classes: str | None = "ant,bee", **about: str
) -> Path:
    table = pa.table({"label": labels, "jpeg": contents})
    metadata = about | ({} if classes is None else {"classes": classes})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


JPEGS = [encoded(noise(n, 24, 24, 3), "JPEG") for n in range(10)]
LABELS = pa.array([0, 1] * 5, pa.uint8())


def decoded(content: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)


def test_cifar10_as_jpeg_is_read_from_the_folder_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CIFAR10_JPEG, raising=False)
    assert not on_this_machine("cifar10_jpeg")
    text = said(lambda: load("cifar10_jpeg"))
    assert text.startswith(f"CIFAR-10 (JPEG) is not on this machine; set {CIFAR10_JPEG} to the folder")
    assert text.endswith("or choose Digits or Drawn shapes, which work offline.")
    monkeypatch.setenv(CIFAR10_JPEG, str(tmp_path))
    assert not on_this_machine("cifar10_jpeg")
    assert "must hold two Parquet files, one with train in its name and one with test." in said(
        lambda: load("cifar10_jpeg")
    )
    classes = ",".join(DATASETS["cifar10"].classes)
    written_parquet(tmp_path / "cifar10-train.parquet", LABELS, JPEGS, classes)
    written_parquet(tmp_path / "cifar10-test.parquet", LABELS[:4], JPEGS[::-1][:4], classes)
    assert on_this_machine("cifar10_jpeg")
    data = load("cifar10_jpeg")
    assert (data.name, data.title, data.classes) == ("cifar10_jpeg", "CIFAR-10 (JPEG)", DATASETS["cifar10"].classes)
    assert data.source == DATASETS["cifar10_jpeg"].source
    # The first picture says 24; the registry says 32, and so they are scaled as Pillow does.
    right = [Image.open(io.BytesIO(jpeg)).resize((32, 32), Image.Resampling.BILINEAR) for jpeg in JPEGS]
    assert torch.equal(data.train, torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in right]))
    assert data.test_labels.tolist() == [0, 1, 0, 1]
    assert load("cifar10_jpeg") is data
    assert load("cifar10_jpeg@16:3").train.shape == (3, 3, 16, 16)


def test_a_folder_of_two_parquet_files_is_a_path_too(tmp_path: Path) -> None:
    written_parquet(tmp_path / "Train-all.parquet", LABELS, JPEGS, source="a garden")
    written_parquet(tmp_path / "my-test.parquet", LABELS[:4], JPEGS[:4])
    data = load(str(tmp_path))
    assert (data.name, data.classes, data.source) == (str(tmp_path), ("ant", "bee"), "a garden")
    assert torch.equal(data.train, torch.stack([decoded(jpeg) for jpeg in JPEGS]))
    assert torch.equal(data.test, data.train[:4])
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1] * 5, [0, 1] * 2)
    part = load(f"{tmp_path}@12:5")
    assert (part.train.shape, part.title) == ((5, 3, 12, 12), "Train-all at 12 px, first 5")


def test_of_one_parquet_file_every_fifth_of_each_class_is_for_testing(tmp_path: Path) -> None:
    path = written_parquet(tmp_path / "insects.parquet", LABELS, JPEGS, None)
    for name in (str(path), str(tmp_path)):
        data = load(name)
        assert (data.title, data.classes) == ("insects", ("0", "1"))
        assert torch.equal(data.train, torch.stack([decoded(jpeg) for jpeg in JPEGS[:8]]))
        assert torch.equal(data.test, torch.stack([decoded(jpeg) for jpeg in JPEGS[8:]]))
        assert data.test_labels.tolist() == [0, 1]
    written_parquet(tmp_path / "cifar.parquet", LABELS, JPEGS, ",".join(DATASETS["cifar10"].classes))
    assert load(str(tmp_path / "cifar.parquet")).title == "CIFAR-10 (JPEG)"


@pytest.mark.parametrize(
    ("labels", "contents", "classes", "sentence"),
    [
        ([0, 2], JPEGS[:2], "ant,bee", "The labels (=0 to 2) must be from 0 to 1, one for each class."),
        ([-1, 1], JPEGS[:2], "ant,bee", "The labels (=-1 to 1) must be"),
        ([0, 2**60], JPEGS[:2], None, "The labels (=0 to 1152921504606846976) must be from 0 to 99999"),
        ([0, 0], JPEGS[:2], None, "x.parquet has the one class '0'; there must be at least two."),
        ([0, None], JPEGS[:2], "ant,bee", "x.parquet must have a label and a picture in each row"),
        ([0, 1], [JPEGS[0], None], "ant,bee", "x.parquet must have a label and a picture in each row"),
        ([0, 1], [JPEGS[0], b"?"], "ant,bee", "x has 1 row without a picture that can be read."),
        ([0.5, 1], JPEGS[:2], "ant,bee", "x.parquet cannot be read as a Parquet file with the columns label"),
        (["a", "b"], JPEGS[:2], "ant,bee", "x.parquet cannot be read as a Parquet file"),
        ([0, 1], [1, 2], "ant,bee", "x.parquet cannot be read as a Parquet file"),
        (pa.array([], pa.int64()), pa.array([], pa.binary()), "ant,bee", "x.parquet must have a label and a picture"),
    ],
)
def test_a_parquet_file_of_another_kind_gets_a_sentence(
    labels: object, contents: object, classes: str | None, sentence: str, tmp_path: Path
) -> None:
    path = written_parquet(tmp_path / "x.parquet", labels, contents, classes)
    assert said(lambda: load(str(path))).startswith(sentence)


def test_a_damaged_parquet_file_or_one_without_the_columns_gets_a_sentence(tmp_path: Path) -> None:
    path = written_parquet(tmp_path / "x.parquet", LABELS, JPEGS)
    path.write_bytes(path.read_bytes()[:-20])
    assert said(lambda: load(str(path))).startswith("x.parquet cannot be read as a Parquet file")
    pq.write_table(pa.table({"label": [1]}), path)
    assert said(lambda: load(str(path))).startswith("x.parquet cannot be read as a Parquet file")


@pytest.mark.skipif(CIFAR10_JPEG not in os.environ, reason=f"{CIFAR10_JPEG} names no folder")
def test_the_real_cifar10_as_jpeg() -> None:
    """The recorded runs hang on these pictures; 5,000 of each class are for training and 1,000 for testing."""
    data = load("cifar10_jpeg")
    assert data.train.shape == (50_000, 3, 32, 32)
    assert data.train_labels.bincount().tolist() == [5000] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    table = pq.read_table(Path(os.environ[CIFAR10_JPEG]) / "cifar10-test.parquet")
    for row in (0, 1234, 9999):
        assert torch.equal(data.test[row], decoded(table["jpeg"][row].as_py()))
        assert data.test_labels[row].item() == table["label"][row].as_py()
    assert table.schema.metadata[b"classes"].decode().split(",") == list(data.classes)


# A person's own pictures


def zipped(files: Mapping[str, bytes], **options: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def plain(value: int, height: int = 40, width: int = 40) -> bytes:
    """A coloured picture that says which one it is."""
    return encoded(np.full((height, width, 3), (value, 0, 255 - value), np.uint8))


# Ten cats, 0 to 9, and six dogs, 100 to 105; of the cats 4 and 9 are each fifth, of the dogs 104.
PETS = {f"cats/{n:02}.png": plain(n) for n in range(10)} | {f"dogs/{n:02}.png": plain(100 + n) for n in range(6)}


def values(pictures: Tensor) -> set[int]:
    return {int(picture[0, 0, 0]) for picture in pictures}


def test_a_folder_is_a_class_and_every_fifth_of_each_is_for_testing() -> None:
    data = from_files(PETS)
    assert (data.title, data.classes, data.notes, data.size) == ("Your pictures", ("cats", "dogs"), (), (32, 32))
    assert values(data.train) == {0, 1, 2, 3, 5, 6, 7, 8, 100, 101, 102, 103, 105}
    assert values(data.test) == {4, 9, 104}
    for pictures, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        assert labels.tolist() == [int(picture[0, 0, 0] >= 100) for picture in pictures]
        assert torch.equal(pictures[:, 2], 255 - pictures[:, 0])
    # The first ones are what a probe measures on: they are mixed, however the files are sorted.
    assert 0 < data.train_labels[:8].sum() < 8


def test_folder_zip_and_mapping_give_the_same_set(tmp_path: Path) -> None:
    right = from_files(PETS)
    for around in ("", "my/pets/"):
        shifted = {around + name: content for name, content in reversed(PETS.items())}
        assert from_files(shifted).name == from_files(zipped(shifted)).name == right.name
    for name, content in PETS.items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    (tmp_path / "Pets.ZIP").write_bytes(zipped(PETS))
    for path in (tmp_path / "pets", tmp_path / "Pets.ZIP"):
        data = load(str(path))
        assert (data.name, data.title.lower(), digest(data)) == (str(path), "pets", digest(right))
        assert torch.equal(data.train_labels, right.train_labels)
    part = load(f"{tmp_path / 'pets'}@8:4")
    assert (part.train.shape, part.test.shape, part.title) == ((4, 3, 8, 8), (3, 3, 8, 8), "pets at 8 px, first 4")
    assert values(part.train) == values(right.train[:4])
    assert "must be from 1 to 13 for pets." in said(lambda: load(f"{tmp_path / 'pets'}:14"))


def test_other_pictures_have_another_name() -> None:
    names = {from_files(PETS).name, from_files(PETS, side=16).name, from_files(PETS | {"cats/x.png": plain(50)}).name}
    # Four pictures can lie in six orders of two classes; what tells seven sets apart is what the classes are called.
    names |= {
        from_files({f"{name}/{n}.png": plain(0) for name in ("a", f"b{k}") for n in range(2)}).name for k in range(7)
    }
    assert len(names) == 3 + 7
    assert all(name.startswith("upload-") and len(name) == 7 + 12 for name in names)


def test_a_folder_is_read_anew_only_when_a_file_in_it_changes(tmp_path: Path) -> None:
    for name, content in PETS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    first = load(str(tmp_path))
    assert load(str(tmp_path)) is first
    (tmp_path / "cats/00.png").write_bytes(plain(77) + b" ")
    assert 77 in values(load(str(tmp_path)).train)


@pytest.mark.parametrize("test", ["test", "val", "Valid", "validation"])
def test_folders_train_and_test_above_the_classes_are_the_parts(test: str) -> None:
    cats = {f"pets/train/cats/{n}.png": plain(n) for n in range(6)}
    dogs = {f"pets/train/dogs/{n}.png": plain(100 + n) for n in range(6)}
    tests = {f"pets/{test}/cats/{n}.png": plain(50 + n) for n in range(2)}
    data = from_files(cats | dogs | tests)
    assert values(data.train) == {*range(6), *range(100, 106)}
    assert values(data.test) == {50, 51}
    assert data.test_labels.tolist() == [0, 0]
    assert data.notes == ()


def test_of_test_and_validation_the_first_is_taken_and_what_is_left_out_is_counted() -> None:
    files = {f"train/{name}": content for name, content in PETS.items()}
    files |= {"val/cats/1.png": plain(60), "test/cats/1.png": plain(61), "test/birds/1.png": plain(62)}
    files |= {"train/cover.png": plain(63)}
    data = from_files(files)
    assert values(data.test) == {61}
    assert data.classes == ("cats", "dogs")
    assert data.notes == (
        "Left out: 1 picture in no class's folder.",
        "Left out: 1 picture in val, as there is test.",
        "Left out: 1 test picture of classes without training pictures.",
    )


def test_classes_may_be_called_train_and_test() -> None:
    files = {f"{name}/{n}.png": plain(n) for name in ("train", "test") for n in range(5)}
    assert from_files(files).classes == ("test", "train")


def test_train_and_test_beside_another_folder_are_classes() -> None:
    files = {f"{name}/{n}/1.png": plain(n) for name in ("train", "test", "birds") for n in range(5)}
    assert from_files(files).classes == ("birds", "test", "train")


def test_what_is_no_picture_of_a_class_is_left_out_and_counted() -> None:
    files = PETS | {
        "cats/notes.txt": b"?",
        "dogs/clip.mp4": b"?",
        "cover.png": plain(1),
        "cats/broken.png": plain(1)[:60],
        "cats/empty.jpg": b"",
        "cats/old/deep/1.png": plain(99),  # a folder in a class belongs to the class
        "cats/.hidden.png": plain(1),
        ".git/cats/1.png": plain(1),
        "__MACOSX/cats/01.png": b"?",
        "/etc/1.png": plain(1),
        "../dogs/1.png": plain(1),
        "dogs/../../1.png": plain(1),
        "C:/dogs/1.png": plain(1),
        "dogs\\windows.png": plain(110),
    }
    for given_as in (files, zipped(files)):
        data = from_files(given_as)
        assert {99, 110} <= values(torch.cat([data.train, data.test]))
        assert len(data.train) + len(data.test) == 16 + 2
        assert data.notes[:3] == (
            "Left out: 2 files not named as PNG, JPEG, WEBP, GIF or BMP.",
            "Left out: 1 picture in no class's folder.",
            "Left out: 4 files with a path that leads out of the folder.",
        )
        assert data.notes[3].startswith("Left out: 2 files damaged or too large (the limits are 20 MB, 40 megapixels")
        assert len(data.notes) == 4


def test_what_is_left_out_of_one_part_is_not_made_up_from_the_other() -> None:
    data = from_files(PETS | {"cats/00.png": b"?", "dogs/04.png": b"?"})
    assert values(data.train) == {1, 2, 3, 5, 6, 7, 8, 100, 101, 102, 103, 105}
    assert values(data.test) == {4, 9}


def test_folders_in_a_zip_are_no_files() -> None:
    assert from_files(zipped(PETS | {"cats/": b"", "empty/": b""})).notes == ()


def test_a_file_may_lie_under_another_kinds_name() -> None:
    files = {f"{name}/{n}.jpg": plain(n) for name in "ab" for n in range(3)}
    assert values(from_files(files).train) == {0, 1, 2}


def test_classes_of_fewer_than_five_have_no_test_part_and_it_is_said() -> None:
    data = from_files({f"{name}/{n}.png": plain(n) for name in "ab" for n in range(4)})
    assert data.test.shape == (0, 3, 32, 32)
    assert data.test_labels.shape == (0,)
    assert data.notes == ("No class has 5 pictures, so none are for testing.",)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "There is no picture in a folder of a class; give a folder for each class"),
        ({"1.png": plain(1), "2.png": plain(2)}, "There is no picture in a folder of a class"),
        ({"cats/a.txt": b""}, "There is no picture in a folder of a class"),
        ({f"cats/{n}.png": plain(n) for n in range(9)}, "All pictures lie in one class, 'cats'; give at least two"),
        ({f"x/cats/{n}.png": plain(n) for n in range(9)}, "All pictures lie in one class, 'cats'"),
        (
            PETS | {"cows/1.png": plain(1)},
            "The class 'cows' has 1 picture that can be used; give each class at least 2.",
        ),
        (
            PETS | {"cows/1.png": plain(1), "cows/2.png": b"?"},
            "The class 'cows' has 1 picture that can be used; give each class at least 2.",
        ),
        (dict.fromkeys(PETS, b"?"), "None of the 13 training pictures can be read. Left out: 16 files damaged"),
    ],
)
def test_what_no_net_can_learn_from_gets_a_sentence(files: dict[str, bytes], sentence: str) -> None:
    assert said(lambda: from_files(files)).startswith(sentence)
    assert said(lambda: from_files(zipped(files))).startswith(sentence)


@pytest.mark.parametrize("side", [7, 513, -1])
def test_a_side_out_of_range_gets_a_sentence(side: int) -> None:
    assert said(lambda: from_files(PETS, side)).startswith(f"The side of the pictures (={side}) must be from 8 to 512")


def test_reading_tells_each_picture_and_can_be_stopped() -> None:
    texts: list[str] = []
    from_files(PETS, report=lambda fraction, text: texts.append(text))
    assert texts == [f"Reading picture {n} of 16" for n in range(1, 17)]
    stop_at(lambda report: from_files(PETS, 32, report), 0.5)


# How a picture is read


def one(picture: bytes, side: int = 32) -> Tensor:
    """The picture as it comes out of a set that holds nothing else, (channels, side, side)."""
    return from_files({f"{name}/{n}.png": picture for name in "ab" for n in range(2)}, side).train[0]


def test_a_picture_is_scaled_on_its_shorter_side_and_cut_in_the_middle() -> None:
    wide = noise(0, 48, 120, 3)
    right = np.asarray(Image.fromarray(wide).resize((60, 24), Image.Resampling.BILINEAR))[:, 18:42].astype(int)
    ours, turned = (one(encoded(picture), 24).numpy() for picture in (wide, wide.transpose(1, 0, 2)))
    assert np.abs(ours.transpose(1, 2, 0) - right).max() <= 1
    assert np.abs(turned.transpose(2, 1, 0) - right).max() <= 1


def test_grey_stays_grey_only_where_all_are() -> None:
    grey = noise(0, 32, 32)
    files = {f"{name}/{n}.png": encoded(grey) for name in "ab" for n in range(5)}
    files["a/0.png"] = encoded(np.stack([grey] * 3, 2))  # saved in colour, but grey
    data = from_files(files)
    assert (data.channels, data.train.shape, data.test.shape) == (1, (8, 1, 32, 32), (2, 1, 32, 32))
    assert torch.equal(data.train[3, 0], torch.from_numpy(grey))
    assert data.train.is_contiguous()
    files["a/0.png"] = encoded(np.stack([grey, grey, grey ^ 1], 2))
    assert from_files(files).channels == 3


def test_transparent_parts_are_white_and_no_hidden_colour_shows() -> None:
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0] = 200
    picture[:16, :, 3] = 255
    red, white = one(encoded(picture))[:, (8, 24), 8].T.tolist()
    assert (red, white) == ([200, 0, 0], [255, 255, 255])


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    deep = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    ours = one(buffer.getvalue())
    assert ours.shape[0] == 1
    assert np.abs(ours[0].numpy() - deep / 65535 * 255).max() <= 0.5


def test_a_picture_with_a_turn_in_its_exif_is_turned_upright() -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:8], upright[:, 8:16] = (255, 0, 0), (0, 255, 0)
    right = one(encoded(upright))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, turn in back.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.asarray(Image.fromarray(upright).transpose(turn))
        assert torch.equal(one(encoded(stored, exif=exif)), right), orientation


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_each_format_is_read(kind: str) -> None:
    flat = np.full((40, 40, 3), (200, 100, 50), np.uint8)
    assert (one(encoded(flat, kind)).float().mean((1, 2)) - torch.tensor([200, 100, 50])).abs().max() < 4


def test_of_several_frames_the_first_is_used() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert one(buffer.getvalue())[:, 9, 9].tolist() == [255, 0, 0]


# Hostile files


def header_of(width: int, height: int) -> bytes:
    """A small PNG that claims to be of this size."""
    content = bytearray(encoded(noise(0, 8, 8, 3)))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zipfile.crc32(bytes(content[12:29])))  # type: ignore[attr-defined]
    return bytes(content)


def with_scans(count: int) -> bytes:
    """A good JPEG of one scan, with marks of more in its comment."""
    comment = b"\xff\xda\0\x08\1" * (count - 1)
    return JPEGS[0][:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + JPEGS[0][2:]


def test_pictures_that_claim_too_much_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 megapixels, 20 times as long as wide, 20 million bytes, 100 scans are the limits."""
    tall = encoded(np.zeros((641, 32, 3), np.uint8))
    files = {
        "cats/a.png": header_of(6400, 6400),
        "cats/b.png": header_of(60000, 60000),
        "cats/c.png": tall,
        "cats/d.png": plain(1) + bytes(20_000_000),
        "cats/e.jpg": with_scans(101),
    }
    decoded: list[tuple[int, int]] = []
    decode = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self.size) or decode(self))
    data = from_files(PETS | files)
    assert set(decoded) == {(40, 40)}
    assert len(data.train) + len(data.test) == 16
    assert data.notes[0].startswith("Left out: 5 files damaged or too large")
    wide = encoded(np.zeros((640, 32, 3), np.uint8))
    assert from_files(PETS | {"cats/c.png": wide, "cats/e.jpg": with_scans(100)}).notes == ()
    from_files(PETS | {"cats/a.png": header_of(6400, 6250)})  # 40 megapixels to the last
    assert (6400, 6250) in decoded


def test_pictures_that_take_too_long_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MOST_WORK", 10 * 40 * 40)
    assert said(lambda: from_files(PETS)).startswith("The pictures have too many pixels together")
    monkeypatch.setattr(decoding, "_MOST_WORK", 16 * 40 * 40)
    from_files(PETS)
    # A JPEG costs an eighth a scan.
    jpegs = {f"{name}/{n}.jpg": encoded(noise(n, 160, 160, 3), "JPEG") for name in "ab" for n in range(2)}
    monkeypatch.setattr(decoding, "_MOST_WORK", 3 * 160 * 160 // 8)
    from_files(jpegs)
    monkeypatch.setattr(decoding, "_MOST_WORK", 3 * 160 * 160 // 8 - 1)
    assert "make them smaller." in said(lambda: from_files(jpegs))


def test_pictures_that_take_too_much_memory_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BYTES", 16 * 3 * 64 * 64)
    from_files(PETS, 64)
    assert said(lambda: from_files(PETS, 65)).startswith("16 pictures at 65 px would take 0 MB, and 0 MB are the limit")


def test_too_many_files_are_refused_however_they_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sentence = "There are more than 100,000 files, which is the limit; give fewer."
    assert said(lambda: from_files({f"cats/{n}.png": b"" for n in range(100_001)})) == sentence
    assert said(lambda: from_files(b"PK\1\2" * 100_001)) == sentence  # before the table is read
    limit_files(monkeypatch, 15)
    for name, content in PETS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert said(lambda: load(str(tmp_path))).startswith("There are more than 15 files")
    (tmp_path / "pets.zip").write_bytes(zipped(PETS))
    assert said(lambda: load(str(tmp_path / "pets.zip"))).startswith("There are more than 15 files")
    path = written_parquet(tmp_path / "x.parquet", pa.array([0, 1] * 8), [JPEGS[0]] * 16)
    assert said(lambda: load(str(path))).startswith("There are more than 15 files")


def test_a_folder_without_end_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for number in itertools.count():
            yield f"{folder}/{number}", [], [f"{n}.png" for n in range(1000)]

    monkeypatch.setattr(os, "walk", endless)
    limit_files(monkeypatch, 5000)
    assert said(lambda: load(str(tmp_path))).startswith("There are more than 5,000 files")
    stop_at(lambda report: load(str(tmp_path), report), 0.0)


def test_very_many_classes_are_counted_in_no_time() -> None:
    begun = time.perf_counter()
    text = said(lambda: from_files({f"{n}/1.png": b"" for n in range(50_000)}))
    assert "that can be used" in text
    assert time.perf_counter() - begun < 10


def test_an_archive_that_would_unpack_to_too_much_is_refused_by_what_it_claims() -> None:
    content = bytearray(zipped(PETS | {f"cats/big{n}.png": b"x" for n in range(2)}))
    for n in range(2):  # in its table each says 3 billion bytes
        where = content.rindex(f"cats/big{n}.png".encode()) - 46
        content[where + 24 : where + 28] = struct.pack("<I", 3_000_000_000)
    assert said(lambda: from_files(bytes(content))).startswith(
        "The zip would unpack to 6,000 MB; 4,000 MB are the limit"
    )


def test_a_bomb_in_an_archive_is_unpacked_no_further_than_a_picture_may_be_long() -> None:
    bomb = zipped(PETS | {"cats/bomb.png": plain(1) + bytes(100_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    read: list[int] = []
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        read.append(len(own.zipped(archive)["cats/bomb.png"]()))
    assert read == [20_000_001]
    assert from_files(bomb).notes[0].startswith("Left out: 1 file damaged or too large")


def test_an_archive_in_an_archive_is_not_opened() -> None:
    data = from_files(zipped(PETS | {"more.zip": zipped(PETS), "cats/more.zip": zipped(PETS)}))
    assert data.notes == ("Left out: 2 files not named as PNG, JPEG, WEBP, GIF or BMP.",)
    renamed = from_files(zipped(PETS | {"cats/more.png": zipped(PETS)}))
    assert renamed.notes[0].startswith("Left out: 1 file damaged")


def test_an_archive_with_a_password_is_refused() -> None:
    content = bytearray(zipped(PETS))
    where = content.rindex(b"PK\1\2")
    content[where + 8] |= 1
    assert said(lambda: from_files(bytes(content))) == "The zip is locked with a password; give one without."


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_may_ask_for_gigabytes_are_not_unpacked(compression: int) -> None:
    buffer = io.BytesIO(zipped(PETS))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("cats/odd.png", plain(1), compression)
    assert from_files(buffer.getvalue()).notes[0].startswith("Left out: 1 file damaged or too large")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\3\4" + bytes(100), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_gets_a_sentence(content: bytes, tmp_path: Path) -> None:
    assert said(lambda: from_files(content)) == (
        "What was given is no zip that can be read; give a zip or a folder of pictures."
    )
    (tmp_path / "pets.zip").write_bytes(content)
    assert said(lambda: load(str(tmp_path / "pets.zip"))).startswith("pets.zip is no zip that can be read")


def test_nothing_uploaded_is_written_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise AssertionError("a file is opened")

    archive = zipped(PETS)
    Image.init()
    monkeypatch.setattr("builtins.open", no)
    monkeypatch.setattr(io, "open", no)
    monkeypatch.setattr(os, "open", no)
    assert len(from_files(archive).classes) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_links_to_nothing_in_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    for name, content in PETS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "cats/pipe.png")
    (tmp_path / "cats/lost.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "around").symlink_to(tmp_path)
    secret = tmp_path / "cats/secret.png"
    secret.write_bytes(plain(1))
    secret.chmod(0)
    data = load(str(tmp_path))
    left = 2 + (not os.access(secret, os.R_OK))
    secret.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert data.notes[0].startswith(f"Left out: {left} files damaged")
    assert data.classes == ("cats", "dogs")


GOOD_ZIP = zipped(PETS)


@FEW
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD_ZIP) - 1), st.integers(0, 255)), min_size=1, max_size=20),
    st.integers(1, len(GOOD_ZIP)),
)
def test_a_damaged_zip_is_read_or_refused_but_never_breaks(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(GOOD_ZIP)
    for place, value in changes:
        content[place] = value
    for damaged in (bytes(content), GOOD_ZIP[:length]):
        try:
            data = from_files(damaged)
        except DataError:
            continue
        assert len(data.train) == len(data.train_labels)
        assert len(data.test) == len(data.test_labels)


@FEW
@given(st.dictionaries(st.text(max_size=30), st.just(plain(3)), max_size=12))
def test_names_of_any_kind_are_sorted_out_or_refused(names: dict[str, bytes]) -> None:
    data = from_files(PETS | {f"cats/{name}.png": content for name, content in names.items()})
    assert {"cats", "dogs"} <= set(data.classes)
    assert len(data.train) + len(data.test) <= 16 + len(names)
