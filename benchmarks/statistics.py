"""How long the statistics of a large report take: runs statistics_cost.py, which explains it.

    python benchmarks/statistics.py [--quick]

Python puts the folder of a script first in its search path, so a benchmark beside this one that
imports the standard library's `statistics` gets this file: it hands over to that one.
"""

import sys
from pathlib import Path

if __name__ == "statistics":
    here = Path(__file__).parent
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here.resolve()]
    del sys.modules["statistics"]
    import statistics  # noqa: F401

    sys.path.insert(0, str(here))
elif __name__ == "__main__":
    from statistics_cost import main

    main()
