"""What an image's build log says of the packages that it would install."""

from __future__ import annotations

from importlib import metadata

from local.modal_cloud.images.packages import report


def test_each_package_is_there_or_not() -> None:
    version = metadata.version("aiohttp")
    commands = [
        "FROM base",
        "RUN python -m pip install 'aiohttp[speedups]==9.9' no-such-package --extra-index-url https://example.com",
        "RUN /.uv/uv pip install --python $(command -v python) -r /requirements.txt 'aiohttp>=3' && echo done",
        "RUN apt-get install git",
    ]
    assert report(commands) == [
        f"not run: aiohttp[speedups]==9.9: containers have aiohttp {version}",
        "not run: no-such-package is NOT there: importing it in a container fails",
        f"not run: aiohttp>=3: containers have aiohttp {version}",
    ]
