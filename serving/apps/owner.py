"""The tags that say which stack an app belongs to, and which of its resources."""

from __future__ import annotations

import hashlib
import re

STACK_TAG = "glm-serving-stack"
OWNER_TAG = "glm-serving-owner"
_LONGEST = 63


def app_tags(stack: str, owner: str = "") -> dict[str, str]:
    """Tags of an app of that stack, made by the resource with that token; none for an app that is run by hand."""
    tags = {STACK_TAG: tag_of(stack) if stack else "", OWNER_TAG: owner}
    return {name: value for name, value in tags.items() if value}


def tag_of(stack: str) -> str:
    """The stack's name as Modal takes it: at most 63 letters, digits, dots, dashes and underscores."""
    tag = re.sub(r"[^\w.-]", "_", stack.replace("/", "."), flags=re.ASCII)
    return tag if len(tag) <= _LONGEST else f"{tag[:46]}-{hashlib.sha256(stack.encode()).hexdigest()[:16]}"
