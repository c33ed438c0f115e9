"""Downloads: `resolve` redirects to signed addresses of LFS files and answers the others itself, ranges included."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import socket
import struct
import time
from urllib.parse import quote

from aiohttp import hdrs, web

from local.hub import answers
from local.hub.api import Api
from local.hub.faults import Fault, Faults
from local.hub.store import Commit, File, Store
from local.hub.traffic import Traffic

_LINK_SECONDS = 3600


class Files:
    def __init__(self, store: Store, api: Api, traffic: Traffic, faults: Faults) -> None:
        self._store = store
        self._api = api
        self._traffic = traffic
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/{owner}/{name}/resolve/{revision}/{path:.+}", self.resolve),
            web.get("/_lfs/{owner}/{name}/{revision}/{sha256}/{path:.+}", self.linked),
        ]

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        repo, commit, refused = await self._api.find(request)
        if commit is None:
            return refused
        model = self._store.model(repo)
        if model is not None and model.gated:
            return answers.gated(repo)
        path = request.match_info["path"]
        file = commit.files.get(path)
        if file is None:
            return answers.no_entry(path, commit.sha)
        if not file.lfs:
            return await self._send(request, repo, commit, file)
        expires = int(time.time()) + _LINK_SECONDS
        location = f"/_lfs/{repo}/{commit.sha}/{file.sha256}/{quote(path)}"
        headers = {**_metadata(commit, file), hdrs.LOCATION: f"{location}?Expires={expires}&Signature="}
        headers[hdrs.LOCATION] += self._signature(location, expires)
        return web.Response(status=302, headers=headers)

    async def linked(self, request: web.Request) -> web.StreamResponse:
        """The storage behind LFS: takes the signature of the address, not the token."""
        expires = request.query.get("Expires", "")
        expected = self._signature(request.rel_url.raw_path, int(expires) if expires.isdigit() else 0)
        if not hmac.compare_digest(expected, request.query.get("Signature", "")) or int(expires) < time.time():
            return answers.refusal(403, "Access denied: the link is not signed or has expired")
        repo, commit, refused = await self._api.find(request)
        if commit is None:
            return refused
        file = commit.files.get(request.match_info["path"])
        if file is None or file.sha256 != request.match_info["sha256"]:
            return answers.no_entry(request.match_info["path"], commit.sha)
        return await self._send(request, repo, commit, file)

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._store.token.encode(), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    async def _send(self, request: web.Request, repo: str, commit: Commit, file: File) -> web.StreamResponse:
        traffic = self._traffic.files[f"{repo}/{file.path}"]
        headers = {
            **_metadata(commit, file),
            hdrs.ACCEPT_RANGES: "bytes",
            hdrs.CONTENT_TYPE: "application/octet-stream" if file.lfs else "text/plain; charset=utf-8",
            hdrs.CONTENT_DISPOSITION: f'inline; filename="{file.path}";',
        }
        asked = request.headers.get(hdrs.RANGE)
        span = _range(asked, file.size) if asked else (0, file.size)
        if request.method == hdrs.METH_HEAD:
            traffic.heads += 1
            return web.Response(headers={**headers, hdrs.CONTENT_LENGTH: str(file.size)})
        traffic.requests += 1
        if span is None:
            traffic.statuses.append(416)
            return web.Response(status=416, headers={**headers, hdrs.CONTENT_RANGE: f"bytes */{file.size}"})
        if asked:
            traffic.ranges.append(asked)
            headers[hdrs.CONTENT_RANGE] = f"bytes {span[0]}-{span[1] - 1}/{file.size}"
        response = web.StreamResponse(status=206 if asked else 200, headers=headers)
        response.content_length = span[1] - span[0]
        traffic.statuses.append(response.status)
        await response.prepare(request)
        fault: Fault | None = request.get("fault")
        position = span[0]
        with self._store.blob(file).open("rb") as source:
            source.seek(position)
            while position < span[1]:
                size = min(self._traffic.chunk, span[1] - position)
                if fault is not None and fault.kind == "slow":
                    size = min(size, max(1024, int(fault.bytes_per_second / 20)))
                if fault is not None and fault.kind in ("close", "reset", "stall"):
                    size = min(size, span[0] + fault.after_bytes - position)
                    if size <= 0:
                        if fault.kind != "stall":
                            _cut(request, reset=fault.kind == "reset")
                            return response
                        await _until_lifted(fault, fault.seconds)
                        fault = None
                        continue
                chunk = source.read(size)
                if fault is not None and fault.kind == "wrong_bytes":
                    chunk = _invert(chunk, span[0] + fault.after_bytes - position)
                await self._traffic.pace(len(chunk))
                if fault is not None and fault.kind == "slow":
                    await _until_lifted(fault, len(chunk) / fault.bytes_per_second)
                await response.write(chunk)
                traffic.bytes += len(chunk)
                position += len(chunk)
        await response.write_eof()
        traffic.completed += 1
        return response


def _metadata(commit: Commit, file: File) -> dict[str, str]:
    headers = {"X-Repo-Commit": commit.sha, hdrs.ETAG: file.etag}
    if file.lfs:
        headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
    return headers


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of a single range; None where it can't be satisfied (or isn't a single range)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return (max(0, size - int(match[2])), size) if int(match[2]) else None
    start = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return (start, end) if start < end else None


def _cut(request: web.Request, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if reset:  # no lingering: the kernel drops what is unsent and answers with RST
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


async def _until_lifted(fault: Fault, seconds: float) -> None:
    """For so long, unless the fault is taken back before."""
    try:
        async with asyncio.timeout(seconds):
            await fault.lifted.wait()
    except TimeoutError:
        return


def _invert(chunk: bytes, at: int) -> bytes:
    if not 0 <= at < len(chunk):
        return chunk
    return chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
