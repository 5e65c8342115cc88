#!/bin/sh
# Usage: make-venv.sh PYTHON DIRECTORY. Creates the virtual environment and installs the project with its tools.
set -eu
python=$1 directory=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Hermes needs Python 3.11 or later; '$python' is not. Try: make PYTHON=python3.11 …" >&2
    exit 1
fi

# Debian ships Python without ensurepip; its package is small, and root may install it.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv …" >&2
        { apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null
    else
        echo "This Python cannot make virtual environments. On Debian: sudo apt install python3-venv" >&2
        exit 1
    fi
fi

[ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
echo "Installing Hermes into $directory (once) …" >&2
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
