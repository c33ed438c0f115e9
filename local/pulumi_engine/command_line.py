"""The CLI's verbs, as far as this project uses them: `python -m local pulumi …`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from local.pulumi_engine import Problem, checkpoint
from local.pulumi_engine.backend import Backend
from local.pulumi_engine.checkpoint import VERSION, Snapshot
from local.pulumi_engine.project import Config, Project, as_text
from local.pulumi_engine.properties import bare, has_secret


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(f"the bundled engine does not do this ({message}); install the Pulumi CLI for it")


def main(arguments: list[str]) -> int:
    if "--" in arguments:  # argparse takes no positional argument apart from the others
        place = arguments.index("--")
        arguments = [*arguments[:place], *(f"--value={word}" for word in arguments[place + 1 :])]
    try:
        options = _parser().parse_args([word for word in arguments if word != "--non-interactive"])
        options.interactive = "--non-interactive" not in arguments and sys.stdin.isatty()
        return int(options.run(options) or 0)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


class Place:
    """The project, its backend and the stack that a command is about."""

    def __init__(self, options: argparse.Namespace, *, stack: str | None = None) -> None:
        self.project = Project.find(Path(options.cwd).absolute())
        self.backend = Backend(self.project.name)
        self.selection = self.backend.root / f"bundled-engine-selected-{self.project.name}"
        self._name = (stack or options.stack or "").rsplit("/", 1)[-1]

    @property
    def stack(self) -> str:
        if not self._name and self.selection.exists():
            self._name = self.selection.read_text(encoding="utf-8").strip()
        if not self._name:
            raise Problem("no stack selected; please use `pulumi stack select` or pass `--stack`")
        if not self.backend.exists(self._name):
            raise Problem(f"no stack named '{self._name}' found; pulumi stack init {self._name}")
        return self._name

    @property
    def config(self) -> Config:
        return Config(self.project, self.stack)

    def select(self) -> None:
        self.selection.write_text(self.stack, encoding="utf-8")

    def make(self) -> None:
        if not self._name or self.backend.exists(self._name):
            raise Problem(f"stack '{self._name}' already exists" if self._name else "pulumi stack init needs a name")
        self.backend.save(self._name, Snapshot(salt=Config(self.project, self._name).ensure_salt()))


# Updates


def _update(options: argparse.Namespace) -> int:
    from local.pulumi_engine.deployment import Options
    from local.pulumi_engine.operations import Update

    place = Place(options)
    kind = {"up": "update", "preview": "update"}.get(options.verb, options.verb)
    only_preview = options.verb == "preview" or options.preview_only
    _refuse_the_real_modal(place.stack, asks_nothing=only_preview and kind != "refresh")
    if not (options.interactive or only_preview or options.yes):
        raise Problem("--yes must be passed in to proceed when running in non-interactive mode")

    def run(*, dry_run: bool) -> bool:
        shown = {"diff": options.diff, "suppress_outputs": options.suppress_outputs, "dry_run": dry_run}
        shown["colour"] = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
        what = Options(dry_run, options.parallel, frozenset(options.target), options.exclude_protected)
        log = None if dry_run and not only_preview else options.event_log
        clear = options.clear_pending_creates
        update = Update(kind, place.project, place.backend, place.stack, place.config, what, shown, log, clear)
        if not update.run():
            return False
        is_last = only_preview or not dry_run
        if unexpected := options.expect_no_changes and is_last and update.changed:
            word = "proposed" if dry_run else "occurred"
            print(f"error: no changes were expected but changes {word}", file=sys.stderr)
        return not unexpected

    if only_preview:
        return 0 if run(dry_run=True) else 1
    if not options.skip_preview and not run(dry_run=True):
        return 1
    if not options.yes and input(f"Do you want to perform this {kind}? yes/no: ").strip() not in ("yes", "y"):
        raise Problem("confirmation declined, nothing was changed")
    return 0 if run(dry_run=False) else 1


def _refuse_the_real_modal(stack: str, *, asks_nothing: bool) -> None:
    """Production belongs to the real CLI. A local stack's preview asks Modal nothing, so it needs no address."""
    address = os.environ.get("MODAL_SERVER_URL", "")
    loopback = urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")
    local = stack == "local" or stack.endswith("-local")
    if (loopback and (local or asks_nothing)) or (asks_nothing and local and not address):
        return
    reason = "its name is neither `local` nor ends in `-local`" if loopback else "MODAL_SERVER_URL is no local cloud"
    raise Problem(
        f"the bundled engine serves the local cloud only, and stack {stack} may be real ({reason}); install the Pulumi"
        " CLI (https://www.pulumi.com/docs/install/) for real stacks"
    )


def _cancel(options: argparse.Namespace) -> None:
    place = Place(options, stack=options.name)
    place.backend.unlock(place.stack)
    print(f"The currently running update for '{place.stack}' has been canceled!")


# Stacks


def _stack_init(options: argparse.Namespace) -> None:
    place = Place(options, stack=options.name)
    place.make()
    place.select()
    print(f"Created stack '{place.stack}'")


def _stack_select(options: argparse.Namespace) -> None:
    Place(options, stack=options.name).select()


def _stack_ls(options: argparse.Namespace) -> None:
    place = Place(options)
    selected = place.selection.read_text(encoding="utf-8").strip() if place.selection.exists() else ""
    rows: list[dict[str, Any]] = []
    for name in place.backend.stacks():
        changed = datetime.fromtimestamp(place.backend.changed_at(name), UTC)
        count = len(place.backend.load(name).resources)
        last = changed.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        rows.append({"name": name, "current": name == selected, "lastUpdate": last, "resourceCount": count})
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'NAME':<20}  {'LAST UPDATE':<24}  RESOURCE COUNT")
    for row in rows:
        print(f"{row['name'] + '*' * row['current']:<20}  {row['lastUpdate']:<24}  {row['resourceCount']}")


def _stack_rm(options: argparse.Namespace) -> None:
    place = Place(options, stack=options.name)
    name, file = place.stack, place.config.file
    if place.backend.load(name).resources and not options.force:
        raise Problem(f"'{name}' still has resources; removal rejected: pulumi destroy, then pulumi stack rm {name}")
    if not options.yes:
        raise Problem(f"--yes must be passed in: pulumi stack rm {name} --yes")
    place.backend.remove(name)
    if not options.preserve_config:
        file.unlink(missing_ok=True)
    print(f"Stack '{name}' has been removed!")


def _stack_output(options: argparse.Namespace) -> None:
    place = Place(options)
    stack = place.backend.load(place.stack).stack()
    outputs = {} if stack is None else stack.outputs
    shown = {key: bare(v) if options.show_secrets or not has_secret(v) else "[secret]" for key, v in outputs.items()}
    if options.name:
        if options.name not in shown:
            raise Problem(f"current stack does not have output property '{options.name}'")
        print(json.dumps(shown[options.name], indent=2) if options.json else as_text(shown[options.name]))
    elif options.json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print(f"Current stack outputs ({len(shown)}):")
        for key, value in shown.items():
            print(f"    {key}  {as_text(value)}")


def _stack_import(options: argparse.Namespace) -> None:
    place = Place(options)
    deployment = json.load(sys.stdin)["deployment"]
    snapshot = checkpoint.read({"checkpoint": {"latest": deployment}})
    snapshot.salt = place.backend.load(place.stack).salt
    place.backend.save(place.stack, snapshot)


def _stack_history(options: argparse.Namespace) -> None:
    place = Place(options)
    entries = place.backend.history(place.stack)
    if options.page_size:
        entries = entries[options.page_size * (options.page - 1) :][: options.page_size]
    for entry in entries:
        for key in ("startTime", "endTime"):
            entry[key] = datetime.fromtimestamp(entry[key], UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for key, value in entry["config"].items():
            secret = "secure" in json.dumps(value)
            entry["config"][key] = {"secret": secret} if secret else {"value": as_text(value), "secret": False}
    if not options.json:
        raise Problem("the bundled engine lists the history with --json only")
    print(json.dumps(entries, indent=2))


# Configuration


def _config_set(options: argparse.Namespace) -> None:
    value = options.text if options.value is None else options.value
    value = sys.stdin.read().rstrip("\n") if value is None else value
    Place(options).config.set(options.key, value, path=options.path, secret=options.secret)


def _config_get(options: argparse.Namespace) -> None:
    place = Place(options)
    value = place.config.get(options.key, path=options.path)
    if value is None:
        raise Problem(f"configuration key '{options.key}' not found for stack '{place.stack}'")
    text = as_text(bare(value))
    print(json.dumps({"value": text, "secret": has_secret(value)}, indent=2) if options.json else text)


def _config_rm(options: argparse.Namespace) -> None:
    Place(options).config.remove(options.key, path=options.path)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--stack", "-s")
    shared.add_argument("--cwd", "-C", default=".")
    shared.add_argument("--color", choices=["always", "never", "auto", "raw"], default="auto")
    parser = _Parser(prog="pulumi", description=f"The bundled deployment engine, {VERSION}: {__doc__}")
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)

    def command(among: Any, name: str, run: Any, *flags: str, **more: Any) -> argparse.ArgumentParser:
        made = among.add_parser(name, parents=[shared], **more)
        made.set_defaults(run=run)
        for flag in flags:
            made.add_argument(f"--{flag}", action="store_true")
        return made

    for verb in ("up", "preview", "refresh", "destroy"):
        made = command(verbs, verb, _update, "diff", "suppress-outputs", "suppress-progress", "preview-only")
        for flag in ("clear-pending-creates", "exclude-protected", "expect-no-changes"):
            made.add_argument(f"--{flag}", action="store_true")
        made.add_argument("--yes", "-y", action="store_true")
        made.add_argument("--skip-preview", "-f", action="store_true")
        made.add_argument("--target", "-t", action="append", default=[])
        made.add_argument("--parallel", "-p", type=int, default=4 * (os.cpu_count() or 1))
        made.add_argument("--event-log")
        made.add_argument("--exec-kind")
    command(verbs, "cancel", _cancel, "yes").add_argument("name", nargs="?")
    command(verbs, "version", lambda _: print(VERSION))
    stack = verbs.add_parser("stack").add_subparsers(required=True, parser_class=_Parser)
    command(stack, "init", _stack_init).add_argument("name", nargs="?")
    command(stack, "select", _stack_select).add_argument("name", nargs="?")
    command(stack, "ls", _stack_ls, "json")
    command(stack, "rm", _stack_rm, "yes", "force", "preserve-config").add_argument("name", nargs="?")
    command(stack, "output", _stack_output, "json", "show-secrets").add_argument("name", nargs="?")
    command(stack, "import", _stack_import)
    history = command(stack, "history", _stack_history, "json", "show-secrets")
    history.add_argument("--page-size", type=int)
    history.add_argument("--page", type=int, default=1)
    keys = verbs.add_parser("config").add_subparsers(required=True, parser_class=_Parser)
    made = command(keys, "set", _config_set, "path", "secret", "plaintext")
    made.add_argument("key")
    made.add_argument("text", nargs="?")
    made.add_argument("--value", help=argparse.SUPPRESS)
    command(keys, "get", _config_get, "path", "json").add_argument("key")
    command(keys, "rm", _config_rm, "path").add_argument("key")
    return parser
