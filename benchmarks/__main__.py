"""Print every table: `python -m benchmarks`, or the names of those wanted behind it."""

import sys

from benchmarks import compare, imports, slider, tables

ALL = {"imports": imports, "tables": tables, "compare": compare, "slider": slider}

for name in sys.argv[1:] or ALL:
    print(f"\n{name}: {ALL[name].__doc__.splitlines()[0]}")
    ALL[name].main()
