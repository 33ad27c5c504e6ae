# Sourced by the scripts in hack/, never run: finds Python, installs uv and the locked environment.
# Needs: bash, python3 3.11 to 3.13. Everything it installs goes to HEARTH_CACHE and the checkout.

HEARTH_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HEARTH_CACHE=${HEARTH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hearth}
HEARTH_UV_VERSION=0.13.9
export HEARTH_ROOT HEARTH_CACHE
export UV_PYTHON_DOWNLOADS=never
# Compiled once, not at every start (half of the unit tier's time), and nothing of it lies among the sources.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$HEARTH_CACHE/bytecode

hearth_fail() { printf 'hearth: %s\n' "$*" >&2; exit 1; }

# Prints the first usable interpreter.
hearth_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

# Puts the pinned uv on PATH. It lives in an environment of its own: the system's Python stays as it is.
hearth_uv() {
  local home=$HEARTH_CACHE/uv-$HEARTH_UV_VERSION python
  if [ ! -x "$home/bin/uv" ]; then
    python=$(hearth_python) || hearth_fail "Python 3.11, 3.12 or 3.13 is needed: apt-get install python3"
    mkdir -p "$HEARTH_CACHE"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      [ "$(id -u)" = 0 ] || hearth_fail "python3-venv is missing: sudo apt-get install python3-venv"
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv; } >/dev/null ||
        hearth_fail "python3-venv could not be installed: apt-get install python3-venv"
    fi
    rm -rf "$home.new"
    "$python" -m venv "$home.new" && "$home.new/bin/python" -m pip install --quiet --disable-pip-version-check \
      "uv==$HEARTH_UV_VERSION" || hearth_fail "uv could not be installed from the package index: is there a network?"
    rm -rf "$home"
    mv "$home.new" "$home"
  fi
  export PATH="$home/bin:$PATH"
}

# hearth_env [uv sync arguments]: the locked environment in .venv, first on PATH.
hearth_env() {
  hearth_uv
  local python
  python=$(hearth_python) || hearth_fail "Python 3.11, 3.12 or 3.13 is needed: apt-get install python3"
  (cd "$HEARTH_ROOT" && uv sync --frozen --quiet --python "$python" "$@") ||
    hearth_fail "the locked environment could not be installed; see the lines above"
  export PATH="$HEARTH_ROOT/.venv/bin:$PATH" PYTHONPATH="$HEARTH_ROOT/hack/src"
}
