#!/bin/bash
# Writes the hashed requirement files from the .in files: `make lock`. UV names the uv to use.
set -euo pipefail
cd "$(dirname "$0")"

# --no-emit-*: a lock names packages, versions and hashes, and never the hosts that had them.
lock() {
    local name=$1
    shift
    echo "$name.txt"
    "$UV" pip compile --quiet --upgrade --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links \
        --output-file "$name.txt" "$@" "$name.in"
}

main() {
    : "${UV:?is not set: run make lock}"
    local cpu=(--overrides overrides.txt)
    if [[ -n ${PIP_FIND_LINKS:-} ]]; then
        cpu+=(--find-links "$PIP_FIND_LINKS")
    else
        cpu+=(--torch-backend cpu)
    fi
    lock uv
    lock api-cpu "${cpu[@]}"
    lock base --constraint api-cpu.txt
    lock ui "${cpu[@]}"
    lock dev "${cpu[@]}"
    lock api-gpu --python-platform x86_64-manylinux_2_28
}

main "$@"
