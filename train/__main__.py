"""`python -m moescope.train` is `moescope train`."""

import sys

from ..configs.cli import main
from ..configs.stages import TRAIN

sys.exit(main([TRAIN], sys.argv[1:], "moescope train"))
