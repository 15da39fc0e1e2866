#!/usr/bin/env bash
# Local field [ppm] to susceptibility [ppm] with qsmprep's method 'dm-qsm'.
set -euo pipefail
IN="${1:-/input}"
OUT="${2:-/output}"

parameters=()
for name in $(env | sed -n 's/^QSMCI_SET_\([A-Z0-9_]*\)=.*/\1/p'); do
    value="QSMCI_SET_$name"
    parameters+=("${name,,}=${!value}")
done

# Fixed-point numbers: argparse takes -1e-5 for an option.
read -r -a direction <<< "$(printf '%.9f ' ${QSMCI_B0_DIR:-0 0 1})"

qsmprep-invert "$IN/localfield.nii.gz" \
    --mask "$IN/mask.nii.gz" \
    --output "$OUT/chimap.nii.gz" \
    --method dm-qsm \
    --b0-direction "${direction[@]}" \
    ${parameters[@]:+--parameter "${parameters[@]}"}
