"""python -m recipes.flags.extract ENGINE VERSION RELEASE [--output FILE]: the flag catalogue of a release.

The release is read, never imported: its argument definitions are evaluated from their syntax trees. Get it with
`pip download --no-deps sglang==VERSION` (or vllm==VERSION). The catalogue is JSON:

    engine, version
    flags     every server option: names, dest, type, action, nargs, choices, default, const, required, deprecated,
              replaced_by; `optional`: the words None and "" mean no value; `keys`: what a JSON object may hold, by key;
              `built_in`: names the engine has itself, to which what `plugin` loads may add
    commands  options that only one command line has, by module; `config`: whether it merges the file of --config;
              `positionals`: arguments without a name
    config    suffixes that file may have
    fields    the fields of the engine's argument class in order, with their defaults
    renamed   fields that are filled from an option of another name: {field: dest}
    parser    only where an engine has a parser of its own: `underscores` (--a_b is --a-b), `dotted` (--json.key VALUE)
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from recipes.flags import sglang_release, vllm_release
from recipes.flags.literals import NotLiteral
from recipes.flags.release import open_release

_ENGINES = {"sglang": sglang_release.extract, "vllm": vllm_release.extract}
# Without these a release has been misread, whatever else was found.
_NEVER_MISSING = {
    "sglang": {"model_path", "port", "api_key", "mem_fraction_static", "attention_backend"},
    "vllm": {"model", "tensor_parallel_size", "port", "api_key", "gpu_memory_utilization", "speculative_config"},
}


def extract(engine: str, version: str, release: Path) -> dict[str, Any]:
    """The catalogue of a release. Raises NotLiteral, OSError, zipfile.BadZipFile, tarfile.TarError."""
    catalogue = _ENGINES[engine](version, open_release(release))
    if missing := _NEVER_MISSING[engine] - {option["dest"] for option in catalogue["flags"]}:
        raise NotLiteral(
            f"no {', '.join(sorted(missing))} among {len(catalogue['flags'])} options: {engine} {version} arranges its "
            f"arguments in a way that recipes/flags/{engine}_release.py does not know yet"
        )
    return catalogue


def render(catalogue: dict[str, Any]) -> str:
    """One option a line, so that two releases can be compared with diff."""
    parts = []
    for key, value in catalogue.items():
        if key == "flags":
            lines = ",\n".join("    " + json.dumps(option, sort_keys=True) for option in value)
            parts.append(f'  "flags": [\n{lines}\n  ]')
        elif key == "fields":
            lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(default)}" for name, default in value.items())
            parts.append(f'  "fields": {{\n{lines}\n  }}')
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.flags.extract",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("engine", choices=sorted(_ENGINES))
    parser.add_argument("version")
    parser.add_argument("release", type=Path, help="the wheel, the .tar.gz, or a folder it was unpacked to")
    parser.add_argument("--output", type=Path, help="default: the catalogue beside this file")
    options = parser.parse_args()
    target = options.output or Path(__file__).parent / f"{options.engine}-{options.version}.json"
    try:
        catalogue = extract(options.engine, options.version, options.release)
    except (NotLiteral, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        print(f"extract: cannot read {options.release}: {error}", file=sys.stderr)
        return 1
    target.write_text(render(catalogue), encoding="utf-8")
    print(f"{len(catalogue['flags'])} options in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
