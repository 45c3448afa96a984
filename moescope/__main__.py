"""`python -m moescope` is `moescope`."""

import sys

from .command_line import main

sys.exit(main())
