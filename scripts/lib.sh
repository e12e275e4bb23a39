# shellcheck shell=bash
# Functions of the scripts in this folder: find Python and uv, and make .venv from uv.lock.
# Source this file. It works with bash 3.2 (macOS) and needs only Python 3.11 to 3.15 with venv.
# It changes the current folder to the repository: relative paths in arguments start there.

UV_PIN=0.13.8 # the version that wrote uv.lock; a newer uv on the PATH is used as well

unset CDPATH VIRTUAL_ENV
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root" || exit
{ true <&0; } 2>/dev/null || exec </dev/null # if stdin is closed, the next opened file would become stdin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$*"
  exit 2
}

# make_environment run|dev|bench: install uv.lock into .venv, without the dev group, with it, or also
# with the group bench. A stamp file per group records the inputs of the last installation. While the
# inputs do not change, this function only computes one checksum.
make_environment() {
  local group=$1 inputs stamp python needs=sys
  inputs="$root ${HUB_PYTHON:-} $(cksum {.,clients/python}/pyproject.toml uv.lock \
    hub/__init__.py clients/python/hub_client/__init__.py)"
  for stamp in .venv/.synced-{bench,dev,run}; do
    case $group$stamp in # dev includes run, and bench includes dev
      run* | dev*-dev | *-bench) ;;
      *) continue ;;
    esac
    [[ -x .venv/bin/python && -x .venv/bin/hub && -f $stamp ]] || continue
    [[ $(<"$stamp") != "$inputs" ]] || return 0
  done

  find_uv || needs='ensurepip, venv'
  python=$(find_python "$needs") || die "no suitable Python${HUB_PYTHON:+ (HUB_PYTHON=$HUB_PYTHON)}:" \
    "the hub needs Python 3.11 to 3.15 with venv and pip (Debian and Ubuntu:" \
    "apt-get install python3-venv). HUB_PYTHON=/path/to/python selects another one."
  [[ -n $uv ]] || install_uv "$python"
  remove_moved_venv
  prepare_uv

  say "making .venv with $python"
  local options=(--quiet --locked --compile-bytecode --python "$python" --project "$root")
  case $group in
    run) options+=(--no-dev --inexact) ;; # inexact: keep the packages that scripts/test installed
    bench) options+=(--group bench) ;;
  esac
  rm -f .venv/.synced-*
  UV_PROJECT_ENVIRONMENT="$root/.venv" "$uv" sync "${options[@]}" >&2 ||
    die "uv sync failed; see the output above."
  printf '%s\n' "$inputs" >".venv/.synced-$group"
}

# find_python MODULES: print the path of an interpreter with a supported version and these modules.
# Each candidate is executed, because pyenv has shims for versions that are not installed. An existing
# .venv keeps its interpreter.
find_python() {
  local candidate candidates=(.venv/bin/python python3.{13,14,15,12,11} python3 python)
  [[ -z ${HUB_PYTHON:-} ]] || candidates=("$HUB_PYTHON")
  for candidate in "${candidates[@]}"; do
    "$candidate" -c "
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 15):
    sys.exit(1)
import $1
print(getattr(sys, '_base_executable', sys.executable))
" 2>/dev/null && return
  done
  return 1
}

# find_uv: set $uv to a uv that runs and is not older than $UV_PIN; otherwise clear it and return 1.
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

# install_uv PYTHON: install uv and set $uv. The installation is made in a temporary folder and then
# moved, so that .cache/uv is never incomplete.
install_uv() {
  local fresh="$root/.cache/uv-$$"
  say "installing uv $UV_PIN into .cache/uv"
  if ! { "$1" -m venv "$fresh" && "$fresh/bin/python" -m pip install --quiet "uv==$UV_PIN"; } >&2; then
    rm -rf -- "$fresh"
    die "could not install uv with '$1 -m venv' and pip; see the output above."
  fi
  rm -rf -- "$root/.cache/uv"
  mv -- "$fresh" "$root/.cache/uv"
  uv="$root/.cache/uv/bin/uv"
}

# The scripts in .venv/bin contain the absolute path of .venv, so a copied or moved .venv does not work.
remove_moved_venv() {
  local installed=(.venv/lib/python3*/site-packages/_editable_impl_ssehub.pth)
  if [[ -f ${installed[0]} ]] && ! grep -qxF -- "$root" "${installed[@]}"; then
    say "removing .venv: it was made for another folder"
    rm -rf .venv
  fi
}

# Set two variables for uv: a writable cache folder (HOME may be read-only), and the use of the
# system's certificates. pip uses them by default, uv does not, and only they contain the certificate
# of a company's proxy.
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
