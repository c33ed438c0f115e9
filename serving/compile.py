"""Fills the kernel artifact: every JIT cache of the engine, for exactly the serving flags, on the serving GPU.

Compiled in place, in the folder from which serving reads: Triton and FlashInfer record absolute paths inside their
caches, so a finished cache must not be renamed. What makes it complete is the marker, written after everything else
is on the volume; a run that was cut off leaves no marker and the next one goes on with the kernels it finds. After the
compile tool come two or three starts of the server (serving/kernel_proof.py): proven are GEMM kernels that a start
showed to be complete. An artifact whose kernels were not is complete all the same and serves, with the engine's own
pass over all shapes; the next run makes the proof alone, beside the replicas that serve from it, and never takes its
marker away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serving.child_processes import DeathWatch
from serving.engine_process import EngineProcess
from serving.engines import EngineModule, engine_for
from serving.errors import ServingError
from serving.exit_status import explain
from serving.kernel_artifact import GEMM_CACHE, complete, engine_of, kernel_files, refuse_incomplete, renew
from serving.kernel_log import KernelLog
from serving.kernel_proof import Start, fill_and_prove, prove_again, reasons
from serving.kernel_reuse import take_gemm_kernels
from serving.log_pump import LineSink, LogPump, print_line
from serving.log_triage import classify, last_words
from serving.manifest import MANIFEST, KernelsManifest, write_atomically, write_manifest, written_again
from serving.prime import start_and_ask
from serving.progress import Report, size_text
from serving.recipe import Recipe
from serving.redaction import Redactor
from serving.verify import check_weights

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_TO_FALL = 15.0
"""How long the tool may go on after a worker of its server has failed, before it is ended."""

_OF_THE_TIMEOUT = 0.97
"""A little before Modal would end the container without a word."""

_MOST_UNCOVERED = 20
"""Of what a start still compiled, so many entries are kept in the manifest."""


def compile_kernels(
    recipe: Recipe,
    commit: str,
    key: str,
    *,
    commit_volume: Callable[[], None],
    report: Report = print_line,
    out: LineSink = print_line,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Compiles for the weights at `commit` into the folder `key` of the kernel volume, unless that is complete.

    One that is complete and not proven is only proven, or not: that is a result, not an error. Returns `{"key",
    "files", "bytes", "seconds", "skipped", "proven"}`; skipped: no engine was started. Raises ServingError; finished
    kernels stay.
    """
    folder = Path(recipe.kernel_path(key))
    marker = folder / recipe.compiling.marker
    done = complete(recipe, key)
    if done and done.proven:
        if written_again(done, folder):
            renew(done, folder, marker)
            commit_volume()
        report(f"kernels: {len(done.files)} files · {size_text(done.bytes)} · already complete, proven")
        return _result(done, seconds=0, skipped=True)
    check_weights(recipe, commit)
    module = engine_for(recipe)
    per_second = recipe.prices.gpu_second * recipe.gpu.count
    hardware = f"{recipe.gpu.count} × {recipe.gpu.type}"
    environment = os.environ if environment is None else environment
    secret_names = {recipe.secrets.api_key.key, recipe.secrets.hugging_face.key}
    redact = Redactor(environment.get(name) for name in secret_names)
    inherited = {name: value for name, value in environment.items() if name not in secret_names}

    def start(proven: bool, seconds: float) -> list[str]:
        return start_and_ask(
            *(recipe, commit, key, module),
            proven=proven,
            seconds=seconds,
            environment=inherited,
            redact=redact,
            out=out,
        )

    def contents() -> dict[str, str]:
        return {file.path: file.sha256 or "" for file in kernel_files(folder, module)}

    if done:
        try:
            return _prove_again(recipe, done, start, contents, report=report)
        finally:
            commit_volume()
    # Never let an unfinished artifact look finished.
    for mark in (marker, folder / MANIFEST):
        mark.unlink(missing_ok=True)
    for name in module.cache_folders().values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    minutes = recipe.compiling.estimated_minutes
    report(
        f"kernels: compiling on {hardware}, about {minutes:g} min, about ${per_second * 60 * minutes:.2f} "
        f"(GPUs at ${per_second * 3600:.2f}/h, prices of {recipe.prices.as_of})"
    )
    began = time.monotonic()
    try:
        if taken := take_gemm_kernels(recipe, key):
            report(f"kernels: took over {taken[1]} GEMM kernels from {taken[0]}; only others are compiled")
        _run_tool(recipe, commit, key, module, report=report, out=out, environment=inherited, redact=redact)
        commit_volume()

        def start_and_keep(proven: bool, seconds: float) -> list[str]:
            lines = start(proven, seconds)
            commit_volume()
            return lines

        uncovered = fill_and_prove(
            start_and_keep,
            contents,
            seconds=recipe.compiling.timeout * _OF_THE_TIMEOUT - (time.monotonic() - began),
            usd_per_second=per_second,
            report=report,
        )
        seconds = time.monotonic() - began
        files = kernel_files(folder, module)
        refuse_incomplete(recipe, key, files, module)
        manifest = KernelsManifest(
            key=key,
            engine=engine_of(recipe),
            created=time.time(),
            files=files,
            bytes=sum(f.size for f in files),
            seconds=round(seconds, 3),
            **_proof(uncovered, module),
        )
        write_manifest(manifest, folder)
        commit_volume()
        write_atomically(marker, f"{key}\n")
    finally:
        commit_volume()
    report(
        f"kernels: {len(files)} files · {size_text(manifest.bytes)} · {seconds:.0f} s on {hardware} · "
        f"${per_second * seconds:.2f} · {_proof_text(uncovered, module)}"
    )
    return _result(manifest, seconds=manifest.seconds, skipped=False)


def _prove_again(
    recipe: Recipe,
    done: KernelsManifest,
    start: Start,
    contents: Callable[[], dict[str, str]],
    *,
    report: Report,
) -> dict[str, Any]:
    """The proof starts for a complete artifact. A start that fails proves nothing, and takes nothing away either.

    The manifest's text stays the same where nothing came of it: what is deployed with these kernels then needs no
    other version.
    """
    folder = Path(recipe.kernel_path(done.key))
    per_second = recipe.prices.gpu_second * recipe.gpu.count
    seconds = recipe.compiling.timeout * _OF_THE_TIMEOUT
    report(
        f"kernels: {len(done.files)} files · {size_text(done.bytes)} · complete, not proven; at most two starts to "
        f"prove it, at most {seconds:.0f} s, ${per_second * seconds:.2f}"
    )
    began = time.monotonic()
    try:
        uncovered = prove_again(start, contents, seconds=seconds, usd_per_second=per_second, report=report)
    except ServingError as error:
        uncovered = [f"the start to prove it failed: {error}"]
    took = time.monotonic() - began
    module = engine_for(recipe)
    files = kernel_files(folder, module)
    if not uncovered or files != done.files:
        more = {"files": files, "bytes": sum(file.size for file in files)}
        done = done.model_copy(update={**more, **_proof(uncovered, module)})
    renew(done, folder, folder / recipe.compiling.marker)
    report(f"kernels: {took:.0f} s · ${per_second * took:.2f} · {_proof_text(uncovered, module)}")
    return _result(done, seconds=took, skipped=False)


def _proof(uncovered: list[str], module: EngineModule) -> dict[str, Any]:
    """As a manifest says it, reasons against the proof first."""
    against = reasons(uncovered, set(module.cache_folders().values()) - {GEMM_CACHE})
    entries = [*against, *(entry for entry in uncovered if entry not in against)]
    return {"proven": not against, "uncovered": entries[:_MOST_UNCOVERED]}


def _proof_text(uncovered: list[str], module: EngineModule) -> str:
    proof = _proof(uncovered, module)
    if not uncovered:
        return "proven complete"
    if proof["proven"]:
        return f"GEMM kernels proven complete; {len(uncovered)} files came to other caches in the last start"
    return f"not proven complete ({proof['uncovered'][0]}): serving keeps the pass over all GEMM shapes"


def _result(manifest: KernelsManifest, *, seconds: float, skipped: bool) -> dict[str, Any]:
    return {
        "key": manifest.key,
        "files": len(manifest.files),
        "bytes": manifest.bytes,
        "seconds": seconds,
        "skipped": skipped,
        "proven": manifest.proven,
    }


def _run_tool(
    recipe: Recipe,
    commit: str,
    key: str,
    module: EngineModule,
    *,
    environment: Mapping[str, str],
    redact: Redactor,
    report: Report,
    out: LineSink,
) -> None:
    """Runs the engine's compile tool to its end. Raises ServingError unless it succeeded."""
    log = KernelLog()
    failed_at: list[float] = []

    def watch(line: str) -> None:
        log.read(line)
        finding = classify(line, compiling=True)
        if finding and finding.severity == "fatal" and not log.succeeded:
            failed_at.append(time.monotonic())

    argv = module.compile_command(recipe, commit)
    out(redact(f"[compile] {' '.join(argv)}"))
    variables = module.engine_environment(recipe, recipe.kernel_path(key))
    try:
        process = EngineProcess(argv, {**environment, **variables}, LogPump(redact, out, watch))
    except OSError as error:
        raise ServingError(
            f"kernels: cannot start {argv[0]}: {error.strerror}. Next: check engine.image in the recipe {recipe.name}"
        ) from None

    def failure(what: str) -> ServingError:
        return ServingError(
            redact(
                f"kernels: {what}{last_words(process.last_lines)}. Next: mend the cause, then pulumi up "
                "(kernels compiled so far are kept)"
            )
        )

    deadline = time.monotonic() + recipe.compiling.timeout * _OF_THE_TIMEOUT
    children = DeathWatch(process.pid)
    began = time.monotonic()
    next_line = began + _SECONDS_BETWEEN_LINES
    try:
        while not process.exited.wait(1.0):
            now = time.monotonic()
            # The tool asks its server for an answer until its own time-out, an hour, even when that server is dead.
            if not log.succeeded and children.dead_child() is not None:
                raise failure("the compile tool's server died")
            if failed_at and now - failed_at[0] > _SECONDS_TO_FALL and not log.succeeded:
                raise failure("the compile tool's server failed")
            if now > deadline:
                raise failure(f"not finished within {recipe.compiling.timeout} s (kernels.timeout of the recipe)")
            if now >= next_line:
                next_line = now + _SECONDS_BETWEEN_LINES
                where = f"shape {len(log.shapes)} at {log.percent}%" if log.shapes else "loading the model"
                report(f"kernels: {where} · {now - began:.0f} s")
        code = process.returncode
        if code != 0:
            raise failure(f"the compile tool ended with code {code} ({explain(code or 0, process.last_lines)})")
        if log.unfinished:
            raise failure(f"{log.unfinished[0]} (of {len(log.unfinished)} shapes) was not compiled to the end")
    finally:
        process.kill()
