"""The Hub's refusals, with the headers from which `huggingface_hub` makes its own exceptions."""

from __future__ import annotations

import uuid

from aiohttp import web


def refusal(status: int, message: str, code: str | None = None, commit: str | None = None) -> web.Response:
    """An error answer; `code` is the Hub's X-Error-Code."""
    headers = {"X-Error-Message": message, "X-Request-Id": f"Root=1-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:24]}"}
    if code is not None:
        headers["X-Error-Code"] = code
    if commit is not None:
        headers["X-Repo-Commit"] = commit
    return web.json_response({"error": message}, status=status, headers=headers)


def no_token() -> web.Response:
    # The real Hub leaves the code out here and huggingface_hub infers "repository not found" from the status, but only
    # for https addresses; with the code, the exception over plain HTTP is the one users get in production.
    response = refusal(401, "Invalid username or password.", "RepoNotFound")
    response.headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    return response


def wrong_token() -> web.Response:
    return refusal(401, "Invalid credentials in Authorization header")


def no_repository() -> web.Response:
    return refusal(404, "Repository not found", "RepoNotFound")


def no_revision(revision: str) -> web.Response:
    return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(path: str, commit: str) -> web.Response:
    return refusal(404, f'Entry not found: "{path}"', "EntryNotFound", commit)


def ordered(status: int, path: str) -> web.Response:
    """What the Hub says when it answers with this status, whatever the reason for it would be."""
    if status == 401:
        return wrong_token()
    if status == 403:
        return gated("/".join(path.removeprefix("/api/models").strip("/").split("/")[:2]))
    if status == 404:
        return no_repository()
    return refusal(status, f"Ordered by a test: {status}")


def gated(repo: str) -> web.Response:
    return refusal(
        403,
        f"Access to model {repo} is restricted and you are not in the authorized list. Ask its owners for access.",
        "GatedRepo",
    )
