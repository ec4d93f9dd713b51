#!/usr/bin/env bash
# `triggerline match` against AWS's event-ruler: what its README says, where we differ on purpose, and random pairs
# of an event pattern and an event, on which both must say the same.
#
# `cargo xtask test` runs this. By hand it wants TRIGGERLINE_BIN, Python 3.11, Java 17 and Maven. event-ruler is
# fetched once, into the cache (TRIGGERLINE_CACHE). TRIGGERLINE_TEST_SEED gives other pairs.
set -euo pipefail

: "${TRIGGERLINE_BIN:?the binary under test}"

here=$(cd "$(dirname "$0")" && pwd)
world=$(mktemp -d -t triggerline-ruler-XXXXXX)
trap 'rm -rf "$world"' EXIT

# Any number will do.
seed=${TRIGGERLINE_TEST_SEED:-9535}
pairs=6000
[ -z "${TRIGGERLINE_TEST_LONG:-}" ] || pairs=500000

class_path=$("$here/../bench/peer/ruler/install.sh")
export PYTHONDONTWRITEBYTECODE=1 PYTHONIOENCODING=utf-8
python3 "$here/clients/ruler_pairs.py" pairs "$seed" "$pairs" >"$world/pairs"
"$TRIGGERLINE_BIN" match <"$world/pairs" >"$world/ours"
# Each machine is used once: a compiler that takes its time would be most of the time.
theirs=(java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$class_path" Ruler decide)
"${theirs[@]}" <"$world/pairs" >"$world/theirs"
python3 "$here/clients/ruler_pairs.py" compare "$world"/{pairs,ours,theirs} "${theirs[@]}" || {
    echo "FAILED with seed $seed" >&2
    exit 1
}
