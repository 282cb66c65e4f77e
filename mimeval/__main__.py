"""`python -m mimeval` is `mimeval`."""

import sys

from mimeval.cli.main import main

sys.exit(main())
