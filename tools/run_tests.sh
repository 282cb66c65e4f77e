#!/usr/bin/env bash
# Runs the tests in .venv, which it makes or reuses. Arguments go to pytest: tools/run_tests.sh tests/pretrain -k mask
set -euo pipefail
source "$(dirname "$0")/_venv.sh" requirements.txt requirements-dev.txt
exec .venv/bin/python -m pytest "$@"
