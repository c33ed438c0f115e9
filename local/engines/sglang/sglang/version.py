"""The release that the image's tag names."""

from standin.environment import release

__version__ = release()
