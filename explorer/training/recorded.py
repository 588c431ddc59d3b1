"""Training runs as files: one small Parquet file a run, with its recipe, machine and versions inside."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision

from explorer.errors import Refusal
from explorer.training.recipe import Recipe
from explorer.training.run import Record

_ABOUT = b"explorer"
_COLUMNS = [field.name for field in dataclasses.fields(Record)]


class RecordedError(Refusal):
    """A file that is no recorded run; the message names it."""


@dataclass(frozen=True)
class Recorded:
    """A finished run.

    recipe: what was done. records: a row a record, the columns `Record`'s fields, missing where not measured.
    about: machine, versions and what else the recorder wrote down, name to text.
    """

    recipe: Recipe
    records: pd.DataFrame
    about: Mapping[str, str]


def records_table(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table: a row each, a column a field; what was not measured is missing."""
    table = pd.DataFrame([[getattr(record, name) for name in _COLUMNS] for record in records], columns=_COLUMNS)
    measured = [name for name in _COLUMNS if name not in ("step", "gradient_norms", "diverged")]
    return table.astype(dict.fromkeys(measured, "float64"))


def machine() -> dict[str, str]:
    """What ran: processor or GPU, and the versions that a number may hang on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "hardware": device,
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(path: Path, recipe: Recipe, records: Iterable[Record], about: Mapping[str, str] | None = None) -> None:
    """Keep a run, whole or not at all."""
    table = pa.Table.from_pandas(records_table(records), preserve_index=False)
    told = {"recipe": recipe.to_json(), "about": machine() | dict(about or {})}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _ABOUT: json.dumps(told).encode()})
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def read(file: Path | BinaryIO) -> Recorded:
    """What `write` kept, from a path or a file that is open and has a name.

    Raises:
        RecordedError: no such file, or one that `write` did not write.
    """
    try:
        table = pq.read_table(file)
        told = json.loads(table.schema.metadata[_ABOUT])
        recipe = Recipe.from_json(told["recipe"])
        return Recorded(recipe, table.select(_COLUMNS).to_pandas(), told["about"])
    except Exception as error:  # whatever a strange file makes of the readers
        raise RecordedError(f"{file.name} is not a recorded run; it must be a Parquet file of this program.") from error
