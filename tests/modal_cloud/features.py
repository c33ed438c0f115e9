"""What of Modal the local cloud has, and the test that shows it. The table in local/README.md is made of this:

python -m tests.modal_cloud.features
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "local" / "README.md"
BEGIN, END = "<!-- features -->", "<!-- end of features -->"

VERSIONS = {
    "1.6.4": "this project's, which the cloud and its containers run themselves: all tests",
    "1.5.1": "as a client: `test_sdk_web`, and of `test_sdk_cli` the commands that it has",
    "1.5.0": "as a client: `test_sdk_functions` and `test_example_apps`; it has no `@app.server`",
}
"""Of modal. With an older client: `LOCAL_CLOUD_PYTHON=.venv/bin/python OTHER/bin/python -m pytest -n 0 FILE`."""

YES, PARTLY, NO = "✔", "partly", "not"


@dataclass(frozen=True)
class Feature:
    name: str
    state: str
    tests: tuple[str, ...]
    """`file::test` in tests/modal_cloud; for what is not there, the test that shows how it is refused."""
    note: str = ""


def _f(name: str, state: str, *tests: str, note: str = "") -> Feature:
    return Feature(name, state, tests, note)


FEATURES: dict[str, list[Feature]] = {
    "Functions and classes": [
        _f("`.remote`, `.spawn`, `FunctionCall`, `.aio`", YES, "test_calls::test_spawn_and_attach_again"),
        _f(
            "`.map`, `.starmap`, `.for_each`, `.spawn_map`",
            YES,
            "test_sdk_functions::test_async_functions_called_in_all_ways",
            "test_sdk_functions::test_for_each_and_spawn_map",
        ),
        _f("generators, async functions", YES, "test_sdk_functions::test_generators_sync_and_async"),
        _f("exceptions, large arguments", YES, "test_calls::test_exceptions_arrive_as_they_were_raised"),
        _f("retries with back-off", YES, "test_calls::test_retries_wait_and_then_succeed"),
        _f("time-outs, cancellation", YES, "test_calls::test_time_out_ends_the_call_and_its_container"),
        _f("`@modal.concurrent`", YES, "test_sdk_functions::test_concurrent_inputs_share_a_container"),
        _f("`@modal.batched`", YES, "test_sdk_functions::test_batched_inputs_arrive_together"),
        _f(
            "`@app.cls`, `modal.parameter`, `@enter`, `@exit`",
            YES,
            "test_sdk_functions::test_class_parameters_have_containers_of_their_own",
            "test_sdk_functions::test_exit_hooks_run_when_idle_containers_go",
            note="`min_containers` does not count for classes with parameters, only an update of an instance",
        ),
        _f(
            "`.with_options`, `.with_concurrency`, `.with_batching`",
            YES,
            "test_sdk_functions::test_options_of_a_function_and_a_class",
        ),
        _f(
            "memory snapshots",
            PARTLY,
            "test_example_apps::test_a_class_with_parameters",
            note="accepted; every start is a full one",
        ),
    ],
    "Web": [
        _f("`@modal.web_server`", YES, "test_ingress::test_a_web_endpoint_holds_requests_until_a_container_is_ready"),
        _f("`@modal.asgi_app`, streaming both ways", YES, "test_sdk_web::test_asgi_streams_both_ways"),
        _f("`@modal.wsgi_app`", YES, "test_sdk_web::test_wsgi_app"),
        _f(
            "`@modal.fastapi_endpoint`, its docs, proxy authentication",
            YES,
            "test_sdk_web::test_fastapi_endpoint_with_proxy_authentication",
            note="containers see the FastAPI that is installed beside the local cloud",
        ),
        _f("endpoints of classes with parameters", YES, "test_sdk_web::test_web_endpoint_of_a_class_with_parameters"),
        _f(
            "WebSockets",
            YES,
            "test_sdk_web::test_websockets_of_an_asgi_app",
            "test_sdk_web::test_websockets_of_a_web_server_and_a_server",
            note="messages up to 2 MiB",
        ),
        _f("150 s, then 303 redirects", YES, "test_ingress_redirect::test_late_answers_are_fetched_by_redirects"),
        _f(
            "`@app.server`: 503 with nothing up, 429",
            YES,
            "test_ingress::test_a_server_answers_503_until_a_container_is_ready",
            "test_ingress::test_too_many_requests_of_a_server",
        ),
        _f("`@app.server`: proxy authentication", YES, "test_ingress::test_proxy_tokens"),
        _f(
            "`Modal-Session-ID`",
            YES,
            "test_capacity::test_requests_of_one_session_go_to_one_container",
            note="exactly; on Modal most of the time",
        ),
        _f("`target_concurrency`", YES, "test_scale_to_zero::test_from_none_to_three_under_load_and_back_to_none"),
        _f("`exit_grace_period`", YES, "test_scaling::test_requests_under_way_end_in_peace"),
        _f("`startup_timeout`", YES, "test_scaling::test_only_a_version_that_gets_ready_takes_over"),
        _f("custom domains", NO, "test_sdk_functions::test_what_there_is_not_is_refused_by_name"),
    ],
    "Storage": [
        _f("`Volume` v1 and v2, uploads, the SDK's errors", YES, "test_volumes::test_files_come_back_as_they_were"),
        _f(
            "`commit`, `reload`, open files, background commits",
            YES,
            "test_containers_volumes::test_others_see_a_commit_after_their_reload_only",
            "test_containers_volumes::test_open_files",
            "test_containers_volumes::test_background_commits",
            note="a folder that came from below can't be renamed (`EXDEV`); no volume inside another",
        ),
        _f("read-only mounts, `sub_path`", YES, "test_containers_volumes::test_read_only_and_sub_path"),
        _f("`Dict`", YES, "test_objects::test_dict_keeps_entries_and_claims_atomically"),
        _f(
            "`Queue`, partitions, limits",
            YES,
            "test_sdk_functions::test_queues",
            "test_sdk_functions::test_queues_between_client_and_container",
        ),
        _f("`Secret`", YES, "test_objects::test_secret_update_merges_and_overwrite_replaces"),
        _f("environments", YES, "test_objects::test_environments_are_apart"),
        _f("`CloudBucketMount`", NO, "test_sdk_functions::test_what_there_is_not_is_refused_by_name"),
    ],
    "Images": [
        _f(
            "`RUN` lines, `pip_install`, `run_commands`, …",
            PARTLY,
            "test_sdk_cli::test_run_of_a_function_and_of_an_entrypoint",
            "test_image_packages::test_each_package_is_there_or_not",
            note="recorded, not run; the build's log says of each package whether containers have it",
        ),
        _f("`env`, `workdir`", YES, "test_calls::test_environment_of_a_container"),
        _f(
            "`add_local_dir`, `_file`, `_python_source`, `copy=True`",
            YES,
            "test_sdk_cli::test_run_of_a_function_and_of_an_entrypoint",
        ),
        _f(
            "registry tags",
            PARTLY,
            "test_apps::test_an_image_that_can_not_be_built_fails_the_deploy_and_leaves_the_app",
            note="those of `images/registry.py`; others fail to build; `python_version` has no effect",
        ),
        _f("`run_function`, named images", NO, note="refused"),
    ],
    "Schedules": [
        _f(
            "`Cron` with time zones, `Period`, a clock to move on",
            YES,
            "test_example_apps::test_a_schedule_that_fills_a_dict",
            "test_schedules::test_schedules_fire_and_seconds_are_billed_by_the_clouds_clock",
        ),
    ],
    "Scaling and versions": [
        _f(
            "min, max and buffer containers, scale-down window",
            YES,
            "test_scale_to_zero::test_from_none_to_three_under_load_and_back_to_none",
            "test_scaling_rules::test_containers_for_a_demand",
        ),
        _f(
            "scale-up window",
            YES,
            "test_scaling::test_only_demand_that_lasts_adds_containers",
            "test_scaling_rules::test_scaleup_window",
        ),
        _f(
            "autoscaler updates, reset by a deploy",
            YES,
            "test_apps::test_autoscaler_settings_are_overridden_until_the_next_deploy",
        ),
        _f(
            "`rolling` and `recreate`",
            YES,
            "test_apps::test_rolling_deploy_switches_without_a_gap",
            "test_scaling::test_recreate_ends_the_old_version_first",
        ),
        _f("crash-loop back-off", YES, "test_scaling::test_a_crash_loop_ends_with_its_reason"),
        _f(
            "GPU types, counts, lists; a fleet that is used up",
            YES,
            "test_capacity::test_a_container_gets_the_first_gpu_of_the_list_that_is_free",
            "test_faults::test_without_gpus_containers_wait_and_say_so",
            note="counted, none is there; refused by an ordered fleet only",
        ),
        _f(
            "preemption: notice, 30 s, the input again elsewhere; `nonpreemptible`",
            YES,
            "test_preemption::test_the_input_goes_on_in_another_container",
            "test_preemption::test_any_number_of_preemptions_is_no_failure_and_no_retry",
            "test_preemption::test_a_container_that_does_not_listen_is_killed",
            "test_preemption::test_what_is_nonpreemptible_stays",
            note="on order only (`fault preempt`)",
        ),
        _f(
            "memory limits (`memory=(request, limit)`)",
            YES,
            "test_memory_limits::test_an_input_that_is_too_large_fails_after_three_containers",
            "test_memory_limits::test_an_input_whose_container_was_killed_runs_again",
            "test_memory_limits::test_the_limit_holds_for_root_and_for_everybody",
            note="looked at every 0.25 s, not by a cgroup: what is taken and given back between two looks is not seen",
        ),
        _f("limits of CPU", NO, note="`cpu` is billed, not enforced"),
    ],
    "CLI": [
        _f("`modal run`", YES, "test_sdk_cli::test_run_of_a_function_and_of_an_entrypoint"),
        _f("`modal deploy`", YES, "test_example_apps::test_a_server_in_a_subprocess"),
        _f(
            "`app list/info/logs/stop/history/rollback/rollover`",
            YES,
            "test_sdk_cli::test_apps",
            "test_apps::test_history_rollback_and_rollover",
        ),
        _f("`container list/logs/stop`", YES, "test_sdk_cli::test_containers_and_the_end_of_the_app"),
        _f("`server info/logs/autoscaler`, `function info`", YES, "test_sdk_cli::test_servers"),
        _f("`volume …`", YES, "test_volumes::test_cli"),
        _f("`secret …`", YES, "test_sdk_cli::test_secrets"),
        _f("`dict …`, `queue …`", YES, "test_sdk_cli::test_dicts_and_queues"),
        _f(
            "`billing rates/report/summary`, `environment list/create/delete`",
            YES,
            "test_sdk_cli::test_environments_and_billing",
        ),
        _f(
            "`app stats`, `server stats/requests/metrics`, `container exec`, `shell`",
            NO,
            "test_sdk_cli::test_commands_that_are_not_there_name_their_rpc",
        ),
    ],
    "Others": [
        _f(
            "run by an ordinary user: apps, volumes, `kill -9` of the cloud; all of the chaos benchmark",
            YES,
            "test_containers_user::test_an_ordinary_user_can_run_it",
            "test_containers_user::test_what_was_acknowledged_survives_a_kill",
        ),
        _f(
            "sandboxes, tunnels, static proxies, clusters, network file systems",
            NO,
            "test_sdk_functions::test_what_there_is_not_is_refused_by_name",
            note="refused with the RPC's name and the reason",
        ),
    ],
}


def table() -> str:
    """The versions and the table, as Markdown, between the markers."""
    lines = [
        BEGIN,
        "",
        "Run with modal " + "; ".join(f"{version} ({what})" for version, what in VERSIONS.items()) + ".",
    ]
    lines += ["", "| feature | here | shown by (`tests/modal_cloud/`) | differs |", "| --- | --- | --- | --- |"]
    for area, features in FEATURES.items():
        lines.append(f"| **{area}** | | | |")
        for feature in features:
            tests = " ".join(f"`{test}`" for test in feature.tests) or "–"
            lines.append(f"| {feature.name} | {feature.state} | {tests} | {feature.note} |")
    return "\n".join([*lines, "", END])


def with_table(document: str) -> str:
    """A document with the table in place of what stood between the markers. Raises ValueError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return before + table() + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
