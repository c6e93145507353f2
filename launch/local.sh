#!/usr/bin/env bash
# Everything on this machine, from a bare Python 3.11 or newer:
#
#   ./launch/local.sh demo [OPTIONS]     the whole chain on generated images, ending in a report
#   ./launch/local.sh test [OPTIONS]     the test suite (options go to pytest)
#   ./launch/local.sh oracles [OPTIONS]  the comparisons with PyTorch, TensorFlow and ONNX, live
#   ./launch/local.sh remedis ARGUMENTS  any other command, e.g. remedis train --help
#
# The first call makes a virtual environment (.venv, or $REMEDIS_VENV) and installs what the command
# needs; later calls start at once. --dry-run before the command prints what would run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry_run=
if [ "${1:-}" = "--dry-run" ]; then dry_run=1; shift; fi

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() { echo "local.sh: $1" >&2; exit 2; }
run() {
  if [ -n "$dry_run" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3; do
    if [ -n "$candidate" ] && "$candidate" -c \
      'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer found; install one or set PYTHON=/path/to/python."
}

# install VENV EXTRA: makes the environment unless it already holds this setup.py with this extra.
install() {
  local venv=$1 extra=$2 mark python
  mark="$venv/installed-${extra:-core}"
  if [ -f "$mark" ] && cmp -s "$mark" "$root/setup.py"; then return; fi
  if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    echo "making a virtual environment in $venv with $("$python" --version)" >&2
    run "$python" -m venv "$venv" ||
      fail "could not make $venv; on Debian and Ubuntu install python3-venv first."
  fi
  echo "installing remedis_jax${extra:+[$extra]} (a few minutes the first time)" >&2
  run "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable "$root${extra:+[$extra]}" ||
    fail "the installation failed; see the lines above, then repeat the command."
  if [ -z "$dry_run" ]; then cp "$root/setup.py" "$mark"; fi
}

# Large buffers are page-faulted anew at every step unless they come in huge pages, which the C
# library can only be told before the process starts: 1.1 to 1.6 times faster training steps.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

venv=${REMEDIS_VENV:-$root/.venv}
command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  demo)
    install "$venv" ""
    run "$venv/bin/remedis" demo "$@"
    ;;
  remedis)
    install "$venv" ""
    run "$venv/bin/remedis" "$@"
    ;;
  test)
    install "$venv" dev
    cd "$root"
    # Two processes: most of the time goes into compiling, which takes one core.
    run "$venv/bin/python" -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder "$@"
    ;;
  oracles)
    # An environment of their own, so that the project's stays free of PyTorch and TensorFlow.
    install "$venv-oracles" oracles
    # Without what it depends on: its losses need PyTorch alone, and torchvision would bring
    # another, larger PyTorch (see tests/golden/lightly_losses.py).
    if [ ! -e "$venv-oracles/installed-lightly" ]; then
      run "$venv-oracles/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps "lightly==1.6.0" || fail "lightly could not be installed; repeat the command."
      if [ -z "$dry_run" ]; then touch "$venv-oracles/installed-lightly"; fi
    fi
    # And one for timm, which needs torchvision and the PyTorch that fits it; TensorFlow crashes
    # beside that one.
    if [ ! -e "$venv-torch/installed" ]; then
      echo "installing PyTorch, torchvision and timm in $venv-torch (about 6 GB)" >&2
      run "$venv-oracles/bin/python" -m venv "$venv-torch"
      run "$venv-torch/bin/python" -m pip install --quiet --disable-pip-version-check \
        "torch==2.14.1" "torchvision==0.29.1" timm transformers ||
        fail "PyTorch could not be installed; repeat the command."
      if [ -z "$dry_run" ]; then touch "$venv-torch/installed"; fi
    fi
    export REMEDIS_TORCH_PYTHON=$venv-torch/bin/python
    cd "$root"
    run "$venv-oracles/bin/python" -m pytest -q tests/oracles "$@"
    ;;
  "" | -h | --help) usage ;;
  *) usage >&2; fail "there is no command '$command'." ;;
esac
