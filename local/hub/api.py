"""The JSON half of the Hub: who am I, model info, refs, tree, paths."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from local.hub import answers
from local.hub.shards import ITEM_BYTES
from local.hub.store import Commit, File, Store

_DATE = "2026-04-01T00:00:00.000Z"


class Api:
    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        model = "/api/models/{owner}/{name}"
        return [
            web.get("/api/whoami-v2", self.whoami),
            web.get(model, self.model_info),
            web.get(model + "/revision/{revision}", self.model_info),
            web.get(model + "/auth-check", self.auth_check),
            web.get(model + "/refs", self.refs),
            web.get(model + "/commits/{revision}", self.commits),
            web.get(model + "/tree/{revision}", self.tree),
            web.get(model + "/tree/{revision}/{path:.*}", self.tree),
            web.post(model + "/paths-info/{revision}", self.paths_info),
        ]

    async def whoami(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"type": "user", "id": "local", "name": "local", "fullname": "Local cloud", "orgs": [],
             "auth": {"type": "access_token", "accessToken": {"displayName": "local", "role": "read"}}}
        )  # fmt: skip

    async def model_info(self, request: web.Request) -> web.Response:
        repo, commit, refused = await self.find(request)
        if commit is None:
            return refused
        model = self._store.model(repo)
        assert model is not None
        parameters: dict[str, int] = {}
        for tensor in model.tensors():
            parameters[tensor.dtype] = parameters.get(tensor.dtype, 0) + tensor.size // ITEM_BYTES[tensor.dtype]
        blobs = request.query.get("blobs", "").lower() in ("true", "1")
        info: dict[str, Any] = {
            "_id": commit.sha[:24],
            "id": repo,
            "modelId": repo,
            "author": repo.split("/")[0],
            "sha": commit.sha,
            "lastModified": _DATE,
            "createdAt": _DATE,
            "private": True,
            "gated": "manual" if model.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["transformers", "safetensors", "glm_moe_dsa", "text-generation", "fp8", "license:apache-2.0"],
            "config": {"architectures": model.config()["architectures"], "model_type": "glm_moe_dsa"},
            "safetensors": {"parameters": parameters, "total": sum(parameters.values())},
            "siblings": [_sibling(file, blobs) for file in commit.files.values()],
            "usedStorage": sum(file.size for file in commit.files.values()),
        }
        expand = request.query.getall("expand", [])
        if expand:
            info = {key: value for key, value in info.items() if key in {"_id", "id", *expand}}
        return web.json_response(info)

    async def auth_check(self, request: web.Request) -> web.Response:
        repo, commit, refused = await self.find(request)
        if commit is None:
            return refused
        return answers.gated(repo) if self._gated(repo) else web.json_response({})

    async def refs(self, request: web.Request) -> web.Response:
        repo, commit, refused = await self.find(request)
        if commit is None:
            return refused
        branches = []
        for name, variant in self._store.refs(repo).items():
            target = await asyncio.to_thread(self._store.commit, repo, variant)
            branches.append({"name": name, "ref": f"refs/heads/{name}", "targetCommit": target.sha})
        return web.json_response({"branches": branches, "converts": [], "tags": []})

    async def commits(self, request: web.Request) -> web.Response:
        _, commit, refused = await self.find(request)
        if commit is None:
            return refused
        return web.json_response(
            [{"id": commit.sha, "title": f"Version {commit.variant + 1}", "message": "", "authors": [], "date": _DATE}]
        )

    async def tree(self, request: web.Request) -> web.Response:
        _, commit, refused = await self.find(request)
        if commit is None:
            return refused
        path = request.match_info.get("path", "").strip("/")
        files = list(commit.files.values())
        if path:  # the generated repositories have no folders: only a file's own path names anything
            files = [file for file in files if file.path == path]
            if not files:
                return answers.no_entry(path, commit.sha)
        return web.json_response([_tree_entry(file) for file in files], headers={"X-Repo-Commit": commit.sha})

    async def paths_info(self, request: web.Request) -> web.Response:
        _, commit, refused = await self.find(request)
        if commit is None:
            return refused
        if request.content_type == "application/json":
            paths = (await request.json()).get("paths", [])
        else:
            paths = (await request.post()).getall("paths", [])
        return web.json_response([_tree_entry(commit.files[path]) for path in paths if path in commit.files])

    async def find(self, request: web.Request) -> tuple[str, Commit | None, web.Response]:
        """The repository and commit a request names; without a commit, the third element is the answer."""
        repo = f"{request.match_info['owner']}/{request.match_info['name']}"
        revision = request.match_info.get("revision", "main")
        if self._store.model(repo) is None:
            return repo, None, answers.no_repository()
        commit = await asyncio.to_thread(self._store.resolve, repo, revision)
        return repo, commit, answers.no_revision(revision)

    def _gated(self, repo: str) -> bool:
        model = self._store.model(repo)
        return model is not None and model.gated


def _sibling(file: File, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        sibling |= {"size": file.size, "blobId": file.oid}
        if file.lfs:
            sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return sibling


def _tree_entry(file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": file.path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return entry
