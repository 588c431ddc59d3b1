"""Weights that are fetched: whole or not at all, once, with progress, and a sentence where they cannot be had."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from explorer.models import checkpoints, downloads
from explorer.models.checkpoints import REGISTRY, load
from explorer.models.downloads import WeightsUnavailable
from explorer.models.resnet import build
from explorer.spec import PRESETS

MEGABYTE = 1 << 20


class Server(http.server.ThreadingHTTPServer):
    """Serves one file under any path, whole or cut short, and counts who asks."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.sent, self.status, self.asked = content, len(content), 200, 0
        self.hung_up = threading.Event()


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        try:
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content[: self.server.sent])
        except ConnectionError:
            self.server.hung_up.set()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Shop:
    """A server with the weights of a ResNet-18, and the empty folder that they are fetched into."""

    server: Server
    weights: dict[str, Tensor]
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    reports: list[tuple[float, str]] = field(default_factory=list)

    @property
    def good_name(self) -> str:
        return f"resnet18-{hashlib.sha256(self.server.content).hexdigest()[:8]}.pth"

    def offer(self, file_name: str, port: int | None = None) -> None:
        """Let the registry's ResNet-18 be this file of this server."""
        url = f"http://127.0.0.1:{port or self.server.server_port}/models/{file_name}"
        self.monkeypatch.setitem(REGISTRY, "resnet18", replace(REGISTRY["resnet18"], url=url))

    def report(self, fraction: float, text: str) -> None:
        self.reports.append((fraction, text))

    def refusal(self) -> str:
        """The sentence with which the weights are refused; it must name what works without a connection."""
        with pytest.raises(WeightsUnavailable) as caught:
            load("resnet18", self.report)
        text = str(caught.value)
        assert text.startswith("The weights of ResNet-18 ")
        assert text.endswith("choose EfficientNet-Lite0, which works offline.")
        return text

    def files(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return build(PRESETS["resnet18"], "cpu").state_dict()


@pytest.fixture(scope="module")
def content(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(weights, path)
    return path.read_bytes()


@pytest.fixture
def shop(weights: dict[str, Tensor], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Shop(server, weights, tmp_path, monkeypatch)
        server.shutdown()
        thread.join()
    torch.hub.set_dir(hub)
    checkpoints._load.cache_clear()


def test_weights_are_fetched_once_with_progress_that_rises_to_1_and_kept_where_pytorch_keeps_them(shop: Shop) -> None:
    shop.offer(shop.good_name)
    trained = load("resnet18", shop.report)
    fractions = [fraction for fraction, _ in shop.reports]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] == 1.0
    assert len(fractions) > len(shop.server.content) / MEGABYTE  # often enough to cancel, and for a bar to move
    assert {text for _, text in shop.reports} == {"Downloading the weights of ResNet-18 (45 MB)"}
    assert shop.files() == [f"checkpoints/{shop.good_name}"]
    assert shop.server.asked == 1

    assert load("resnet18", shop.report) is trained
    checkpoints._load.cache_clear()
    again = load("resnet18", shop.report)
    assert again is not trained
    assert shop.server.asked == 1
    assert len(shop.reports) == len(fractions)
    loaded = again.model._model.state_dict()
    assert loaded.keys() == shop.weights.keys()
    assert all(torch.equal(loaded[name].cpu(), value) for name, value in shop.weights.items())


def test_a_file_with_another_hash_than_its_name_says_is_refused_and_thrown_away(shop: Shop) -> None:
    shop.offer("resnet18-00000000.pth")
    assert "arrived damaged and were thrown away" in shop.refusal()
    assert shop.files() == []
    assert shop.server.asked == 1


def test_without_the_server_the_refusal_says_so_and_leaves_no_file(shop: Shop) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    shop.offer(shop.good_name, closed)
    assert "(45 MB) could not be downloaded" in shop.refusal()
    assert shop.files() == []
    assert shop.server.asked == 0


def test_a_server_that_has_no_such_file_is_refused_too(shop: Shop) -> None:
    shop.offer(shop.good_name)
    shop.server.status = 404
    assert "could not be downloaded" in shop.refusal()
    assert shop.files() == []
    assert shop.server.asked == 1


def test_half_a_file_is_not_kept_and_the_next_try_fetches_it_whole(shop: Shop) -> None:
    shop.offer(shop.good_name)
    shop.server.sent = len(shop.server.content) // 2
    assert "could not be downloaded" in shop.refusal()
    assert max(fraction for fraction, _ in shop.reports) < 0.6
    assert shop.files() == []
    shop.server.sent = len(shop.server.content)
    load("resnet18")
    assert shop.files() == [f"checkpoints/{shop.good_name}"]


def test_half_a_file_is_not_kept_even_where_its_name_holds_no_hash(shop: Shop) -> None:
    shop.offer("resnet18.pth")
    shop.server.sent = len(shop.server.content) // 2
    shop.refusal()
    assert shop.files() == []


def test_a_download_that_is_stopped_passes_the_reason_on_hangs_up_and_leaves_no_file(shop: Shop) -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    reason = Stopped()

    def stop_at_a_third(fraction: float, text: str) -> None:
        shop.report(fraction, text)
        if fraction > 1 / 3:
            raise reason

    shop.offer(shop.good_name)
    with pytest.raises(Stopped) as caught:
        load("resnet18", stop_at_a_third)
    assert caught.value is reason
    assert sum(fraction > 1 / 3 for fraction, _ in shop.reports) == 1
    assert shop.server.hung_up.wait(20)
    assert shop.files() == []


def test_two_that_fetch_the_same_weights_at_once_both_get_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two servers on one machine do: the second begins while the first checks its file."""
    check, meanwhile = downloads.has_hash_in_name, []

    def check_slowly(path: Path, name: str) -> bool:
        if not meanwhile:
            meanwhile.append(path)
            load("resnet18")
        return check(path, name)

    monkeypatch.setattr(downloads, "has_hash_in_name", check_slowly)
    shop.offer(shop.good_name)
    load("resnet18")
    assert len(meanwhile) == 1
    assert shop.files() == [f"checkpoints/{shop.good_name}"]
