#!/bin/sh
# Lint, unit tests, end-to-end tests; the last line says `N passed, N failed`. Arguments are filters for vitest.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
exec node_modules/.bin/node scripts/test.ts "$@"
