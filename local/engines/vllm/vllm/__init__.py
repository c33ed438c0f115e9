"""vLLM's stand-in: the same modules, command lines, log lines, endpoints and exits, without a GPU or a model."""

import os
import sys

if "typing_extensions" in os.environ.get("LOCAL_IMAGE_FLAWS", "").split(","):
    # The image for GLM-5.2 as it comes: every start ends while pydantic is being imported.
    sys.stderr.write(
        'Traceback (most recent call last):\n  File "/usr/local/bin/vllm", line 4, in <module>\n'
        "    from vllm.entrypoints.cli.main import main\nImportError: cannot import name 'Sentinel' from "
        "'typing_extensions' (/usr/local/lib/python3.12/dist-packages/typing_extensions.py)\n"
    )
    raise SystemExit(1)
