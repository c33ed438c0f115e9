"""`app`: the server's application, to which others may add middleware before the server starts.

As in SGLang 0.5.10.post1 (http_server.py:374, :1997) and 0.5.16 (:429, :2434): it exists as soon as the module is
imported, has the cross-origin middleware in it, and gets `server_args` when the server starts; SGLang's own key check
is added then and so comes before what was added here.
"""

from __future__ import annotations

from typing import Any

from standin.application import Application
from standin.middleware import Cors


class _SglangApplication(Application):
    server_args: Any = None
    """Set when the server starts."""


app = _SglangApplication()
app.add_middleware(Cors, credentials=True)
