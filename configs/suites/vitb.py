"""The former name of standard.py, kept so that commands and records of it go on working.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard.py --data DATA --out work_dirs/standard
"""

_base_ = ["./standard.py"]
