"""The only package that talks to Modal. Everything else in `components` calls these functions.

Each takes the Modal environment it works in, is safe to repeat (creates adopt, deletes tolerate absence) and raises
DeploymentError with one line that names the thing, the cause and what to type next. Failures of Modal's that may pass
are waited out for some seconds (`errors.patient`). `modal` is imported inside the functions: a preview and a no-op
`pulumi up` never need it.
"""

from components.modal_api.apps import (
    LiveApp,
    app_tags,
    deploy_app,
    find_app,
    roll_back_app,
    stop_app,
)
from components.modal_api.calls import (
    cancel_call,
    delete_dict,
    read_entry,
    spawn,
    stack_dict,
    wait_for_call,
    waits_for_container,
)
from components.modal_api.errors import (
    Absent,
    CallFailed,
    CallGone,
    Unreachable,
    explained,
    one_line,
    patient,
    server_url,
)
from components.modal_api.secrets import (
    delete_secret,
    rewrite_secret,
    secret_has_keys,
    secret_keys,
    write_secret,
)
from components.modal_api.serving import (
    AUTOSCALER_KEYS,
    SERVER_CLASS,
    WEB_METHOD,
    read_autoscaler,
    replica_is_pending,
    serving_url,
    update_autoscaler,
)
from components.modal_api.volumes import (
    VolumeFile,
    delete_volume,
    delete_volume_folder,
    ensure_volume,
    find_volume,
    list_volume_files,
    read_volume_file,
    write_volume_file,
)

__all__ = [
    "AUTOSCALER_KEYS",
    "SERVER_CLASS",
    "WEB_METHOD",
    "Absent",
    "CallFailed",
    "CallGone",
    "LiveApp",
    "Unreachable",
    "VolumeFile",
    "app_tags",
    "cancel_call",
    "delete_dict",
    "delete_secret",
    "delete_volume",
    "delete_volume_folder",
    "deploy_app",
    "ensure_volume",
    "explained",
    "find_app",
    "find_volume",
    "list_volume_files",
    "one_line",
    "patient",
    "read_autoscaler",
    "read_entry",
    "read_volume_file",
    "replica_is_pending",
    "rewrite_secret",
    "roll_back_app",
    "secret_has_keys",
    "secret_keys",
    "server_url",
    "serving_url",
    "spawn",
    "stack_dict",
    "stop_app",
    "update_autoscaler",
    "wait_for_call",
    "waits_for_container",
    "write_secret",
    "write_volume_file",
]
