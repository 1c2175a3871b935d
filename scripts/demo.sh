#!/bin/sh
# Shows Braid between two sites on this machine. `--json`: the same as data.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh demo
exec bin/braid demo "$@"
