# shellcheck shell=bash
# What scripts/* share: a Python, uv, and a .venv that is in step with uv.lock.
# To be sourced. Works with bash 3.2 (macOS) and needs only Python 3.11 to 3.13 with venv.
# Afterwards the current folder is the repository: relative paths in arguments start there.

UV_PIN=0.13.8 # wrote uv.lock; a uv on the PATH serves too if it is not older

unset CDPATH VIRTUAL_ENV
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root" || exit
{ true <&0; } 2>/dev/null || exec </dev/null # stdin closed: else the next file opened becomes it

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$*"
  exit 2
}

# make_environment run|dev|bench: .venv as uv.lock has it, without the dev group, with it, or with
# the peers of the benchmark too. A stamp per group holds the inputs it was made from; while they are
# the same this costs one checksum.
make_environment() {
  local group=$1 inputs stamp python needs=sys
  inputs="$root ${HUB_PYTHON:-} $(cksum pyproject.toml uv.lock hub/__init__.py)"
  for stamp in .venv/.in-step-{bench,dev,run}; do
    case $group$stamp in # the dev group has all that run needs, the bench group all that dev needs
      run* | dev*-dev | *-bench) ;;
      *) continue ;;
    esac
    [[ -x .venv/bin/python && -x .venv/bin/hub && -f $stamp ]] || continue
    [[ $(<"$stamp") != "$inputs" ]] || return 0
  done

  find_uv || needs='ensurepip, venv'
  python=$(find_python "$needs") || die "no suitable Python${HUB_PYTHON:+ (HUB_PYTHON=$HUB_PYTHON)}:" \
    "the hub needs 3.11, 3.12 or 3.13 with venv and pip (Debian and Ubuntu:" \
    "apt-get install python3-venv); HUB_PYTHON=/path/to/python names one."
  [[ -n $uv ]] || install_uv "$python"
  remove_foreign_venv
  prepare_uv

  say "making .venv with $python"
  local options=(--quiet --locked --compile-bytecode --python "$python" --project "$root")
  case $group in
    run) options+=(--no-dev --inexact) ;; # inexact: leave what scripts/test installed
    bench) options+=(--group bench) ;;
  esac
  rm -f .venv/.in-step-*
  UV_PROJECT_ENVIRONMENT="$root/.venv" "$uv" sync "${options[@]}" >&2 ||
    die "uv sync failed; its reason is above."
  printf '%s\n' "$inputs" >".venv/.in-step-$group"
}

# find_python MODULES: prints an interpreter of a fitting version that has the modules. It is run,
# not only looked up: pyenv has shims for versions that do not answer. A .venv keeps its own.
find_python() {
  local candidate candidates=(.venv/bin/python python3.13 python3.12 python3.11 python3 python)
  [[ -z ${HUB_PYTHON:-} ]] || candidates=("$HUB_PYTHON")
  for candidate in "${candidates[@]}"; do
    "$candidate" -c "
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(1)
import $1
print(getattr(sys, '_base_executable', sys.executable))
" 2>/dev/null && return
  done
  return 1
}

# find_uv: sets $uv to one that runs and is not older than the pin, or to nothing.
find_uv() {
  for uv in uv "$root/.cache/uv/bin/uv"; do
    if [[ $("$uv" --version 2>/dev/null) =~ ^uv\ ([0-9]+\.[0-9]+\.[0-9]+) ]] &&
      (($(as_number "${BASH_REMATCH[1]}") >= $(as_number "$UV_PIN"))); then
      return
    fi
  done
  uv=
  return 1
}

as_number() { # 0.13.8 -> 13008
  local major minor patch
  IFS=. read -r major minor patch <<<"$1"
  echo $((major * 1000000 + minor * 1000 + patch))
}

# install_uv PYTHON: sets $uv. Made beside its place and then moved, so that it is never half there.
install_uv() {
  local fresh="$root/.cache/uv-$$"
  say "installing uv $UV_PIN into .cache/uv"
  if ! { "$1" -m venv "$fresh" && "$fresh/bin/python" -m pip install --quiet "uv==$UV_PIN"; } >&2; then
    rm -rf -- "$fresh"
    die "could not install uv by '$1 -m venv' and pip; the reason is above."
  fi
  rm -rf -- "$root/.cache/uv"
  mv -- "$fresh" "$root/.cache/uv"
  uv="$root/.cache/uv/bin/uv"
}

# The scripts in .venv/bin name their folder, so a .venv that was copied or moved here is of no use.
remove_foreign_venv() {
  local installed=(.venv/lib/python3*/site-packages/_editable_impl_hub.pth)
  if [[ -f ${installed[0]} ]] && ! grep -qxF -- "$root" "${installed[@]}"; then
    say "removing .venv: it was made for another folder"
    rm -rf .venv
  fi
}

# What uv needs and may not find: a place for its cache (HOME may be read-only), and the machine's
# certificates, which pip trusts by itself, but uv only if told (a company's proxy is in no other).
prepare_uv() {
  local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  if [[ -z ${UV_CACHE_DIR:-} ]] &&
    ! { [[ -n $cache ]] && mkdir -p -- "$cache" && [[ -w $cache ]]; } 2>/dev/null; then
    export UV_CACHE_DIR="$root/.cache/uv-cache"
  fi
  if [[ -e /etc/ssl/certs/ca-certificates.crt || -e /etc/ssl/cert.pem ]]; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
  fi
}
