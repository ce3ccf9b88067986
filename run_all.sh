#!/usr/bin/env bash
# From a bare machine to the report. This script finds Python and installs the packages; `python -m pipeline` does the
# rest, and its options are in pipeline/options.py. Needs bash and Python >= 3.11, nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

PYTHONS=(python3.14 python3.13 python3.12 python3.11 python3 python) # the newest first
DETECTRON2='sal-detectron2==0.7.2 --hash=sha256:491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561'
MIN_FREE_GB=12

fail() {
    echo "error: $*" >&2
    exit 2
}

say() { echo "== $*" >&2; }

# given OPTION: was it on the command line?
given() { [[ " ${arguments[*]} " == *" $1 "* ]]; }

find_python() {
    if [[ ! $venv ]]; then
        python=$(command -v python || command -v python3) || fail "--no-venv: no python in this environment"
    elif [[ -x .venv/bin/python ]]; then
        python=.venv/bin/python
    else
        for python in "${PYTHONS[@]}"; do
            usable "$python" && return
        done
        fail "no Python >= 3.11 with venv found; install one (Debian, Ubuntu: apt-get install python3 python3-venv)"
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11"
}

# usable PYTHON: is it new enough, and can it make an environment? Debian's own cannot without the package python3-venv.
usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

setup() {
    if given --dry-run; then
        [[ ! $venv || -x .venv/bin/python ]] || echo "$python -m venv .venv"
        echo "$steps_python -m pip install uv"
        echo "$steps_python -m uv pip install --python $steps_python -e '.[$extras]'"
        echo "$steps_python -m compileall -q -j 0 -x /tests/ SITE-PACKAGES"
        echo "$steps_python -m pip install --no-deps ${DETECTRON2%% *}"
        echo "$steps_python -m catlip.words"
        return
    fi
    [[ ! $venv || -x .venv/bin/python ]] || make_venv
    local prefix mark want
    prefix=$("$python" -c 'import sys; print(sys.prefix)')
    mark=$prefix/.catlip-bench
    want=$(cat pyproject.toml <(echo "$DETECTRON2" "$PWD") | sha256sum)
    if [[ -f $mark && $(<"$mark") == "$want"*"${testing:+,dev}" ]]; then
        say "setup: unchanged, skipped"
    else
        say "setup: installing packages into $prefix (a minute or more, up to 8 GB)"
        install_packages
        echo "$want $extras" >"$mark"
    fi
    "$python" -m catlip.words
}

make_venv() {
    local free
    free=$(($(df -Pk . | awk 'NR==2 {print $4}') / 1000000))
    ((free >= MIN_FREE_GB)) || fail "$free GB are free here; the environment and what pip downloads for it need $MIN_FREE_GB GB"
    "$python" -m venv .venv || fail "'$python -m venv' failed (Debian, Ubuntu: apt-get install python3-venv)"
    python=.venv/bin/python
}

install_packages() {
    local log site
    log=$(mktemp -t catlip-bench-setup.XXXXXX) || fail "no temporary file can be made in ${TMPDIR:-/tmp}"
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    uv_install "$log" -e ".[$extras]" || pip_install "$log" -e ".[$extras]"
    # detectron2 is not on PyPI under its own name. This wheel's Python part runs on any Python; its compiled part is not needed.
    pip_install "$log" --no-deps --require-hashes --python-version 3.10 --implementation cp --abi none --platform any \
        --only-binary=:all: --upgrade --target "$site" -r <(echo "$DETECTRON2")
    rm -f "$log"
}

# A minute where pip takes five. It does not read pip's settings: where they name an index, pip installs.
uv_install() {
    local log=$1
    shift
    ! "$python" -m pip config list | grep -q index || return
    run_installer "$log" pip install --disable-pip-version-check uv &&
        run_installer "$log" uv pip install --python "$python" "$@" || return
    # uv would also compile the packages' own tests, a fifth of all; a few files are templates and no Python.
    run_installer "$log" compileall -q -j 0 -x '/tests/' "$site" || true
}

pip_install() {
    local log=$1
    shift
    run_installer "$log" pip install --disable-pip-version-check "$@" && return
    fail "pip could not install the packages: $(grep 'ERROR: ' "$log" | tail -1 | sed 's|.*ERROR: ||') (is this machine online? whole log: $log)"
}

run_installer() { # one line that keeps changing, or nothing
    local log=$1
    shift
    "$python" -m "$@" 2>&1 | tee -a "$log" | if given --quiet || [[ ! -t 2 ]]; then cat >/dev/null; else
        while IFS= read -r line; do printf '\r\033[K%.100s' "$line"; done
        printf '\r\033[K'
    fi >&2
}

run_tests() {
    local parallel=(--numprocesses auto --dist worksteal) types status=0
    if given --dry-run; then
        echo "$steps_python -m ruff check .; $steps_python -m ruff format --check .; $steps_python -m mypy"
        echo "$steps_python -m pytest ${parallel[*]}"
        return
    fi
    { "$python" -m ruff check . && "$python" -m ruff format --check .; } || return
    "$python" -m mypy & # beside the tests' start, most of which is on one core
    types=$!
    "$python" -m pytest "${parallel[@]}" || status=1
    wait "$types" || status=1
    return "$status"
}

testing='' extras=all venv=yes arguments=()
for argument in "$@"; do
    case $argument in
        test) testing=yes extras=all,dev ;;
        --no-venv) venv='' ;;
        *) arguments+=("$argument") ;;
    esac
done
find_python
steps_python=$python # what a dry run shows
[[ ! $venv ]] || steps_python=.venv/bin/python
if given --help || given -h; then exec "$python" -m pipeline --help; fi
stages=$("$python" -m pipeline --stages "${arguments[@]}")

if [[ $testing ]]; then
    setup
    run_tests
    exit
fi
if [[ " $stages " == *" setup "* ]]; then
    setup
elif [[ $venv && ! -x .venv/bin/python ]] && ! given --dry-run; then
    fail "there is no .venv yet; run ./run_all.sh --only setup first, or use --no-venv"
fi
[[ $stages == setup ]] || exec "$python" -m pipeline --python "$steps_python" "${arguments[@]}"
