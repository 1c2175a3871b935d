#!/bin/sh
# Measures Braid beside what else the machine can do. Arguments go to bench/main.ts.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh bench
exec node_modules/.bin/node bench/main.ts "$@"
