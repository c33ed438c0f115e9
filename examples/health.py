"""Waits until the server is ready. /health needs no key, and asking it wakes a stack that has scaled to zero."""

import os
import sys
import time
import urllib.error
import urllib.request

root = os.environ["OPENAI_BASE_URL"].removesuffix("/").removesuffix("/v1")
patience = float(os.environ.get("WAIT_SECONDS", "900"))  # GLM-5.1 takes 6 to 8 minutes from cold

began = time.monotonic()
while True:
    try:
        with urllib.request.urlopen(f"{root}/health", timeout=160) as response:
            state = str(response.status)
    except urllib.error.HTTPError as error:  # 503 from the `server` ingress while no replica is up
        state = str(error.code)
    except OSError as error:
        state = str(error)
    waited = time.monotonic() - began
    print(f"{state} after {waited:.1f} s")
    if state == "200":
        break
    if waited >= patience:
        sys.exit(f"not ready after {waited:.0f} s")
    time.sleep(min(5.0, max(0.1, patience - waited)))
