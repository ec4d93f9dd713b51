#!/usr/bin/env bash
# Kafka's own console tools read our records, and what they dumped, piped back, is a replay:
# the receiver gets the same webhook-id again. On the embedded broker and on a real Kafka.
# Also: a record that nobody can read ends on events.dlq with its cause.
#
# `cargo xtask test` runs this. By hand it wants TRIGGERLINE_BIN, TRIGGERLINE_TEST_KAFKA and
# TRIGGERLINE_TEST_KAFKA_TOOLS (see target/services.env), and curl, java and perl.
set -euo pipefail

: "${TRIGGERLINE_BIN:?the binary under test}" "${TRIGGERLINE_TEST_KAFKA:?host:port}"
: "${TRIGGERLINE_TEST_KAFKA_TOOLS:?the folder with Kafka\'s jars}"

world=$(mktemp -d -t triggerline-console-XXXXXX)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$world"
}
trap finish EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 20 "$world"/*.log >&2 || true
    exit 1
}

# Waits until a command succeeds; says which one didn't.
until_ok() {
    local what=$1 tries=0
    shift
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "waited 60 s for $what"
        sleep 0.1
    done
}

tool() {
    local class=$1
    shift
    java -Xmx128m -cp "$TRIGGERLINE_TEST_KAFKA_TOOLS/*" "$class" "$@" 2>>"$world/tools.log"
}

# One record of a topic, as `headers<TAB>key<TAB>value`.
dump() {
    tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$1" --topic "$2" \
        --from-beginning --max-messages 1 --timeout-ms 60000 \
        --property print.headers=true --property print.key=true
}

# The other way round.
pipe_back() {
    tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$1" --topic "$2" \
        --property parse.headers=true --property parse.key=true
}

# A receiver that answers 200 and writes down each webhook-id.
cat >"$world/receiver.pl" <<'PERL'
use strict; use warnings; use IO::Socket::INET;
my ($port_file, $ids_file) = @ARGV;
my $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die;
open(my $port, '>', "$port_file.new") or die; print $port $listener->sockport; close $port;
rename "$port_file.new", $port_file;
open(my $ids, '>>', $ids_file) or die; $ids->autoflush(1);
while (my $client = $listener->accept) {
    my ($length, $id) = (0, '');
    while (my $line = <$client>) {
        $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
        $id = $1 if $line =~ /^webhook-id:\s*(\S+)/i;
        last if $line =~ /^\r?\n$/;
    }
    read($client, my $body, $length) if $length;
    print $ids "$id\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    close $client;
}
PERL

count_ids() { [ -f "$world/$1.ids" ] && [ "$(wc -l <"$world/$1.ids")" -ge "$2" ]; }

# round NAME ARGUMENTS…: the whole story, on the Kafka that these arguments of `dev` give.
round() {
    local name=$1 data="$world/$1"
    shift
    perl "$world/receiver.pl" "$world/$name.port" "$world/$name.ids" &
    pids+=($!)
    until_ok "the receiver" test -f "$world/$name.port"

    TRIGGERLINE_LOG__FORMAT=json "$TRIGGERLINE_BIN" dev --data "$data" --http 127.0.0.1:0 \
        --grpc 127.0.0.1:0 --admin 127.0.0.1:0 "$@" >/dev/null 2>"$world/$name.log" &
    local dev=$!
    pids+=("$dev")
    until_ok "triggerline dev" grep -qs '"message":"serving"' "$world/$name.log"
    field() { sed -n "s/.*\"message\":\"serving\".*\"$1\":\"\([^\"]*\)\".*/\1/p" "$world/$name.log"; }
    local http kafka key
    http=$(field http) kafka=$(field kafka) key=$(cat "$data/api-key")

    call() { curl -sf "http://$http$1" -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "${@:2}"; }
    call /v1/subscriptions -o /dev/null -d "{\"workflow_id\":\"w\",\"delivery\":{\"url\":\"http://127.0.0.1:$(cat "$world/$name.port")/\"}}"
    # A new subscription is matched within a second: post until one arrives.
    post_until_arrived() {
        call /v1/events -o /dev/null -d '{"event_type":"order.created","source":"shop","payload":{"total":120,"note":"für Zoë"}}' || return 1
        for _ in 1 2 3 4 5; do count_ids "$name" 1 && return 0; sleep 0.1; done
        return 1
    }
    until_ok "the first webhook" post_until_arrived

    local record first
    record=$(dump "$kafka" "${prefix}deliveries")
    for header in ce_specversion:1.0 ce_type:order.created ce_source:shop content-type:application/json tl_attempt:1; do
        [[ $record == *"$header"* ]] || fail "$name: no $header in: $record"
    done
    [[ $record == *$'\t{"total":120,"note":"für Zoë"}' ]] || fail "$name: the payload was changed: $record"
    first=$(sed 's/.*tl_delivery_id:\([^,]*\),.*/\1/' <<<"$record")
    grep -q "^$first\$" "$world/$name.ids" || fail "$name: nobody received $first"

    # A delivery's record piped back is that delivery again; an event's, all of its deliveries.
    replayed() { [ "$(grep -c "^$first\$" "$world/$name.ids")" -ge "$1" ]; }
    pipe_back "$kafka" "${prefix}deliveries" <<<"$record"
    until_ok "the replay of $first" replayed 2
    local event
    event=$(tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$kafka" \
        --topic "${prefix}events" --from-beginning --timeout-ms 8000 --property print.headers=true \
        --property print.key=true | grep "$(sed 's/.*ce_id:\([^,]*\),.*/\1/' <<<"$record")")
    pipe_back "$kafka" "${prefix}events" <<<"$event"
    until_ok "the replay of the event of $first" replayed 3

    # Not a record of ours.
    printf 'ce_id:17\tkey\tnot json\n' | pipe_back "$kafka" "${prefix}events"
    local dead
    dead=$(dump "$kafka" "${prefix}events.dlq")
    [[ $dead == *"tl_dead_letter_reason:header ce_type is missing"* ]] || fail "$name: no cause in: $dead"
    [[ $dead == *"tl_source_topic:${prefix}events"* ]] || fail "$name: no origin in: $dead"
    [[ $dead == *$'\tkey\tnot json' ]] || fail "$name: the record was changed: $dead"

    kill "$dev"
    wait "$dev" || fail "$name: triggerline dev ended with $?"
    echo "$name: read, replayed and buried as it should be"
}

prefix=triggerline.
round embedded --kafka-listen 127.0.0.1:0
prefix="console-$$-$RANDOM."
export TRIGGERLINE_KAFKA__PREFIX=$prefix
round kafka --kafka "$TRIGGERLINE_TEST_KAFKA"
