#!/usr/bin/env bash
# Make the environment in .venv, or bring it up to date:   scripts/setup.sh demo|dev|ray
#
#   demo   the core, local agents, evaluation and the gateway: all that `make demo` and `make serve` need
#   dev    the same, training, the bench, capacity planning, tests, checks and docs
#   ray    the same in .venv-ray, with Ray: half a gigabyte that only `make test-ray` needs
#
# Done once: a stamp holds a checksum of everything the environment depends on, and a second run only compares it.
# Two runs at once: the second waits for the lock, then finds the work done.
# Interrupted: the marker .unfinished stays behind, and the next run starts from nothing.
# PYTHON=/path/to/python chooses the interpreter of a new environment.
set -euo pipefail
cd "$(dirname "$0")/.."

level=${1:-dev}
case $level in
demo) extras=local,eval,gateway ;;
dev) extras=local,eval,train,bench,gateway,plan,postgres,otel,dev ;;
ray) extras=local,eval,train,bench,gateway,plan,postgres,otel,dev,ray ;;
*)
    echo "setup: unknown level '$level'; known: demo, dev, ray" >&2
    exit 2
    ;;
esac

home=.venv
[ "$level" = ray ] && home=.venv-ray

say() { echo "setup: $*" >&2; }

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

complete() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Print the first usable interpreter. `python3` may be a shim that is there but does not run, so each one is tried.
find_python() {
    local candidate found=
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
        recent "$candidate" || continue
        found=${found:-$candidate}
        if complete "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if [ -n "$found" ]; then
        say "'$found' cannot make virtual environments: its modules venv and ensurepip are missing."
        say "hint: on Debian or Ubuntu install python3-venv, then run this again"
    elif [ -n "${PYTHON:-}" ]; then
        say "PYTHON='$PYTHON' is not a Python 3.11 or newer."
        say "hint: name another one, for example: make setup PYTHON=/usr/bin/python3.12"
    else
        say "no Python 3.11 or newer found (tried python3, python3.11, python3.12, python3.13, python)."
        say "hint: install one, or name it: make setup PYTHON=/path/to/python"
    fi
    return 1
}

# -I: neither PYTHONPATH nor a user's own packages leak in. -qq: errors only. No user scheme inside an environment.
# A pip that fails by itself undoes its work, so the environment stays; one that is interrupted may leave halves.
pip_install() {
    PIP_USER=0 $home/bin/python -I -m pip install -qq --no-input --disable-pip-version-check "$@" && return
    [ -z "$interrupted" ] || exit 130
    rm $home/.unfinished
    say "pip could not install: $* (its message stands above)"
    say "hint: check that the package index can be reached, then run this again"
    exit 1
}
interrupted=
trap 'interrupted=yes' INT TERM

key="$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum) $PWD"

ready() {
    local stamp
    [ -x $home/bin/disrouter ] && [ ! -e $home/.unfinished ] || return 1
    for stamp in "$@"; do
        [ "$(cat "$home/.ready-$stamp" 2>/dev/null)" = "$key" ] && return 0
    done
    return 1
}

wanted=("$level")
[ "$level" = demo ] && wanted+=(dev) # dev holds everything that demo needs
ready "${wanted[@]}" && exit 0

# The lock lives as long as this process; where flock is missing (macOS), do not start two at once.
exec 9<pyproject.toml
if command -v flock >/dev/null; then
    flock --nonblock 9 || { say "another set-up is running; waiting for it" && flock 9; }
fi
ready "${wanted[@]}" && exit 0

if [ -e $home/.unfinished ]; then
    say "the last set-up was interrupted; starting again"
    rm -rf $home
elif [ -d $home ] && ! { recent $home/bin/python && $home/bin/python -I -m pip --version >/dev/null 2>&1; }; then
    say "the environment in $home does not work; making it anew"
    rm -rf $home
elif [ -d $home ] && [ "$(cat $home/.path 2>/dev/null || echo "$PWD")" != "$PWD" ]; then
    say "the environment in $home was made in another folder; making it anew"
    rm -rf $home
fi

if [ ! -d $home ]; then
    python=$(find_python)
    mkdir $home
    touch $home/.unfinished
    say "making $home with $("$python" -V)"
    "$python" -m venv $home
fi
touch $home/.unfinished
rm -f $home/.ready-*
pwd >$home/.path

# PyTorch first and alone: its builds (CPU, CUDA) differ by package index, and nothing else may choose for it.
if ! $home/bin/python -I -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").split("+")[0] != "2.13.0")' 2>/dev/null; then
    say "installing PyTorch (the largest part, a minute or two)"
    pip_install torch==2.13.0
fi
say "installing disrouter[$extras]"
pip_install --constraint constraints.txt --editable ".[$extras]"

echo "$key" >"$home/.ready-$level"
rm $home/.unfinished
say "ready: $home ($($home/bin/python -V))"
