"""The first thing that a sweep's worker process does; light, so that it is done before PyTorch is there."""

import contextlib
import os
import signal
import threading
from multiprocessing.connection import Connection

_NICENESS = 10


def prepare(line: Connection) -> None:
    """Let others go first, leave Ctrl-C to the parent, and end when the parent closes its end of the line or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)
