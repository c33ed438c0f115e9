#!/usr/bin/env bash
# Runs the tests, with LONG set also those that take minutes each; with CI set, a test that needs the real Pulumi CLI fails without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bootstrap/environment.sh
if cli="$(bootstrap/pulumi.sh)"; then export PATH="$cli:$PATH"; fi
exec .venv/bin/python -m pytest ${LONG:+--long} "$@"
