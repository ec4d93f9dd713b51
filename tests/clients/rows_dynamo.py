"""The table of an inbox in DynamoDB, read with boto3 as docs/storage.md describes it."""

import os
import uuid

import boto3
import zstandard
from boto3.dynamodb.conditions import Key

import rows
from said import equal, true

# As whom, and where, Triggerline asks DynamoDB Local, which keeps what is another's or elsewhere apart.
LOCAL = {"aws_access_key_id": "triggerline", "aws_secret_access_key": "triggerline", "region_name": "us-east-1"}


class Reader:
    def __init__(self):
        service = boto3.resource("dynamodb", endpoint_url=os.environ["TL_DYNAMO_ENDPOINT"], **LOCAL)
        self.table = service.Table(os.environ["TL_DYNAMO_TABLE"])
        # The customer is the one who has events: there is no other in this table.
        (self.customer,) = {item["customer_id"] for item in pages(self.table.scan, ProjectionExpression="customer_id")}
        # The ways in which payloads were found.
        self.forms = set()

    def items(self, beginning):
        """What has a name that begins so, by what follows in it."""
        condition = Key("customer_id").eq(self.customer) & Key("event_id").begins_with(beginning)
        found = pages(self.table.query, KeyConditionExpression=condition, ConsistentRead=True)
        return {item["event_id"].removeprefix(beginning): item for item in found}

    def event(self, event_id):
        items = self.items(f"{event_id}#")
        self.expire_as_one(event_id, items.values())
        owed = {name.split(" ")[1]: item for name, item in items.items() if name.startswith("owed ")}
        event = rows.Event(items["event"]["event_type"], self.payload(items), "matched" in items or bool(owed))
        for subscription, item in owed.items():
            event.owed[item["delivery_id"]] = (subscription, item["workflow_id"])
        for name, item in items.items():
            if name.startswith("attempt "):
                _, _subscription, started, number = name.split(" ")
                status = item.get("response_status")
                event.attempts.append(rows.Attempt(item["delivery_id"], int(started), int(number), item["outcome"], status and int(status)))
        return event

    def payload(self, items):
        parts = int(items["event"].get("parts", 1))
        named = ["event"] + [f"event part {part:02}" for part in range(2, parts + 1)]
        equal("the parts of a payload", sorted(name for name in items if name.startswith("event")), sorted(named))
        self.forms.add("in parts" if parts > 1 else "in one")
        return b"".join(self.part(items[name]) for name in named)

    def part(self, item):
        if "payload" in item:
            self.forms.add("as it is")
            return item["payload"].value
        self.forms.add("compressed")
        return zstandard.ZstdDecompressor().decompress(item["payload_zstd"].value)

    def expire_as_one(self, event_id, items):
        """All that is about an event goes at once, counted from when it was received."""
        received = (uuid.UUID(event_id).int >> 80) // 1000
        for item in items:
            kept = int(item["expires_at"]) - received
            true(f"{item['event_id']} is kept for 30 days (inbox.retention)", 0 <= kept - 30 * 86_400 <= 1, kept)

    def listed(self, name):
        return set(self.items(f"~{name}#"))

    def dead(self, name):
        return {rest.split("#")[1]: item["event"] for rest, item in self.items(f"~{name}#").items()}


def pages(ask, **what):
    """The items of all pages of an answer."""
    while True:
        page = ask(**what)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        what["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def main():
    readers = []

    def connect():
        readers.append(Reader())
        return readers[0]

    judged = rows.judge(connect)
    (reader,) = readers
    # Or else something in here was never tried.
    equal("ways in which payloads are kept", reader.forms, {"in one", "in parts", "as it is", "compressed"})
    reader.table.delete()
    print(f"rows in DynamoDB: {judged}")


main()
