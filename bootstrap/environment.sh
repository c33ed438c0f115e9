#!/usr/bin/env bash
# Makes .venv hold exactly what requirements.lock says, and this project in editable form. Prints nothing when it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.9
wanted="$(cat requirements.lock pyproject.toml | cksum) uv $UV_VERSION"
if [ -x .venv/bin/python ] && [ "$(cat .venv/.complete 2>/dev/null)" = "$wanted" ]; then exit 0; fi

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or newer is needed and none is on PATH; install it, then run make again" >&2
  return 1
}

began=$SECONDS
python="$(find_python)"
echo "environment: creating .venv with $("$python" --version) …"
if [ ! -x .venv/bin/python ]; then "$python" -m venv .venv; fi
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
# As a folder on the search path: setuptools' other way is a module that each start of Python loads, 13 ms a time.
editable=(--config-settings editable_mode=compat --editable .)
with_uv() {
  pip install "uv==$UV_VERSION" &&
    .venv/bin/uv pip sync --quiet --system-certs --require-hashes --compile-bytecode --python .venv/bin/python \
      requirements.lock &&
    .venv/bin/uv pip install --quiet --system-certs --python .venv/bin/python --no-deps "${editable[@]}"
}
# uv is ten times as fast, but does not know the index and certificates that pip was configured with. Like pip it compiles
# what it installs: where PYTHONDONTWRITEBYTECODE is set, every `pulumi up` would do that again.
if ! with_uv 2>.venv/uv.log; then
  echo "environment: uv could not do it ($(tail -n 1 .venv/uv.log)), trying pip …"
  if ! pip install --require-hashes --no-deps --requirement requirements.lock || ! pip install --no-deps "${editable[@]}"; then
    echo "error: the packages of requirements.lock could not be installed (see above); check that pip reaches its index, then run make again" >&2
    exit 1
  fi
fi
# For the same reason this project's own modules, and because containers, which see the engines' read-only, cannot.
.venv/bin/python -m compileall -q components infra local monitoring recipes serving
printf '%s' "$wanted" >.venv/.complete
echo "environment: ready after $((SECONDS - began)) s"
