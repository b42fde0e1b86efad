"""The command line as ``python -m seqcore``."""

import sys

from .cli import main

sys.exit(main())
