"""`python -m explorer sweep grid.toml --results FOLDER`: the command line of sweeps.

`explorer.training.grid` says how the grid is written. The results are one Parquet file a run; started again, the
command goes on where it was. How it goes is told on the standard error; when it is done, the grid's runs that are
finished stand on the standard output, as CSV. It ends with 0, with 1 where a run failed, with 2 where nothing could be
started, with 130 after Ctrl-C.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from explorer.errors import Refusal

if TYPE_CHECKING:  # PyTorch takes seconds, in which help and Ctrl-C must work too
    from explorer.training.grid import Grid
    from explorer.training.recipe import Recipe
    from explorer.training.sweep import Outcome, Standing

MOST_WORKERS = 1024
DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str]) -> int:
    """Do what the words behind `sweep` say; the exit code."""
    try:
        return _swept(_parser().parse_args(argv))
    except SystemExit as ended:  # argparse's, after help or a usage line
        return DONE if not ended.code else REFUSED
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from the checkpoints.", file=sys.stderr)
        return INTERRUPTED


def _swept(arguments: argparse.Namespace) -> int:
    from explorer.training.datasets import load
    from explorer.training.results import read, table
    from explorer.training.sweep import result_file, sweep

    with _Teller(sys.stderr, arguments.results, arguments.quiet) as teller:
        recipes = _grid(arguments.grid).recipes(lambda name: load(name, teller.loading))
        teller.name(recipes)
        there = sum(result_file(arguments.results, recipe).exists() for recipe in recipes)
        teller.say(f"{_runs(len(recipes))}, {there} of them there already in {arguments.results}.")
        failed = sweep(recipes, arguments.results, arguments.workers, arguments.ray, teller)
    finished = [read(result_file(arguments.results, recipe)) for recipe in recipes if recipe not in failed]
    print(table(finished).to_csv(index=False), end="")
    if failed:
        print(f"{_runs(len(failed))} failed; the same command tries again.", file=sys.stderr)
    return FAILED if failed else DONE


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m explorer sweep", description="Train every combination of a grid.")
    parser.add_argument("grid", type=Path, help="a TOML file, with what is shared in [base] and lists in [axes]")
    parser.add_argument("--results", type=Path, required=True, metavar="FOLDER", help="where results are and will be")
    parser.add_argument("--workers", type=_workers, metavar="N", help="runs at once, if not one for each processor")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster's address, or local for one on this machine")
    parser.add_argument("--quiet", action="store_true", help="say nothing but what is wrong")
    return parser


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"workers (={text!r}) must be a whole number from 1 to {MOST_WORKERS}.")
    return int(text)


def _grid(file: Path) -> "Grid":
    from explorer.training.grid import Grid, GridError

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"The grid {file} cannot be read: {error}.") from error
    return Grid.read(text)


class _Teller:
    """A line a finished run; on a terminal a last line that counts."""

    def __init__(self, stream: TextIO, folder: Path, quiet: bool) -> None:
        self._stream = stream
        self._names: dict[Recipe, str] = {}
        self._folder = folder
        self._quiet = quiet
        self._live = stream.isatty() and not quiet
        self._started = time.monotonic()

    def __call__(self, standing: "Standing", recipe: "Recipe | None" = None, outcome: "Outcome | None" = None) -> None:
        ended = standing.there + standing.done + standing.failed
        if recipe is not None and outcome is not None:
            self.say(f"[{ended}/{standing.total}] {self._names[recipe]}: {_ended(self._folder, recipe, outcome)}")
        if recipe is None:
            parts = [f"{ended} of {standing.total} ended", f"{standing.running} running"]
            parts += [f"{standing.elsewhere} in the hands of others"] if standing.elsewhere else []
            parts += [f"{standing.waiting} waiting", f"{time.monotonic() - self._started:.0f} s"]
            self._last(", ".join(parts))

    def loading(self, fraction: float, text: str) -> None:
        """How far the pictures are."""
        self._last(f"{text}, {100 * fraction:.0f}%")

    def name(self, recipes: "Sequence[Recipe]") -> None:
        """What runs are called from now on."""
        from explorer.training.results import names

        named = zip(recipes, names(recipes), strict=True)
        self._names = {recipe: f"{net}, seed {recipe.seed}" for recipe, net in named}

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._clear()
            print(line, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()

    def _last(self, line: str) -> None:
        """A line in place of the last one."""
        self._clear()
        if self._live:
            print(line, end="", file=self._stream, flush=True)

    def _clear(self) -> None:
        """Take the last line away."""
        if self._live:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def _ended(folder: Path, recipe: "Recipe", outcome: "Outcome") -> str:
    """How a run ended, in a line."""
    from explorer.training.results import read, table
    from explorer.training.sweep import result_file

    if outcome.state == "failed":
        return f"failed: {outcome.why}"
    row = table([read(result_file(folder, recipe))]).iloc[0]
    if row.diverged:
        return f"diverged after {row.seconds:.0f} s"
    return f"training error {row.train_error:.1f}%, test error {row.test_error:.1f}%, {row.seconds:.0f} s"
