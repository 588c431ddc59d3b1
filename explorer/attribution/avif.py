"""AVIF in a process of its own: what such a file decodes to is not bounded by what its header claims.

A file of 1.3 kB may claim 100 x 100 pixels and hold 12000 x 12000, or many frames before the one that is shown; its
decoder asks nobody before it takes the memory. So the process that runs it may take only so much memory and time.
"""

import io
import subprocess
import sys

from PIL import Image

MEMORY = 1000  # MB of address space; 40 megapixels of red, green, blue and alpha take 610
SECONDS = 20  # of one processor; those 40 megapixels take 3.5


def decoded(data: bytes, side: int, memory: int = MEMORY) -> Image.Image:
    """The first frame of an AVIF file, neither turned nor larger than `side`; mode L, RGB or RGBA.

    The limit of memory holds on Linux, that of time everywhere.

    Args:
        data: the file. side: of the picture, pixels; a bigger one is reduced. memory: in MB.

    Raises:
        OSError: it cannot be decoded, or not within the limits.
    """
    # The file is run by its path: as a module of the package it would import PyTorch first.
    command = [sys.executable, "-P", __file__, str(side), str(memory)]
    try:
        child = subprocess.run(command, input=data, capture_output=True, timeout=2 * SECONDS, check=True)
    except subprocess.SubprocessError as error:
        raise OSError(f"no AVIF that can be decoded in {memory} MB and {SECONDS} s") from error
    mode, width, height = child.stdout[:_HEADER].split()
    return Image.frombytes(mode.decode(), (int(width), int(height)), child.stdout[_HEADER:])


_HEADER = 32  # bytes: mode, width and height in words, then spaces


def _child(side: int, memory: int) -> None:
    """Read a file from the input and write its pixels to the output."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory * 2**20, memory * 2**20))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    except (ImportError, ValueError, OSError):  # not on Windows, and macOS does not keep to the first
        pass
    image = Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=["AVIF"])
    image.thumbnail((side, side))
    sys.stdout.buffer.write(f"{image.mode} {image.width} {image.height}".encode().ljust(_HEADER) + image.tobytes())


if __name__ == "__main__":
    _child(*map(int, sys.argv[1:]))
