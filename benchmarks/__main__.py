"""Print every table: `python -m benchmarks`, or the names of those wanted behind it."""

import sys

from benchmarks import attribution, compare, effective, fields, imports, slider, tables, training

TABLES = (imports, tables, compare, fields, effective, attribution, training, slider)
ALL = {module.__name__.rpartition(".")[2]: module for module in TABLES}

for name in sys.argv[1:] or ALL:
    print(f"\n{name}: {ALL[name].__doc__.splitlines()[0]}")
    ALL[name].main()
