"""Tables and arrays as files."""

import io
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def readable_table(table: pd.DataFrame) -> pd.DataFrame:
    """The layer or stage table with windows as "3x3" and shapes as "64x56x56"; numbers stay numbers."""
    shown = table.copy()
    for column in ("kernel", "stride", "padding", "dilation", "input_shape", "output_shape"):
        if column in shown:
            shown[column] = [None if value is None else "x".join(map(str, value)) for value in shown[column]]
    return shown


def csv(table: pd.DataFrame) -> bytes:
    """The table as CSV in UTF-8, a header line first; what is unknown is left empty."""
    return readable_table(table).to_csv(index=False).encode()


def markdown(table: pd.DataFrame) -> bytes:
    """The table in Markdown, in UTF-8; what is unknown is left empty."""
    shown = readable_table(table)
    return (shown.astype(object).where(shown.notna(), None).to_markdown(index=False) + "\n").encode()


def npy(array: NDArray[Any]) -> bytes:
    """The array as a file for `numpy.load`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
