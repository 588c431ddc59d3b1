"""`python -m explorer sweep grid.toml`: what is better started from a command line than from a page."""

import sys
from pathlib import Path

USAGE = "python -m explorer sweep grid.toml [--help]"


def main(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    match arguments:
        case ["train", checkpoint]:  # the other end of training.apart
            from explorer.training.apart import train

            return train(Path(checkpoint))
        case ["sweep", *rest]:
            from explorer.training import command

            return command.main(rest)
        case _:
            print(f"usage: {USAGE}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
