"""A run in a process of its own is the run."""

import dataclasses
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.errors import Refusal
from explorer.jobs import Job, JobQueue, Progress
from explorer.models.variants import variant
from explorer.training import apart
from explorer.training.apart import Trial
from explorer.training.recipe import Recipe
from explorer.training.run import Record, run

RECIPE = Recipe(variant("a", 8, width=4, in_channels=1, image_size=(8, 8)), steps=60, batch=50)
LONG = dataclasses.replace(RECIPE, steps=100_000, test_every=1000)


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(workers=2)
    yield queue
    assert queue.shutdown(timeout=20)


def until(what: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "this did not come"
        time.sleep(0.01)


def told(records: list[Record]) -> list[Record]:
    return [dataclasses.replace(record, seconds=0.0) for record in records]


def here(recipe: Recipe) -> list[Record]:
    """The same run in this process, on one thread as there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return told(list(run(recipe)))
    finally:
        torch.set_num_threads(threads)


def test_a_trial_is_the_run(queue: JobQueue) -> None:
    trial = Trial(RECIPE)
    job = queue.submit("ada", trial.work)
    job.result(60)
    assert trial.finished
    assert not trial.pausing
    assert told(trial.records) == here(RECIPE)
    assert job.text == "Step 60 of 60"


def test_a_pause_frees_the_place_and_what_follows_is_what_would_have_followed(queue: JobQueue) -> None:
    trial = Trial(dataclasses.replace(RECIPE, steps=400))
    job = queue.submit("ada", trial.work)
    until(lambda: trial.records)
    trial.pause()
    assert trial.pausing
    job.result(60)
    reached = len(trial.records)
    assert not trial.finished
    assert trial.records[-1].step < 400
    again = queue.submit("ada", trial.work)
    until(lambda: len(trial.records) > reached)
    again.result(60)
    assert trial.finished
    assert told(trial.records) == here(trial.recipe)


def test_a_cancelled_trial_ends_its_process_at_once(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(apart.subprocess, "Popen", remember)
    trial = Trial(LONG)
    job: Job[None] = queue.submit("ada", trial.work)
    until(lambda: trial.records)
    job.cancel()
    assert job.wait(10)
    assert job.state == "cancelled"
    (process,) = started
    assert process.poll() is not None
    assert trial.records  # what was measured stays


def test_two_run_beside_each_other(queue: JobQueue) -> None:
    trials = [Trial(dataclasses.replace(LONG, seed=seed)) for seed in (0, 1)]
    jobs = [queue.submit("ada", trial.work) for trial in trials]
    until(lambda: all(len(trial.records) > 2 for trial in trials))
    for job in jobs:
        job.cancel()
        job.wait(10)


def test_what_cannot_be_is_said_in_a_sentence(queue: JobQueue) -> None:
    trial = Trial(dataclasses.replace(RECIPE, spec=variant("a", 8)))
    with pytest.raises(Refusal, match=r"in_channels \(=3\) must be 1 for the data set"):
        queue.submit("ada", trial.work).result(60)
    assert trial.records == []


def test_a_process_that_dies_is_an_error_and_no_end(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="the run ended with code 1"):
        queue.submit("ada", Trial(RECIPE).work).result(60)


def test_a_closed_trial_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: JobQueue) -> None:
    monkeypatch.setattr(apart.tempfile, "tempdir", str(tmp_path))
    kept, dropped = Trial(RECIPE), Trial(RECIPE)
    assert len(list(tmp_path.iterdir())) == 2
    kept.close()
    del dropped  # as when the session that held it ends
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_data_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: JobQueue) -> None:
    monkeypatch.setattr(apart.tempfile, "tempdir", str(tmp_path))
    trial = Trial(LONG)
    job = queue.submit("ada", trial.work)
    until(lambda: len(trial.records) > 3)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    job.cancel()
    job.wait(10)


def test_the_process_ends_when_nobody_is_there(tmp_path: Path) -> None:
    """Its input closes as this program dies."""
    process = subprocess.Popen(
        [sys.executable, "-m", "explorer", "train", str(tmp_path / "run.pt")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(apart.__file__).parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    apart._tell(process.stdin, LONG, apart.load("digits"))
    assert b'"step": 0' in process.stdout.readline()
    process.stdin.close()
    assert process.wait(20) == 1
    process.stdout.close()


def test_progress_without_a_queue() -> None:
    """A notebook may run one too."""
    trial = Trial(RECIPE)
    trial.work(Progress())
    assert trial.finished


def test_a_reader_whose_stream_is_closed_says_that_it_has_ended() -> None:
    class Stopped(io.BytesIO):
        def __next__(self) -> bytes:
            line = super().__next__()
            if line == b"two\n":
                self.close()
            return line

    lines: list[bytes | None] = []
    apart._pump(Stopped(b"one\ntwo\nthree\n"), lines.append)
    assert lines == [b"one\n", b"two\n", None]
