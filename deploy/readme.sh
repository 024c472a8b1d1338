#!/usr/bin/env bash
# readme.sh: runs what the README says to try by hand, as a reader would.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf .build/dev; mkdir -p .build/dev
.build/meshd dev --state .build/dev/state.json --data .build/dev/data >.build/dev/log 2>&1 & dev=$!
trap 'kill $dev 2>/dev/null; wait $dev 2>/dev/null || true' EXIT
for _ in $(seq 100); do [ -s .build/dev/state.json ] && break; sleep 0.1; done
awk '/^## Try it by hand/{on=1} /^## /&&!/by hand/{on=0} on&&/^```/{code=!code; next} on&&code' README.md >.build/dev/readme.sh
[ "$(wc -l <.build/dev/readme.sh)" -ge 7 ]
bash -euo pipefail -x .build/dev/readme.sh
