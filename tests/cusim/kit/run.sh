#!/bin/sh
# run.sh OUT [SECONDS] - checks and measures the CUDA backend on this machine, the most worthwhile first, and ends by
# itself within eight minutes. OUT gets results.json and results.txt (rewritten with every result), log.txt and status.
# Needs an NVIDIA driver, Python 3 with nothing installed, and the glibc that kit.json names; see docs/cuda.md.
set -u
[ $# -ge 1 ] || { echo "usage: run.sh OUT [SECONDS]"; exit 2; }
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd) seconds=${2:-465}
cd "$(dirname "$0")" || exit 2

value() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" kit.json; }
need=$(value glibc) have=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
if [ "$(printf '%s\n' "$need" "${have:-0}" | sort -V | head -n 1)" != "$need" ]; then
    echo "run.sh: the programs need glibc $need; this machine has ${have:-none}" | tee "$out/log.txt"
    exit 2
fi
command -v python3 >/dev/null || { echo "run.sh: python3 is not there" | tee "$out/log.txt"; exit 2; }
chmod +x build/openautoglm build/tests/cusim/* 2>/dev/null

# cuBLASLt, of the toolkit or of PyTorch; our own libraries are found before these.
for folder in /usr/local/cuda/lib64 $(python3 -c 'import glob, site
print(*(f for s in site.getsitepackages() for f in glob.glob(s + "/nvidia/*/lib")))' 2>/dev/null); do
    [ ! -d "$folder" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" PYTHONUNBUFFERED=1

# The program ends itself when its time is over; the second limit is for the case that it cannot.
{
    timeout -k 5 $((seconds + 10)) python3 tests/cusim/gpu_kit.py "$out" --device "$(value device)" --seconds "$seconds"
    echo $? >"$out/status"
} 2>&1 | tee "$out/log.txt"
exit "$(cat "$out/status")"
