"""The release that the image's tag names, or the one that an image outside the releases is nearest to."""

from __future__ import annotations

from standin.environment import release

_NEAREST = {
    # Built for GLM-5.2 in June 2026. Its model class and parsers came with 0.23.0, released the same month.
    "glm52": "0.23.0",
    "glm52-cu129": "0.23.0",
}

__version__ = release(_NEAREST)
