"""The CLI's verbs, as far as this project uses them: `python -m local pulumi …`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import NoReturn

from local.installation import Installation, default_folder
from local.pulumi_engine import Problem
from local.pulumi_engine.project import Config, Place
from local.pulumi_engine.state import VERSION, Snapshot
from local.pulumi_engine.values import as_text, bare, has_secret

_UPDATE = (
    "--yes --skip-preview --preview-only --suppress-outputs --suppress-progress --diff --exclude-protected"
    " --clear-pending-creates --expect-no-changes --target= --parallel= --event-log= --exec-kind="
)
_VERBS = {
    **dict.fromkeys(("up", "preview", "refresh", "destroy"), _UPDATE),
    **{"cancel": "[name] --yes", "version": "", "stack export": ""},
    **{"stack init": "[name]", "stack select": "[name]", "stack ls": "--json"},
    **{"stack rm": "[name] --yes --preserve-config", "stack output": "[output] --json --show-secrets"},
    "stack history": "--json --show-secrets --page-size= --page=",
    **{"config set": "key [text] --path --secret --plaintext --value=", "config rm": "key --path"},
}
"""Each one's arguments: `[…]` may be left out, a flag with `=` takes a value."""
_SHORT = {"--stack=": "-s", "--yes": "-y", "--skip-preview": "-f", "--target=": "-t", "--parallel=": "-p"}


def main(arguments: list[str]) -> int:
    if "--" in arguments:  # argparse takes no positional argument apart from the others
        end = arguments.index("--")
        arguments = [*arguments[:end], *(f"--value={word}" for word in arguments[end + 1 :])]
    interactive = "--non-interactive" not in arguments and sys.stdin.isatty()
    try:
        options = _parser().parse_args([word for word in arguments if word != "--non-interactive"])
        if options.verb == "version":
            print(VERSION)
            return 0
        place = Place(getattr(options, "name", None) or options.stack)
        if options.verb in ("up", "preview", "refresh", "destroy"):
            return 0 if _update(place, options, interactive) else 1
        _look_after(place, options)
        return 0
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


def _update(place: Place, options: argparse.Namespace, interactive: bool) -> bool:
    from local.pulumi_engine.update import update

    kind = {"up": "update", "preview": "update"}.get(options.verb, options.verb)
    only_preview = options.verb == "preview" or options.preview_only
    _refuse_what_is_not_local(place.stack, cloudless=options.verb == "preview")
    if not (interactive or only_preview or options.yes):
        raise Problem("--yes must be passed in to proceed when running in non-interactive mode")
    options.parallel = int(options.parallel or 4 * (os.cpu_count() or 1))
    if only_preview or not options.skip_preview:
        previewed = update(kind, place, options, dry_run=True)
        if only_preview or not previewed:
            return previewed
    if not options.yes and input(f"Do you want to perform this {kind}? yes/no: ").strip() not in ("yes", "y"):
        raise Problem("confirmation declined, nothing was changed")
    with place.backend.locked(place.stack):
        return update(kind, place, options, dry_run=False)


def _refuse_what_is_not_local(stack: str, *, cloudless: bool) -> None:
    """Production belongs to the real CLI. `cloudless`: it asks Modal nothing, and needs no cloud where none is set."""
    from local.control import daemon_pid

    reason, mend = "", 'python -m local start, then eval "$(make -s env)"'
    if stack != "local" and not stack.endswith("-local"):
        reason = f"stack {stack} may be real: its name is neither `local` nor ends in `-local`"
        mend = "install the Pulumi CLI (https://www.pulumi.com/docs/install/) for it"
    elif (address := os.environ.get("MODAL_SERVER_URL", "")) or not cloudless:
        folder = default_folder()
        cloud = Installation.open(folder) if (folder / "installation.json").exists() else None
        if cloud is None or cloud.server_url != address or daemon_pid(cloud) is None:
            reason = f"MODAL_SERVER_URL ({address or 'not set'}) is not the one that runs in {folder}"
    if reason:
        raise Problem(f"the bundled engine serves the local cloud only, and {reason}; {mend}")


def _look_after(place: Place, options: argparse.Namespace) -> None:
    """The verbs that change no resource."""
    backend, named = place.backend, place.named
    match options.verb:
        case "cancel":
            backend.unlock(place.stack)
            print(f"The currently running update for '{place.stack}' has been canceled!")
        case "stack init":
            if not named or named in backend.stacks():
                raise Problem(f"stack '{named}' already exists" if named else "pulumi stack init needs a name")
            backend.save(named, Snapshot(salt=Config(place.project, named).ensure_salt()))
            place.selection.write_text(place.stack, encoding="utf-8")
            print(f"Created stack '{named}'")
        case "stack select":
            place.selection.write_text(place.stack, encoding="utf-8")
        case "stack ls":
            names = backend.stacks()
            print(json.dumps([{"name": name} for name in names]) if options.json else "\n".join(["NAME", *names]))
        case "stack rm":
            if backend.load(place.stack).resources:
                raise Problem(f"'{place.stack}' still has resources; removal rejected: pulumi destroy, then again")
            backend.remove(place.stack)
            if not options.preserve_config:
                place.config.file.unlink(missing_ok=True)
            print(f"Stack '{place.stack}' has been removed!")
        case "stack output":
            _print_outputs(backend.load(place.stack), options)
        case "stack export":
            latest = backend.load(place.stack).to_json(place.stack)["checkpoint"]["latest"]
            print(json.dumps({"version": 3, "deployment": latest}, indent=4))
        case "stack history":
            size, page = int(options.page_size or 10), int(options.page or 1)
            entries = backend.history(place.stack)[size * (page - 1) : size * page]
            for entry in entries:
                for key in ("startTime", "endTime"):
                    entry[key] = datetime.fromtimestamp(entry[key], UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            print(json.dumps(entries, indent=2))
        case "config set":
            value = options.text if options.value is None else options.value
            value = sys.stdin.read().rstrip("\n") if value is None else value
            place.config.set(options.key, value, path=options.path, secret=options.secret)
        case "config rm":
            place.config.remove(options.key, path=options.path)


def _print_outputs(snapshot: Snapshot, options: argparse.Namespace) -> None:
    outputs = snapshot.stack.outputs if snapshot.stack else {}
    shown = {key: bare(v) if options.show_secrets or not has_secret(v) else "[secret]" for key, v in outputs.items()}
    if options.output and options.output not in shown:
        raise Problem(f"current stack does not have output property '{options.output}'")
    wanted = shown[options.output] if options.output else shown
    text = as_text(wanted) if options.output else "\n".join(f"    {k}  {as_text(v)}" for k, v in shown.items())
    print(json.dumps(wanted, indent=2, ensure_ascii=False) if options.json else text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(f"the bundled engine does not do this ({message}); install the Pulumi CLI for it")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pulumi", description=f"The bundled deployment engine, {VERSION}: {__doc__}")
    groups = {"": parser.add_subparsers(required=True, parser_class=_Parser)}
    for verb, arguments in _VERBS.items():
        group, _, name = verb.rpartition(" ")
        if group not in groups:
            groups[group] = groups[""].add_parser(group).add_subparsers(required=True, parser_class=_Parser)
        command = groups[group].add_parser(name)
        command.set_defaults(verb=verb)
        command.add_argument("--color")
        for word in ["--stack=", *arguments.split()]:
            names = [word.strip("[]="), *filter(None, [_SHORT.get(word)])]
            if word == "--target=":
                command.add_argument(*names, action="append", default=[])
            elif word.startswith("--") and not word.endswith("="):
                command.add_argument(*names, action="store_true")
            else:
                command.add_argument(*names, nargs="?" if word.startswith("[") else None)
    return parser
