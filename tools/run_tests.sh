#!/usr/bin/env bash
# Runs the tests in .venv, which it makes or reuses. Arguments go to pytest: tools/run_tests.sh tests/pretrain -k mask
set -euo pipefail
source "$(dirname "$0")/_venv.sh" requirements.txt requirements-dev.txt
# The tests are small: one thread is fastest, and processes that they start do not fight over cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Many tests start processes, which would compile all modules anew.
unset PYTHONDONTWRITEBYTECODE
# A file's tests stay together, for they share what is slow to make.
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
