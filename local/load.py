"""`python load.py MODULE …` does what `python -m MODULE …` does, for a program of a package that takes long to load.

Modal's SDK makes 100,000 objects, which all stay. Looking through them for garbage again and again while it loads, and
once more at the exit, takes as long as loading it. Here nobody looks meanwhile, and later they are left out. What the
program then makes is collected as ever.

A file of its own that needs nothing: the local cloud's containers are given a copy.
"""

import gc
import importlib
import os
import runpy
import sys

gc.disable()
if not sys.flags.safe_path:
    sys.path[0] = os.getcwd()
del sys.argv[0]
importlib.import_module(sys.argv[0].partition(".")[0])
gc.freeze()
gc.enable()
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
