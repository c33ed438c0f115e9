"""What the provider process loads before it can compare anything: each `pulumi up` waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMPONENTS = Path(__file__).parents[2] / "components"
PROVIDERS = [path.stem for path in sorted(COMPONENTS.glob("*.py")) if "Provider(" in path.read_text(encoding="utf-8")]
SLOW = ("modal", "pydantic", "huggingface_hub", "aiohttp", "requests")


def test_providers_are_loaded_without_what_only_their_work_needs() -> None:
    assert len(PROVIDERS) >= 8
    program = f"import sys\nfor name in {PROVIDERS}: __import__(f'components.{{name}}')\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(SLOW) & set(done.stdout.split())
