"""The tiny config and its images, as in tests/engine."""

from tests.engine.conftest import config_file, data_root

__all__ = ["config_file", "data_root"]
