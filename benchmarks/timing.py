"""Times as medians, and a table of them."""

import statistics
import time
from collections.abc import Callable


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """The median of some rounds after one to warm up, in milliseconds."""
    work()
    return statistics.median(_once_ms(work) for _ in range(rounds))


def _once_ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def show(rows: list[tuple[str, ...]]) -> None:
    """The rows in columns, the first one the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(width) if cell is row[0] else cell.rjust(width)
                for cell, width in zip(row, widths, strict=True)
            )
        )
