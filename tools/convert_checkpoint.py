#!/usr/bin/env python3
"""The same as `mimeval convert`, where people look for it: tools/convert_checkpoint.py IN OUT --to FORMAT."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mimeval.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
