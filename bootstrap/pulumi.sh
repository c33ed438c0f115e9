#!/usr/bin/env bash
# Prints the folder that holds the Pulumi CLI: PATH, then ~/.pulumi/bin, then the official release, pinned and checked.
# Where none can be had it is the bundled engine's folder, which does for local stacks, and one line says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=3.260.0
RELEASES=https://get.pulumi.com/releases/sdk
CHECKSUMS=https://github.com/pulumi/pulumi/releases/download/v$VERSION/pulumi-$VERSION-checksums.txt

if found="$(command -v pulumi)" && [ "$found" != "$PWD/local/pulumi_engine/bin/pulumi" ]; then
  dirname "$found"
  exit 0
fi
home="$HOME/.pulumi/bin"
if [ -x "$home/pulumi" ]; then
  printf '%s\n' "$home"
  exit 0
fi

bundled() {
  echo "pulumi: no CLI on PATH or in ~/.pulumi/bin, and $1: the bundled engine does for local stacks (https://www.pulumi.com/docs/install/ for real ones)" >&2
  printf '%s\n' "$PWD/local/pulumi_engine/bin"
  exit 0
}
fail() {
  echo "error: no Pulumi CLI: $1; install Pulumi $VERSION by hand (https://www.pulumi.com/docs/install/), then run make again" >&2
  exit 1
}
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-x64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  Darwin-arm64) platform=darwin-arm64 ;;
  Darwin-x86_64) platform=darwin-x64 ;;
  *) bundled "there is no release for $(uname -s) on $(uname -m)" ;;
esac
archive="pulumi-v$VERSION-$platform.tar.gz"
staging="$(mktemp -d)"
trap 'rm -rf "$staging"' EXIT
echo "pulumi: downloading $VERSION for $platform …" >&2
fetch() { curl --fail --silent --show-error --location --retry 2 --connect-timeout 10 --output "$staging/$2" "$1" 2>"$staging/reason"; }
fetch "$RELEASES/$archive" "$archive" || bundled "the official release could not be downloaded ($(tail -n 1 "$staging/reason"))"
fetch "$CHECKSUMS" checksums || bundled "its checksums could not be downloaded ($(tail -n 1 "$staging/reason"))"
expected="$(awk -v name="$archive" '$2 == name || $2 == "*" name {print $1}' "$staging/checksums")"
if command -v sha256sum >/dev/null; then actual="$(sha256sum "$staging/$archive")"; else actual="$(shasum -a 256 "$staging/$archive")"; fi
[ -n "$expected" ] && [ "${actual%% *}" = "$expected" ] || fail "the download of $archive does not have the published SHA-256"
tar -xzf "$staging/$archive" -C "$staging"
mkdir -p "$HOME/.pulumi"
mv "$staging/pulumi" "$home.new"
mv "$home.new" "$home" 2>/dev/null || rm -rf "$home.new" # another process got there first
printf '%s\n' "$home"
