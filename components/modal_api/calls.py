"""Function calls, and the Dict in which a stack keeps track of them."""

from __future__ import annotations

from typing import Any

from components.modal_api.errors import CallFailed, CallGone, explained, one_line, patient


def spawn(environment: str, app: str, function: str, payload: dict[str, Any]) -> str:
    """Starts the function without waiting; returns the id to attach to."""
    import modal

    with explained(f"{app}: {function}", environment):
        return modal.Function.from_name(app, function, environment_name=environment).spawn(payload).object_id


def waits_for_container(environment: str, app: str, function: str) -> bool:
    """Whether calls are queued and no container runs: Modal has none to give yet, such as one with free GPUs."""
    import modal

    with explained(f"{app}: {function}", environment):
        stats = modal.Function.from_name(app, function, environment_name=environment).get_current_stats()
    return bool(stats.backlog) and not stats.num_total_runners


def wait_for_call(call_id: str, seconds: float, environment: str) -> dict[str, Any] | None:
    """The call's result; None while it runs on after `seconds`. Raises CallFailed or CallGone."""
    import modal
    from grpclib.exceptions import StreamTerminatedError

    from serving.errors import ServingError

    with explained(f"call {call_id}", environment):
        try:
            return modal.FunctionCall.from_id(call_id).get(timeout=seconds)
        except (modal.exception.OutputExpiredError, modal.exception.NotFoundError):
            raise CallGone from None
        except modal.exception.FunctionTimeoutError:
            raise CallFailed("the job ran into its time-out; `pulumi up` again: it carries on from here") from None
        except TimeoutError:
            return None  # never the job's own: jobs raise nothing but ServingError
        except ServingError as error:
            raise CallFailed(one_line(error)) from None
        except (modal.exception.RemoteError, modal.exception.ExecutionError, modal.exception.InternalFailure) as error:
            raise CallFailed(f"the job's container failed: {one_line(error)}; `pulumi up` tries again") from None
        except (modal.exception.Error, StreamTerminatedError, OSError):
            raise  # the question failed, not the job: whoever asks next attaches to it
        except Exception as error:
            # Modal raises here whatever the function raised there.
            raise CallFailed(
                f"the job failed with {type(error).__name__}: {one_line(error)}; `modal app logs` of the pipeline app "
                "shows where, `pulumi up` tries again"
            ) from None


@patient
def cancel_call(call_id: str, environment: str) -> None:
    """Ends the function where it runs, and its container, which has 30 s to tidy up; one that has ended stays so."""
    import modal

    with explained(f"call {call_id}", environment):
        # Left to itself a container goes on until the threads of a download have ended.
        modal.FunctionCall.from_id(call_id).cancel(terminate_containers=True)


def stack_dict(environment: str, name: str, *, create: bool = True) -> Any:
    """The stack's `modal.Dict`, created when missing: claims and progress of jobs, reports of starting replicas."""
    import modal

    return modal.Dict.from_name(name, environment_name=environment, create_if_missing=create)


@patient
def read_entry(entries: Any, key: str, doing: str, environment: str) -> Any:
    """What a Dict holds under `key`; None where there is nothing."""
    with explained(doing, environment):
        return entries.get(key)


@patient
def delete_dict(environment: str, name: str) -> None:
    import modal

    with explained(f"dict {name}", environment):
        modal.Dict.objects.delete(name, allow_missing=True, environment_name=environment)
