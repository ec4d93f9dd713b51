#!/usr/bin/env bash
# The gateway, asked by other people's clients: gRPC by reflection, CloudEvents by CNCF's packages,
# RateLimit fields by a parser of structured fields, the OpenAPI document by Redocly and Schemathesis. And its
# webhooks, verified by other people's receivers: standardwebhooks (PyPI, npm) and svix (npm). And the
# rows of an inbox, read in Cassandra by DataStax's driver and in DynamoDB by boto3.
#
# `cargo xtask test` runs this. By hand it wants TRIGGERLINE_BIN, TRIGGERLINE_TEST_REDIS, TRIGGERLINE_TEST_CASSANDRA
# and TRIGGERLINE_TEST_DYNAMODB (see target/services.env), Python 3.11 with venv, Node 20 with npm, and cmp. The clients are pinned in
# tests/clients and installed once, into the cache (TRIGGERLINE_CACHE). `tests/api.sh grpc fuzz`
# runs only these parts.
set -euo pipefail

: "${TRIGGERLINE_BIN:?the binary under test}" "${TRIGGERLINE_TEST_REDIS:?redis://host:port}"
: "${TRIGGERLINE_TEST_CASSANDRA:?host:port}" "${TRIGGERLINE_TEST_DYNAMODB:?http://host:port}"
[ $# -gt 0 ] || set -- grpc connections cloudevents webhooks rate lint shapes rows fuzz

here=$(cd "$(dirname "$0")" && pwd)
clients=$here/clients
world=$(mktemp -d -t triggerline-api-XXXXXX)
dev= rows= part=
finish() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -s "$world/dev.log" ]; then
        echo "tests/api.sh failed${part:+ in part $part}. What the gateway said last:" >&2
        { grep -v '"target":"access"' "$world/dev.log" || true; } | tail -n 20 >&2
    fi
    [ -z "$dev$rows" ] || kill $dev $rows 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$world"
}
trap finish EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

. "$clients/installed.sh"
install_clients() {
    python3 -m venv "$1/python"
    "$1/python/bin/pip" install --quiet --no-deps --disable-pip-version-check -r "$clients/requirements.txt"
    "$1/python/bin/pip" check --quiet --disable-pip-version-check
    npm_packages "$clients" "$1"
}
install_once clients install_clients "$clients/requirements.txt" "$clients/package.json" "$clients/package-lock.json"
python=$installed/python/bin/python

cd "$world" # what a client writes without being asked lands here
export PYTHONDONTWRITEBYTECODE=1 NO_COLOR=1 REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
# None of the clients may go through a proxy to reach this machine.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

# start NAME OPTION…: a `triggerline dev` with data and log of its own; $! is its process.
start() {
    local name=$1
    shift
    TRIGGERLINE_LOG__FORMAT=json "$TRIGGERLINE_BIN" dev --data "$world/$name" --http 127.0.0.1:0 --grpc 127.0.0.1:0 \
        --admin 127.0.0.1:0 --kafka-listen 127.0.0.1:0 "$@" >/dev/null 2>"$world/$name.log" &
}
# serves NAME PROCESS
serves() {
    local tries=0
    until grep -qs '"message":"serving"' "$world/$1.log"; do
        kill -0 "$2" 2>/dev/null || fail "triggerline dev ended: $(tail -n 1 "$world/$1.log")"
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "waited 60 s for triggerline dev"
        sleep 0.1
    done
}
# field NAME MEMBER: of the line that says where it serves.
field() { sed -n "s/.*\"message\":\"serving\".*\"$2\":\"\([^\"]*\)\".*/\1/p" "$world/$1.log"; }

start dev --redis "$TRIGGERLINE_TEST_REDIS"
dev=$!
serves dev "$dev"
TL_HTTP=$(field dev http) TL_GRPC=$(field dev grpc) TL_KEY=$(cat "$world/dev/api-key")
export TL_HTTP TL_GRPC TL_KEY

export TRIGGERLINE_CONTROL__URL=sqlite:$world/dev/control.db
TRIGGERLINE_CONTROL__PEPPER=$(cat "$world/dev/pepper")
export TRIGGERLINE_CONTROL__PEPPER
customer() { "$TRIGGERLINE_BIN" customers create --output json "$@" 2>>"$world/dev.log"; }
key() { "$TRIGGERLINE_BIN" keys create --output json "$@" 2>>"$world/dev.log"; }
# member NAME: of the JSON object that comes in.
member() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# All that there are.
SCOPES=admin,events:write,events:read,subscriptions:read,subscriptions:write
SCOPES+=,schemas:read,schemas:write,keys:read,keys:write,audit:read

part_grpc() {
    local id
    id=$(customer grpc | member customer_id)
    TL_READING_KEY=$(key --customer "$id" --name reads --scope events:read | member api_key)
    TL_TWO_A_MINUTE_KEY=$(key --customer "$id" --name two --rate-limit 2/1m | member api_key)
    TL_OTHERS_KEY=$(key --customer "$id" --name others | member api_key)
    export TL_READING_KEY TL_TWO_A_MINUTE_KEY TL_OTHERS_KEY
    "$python" "$clients/grpc_client.py"
}

part_connections() {
    "$python" "$clients/connections.py"
}

part_cloudevents() {
    "$python" "$clients/cloud_events.py"
    # Where an import is looked for depends on where the file is.
    cp "$clients/cloud_events.mjs" "$world/"
    ln -sfn "$installed/node_modules" "$world/node_modules"
    node "$world/cloud_events.mjs"
}

part_webhooks() {
    cp "$clients/webhook_receiver.mjs" "$world/"
    ln -sfn "$installed/node_modules" "$world/node_modules"
    TL_CLIENTS=$clients TL_WORLD=$world "$python" "$clients/webhooks.py"
}

part_rate() {
    local id made
    made=$(customer limited --rate-limit 20/1m)
    id=$(member customer_id <<<"$made")
    TL_LIMITED_KEY=$(member api_key <<<"$made")
    TL_LIMITED_KEY_2=$(key --customer "$id" --name other | member api_key)
    TL_SHORT_KEY=$(key --customer "$id" --name short --rate-limit 3/2s | member api_key)
    export TL_LIMITED_KEY TL_LIMITED_KEY_2 TL_SHORT_KEY
    "$python" "$clients/rate_limit.py"
}

part_lint() {
    TL_REDOCLY=$installed/node_modules/.bin/redocly "$python" "$clients/lint.py"
}

part_shapes() {
    local id
    id=$(customer shapes | member customer_id)
    TL_ADMIN_KEY=$(key --customer "$id" --name shapes --scope "$SCOPES" | member api_key)
    export TL_ADMIN_KEY
    "$python" "$clients/shapes.py"
}

part_fuzz() {
    local id made
    id=$(customer fuzzed | member customer_id)
    # Its own limit, because the run may change its customer's.
    made=$(key --customer "$id" --name fuzzer --scope "$SCOPES" --rate-limit 10000/1s)
    TL_CUSTOMER_ID=$id TL_KEY=$(member api_key <<<"$made") TL_KEY_ID=$(member key_id <<<"$made") \
        "$python" "$clients/fuzz.py"
}

# rows_in NAME INBOX CLIENT: what the client reads of an inbox there; the rest is its environment.
rows_in() {
    # Its own control store and pepper: those of the other stand in the environment.
    (
        unset TRIGGERLINE_CONTROL__URL TRIGGERLINE_CONTROL__PEPPER
        start "$1" --inbox "$2"
        echo $! >"$world/rows.pid"
    )
    rows=$(cat "$world/rows.pid")
    serves "$1" "$rows"
    TL_HTTP=$(field "$1" http) TL_KEY=$(cat "$world/$1/api-key") "$python" "$clients/$3"
    kill "$rows"
    rows=
}

part_rows() {
    local name=rows_$$_$RANDOM
    TL_CQL_KEYSPACE=$name TL_CQL_HOST=${TRIGGERLINE_TEST_CASSANDRA%:*} TL_CQL_PORT=${TRIGGERLINE_TEST_CASSANDRA##*:} \
        rows_in cassandra "cassandra://$TRIGGERLINE_TEST_CASSANDRA/$name?replication_factor=1" rows_cql.py
    TL_DYNAMO_TABLE=$name TL_DYNAMO_ENDPOINT=$TRIGGERLINE_TEST_DYNAMODB \
        rows_in dynamodb "dynamodb:$name?endpoint=$TRIGGERLINE_TEST_DYNAMODB" rows_dynamo.py
}

for part in "$@"; do
    begin=$SECONDS
    "part_$part" # not in a condition: `set -e` would not hold inside of it
    echo "$part: passed in $((SECONDS - begin)) s"
done

kill "$dev"
wait "$dev" || fail "triggerline dev ended with $?"
dev=
