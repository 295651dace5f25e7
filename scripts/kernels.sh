#!/usr/bin/env bash
# Makes src/probe/cuda/kernels.ptx of kernels.cu with clang (any with the NVPTX back end; Debian's clang-14 made what is checked in), without any
# file of CUDA. With --check nothing is written: the PTX has to be the one that is there, and the vendor's assembler, if it is here or
# PyPI gives it, has to take it for every architecture that is served.
set -euo pipefail
cd "$(dirname "$0")/.."
here=src/probe/cuda
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

clang=${CLANG:-$(command -v clang-14 || command -v clang || true)}
if [ -n "$clang" ]; then
    # PTX 7.0 and sm_70: the oldest driver (CUDA 11.0) and the oldest part (V100) that the probe serves; drivers compile it for newer ones.
    "$clang" -x cuda --cuda-device-only -nocudainc -nocudalib -S -O2 --cuda-gpu-arch=sm_70 -Xclang -target-feature -Xclang +ptx70 \
        "$here/kernels.cu" -o "$work/kernels.ptx"
    if [ "${1:-}" != --check ]; then
        cp "$work/kernels.ptx" "$here/kernels.ptx"
    elif [[ "$("$clang" --version)" == *"version 14."* ]]; then
        cmp "$work/kernels.ptx" "$here/kernels.ptx" || { echo "kernels.ptx is not made of kernels.cu: scripts/kernels.sh"; exit 1; }
    fi
elif [ "${1:-}" != --check ]; then
    echo "no clang: apt-get install clang-14" >&2
    exit 2
fi

ptxas=${PTXAS:-$(command -v ptxas || true)}
if [ -z "$ptxas" ] && python3 -m venv "$work/venv" && "$work/venv/bin/pip" -q install "nvidia-cuda-nvcc-cu12==12.9.*" 2>/dev/null; then
    ptxas=$(find "$work/venv" -name ptxas -type f | head -n 1)
    chmod +x "$ptxas"
fi
if [ -z "$ptxas" ]; then
    echo "no ptxas: the kernels were not assembled" >&2
    exit 0
fi
for architecture in sm_70 sm_80 sm_90 sm_100 sm_120; do
    "$ptxas" -arch="$architecture" "$here/kernels.ptx" -o "$work/kernels.cubin"
    echo "$architecture: $(stat -c %s "$work/kernels.cubin") B"
done
