#!/usr/bin/env bash
# On any machine with a CUDA GPU: builds covfast for that GPU alone, runs the GPU tests and a memory check, measures,
# and leaves logs and JSON in OUT. Exit code 0 if all that ran is right.
#
#   bench/gpu/run.sh OUT
#
# Takes no network. Needs nvcc, cmake, ninja, and for python3 pip, scikit-build-core, pybind11, numpy, scipy, pytest and
# cupy; torch, where there, gives the time of each kernel, compute-sanitizer the memory check.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

step "build"
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
[ "$architecture" != 90 ] || architecture=90a
python3 -m pip install --quiet --no-index --no-deps --no-build-isolation --target "$site" "$root" \
  -C cmake.define.COVFAST_CUDA=ON -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$architecture-real"
export PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1
cd "$out"  # in the checkout Python would import the sources
python3 - << 'END' | tee "$out/backends.txt"  # stops here where CUDA cannot be used: every test would skip
import sys
from covfast import _core
print(*_core.backends(), sep="\n")
sys.exit(any(entry["name"] == "cuda" and entry["missing"] is not None for entry in _core.backends()))
END

failed=0
step "tests of every op that has a CUDA twin"
(cd "$root/tests" && python3 -m pytest -q -p no:cacheprovider -k "cuda" kernels core) 2>&1 | tee "$out/tests.txt" || failed=1

step "the same groups as on the CPU"
python3 "$here/check.py" --cases 200 2>&1 | tee "$out/check.txt" || failed=1

step "memory check"
if command -v compute-sanitizer > /dev/null; then
  compute-sanitizer --tool memcheck --error-exitcode 9 python3 "$here/check.py" --cases 8 2>&1 |
    tee "$out/memcheck.txt" || failed=1
else
  echo "compute-sanitizer is not installed: left out" | tee "$out/memcheck.txt"
fi

step "surface metrics"
python3 "$here/surface.py" "$out" || failed=1

step "done, exit code $failed"
exit "$failed"
