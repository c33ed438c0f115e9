"""What the local cloud has not, in the words of a user: the reason that goes with a refused RPC."""

from __future__ import annotations

_REASONS = (
    (("Sandbox", "PersistentSandbox", "TunnelStart", "TunnelStop"), "it has neither sandboxes nor tunnels"),
    (("ContainerExec", "ContainerFilesystem", "TaskGetCommandRouter"), "it runs no commands in running containers"),
    (("ContainerCheckpoint", "Cluster", "TaskCluster"), "it has neither snapshots nor clusters of containers"),
    (("SharedVolume",), "it has no network file systems; use a modal.Volume"),
    (("Proxy",), "it has no static outgoing addresses"),
    (("Domain",), "it has no custom domains"),
    (("ImagePublish", "ImageGetByTag", "ImageListTags", "ImageNameDelete", "ImageTag"), "it keeps no named images"),
    (("Endpoint", "Template"), "it has no managed endpoints"),
    (("FunctionStartPtyShell",), "it has no interactive shells"),
    (("WebhookToken", "ServiceUser", "UserGroup", "TokenDelete", "TokenDisable"), "it has one user and one token"),
    (("TokenFlow", "TokenEnable", "TokensList", "Workspace"), "it has one user and one token"),
)


def refusal(rpc: str) -> str:
    """One line that names the RPC, and says what is missing where that is known."""
    reason = next((text for prefixes, text in _REASONS if rpc.startswith(prefixes)), "")
    return f"{rpc} is not implemented by the local cloud" + (f": {reason}" if reason else "")
