#!/usr/bin/env bash
# Wrapped phase and magnitude to susceptibility [ppm] with qsmprep's default chain.
set -euo pipefail
# glibc keeps freed arrays for the next ones, whose pages the kernel need not clear
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824
python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
