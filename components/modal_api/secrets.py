"""Secrets: their key names can be read, their values never."""

from __future__ import annotations

from components.modal_api.errors import Absent, explained, patient


@patient
def secret_has_keys(environment: str, name: str, keys: list[str]) -> bool:
    """Whether the secret exists with all these keys. Modal never gives the values back."""
    import modal

    try:
        with explained(f"secret {name}", environment):
            modal.Secret.from_name(name, environment_name=environment, required_keys=keys).hydrate()
    except Absent:
        return False
    return True


@patient
def secret_keys(environment: str, name: str) -> set[str] | None:
    """The names of all the secret's keys, or None where there is no secret of that name."""
    import modal

    try:
        with explained(f"secret {name}", environment):
            secret = modal.Secret.from_name(name, environment_name=environment)
            secret.hydrate()
            # Part of what Modal answers; the SDK has no public name for it.
            return set(secret._get_metadata().keys)
    except Absent:
        return None


@patient
def rewrite_secret(environment: str, name: str, values: dict[str, str]) -> None:
    """Makes these the secret's values, and takes away every other key; one that is there keeps its id."""
    import modal

    with explained(f"secret {name}", environment):
        # What `modal secret create --force` calls. Its command line would need the values in a file or an argument.
        modal.Secret._create_deployed(name, values, environment_name=environment, overwrite=True)


@patient
def write_secret(environment: str, name: str, values: dict[str, str]) -> None:
    """Creates the secret with these values, or sets them in the one of that name."""
    import modal

    with explained(f"secret {name}", environment):
        modal.Secret.objects.create(name, values, allow_existing=True, environment_name=environment)
        modal.Secret.from_name(name, environment_name=environment).update(values)


@patient
def delete_secret(environment: str, name: str) -> None:
    import modal

    with explained(f"secret {name}", environment):
        modal.Secret.objects.delete(name, allow_missing=True, environment_name=environment)
