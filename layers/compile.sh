#!/usr/bin/env bash
# Compile packages of a layer for Lambda's Python: compile.sh FOLDER PACKAGE...
#
# The bytecode is not tied to the sources' times, which a zip does not keep, and has no columns for
# tracebacks, which saves a tenth. It takes a Python 3.13: PYTHON313, python3.13, or one that uv finds.
# Without one the layer works all the same, only each cold start takes about half a second longer.
set -euo pipefail
folder=$1
shift

is_it() { [[ -n ${1:-} ]] && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; }

python=${PYTHON313:-python3.13}
is_it "$python" || python=$("${UV:-uv}" python find --no-python-downloads 3.13 2>/dev/null) || true
if ! is_it "$python"; then
  echo "No Python 3.13 found: the layer has no bytecode, so cold starts are slower. Set PYTHON313." >&2
  exit 0
fi
cd "$folder"
existing=()
for package in "$@"; do [[ -e $package ]] && existing+=("$package"); done
unset PYTHONPYCACHEPREFIX  # it would keep the bytecode out of the layer
PYTHONNODEBUGRANGES=1 "$python" -m compileall -q -x 'pydantic/v1/' --invalidation-mode unchecked-hash \
  "${existing[@]}"
