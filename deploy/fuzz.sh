#!/usr/bin/env bash
# fuzz.sh DURATION: runs every fuzz target of every module, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' pkg services cli | sort | while read -r file; do
  dir=$(dirname "$file")
  grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
    echo "$dir $target"; go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x "./$dir" | tail -n 1
  done
done
