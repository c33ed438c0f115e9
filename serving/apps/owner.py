"""The tag that says which stack an app belongs to."""

from __future__ import annotations

import hashlib
import re

TAG = "glm-serving-stack"
_LONGEST = 63


def app_tags(stack: str) -> dict[str, str]:
    """Tags of an app of that stack; none for an app that is run by hand."""
    return {TAG: tag_of(stack)} if stack else {}


def tag_of(stack: str) -> str:
    """The stack's name as Modal takes it: at most 63 letters, digits, dots, dashes and underscores."""
    tag = re.sub(r"[^\w.-]", "_", stack.replace("/", "."), flags=re.ASCII)
    return tag if len(tag) <= _LONGEST else f"{tag[:46]}-{hashlib.sha256(stack.encode()).hexdigest()[:16]}"
