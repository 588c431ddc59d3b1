"""A run in a process of its own, so that a page stays quick beside it: one thread, niced, paused and stopped at will.

The other end is `python -m explorer train`. It reads recipe and data from its input and writes a line of JSON a record;
a line "pause" makes it keep a checkpoint and end, and it ends too when its input closes, as when this program dies.
"""

import contextlib
import dataclasses
import io
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from explorer.errors import Refusal
from explorer.jobs import Progress
from explorer.training.datasets import Dataset, load
from explorer.training.recipe import Recipe
from explorer.training.run import Record, Run

_PATIENCE = 0.2  # seconds between two looks at whether to stop
_CHECKPOINT = "run.pt"
_REFUSED = 3  # the child's exit code where it printed a sentence
_NICENESS = 10


class Trial:
    """One run, to be worked on in a job and watched from other threads meanwhile.

    Args:
        recipe: what to run.
        data: its data set, where it is loaded already; what is uploaded has no name to load it by.

    Attributes:
        records: those so far; only the thread that works adds to them.
    """

    def __init__(self, recipe: Recipe, data: Dataset | None = None) -> None:
        self.recipe = recipe
        self.records: list[Record] = []
        self._data = data
        self._folder = Path(tempfile.mkdtemp(prefix="resnet-explorer-"))  # readable by this user alone
        self._pausing = threading.Event()
        self._closed = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, by its last step or by divergence."""
        last = self.records[-1] if self.records else None
        return last is not None and (last.step >= self.recipe.steps or last.diverged)

    @property
    def pausing(self) -> bool:
        """Whether a pause was asked for: the work ends at the next record, or has ended."""
        return self._pausing.is_set() and not self.finished

    def pause(self) -> None:
        """Ask the work to keep a checkpoint and to return, so that its place in the queue is free."""
        self._pausing.set()

    def close(self) -> None:
        """Let go of the checkpoint; the records stay."""
        self._closed()

    def work(self, progress: Progress) -> None:
        """Run, or go on where a pause stopped it, until the end or the next pause; a job's work.

        Raises:
            Cancelled: the job was cancelled; the process is stopped at once.
            Refusal: the data cannot be had, or the run cannot be.
        """
        self._pausing.clear()
        progress.report(0.0, "Loading the pictures")
        data = self._data or load(self.recipe.data, progress.report)
        command = [sys.executable, "-m", "explorer", "train", str(self._folder / _CHECKPOINT)]
        root = str(Path(__file__).parents[2])  # as the app may run from a folder beside the package
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
            )
            try:
                self._follow(process, data, progress)
                if process.wait() not in (0, _REFUSED):
                    errors.seek(0)
                    raise RuntimeError(f"the run ended with code {process.returncode}: {errors.read()[-2000:]!r}")
            finally:
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):  # what it was still to be told
                        stream.close()  # type: ignore[union-attr]

    def _follow(self, process: "subprocess.Popen[bytes]", data: Dataset, progress: Progress) -> None:
        """Tell the process what to do and take down what it says, until it ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_pump, args=(process.stdout, lines.put), daemon=True).start()
        threading.Thread(target=_tell, args=(process.stdin, self.recipe, data), daemon=True).start()
        asked = False
        count = 0
        while True:
            progress.check()
            if self._pausing.is_set() and count and not asked:
                _say_pause(process.stdin)
                asked = True
            try:
                line = lines.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
            if line is None:
                return
            told = json.loads(line)
            if "refusal" in told:
                raise Refusal(told["refusal"])
            record = Record(**told | {"gradient_norms": tuple(told["gradient_norms"])})
            self.records[count : count + 1] = [record]  # a run that goes on says first what it had said
            count += 1
            progress.report(record.step / self.recipe.steps, f"Step {record.step:,} of {self.recipe.steps:,}")


def _pump(stream: IO[bytes], put: Callable[[bytes | None], object]) -> None:
    """Hand on each line, and None at the end."""
    with contextlib.suppress(OSError, ValueError):  # it may be closed meanwhile, as its process was stopped
        for line in stream:
            put(line)
    put(None)


def _tell(stream: IO[bytes], recipe: Recipe, data: Dataset) -> None:
    """Write recipe and data, length first; a process that has ended meanwhile needs them no more."""
    buffer = io.BytesIO()
    fields = {item.name: getattr(data, item.name) for item in dataclasses.fields(data)}
    torch.save({"recipe": recipe.to_json(), "data": fields}, buffer)
    content = buffer.getbuffer()
    with contextlib.suppress(OSError, ValueError):
        stream.write(len(content).to_bytes(8))
        stream.write(content)
        stream.flush()


def _say_pause(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):  # it may have ended by itself
        stream.write(b"pause\n")
        stream.flush()


# The process's own end


def train(checkpoint: Path) -> int:
    """Read recipe and data from the standard input, run, and print a line a record; the exit code."""
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    source = sys.stdin.buffer
    length = int.from_bytes(source.read(8))
    told: dict[str, Any] = torch.load(io.BytesIO(source.read(length)), weights_only=True)
    pausing = threading.Event()
    threading.Thread(target=_listen, args=(source.fileno(), pausing), daemon=True).start()
    try:
        recipe = Recipe.from_json(told["recipe"])
        run = Run(recipe, Dataset(**told["data"]), checkpoint)
        for record in run:
            print(json.dumps(dataclasses.asdict(record)), flush=True)
            if pausing.is_set() and record is run.records[-1]:
                run.save(checkpoint)
                break
        else:
            run.save(checkpoint)  # for who asks the trained net about pictures
    except Refusal as refusal:
        print(json.dumps({"refusal": str(refusal)}), flush=True)
        return _REFUSED
    return 0


def _listen(source: int, pausing: threading.Event) -> None:
    """Wait for the word to pause; where the input ends, nobody is there any more.

    It comes after the first record, so that none of it lies in the buffer. The buffer itself is left alone: a thread
    that waits in its lock holds up the exit.
    """
    while os.read(source, 64):
        pausing.set()
    os._exit(1)
