"""`python -m sparsecode` is the command line."""

import sys

from sparsecode.cli import main

sys.exit(main())
