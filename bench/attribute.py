#!/usr/bin/env python3
"""Says where a gateway's processor time goes: `perf script | bench/attribute.py`.

A sample of a worker thread counts for the innermost of these that is on its stack; other threads
count by their name. So "axum, tower" is what they do themselves, not what they call.
"""

import collections
import re
import sys

WORKER = "tokio-rt-worker"
PARTS = [
    ("allocator", r"^_?mi_|^malloc|^free|^calloc|^realloc|__rust_alloc"),
    ("writing answers (writev)", r"writev"),
    ("reading requests (recv)", r"recv"),
    ("waiting for sockets (epoll)", r"epoll_wait"),
    ("parking threads (futex)", r"park_condvar|futex_wait"),
    ("waking tasks and threads", r"Waker::wake|unpark|futex_wake|notify"),
    ("librdkafka: handing over a record", r"rd_kafka_|rdkafka::"),
    ("Kafka record: encoding", r"wire::event"),
    ("our producer", r"triggerline_kafka|Publisher::start"),
    ("key and limit", r"Asking::identify|auth::|limits::"),
    ("JSON and admission", r"from_json|Draft::admit|json::"),
    ("accept.rs", r"accept::|schemas::"),
    ("reading the body", r"http::body::"),
    ("handler", r"events::publish"),
    ("around the handler (layer.rs)", r"layer::"),
    ("axum, tower", r"axum|tower"),
    ("server.rs", r"triggerline_gateway::server"),
    ("hyper", r"hyper"),
    ("tokio", r"tokio"),
]
PARTS = [(name, re.compile(pattern)) for name, pattern in PARTS]
THREADS = {"rdk:broker": "librdkafka: broker threads", "producer": "our producer: reports"}


def part(thread, stack):
    if thread != WORKER:
        return next((name for start, name in THREADS.items() if thread.startswith(start)), f"thread {thread}")
    for frame in stack:
        for name, pattern in PARTS:
            if pattern.search(frame):
                return name
    return "other"


def samples(lines):
    thread, stack = None, []
    for line in lines:
        if not line.strip():
            if thread and stack:
                yield thread, stack
            thread, stack = None, []
        elif not line[0].isspace():
            thread = re.match(r"(.+?)\s+\d+", line).group(1).strip()
        elif found := re.match(r"\s+[0-9a-f]+ (.+?)(\+0x[0-9a-f]+)? \(", line):
            stack.append(found.group(1))
    if thread and stack:
        yield thread, stack


def main():
    counted = collections.Counter(part(*sample) for sample in samples(sys.stdin))
    for name, count in counted.most_common():
        print(f"{100 * count / counted.total():5.1f} %  {name}")


main()
