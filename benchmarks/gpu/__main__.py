"""`python3 -m benchmarks.gpu [--work FOLDER] PHASE`: see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from benchmarks.gpu import artifact, compare, faults, full_size, logs, table  # noqa: E402
from benchmarks.gpu.bench import Bench  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/glm-gpu"), help="what one phase leaves for the next")
    phases = parser.add_subparsers(dest="phase", required=True)
    prepare = phases.add_parser("prepare", help="the derived recipe and the cut-down model")
    prepare.add_argument("--recipe", type=Path, default=_REPOSITORY / "recipes" / "glm-5.1-fp8-h200.yaml")
    prepare.add_argument("--gpus", type=int, default=1)
    prepare.add_argument("--port", type=int, default=8000)
    prepare.add_argument("--sglang-version", help="if not the installed one")
    prepare.add_argument("--layers", type=int, help="78 for all; 4 where the GPU has room for two such servers, else 2")
    phases.add_parser("compile", help="serving.compile: the kernel artifact, proven complete")
    phases.add_parser("verify", help="serving.verify")
    phases.add_parser("stock", help="the stock way: ready, first requests")
    phases.add_parser(
        "ours", help="ours: ready, first requests, steady speed beside the bare engine, SIGTERM under load"
    )
    phases.add_parser(
        "again", help="ours with what its first start left in home and temporary folder; scheduler killed"
    )
    turns = phases.add_parser(
        "turns", help="bare and ours one after another, each beside the next: steady speed; schedulers killed"
    )
    turns.add_argument("--servers", type=int, default=6, help="of both kinds together: a pair less than servers")
    full = phases.add_parser(
        "full", help="one server at a time: ours, without drafts, the stock way; memory and its bandwidth"
    )
    full.add_argument("servers", nargs="*", choices=[[], *full_size.SERVERS], help="these alone, in this order")
    full.add_argument("--turns", type=int, default=4, help="of each number of streams")
    fault = phases.add_parser("faults", help="what breaks on purpose; all of it, or those named")
    fault.add_argument("names", nargs="*", choices=[[], *faults.FAULTS])
    phases.add_parser("triage", help="serving.log_triage over all logs; the key looked for in them")
    phases.add_parser("table", help="the results as a table in Markdown")
    arguments = parser.parse_args()
    bench = Bench(arguments.work.resolve())
    match arguments.phase:
        case "prepare":
            artifact.prepare(
                bench,
                arguments.recipe,
                gpus=arguments.gpus,
                port=arguments.port,
                version=arguments.sglang_version,
                layers=arguments.layers,
            )
        case "compile":
            artifact.compile_artifact(bench)
        case "verify":
            artifact.verify_artifact(bench)
        case "stock":
            compare.start_stock(bench)
        case "ours":
            compare.start_ours(bench)
        case "again":
            compare.start_again(bench)
        case "turns":
            compare.start_in_turns(bench, arguments.servers)
        case "full":
            full_size.measure(bench, arguments.servers, arguments.turns)
        case "faults":
            faults.run(bench, arguments.names)
        case "triage":
            logs.triage(bench)
        case "table":
            print(table.markdown(bench))


if __name__ == "__main__":
    main()
