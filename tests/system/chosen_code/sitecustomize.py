"""Gives a process the code that is chosen at its start: put this folder on PYTHONPATH to have it.

The file CHOSEN_CODE holds the folders to put in front of Python's path, one a line; none: the code that is installed.
Each process writes down what it got, in a file with its pid beside that one.
"""

import os
import sys
from pathlib import Path

_file = Path(os.environ["CHOSEN_CODE"])
_chosen = _file.read_text(encoding="utf-8")
sys.path[:0] = _chosen.split()
_file.with_name(str(os.getpid())).write_text(_chosen, encoding="utf-8")
