#!/usr/bin/env bash
# What the Makefile's targets do, for one stack: up, down, preview, graph, costs, acceptance, releases, env, opencode.
#   bootstrap/stack.sh up local
# `local` and every stack whose name ends in `-local` run against the local cloud, with their own state and passphrase
# under .local/; every other stack uses Modal and the Pulumi backend you are logged in to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
verb="$1" stack="$2" markdown="${MARKDOWN:-}"
[ -f "Pulumi.$stack.yaml" ] || {
  echo "error: there is no stack $stack: no file Pulumi.$stack.yaml; there are $(printf '%s ' Pulumi.*.yaml)" >&2
  exit 1
}

is_local() { case "$stack" in local | *-local) return 0 ;; *) return 1 ;; esac; }
# Where real money is spent, Pulumi shows its preview and asks.
without_asking=()
with_policies=(--policy-pack infra/policies --policy-pack-config infra/policies/limits.json)
if is_local; then without_asking=(--yes --skip-preview) with_policies=(); fi

use_local_state() {
  mkdir -p .local/pulumi
  export PULUMI_BACKEND_URL="file://$PWD/.local/pulumi"
  # Protects nothing: whoever can read this state can read the local cloud's files beside it.
  export PULUMI_CONFIG_PASSPHRASE=local
  # A CLI that is killed while it writes a file's checksum leaves that empty, and then can't read its own state (EOF).
  find .local/pulumi -name '*.attrs' -empty -delete
}

prepare() {
  bootstrap/environment.sh >&2
  cli="$(bootstrap/pulumi.sh)"
  if [ "$cli" = "$PWD/local/pulumi_engine/bin" ] && ! is_local; then
    echo "error: stack $stack needs the real Pulumi CLI; install it (https://www.pulumi.com/docs/install/), then make $verb STACK=$stack" >&2
    exit 1
  fi
  export PATH="$PWD/.venv/bin:$cli:$PATH" PULUMI_SKIP_UPDATE_CHECK=true
}

start_local_cloud() {
  python -m local start >&2
  eval "$(python -m local env)"
}

select_stack() {
  if ! pulumi stack select "$stack" 2>/dev/null; then
    pulumi stack init "$stack" >/dev/null
    echo "stack: $stack created"
  fi
}

# Names of the other stacks that live in the local cloud.
other_local_stacks() {
  pulumi stack ls --json | python -c 'import json, sys; print(*(s["name"] for s in json.load(sys.stdin) if s["name"] != sys.argv[1]))' "$stack"
}

# Runs a command that previews, with the arguments for `pulumi preview` behind it, against an empty state that is thrown
# away afterwards: for a machine that is logged in to no backend. `stack init` and `preview` write an encryption salt
# into the stack's file: they get a copy, or it is put back.
from_nothing() {
  scratch="$(mktemp -d)"
  trap 'if [ -f "$scratch/untouched" ]; then mv "$scratch/untouched" "Pulumi.$stack.yaml"; fi; rm -rf "$scratch"' EXIT
  export PULUMI_BACKEND_URL="file://$scratch" PULUMI_CONFIG_PASSPHRASE=preview
  cp -p "Pulumi.$stack.yaml" "$scratch/untouched"
  pulumi stack init "$stack" >/dev/null
  cp "Pulumi.$stack.yaml" "$scratch/Pulumi.$stack.yaml"
  mv "$scratch/untouched" "Pulumi.$stack.yaml"
  "$@" -- --config-file "$scratch/Pulumi.$stack.yaml"
}

# The preview as a review, with the policies. A local stack's prices are its recipe's: its cloud need not be running.
review() {
  local options=()
  if is_local; then options+=(--no-rates); fi
  if [ "$cli" = "$PWD/local/pulumi_engine/bin" ]; then
    options+=(--no-policies "the bundled engine has no policies, the Pulumi CLI (https://www.pulumi.com/docs/install/) has")
  fi
  if [ -n "$markdown" ]; then options+=(--markdown "$markdown"); fi
  python -m infra.review "$stack" ${options[@]+"${options[@]}"} "$@"
}

case "$verb" in
  up)
    prepare
    if is_local; then
      use_local_state
      start_local_cloud
    elif ! pulumi whoami >/dev/null 2>&1; then
      echo "error: $stack needs a place for its state; \`pulumi login\` (or set PULUMI_BACKEND_URL), then make up STACK=$stack" >&2
      exit 1
    fi
    select_stack
    pulumi up --stack "$stack" --suppress-outputs ${with_policies[@]+"${with_policies[@]}"} ${without_asking[@]+"${without_asking[@]}"}
    python -m infra.first_answer "$stack"
    ;;
  preview)
    prepare
    if is_local; then
      use_local_state
    elif ! pulumi whoami >/dev/null 2>&1; then
      echo "stack: not logged in to a Pulumi backend, so $stack is previewed from nothing"
      from_nothing review
      exit 0
    fi
    select_stack
    review
    ;;
  graph)
    prepare
    if is_local; then
      use_local_state
    elif ! pulumi whoami >/dev/null 2>&1; then
      echo "stack: not logged in to a Pulumi backend, so $stack is drawn from nothing"
      from_nothing python -m infra.graph "$stack" --out "$3"
      exit 0
    fi
    select_stack
    python -m infra.graph "$stack" --out "$3"
    ;;
  costs)
    prepare
    options=(--plot "$3")
    if is_local; then options+=(--no-rates --no-bill); fi
    python -m infra.costs "$stack" "${options[@]}"
    ;;
  down)
    prepare
    if is_local; then
      use_local_state
      start_local_cloud
    fi
    if pulumi stack select "$stack" 2>/dev/null; then
      pulumi destroy --stack "$stack" --exclude-protected ${without_asking[@]+"${without_asking[@]}"}
      if is_local; then pulumi stack rm "$stack" --yes --preserve-config; fi
    fi
    if is_local; then
      others="$(other_local_stacks)"
      if [ -n "$others" ]; then
        echo "local: goes on running, for $others; make down STACK=… for each ends it"
      else
        python -m local stop
        rm -rf .local
        echo "local: stopped, .local/ removed"
      fi
    fi
    ;;
  env)
    prepare
    echo "export PATH=$PWD/.venv/bin:$cli:\$PATH PULUMI_SKIP_UPDATE_CHECK=true"
    if is_local; then
      use_local_state
      echo "export PULUMI_BACKEND_URL=$PULUMI_BACKEND_URL PULUMI_CONFIG_PASSPHRASE=$PULUMI_CONFIG_PASSPHRASE"
      start_local_cloud
      python -m local env
    else
      # A shell that was set up for the local cloud must not take it for Modal.
      echo "if [ -n \"\${LOCAL_DIR:-}\" ]; then unset LOCAL_DIR MODAL_SERVER_URL MODAL_TOKEN_ID MODAL_TOKEN_SECRET HF_ENDPOINT HF_TOKEN PULUMI_BACKEND_URL PULUMI_CONFIG_PASSPHRASE; fi"
    fi
    ;;
  acceptance)
    prepare
    if is_local; then
      use_local_state
      start_local_cloud
    elif ! pulumi whoami >/dev/null 2>&1; then
      echo "error: $stack needs a place for its state; \`pulumi login\` (or set PULUMI_BACKEND_URL), then make acceptance STACK=$stack" >&2
      exit 1
    fi
    select_stack
    python -m infra.acceptance "$stack"
    ;;
  releases)
    prepare
    if is_local; then
      use_local_state
      start_local_cloud
    fi
    python -m infra.releases "$stack" list
    ;;
  opencode)
    prepare
    if is_local; then use_local_state; fi
    python -m infra.opencode "$stack" "${3:-opencode.json}"
    ;;
  *)
    echo "error: unknown verb $verb; up, preview, graph, costs, down, acceptance, releases, env or opencode" >&2
    exit 2
    ;;
esac
