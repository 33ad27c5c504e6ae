# Sourced by the scripts in hack/node, never run. Everything they leave lies below the prefix.
# Needs: bash (3.2 of macOS is enough), python3 3.11 to 3.13.

node_prefix=/opt/hearth
node_dry=
node_extras=
node_models=yes
node_rest=()

# node_arguments ARGUMENTS...: takes what the scripts need themselves; the rest is for hearth-node.
node_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix) [ $# -gt 1 ] || node_fail "--prefix needs a folder"; node_prefix=$2; shift ;;
      --prefix=*) node_prefix=${1#--prefix=} ;;
      --extra) [ $# -gt 1 ] || node_fail "--extra needs a name (torch, vllm, mlx)"; node_extras="$node_extras $2"; shift ;;
      --no-models) node_models= ;;
      --dry-run) node_dry=yes; node_rest+=("$1") ;;
      *) node_rest+=("$1") ;;
    esac
    shift
  done
  case $node_prefix in
    /*) ;;
    *) node_prefix=$PWD/$node_prefix ;;
  esac
}

node_fail() { printf 'hearth: %s\n' "$*" >&2; exit 1; }

# The checkout's tools, with their cache below the prefix: `leave` takes it away with everything else.
node_tools() {
  export HEARTH_CACHE=$1
  # shellcheck source=../lib/env.sh
  source "$(dirname "${BASH_SOURCE[0]}")/../lib/env.sh"
}

# A release is the checkout's commit and the moment: two are never the same folder.
node_release() {
  local commit
  commit=$(git -c safe.directory="$HEARTH_ROOT" -C "$HEARTH_ROOT" rev-parse --short=10 HEAD 2>/dev/null) || commit=source
  printf '%s-%s\n' "$commit" "$(date -u +%Y%m%d%H%M%S)"
}

# node_build RELEASE: the locked environment of this machine in PREFIX/releases/RELEASE.
node_build() {
  local target=$node_prefix/releases/$1 python extra
  python=$(node_python) ||
    node_fail "a Python 3.11, 3.12 or 3.13 that every user of this machine may run is needed ($(node_python_hint))"
  mkdir -p "$node_prefix/releases" 2>/dev/null || node_fail "$node_prefix may not be written: run it with sudo"
  chmod 755 "$node_prefix" "$node_prefix/releases"
  hearth_uv
  export UV_CACHE_DIR=${UV_CACHE_DIR:-$HEARTH_CACHE/wheels} UV_PROJECT_ENVIRONMENT=$target UV_PYTHON=$python
  export UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE:-1} # the daemon may not write there
  printf 'install the locked environment in %s (some minutes the first time)\n' "$target"
  node_sync --no-dev --no-editable --package hearth-node
  if [ -n "$node_models" ]; then node_sync --inexact --only-group models; fi
  for extra in $node_extras; do
    node_sync --inexact --no-dev --no-editable --package hearth-serve --extra "$extra"
  done
  "$target/bin/python" -c 'import hearth_node.run, ray, xllamacpp' || {
    rm -rf "$target"
    node_fail "the environment does not start: see the line above"
  }
}

# The daemon has a user of its own: a Python in somebody's home (pyenv, conda) would not start there.
node_python() {
  local folder name folders
  [ "$(id -u)" = 0 ] || { hearth_python; return; }
  IFS=: read -r -a folders <<<"$PATH:/usr/local/bin:/opt/homebrew/bin:/usr/bin"
  for name in python3 python3.13 python3.12 python3.11; do
    for folder in "${folders[@]}"; do
      if [ -x "$folder/$name" ] && "$folder/$name" -c "$node_python_check" 2>/dev/null; then
        printf '%s\n' "$folder/$name"
        return 0
      fi
    done
  done
  return 1
}

node_python_check='
import os, sys
files = [os.path.realpath(p) for p in (sys.executable, os.__file__)]
above = {f[:i] or "/" for f in files for i, c in enumerate(f) if c == "/"}
sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13) and all(os.stat(d).st_mode & 0o001 for d in above)))'

node_sync() {
  (cd "$HEARTH_ROOT" && uv sync --frozen --quiet "$@") || {
    rm -rf "$UV_PROJECT_ENVIRONMENT"
    node_fail "the locked environment could not be installed: is there a network, and room at $node_prefix?"
  }
}

node_python_hint() {
  if [ "$(uname)" = Darwin ]; then echo 'brew install python@3.12'; else echo 'apt-get install python3 python3-venv'; fi
}

# The commands of the installed release.
node_command() {
  local program=$node_prefix/current/bin/hearth-node
  [ -x "$program" ] || node_fail "this machine has not joined: there is no $program"
  exec "$program" "$1" --prefix "$node_prefix" ${node_rest[@]+"${node_rest[@]}"}
}
