"""A gRPC client that has no .proto file: it learns all it says from the server's reflection.

Google's Python gRPC, its reflection client, its health stubs and its decoder of google.rpc details.
"""

import os
import uuid

import grpc
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_status import rpc_status

import said
from said import GRPC, KEY, equal, true

STREAMED = 400


class ReflectionV1:
    """The library speaks v1alpha only. v1 has the same messages under another name (grpc/proposal, A89)."""

    def __init__(self, channel):
        self.ServerReflectionInfo = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )


class Service:
    """The methods of a service, as its descriptor has them."""

    def __init__(self, channel, descriptor):
        for method in descriptor.methods:
            kind = ("stream" if method.client_streaming else "unary") + "_" + (
                "stream" if method.server_streaming else "unary"
            )
            call = getattr(channel, kind)(
                f"/{descriptor.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, call)


def with_key(key=KEY, *more):
    return (("authorization", f"Bearer {key}"), *more)


def refused(what, code, call):
    """The error that a call ends with, and its google.rpc details by their type."""
    try:
        answer = call()
    except grpc.RpcError as error:
        equal(f"{what}: code ({error.details()})", error.code(), code)
        return error, details(rpc_status.from_call(error))
    raise SystemExit(f"FAILED: {what}\n  expected: {code}\n  found:    {answer!r}")


def details(status):
    found = {}
    for one in status.details if status else ():
        name = one.type_url.rsplit(".", 1)[-1]
        message = getattr(error_details_pb2, name)()
        true(f"a detail unpacks as {name}", one.Unpack(message), one)
        found[name] = message
    return found


def reason(what, found, expected):
    true(f"{what}: has ErrorInfo", "ErrorInfo" in found, found)
    equal(f"{what}: reason", found["ErrorInfo"].reason, expected)


def subscriptions(channel, pool):
    """Made, changed and ended over gRPC, and the same over HTTP."""
    service = Service(channel, pool.FindServiceByName("triggerline.v1.Subscriptions"))
    message = lambda name: GetMessageClass(pool.FindMessageTypeByName(f"triggerline.v1.{name}"))
    ask = lambda name, **fields: getattr(service, name)(
        message(f"{name}Request")(**fields), metadata=with_key(), timeout=30
    )
    over_http = lambda one: said.ask(said.session(), "GET", f"/v1/subscriptions/{one.subscription_id}")

    delivery = {"url": "http://127.0.0.1:9/", "headers": {"X-Token": "hidden"}, "timeout_ms": 2000}
    delivery |= {"retry": {"schedule": ["1s", "1m"]}, "rate_limit": {"rate": "10/1s"}, "batch": {"max_events": 5}}
    selector = {"jsonpath": "$.total"}
    made = ask("CreateSubscription", workflow_id="w", event_types=["a.*"], selector=selector, delivery=delivery)
    true("the secret is shown once", made.secret.startswith("whsec_"), made)
    true("values of headers are not", "hidden" not in str(made) and list(made.header_names) == ["x-token"], made)
    shown = over_http(made)
    equal("the entity tag", shown.headers["ETag"], made.etag)
    equal("the selector over HTTP", shown.json()["selector"], selector)
    expected = {"url": delivery["url"], "header_names": ["x-token"], "timeout_ms": 2000}
    expected |= {"retry": delivery["retry"], "rate_limit": {"rate": "10/1s", "burst": 10}}
    expected |= {"batch": {"max_events": 5, "max_bytes": 1_000_000, "max_wait_ms": 1_000}}
    equal("the delivery over HTTP", shown.json()["delivery"], expected)

    mask = {"paths": ["selector", "delivery.headers", "delivery.retry"]}
    change = {"subscription_id": made.subscription_id, "delivery": {"headers": {"X-Other": "2"}}, "update_mask": mask}
    changed = ask("UpdateSubscription", etag=made.etag, **change)
    equal("the headers after an update", list(changed.header_names), ["x-other"])
    true("what the message has not is removed", not changed.HasField("selector") and not changed.delivery.HasField("retry"))
    equal("what the mask has not stays", (changed.workflow_id, changed.delivery.timeout_ms), ("w", 2000))
    _, found = refused(
        "a stale etag", grpc.StatusCode.FAILED_PRECONDITION, lambda: ask("UpdateSubscription", etag=made.etag, **change)
    )
    reason("a stale etag", found, "PRECONDITION_FAILED")
    wrong = {"url": delivery["url"], "headers": {"Host": "a"}}
    for place, fields in {
        "delivery.headers.Host": {"delivery": wrong},
        "delivery.retry.schedule.0": {"delivery": {"url": delivery["url"], "retry": {"schedule": ["25h"]}}},
        "delivery.url": {"delivery": {"url": "ftp://a/"}},
        "workflow_id": {"workflow_id": "", "delivery": delivery},
    }.items():
        _, found = refused(
            place, grpc.StatusCode.INVALID_ARGUMENT, lambda: ask("CreateSubscription", **({"workflow_id": "w"} | fields))
        )
        equal(f"{place}: the field", [one.field for one in found["BadRequest"].field_violations], [place])

    one = {"subscription_id": made.subscription_id}
    rotated = ask("RotateSubscriptionSecret", overlap_seconds=60, **one)
    true("a new secret", rotated.secret.startswith("whsec_") and rotated.secret != made.secret)
    equal("old ones that sign", len(rotated.old_secrets_until), 1)
    state = lambda view: pool.FindEnumTypeByName("triggerline.v1.SubscriptionState").values_by_number[view.state].name
    equal("paused", state(ask("PauseSubscription", **one)), "SUBSCRIPTION_STATE_PAUSED")
    equal("resumed", state(ask("ResumeSubscription", **one)), "SUBSCRIPTION_STATE_ACTIVE")
    got = ask("GetSubscription", **one)
    listed = ask("ListSubscriptions").subscriptions
    true("it is listed, as it is shown", [each for each in listed if each == got] and not got.secret, listed)
    other = ask("CreateSubscription", workflow_id="v", mode="DELIVERY_MODE_PULL")
    everything, pages, token = ask("ListSubscriptions", page_size=200), [], ""
    while token or not pages:
        page = ask("ListSubscriptions", page_size=1, page_token=token)
        pages, token = [*pages, *page.subscriptions], page.next_page_token
    equal("pages of one, together", pages, list(everything.subscriptions))
    true("there are several", len(pages) > 1, pages)
    # It wants every event, and nobody leases them.
    ask("DeleteSubscription", subscription_id=other.subscription_id)
    for field, fields in {"page_token": {"page_token": "x"}, "page_size": {"page_size": 201}}.items():
        _, found = refused(field, grpc.StatusCode.INVALID_ARGUMENT, lambda: ask("ListSubscriptions", **fields))
        equal(f"{field}: the field", [one.field for one in found["BadRequest"].field_violations], [field])

    # It is not there for anyone else, and not after it was deleted; who may only read events may not.
    others = (("authorization", f"Bearer {os.environ['TL_OTHERS_KEY']}"),)
    call = lambda: service.DeleteSubscription(message("DeleteSubscriptionRequest")(**one), metadata=others, timeout=30)
    refused("another customer's", grpc.StatusCode.NOT_FOUND, call)
    reading = (("authorization", f"Bearer {os.environ['TL_READING_KEY']}"),)
    call = lambda: service.ListSubscriptions(message("ListSubscriptionsRequest")(), metadata=reading, timeout=30)
    refused("without the scope", grpc.StatusCode.PERMISSION_DENIED, call)
    ask("DeleteSubscription", **one)
    refused("a deleted one", grpc.StatusCode.NOT_FOUND, lambda: ask("GetSubscription", **one))
    print("grpc: Subscriptions: made, listed in pages, changed by mask and etag, rotated, paused, resumed, deleted; as over HTTP")


def main():
    channel = grpc.insecure_channel(GRPC)
    grpc.channel_ready_future(channel).result(timeout=30)

    # Reflection: the same by both of its names.
    described = {}
    for version in ("v1alpha", "v1"):
        database = ProtoReflectionDescriptorDatabase(channel)
        if version == "v1":
            database._stub = ReflectionV1(channel)
        names = set(database.get_services())
        ours = {f"triggerline.v1.{name}" for name in ("Events", "Inbox", "Subscriptions", "Pull", "Replays", "DeadLetters")}
        wanted = {*ours, "grpc.health.v1.Health"}
        true(f"{version}: lists {wanted}", wanted <= names, names)
        pool = DescriptorPool(database)
        events = pool.FindServiceByName("triggerline.v1.Events")
        equal(
            f"{version}: methods of Events",
            [(m.name, m.client_streaming, m.server_streaming) for m in events.methods],
            [("Publish", False, False), ("PublishBatch", False, False), ("PublishStream", True, True)],
        )
        true(f"{version}: Health has Check", pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Check"])
        for name in names:  # each that is listed can be found
            pool.FindServiceByName(name)
        described[version] = events.file.serialized_pb
    equal("v1 describes as v1alpha does", described["v1"], described["v1alpha"])
    print(f"grpc: reflection v1 and v1alpha agree on {', '.join(sorted(names))}")

    service = Service(channel, events)
    message = lambda name: GetMessageClass(pool.FindMessageTypeByName(f"triggerline.v1.{name}"))
    request, batch, item = message("PublishRequest"), message("PublishBatchRequest"), message("PublishStreamRequest")
    good = lambda n=0, **more: request(event_type="order.created", payload=b'{"total":%d}' % n, source="grpc", **more)

    # Publish, and what the inbox has of it.
    when = timestamp_pb2.Timestamp(seconds=1767225600, nanos=123_000_000)
    whole = good(subject="order 17 – Zoë")
    whole.occurred_at.seconds, whole.occurred_at.nanos = when.seconds, when.nanos
    answer = service.Publish(whole, metadata=with_key(), timeout=30)
    equal("the version of the event's id", uuid.UUID(answer.event_id).version, 7)
    true("received_at is set", answer.received_at.seconds > 1767225600, answer)
    equal("replayed", answer.replayed, False)
    event = said.stored(said.session(), answer.event_id)
    for field, expected in {
        "event_type": "order.created",
        "source": "grpc",
        "subject": "order 17 – Zoë",
        "occurred_at": "2026-01-01T00:00:00.123Z",
        "payload": {"total": 0},
    }.items():
        equal(f"the stored event's {field}", event[field], expected)

    # The same, read over gRPC.
    inbox = Service(channel, pool.FindServiceByName("triggerline.v1.Inbox"))
    asked = message("GetEventRequest")(event_id=answer.event_id)
    read = inbox.GetEvent(asked, metadata=with_key(), timeout=30)
    equal("the event over gRPC", (read.subject, read.payload), ("order 17 – Zoë", b'{"total":0}'))
    equal("when it occurred", read.occurred_at.ToJsonString(), when.ToJsonString())
    listed = inbox.ListEvents(
        message("ListEventsRequest")(event_type="order.created", to=read.received_at, page_size=1),
        metadata=with_key(),
        timeout=30,
    )
    true("`to` is exclusive", all(one.event_id != answer.event_id for one in listed.events), listed)
    asked = message("ListDeliveriesRequest")(event_id=answer.event_id)
    equal("nobody asked for it", len(inbox.ListDeliveries(asked, metadata=with_key(), timeout=30).deliveries), 0)
    _, call = service.Publish.with_call(good(), metadata=(("x-api-key", KEY),), timeout=30)
    metadata = dict([*call.initial_metadata(), *call.trailing_metadata()])
    for field in ("ratelimit-policy", "ratelimit"):
        said.unless_known(f"grpc: metadata {field}", lambda: true(f"the answer has {field}", field in metadata, metadata))
    print("grpc: Publish is stored as it was sent; authorization and x-api-key both open")

    subscriptions(channel, pool)

    # The key.
    for what, metadata in {
        "no key": (),
        "a wrong key": with_key("tl_dev_" + "0" * 39),
        "no Bearer": (("authorization", KEY),),
    }.items():
        _, found = refused(what, grpc.StatusCode.UNAUTHENTICATED, lambda: service.Publish(good(), metadata=metadata, timeout=30))
        reason(what, found, "UNAUTHORIZED")
    # Whatever there is, and whatever comes: but for health and reflection, nothing is open.
    for name in names - {"grpc.health.v1.Health"} - {name for name in names if name.startswith("grpc.reflection.")}:
        described = pool.FindServiceByName(name)
        calls = Service(channel, described)
        for method in described.methods:
            empty = GetMessageClass(method.input_type)()
            sent = iter([empty]) if method.client_streaming else empty

            def call(method=method, sent=sent, calls=calls):
                answer = getattr(calls, method.name)(sent, timeout=30)
                return list(answer) if method.server_streaming else answer

            refused(f"{method.full_name} without a key", grpc.StatusCode.UNAUTHENTICATED, call)
    _, found = refused(
        "a key that may only read",
        grpc.StatusCode.PERMISSION_DENIED,
        lambda: service.Publish(good(), metadata=with_key(os.environ["TL_READING_KEY"]), timeout=30),
    )
    reason("a key that may only read", found, "MISSING_SCOPE")

    # Fields that are wrong are named.
    for what, wrong, field, why in (
        ("an event type with a space", request(event_type="order created", payload=b"1"), "event_type", "INVALID_FIELD"),
        ("no event type", request(payload=b"1"), "event_type", "INVALID_FIELD"),
        ("a payload that isn't JSON", request(event_type="a", payload=b"{"), "payload", "MALFORMED_BODY"),
        ("no payload", request(event_type="a"), "payload", "MALFORMED_BODY"),
        ("a long idempotency key", good(idempotency_key="x" * 256), "idempotency_key", "INVALID_PARAMETER"),
    ):
        error, found = refused(
            what, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.Publish(wrong, metadata=with_key(), timeout=30)
        )
        violations = found["BadRequest"].field_violations if "BadRequest" in found else []
        names = [violation.field for violation in violations]
        said.unless_known(f"grpc: BadRequest of {what}", lambda: equal(f"{what}: fields of BadRequest", names, [field]))
        true(f"{what}: is described", all(violation.description for violation in violations), found)
        true(f"{what}: the status has a message", error.details(), error)
        reason(what, found, why)
    print("grpc: UNAUTHENTICATED, PERMISSION_DENIED and INVALID_ARGUMENT carry ErrorInfo and BadRequest")

    # A batch: the bad one sinks nobody.
    many = batch(events=[good(1), request(event_type="not good", payload=b"2"), good(3)])
    results = service.PublishBatch(many, metadata=with_key(), timeout=30).results
    equal("results of a batch", [r.WhichOneof("result") for r in results], ["accepted", "error", "accepted"])
    status = status_pb2.Status.FromString(results[1].error.SerializeToString())
    equal("the bad one's code", status.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
    fields = [violation.field for violation in details(status)["BadRequest"].field_violations]
    true("the bad one's field is named", len(fields) == 1 and fields[0].endswith("event_type"), fields)
    true("the good ones have different ids", results[0].accepted.event_id != results[2].accepted.event_id, results)
    refused("no batch at all", grpc.StatusCode.INVALID_ARGUMENT, lambda: service.PublishBatch(batch(), metadata=with_key(), timeout=30))
    print("grpc: PublishBatch of 3 with a bad one: 2 accepted, 1 refused with its field")

    # A stream: every sequence is answered, once.
    def stream():
        for sequence in range(1, STREAMED + 1):
            event = request(event_type="bad type", payload=b"0") if sequence % 100 == 0 else good(sequence)
            yield item(sequence=sequence, event=event)

    accepted, failed = {}, {}
    for one in service.PublishStream(stream(), metadata=with_key(), timeout=60):
        true(f"sequence {one.sequence} is answered once", one.sequence not in accepted | failed, one)
        if one.WhichOneof("result") == "accepted":
            accepted[one.sequence] = one.accepted.event_id
        else:
            failed[one.sequence] = one.error.code
    refusable = list(range(100, STREAMED + 1, 100))
    equal("sequences that were refused", sorted(failed), refusable)
    equal("their codes", set(failed.values()), {grpc.StatusCode.INVALID_ARGUMENT.value[0]})
    equal("sequences that were answered", sorted(accepted | failed), list(range(1, STREAMED + 1)))
    equal("different ids", len(set(accepted.values())), STREAMED - len(refusable))
    equal("a stream of nothing", list(service.PublishStream(iter(()), metadata=with_key(), timeout=30)), [])
    refused("a stream without a key", grpc.StatusCode.UNAUTHENTICATED, lambda: list(service.PublishStream(stream(), timeout=30)))
    last = list(accepted)[-1]
    equal("one of the stream, stored", said.stored(said.session(), accepted[last])["payload"], {"total": last})
    print(f"grpc: PublishStream of {STREAMED}: each sequence answered once, {len(accepted)} accepted, {len(failed)} refused")

    # Idempotency, by the field and by metadata; the same key and another event.
    key = str(uuid.uuid4())
    first = service.Publish(good(7, idempotency_key=key), metadata=with_key(), timeout=30)
    again = service.Publish(good(7, idempotency_key=key), metadata=with_key(), timeout=30)
    third = service.Publish(good(7), metadata=with_key(KEY, ("idempotency-key", key)), timeout=30)
    equal("replayed", [first.replayed, again.replayed, third.replayed], [False, True, True])
    equal("the ids", {again.event_id, third.event_id}, {first.event_id})
    equal("received_at", again.received_at, first.received_at)
    _, found = refused(
        "the key with another event",
        grpc.StatusCode.FAILED_PRECONDITION,
        lambda: service.Publish(good(8, idempotency_key=key), metadata=with_key(), timeout=30),
    )
    reason("the key with another event", found, "IDEMPOTENCY_KEY_REUSED")
    keyed = batch(events=[good(1), good(2)], idempotency_key=str(uuid.uuid4()))
    first, again = (service.PublishBatch(keyed, metadata=with_key(), timeout=30).results for _ in range(2))
    equal("ids of a repeated batch", [r.accepted.event_id for r in again], [r.accepted.event_id for r in first])
    equal("replayed, of a repeated batch", [r.accepted.replayed for r in again], [True, True])
    print("grpc: idempotency keys replay, by field, by metadata and for a batch; reused: FAILED_PRECONDITION")

    # The limit of a key (2 in a minute).
    limited = with_key(os.environ["TL_TWO_A_MINUTE_KEY"])
    for n in range(2):
        service.Publish(good(n), metadata=limited, timeout=30)
    _, found = refused(
        "the third of two", grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: service.Publish(good(), metadata=limited, timeout=30)
    )
    reason("the third of two", found, "RATE_LIMITED")
    true("RetryInfo says when", found["RetryInfo"].retry_delay.seconds >= 1, found["RetryInfo"])
    true("QuotaFailure says what", found["QuotaFailure"].violations[0].description, found["QuotaFailure"])

    # Deadlines; what isn't there.
    refused("a deadline of 1 µs", grpc.StatusCode.DEADLINE_EXCEEDED, lambda: service.Publish(good(), metadata=with_key(), timeout=0.000001))
    unknown = channel.unary_unary("/triggerline.v1.Events/Nothing")
    refused("a method that isn't there", grpc.StatusCode.UNIMPLEMENTED, lambda: unknown(b"", metadata=with_key(), timeout=30))
    large = request(event_type="large", payload=b'"' + b"x" * 999_999 + b'"')
    _, found = refused(
        "a payload of 1,000,001 bytes",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        lambda: service.Publish(large, metadata=with_key(), timeout=30),
    )
    reason("a payload of 1,000,001 bytes", found, "TOO_LARGE")
    true("no RetryInfo: it never fits", "RetryInfo" not in found, found)
    large.payload = b'"' + b"x" * 999_998 + b'"'
    service.Publish(large, metadata=with_key(), timeout=30)
    print("grpc: RESOURCE_EXHAUSTED with RetryInfo and QuotaFailure, DEADLINE_EXCEEDED, UNIMPLEMENTED, 1,000,000 bytes")

    # Refused while megabytes are on their way: the client reads why, not that its stream broke.
    huge = batch(events=[request(event_type="large", payload=b'"' + b"x" * 900_000 + b'"')] * 8)
    for _ in range(20):
        _, found = refused(
            "a message of 7 MB",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            lambda: service.PublishBatch(huge, metadata=with_key(), timeout=30),
        )
        reason("a message of 7 MB", found, "TOO_LARGE")
        refused(
            "a message of 7 MB without a key",
            grpc.StatusCode.UNAUTHENTICATED,
            lambda: service.PublishBatch(huge, timeout=30),
        )
    # In a stream, where the client goes on sending.
    endless = iter(lambda: item(sequence=1, event=huge.events[0]), None)
    refused(
        "an endless stream without a key",
        grpc.StatusCode.UNAUTHENTICATED,
        lambda: list(service.PublishStream(endless, timeout=30)),
    )
    # What is no such message; what is compressed.
    raw = channel.unary_unary("/triggerline.v1.Events/Publish")
    refused(
        "bytes that are no message",
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda: raw(b"\x0a\x01\xff", metadata=with_key(), timeout=30),
    )
    refused(
        "a compressed message",
        grpc.StatusCode.UNIMPLEMENTED,
        lambda: service.Publish(good(), metadata=with_key(), timeout=30, compression=grpc.Compression.Gzip),
    )
    print("grpc: 7 MB, no key, no message, gzip: each is told what it is, while the client still sends")

    # Health: of the server, of the service, of one that isn't there.
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "triggerline.v1.Events"):
        status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status
        equal(f"Check of {name!r}", status, health_pb2.HealthCheckResponse.SERVING)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=30)
        equal(f"Watch of {name!r}", next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        watch.cancel()
    nobody = health_pb2.HealthCheckRequest(service="nobody")
    refused("Check of nobody", grpc.StatusCode.NOT_FOUND, lambda: health.Check(nobody, timeout=30))
    watch = health.Watch(nobody, timeout=30)
    equal("Watch of nobody", next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
    watch.cancel()
    channel.close()
    print("grpc: health: Check and Watch are SERVING, NOT_FOUND and SERVICE_UNKNOWN for nobody")


main()
