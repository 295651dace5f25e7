#!/usr/bin/env bash
# On a host with GPUs: builds, measures, fits, shows, all within eight minutes, into one folder that can be committed.
#
#     scripts/calibrate-gpu.sh [FOLDER]              # default reports/calibration/HOSTNAME
#
# ORRERY names a program that is built already, BUDGET the time to measure (default 4m), SESSIONS in how many parts (default 1; five, at other
# hours or after restarts, tell how sessions differ), LIBRARIES a folder with cuBLASLt and NCCL where the loader does not find them.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-reports/calibration/$(hostname)}
sessions=${SESSIONS:-1}
mkdir -p "$folder"

if [ -z "${ORRERY:-}" ]; then
    # Neither CUDA nor a Python environment is needed to build.
    timeout 240 cargo build --release --quiet
    ORRERY=${CARGO_TARGET_DIR:-target}/release/orrery
fi
# Wheels of frameworks bring cuBLASLt and NCCL along.
if [ -z "${LIBRARIES:-}" ]; then
    LIBRARIES=$(python3 - 2>/dev/null <<'PYTHON' || true
import glob, os, site
folders = site.getsitepackages() + [site.getusersitepackages()]
print(":".join(d for f in folders for d in sorted(glob.glob(os.path.join(f, "nvidia", "*", "lib")))))
PYTHON
)
fi
export LD_LIBRARY_PATH="${LIBRARIES:-}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

files=()
for session in $(seq "$sessions"); do
    file=$folder/measurements-$session.jsonl
    resume=()
    [ ! -e "$file" ] || resume=(--resume)
    "$ORRERY" calibrate probe --cuda --budget "${BUDGET:-4m}" --out "$file" "${resume[@]}" | tee "$folder/probe-$session.txt"
    files+=("$file")
done
"$ORRERY" calibrate fit "${files[@]}" --out "$folder/profile.toml" | tee "$folder/fit.txt"
"$ORRERY" calibrate show "$folder/profile.toml" --out "$folder" >/dev/null
"$ORRERY" check "$folder/profile.toml"
echo "profile: $folder/profile.toml, report: $folder/calibration.html"
