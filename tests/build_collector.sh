#!/usr/bin/env bash
# Builds the official OpenTelemetry Collector for tests/test_official_collector.py: build_collector.sh FILE
# With what these tests need and no more: the OTLP receiver, and the OTLP/HTTP exporter that forwards to them.
# Needs Go 1.25 or newer and a module proxy. Where FILE is of this version already, nothing is done.
set -euo pipefail
shopt -s inherit_errexit

version=v0.159.0
stable=v1.65.0 # of the modules of the same release that have a stable interface

target=$1
[[ -x $target && $("$target" --version) == "otelcol version $version" ]] && exit

mkdir -p "$(dirname "$target")"
folder=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$folder"' EXIT

cat >"$folder/manifest.yaml" <<MANIFEST
dist:
  name: otelcol
  version: $version
  output_path: $folder/source
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver $version
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/otlphttpexporter $version
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider $stable
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider $stable
MANIFEST

export GOFLAGS="${GOFLAGS:-} -buildvcs=false" # what is built is not what the repository around it holds
go run "go.opentelemetry.io/collector/cmd/builder@$version" --config "$folder/manifest.yaml"
mv "$folder/source/otelcol" "$target"
"$target" --version
