#!/usr/bin/env bash
# Builds an OpenTelemetry Collector by its official builder: build_collector.sh FILE MANIFEST
# Needs a module proxy and Go: 1.25 or newer, for deploy/collector/builder.yaml 1.26 or newer. Where FILE was built
# from this very manifest, nothing is done.
set -euo pipefail
shopt -s inherit_errexit

target=$1 manifest=$(realpath "$2")
[[ -x $target ]] && cmp -s "$manifest" "$target.manifest" && exit
version=$(sed -n 's/^  version: //p' "$manifest")
name=$(sed -n 's/^  name: //p' "$manifest")

mkdir -p "$(dirname "$target")"
folder=$(mktemp -d "$(realpath "$target").XXXXXX")
trap 'rm -rf "$folder"' EXIT

export GOFLAGS="${GOFLAGS:-} -buildvcs=false" # what is built is not what the repository around it holds
(cd "$folder" && go run "go.opentelemetry.io/collector/cmd/builder@$version" --config "$manifest") # output_path: here
mv "$folder/source/$name" "$target"
cp "$manifest" "$target.manifest"
"$target" --version
