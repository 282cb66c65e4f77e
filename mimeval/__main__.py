"""`python -m mimeval` is `mimeval`, also as one of many processes."""

import sys
import traceback

from mimeval.cli.main import main


def end(code: int) -> None:
    """Leave as processes that work together have to, if this is one of them."""
    launch = sys.modules.get("mimeval.engine.launch")  # loaded only if it was needed
    if launch is not None:
        launch.end_process(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    end(code)
