#!/usr/bin/env bash
# Wrapped phase and magnitude to susceptibility [ppm] with qsmprep's default chain.
set -euo pipefail
python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
