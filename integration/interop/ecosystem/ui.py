"""Kaskade, a user interface for Kafka, without a terminal: its keys are pressed, and what its tables show is compared with what is there.

    ui.py BROKERS QANAT

Ends with "N passed, N failed".
"""

import asyncio
import subprocess
import sys
import time

import confluent_kafka
from kaskade.admin import KaskadeAdmin
from kaskade.consumer import KaskadeConsumer
from kaskade.deserializers import Deserialization
from textual.widgets import DataTable, Input

brokers, qanat = sys.argv[1:3]
config = {"bootstrap.servers": brokers}
passed = failed = 0


def check(name, is_so, seen):
    global passed, failed
    if is_so:
        passed += 1
    else:
        failed += 1
        print(f"ui: {name} FAILED: {seen}", flush=True)


def run(*args):
    return subprocess.run([qanat, *args, "--brokers", brokers], capture_output=True, text=True, timeout=60, check=True).stdout


def produce(each):
    """So many records to each of the three partitions."""
    for p in range(3):
        records = "".join(f"{p}.{i}\n" for i in range(each))
        subprocess.run([qanat, "produce", "orders", "-p", str(p), "--brokers", brokers], input=records, text=True, capture_output=True, timeout=60, check=True)


def rows(app, table):
    """What a table of the screen on top shows, row by row, as text."""
    found = app.screen.query(f"#{table}")
    if not found:
        return []
    t = found.first(DataTable)
    return [[str(cell) for cell in t.get_row(key)] for key in t.rows]


async def within(pilot, name, get, is_so, seconds=30):
    """What the interface shows as soon as it is so."""
    until = time.monotonic() + seconds
    while True:
        await pilot.pause(0.1)
        seen = get()
        if is_so(seen) or time.monotonic() > until:
            break
    check(name, is_so(seen), seen)
    return seen


def topic(app, name):
    return next((row[1:] for row in rows(app, "topics-table") if row[0] == name), None)


async def press(pilot, app, *keys):
    """Keys go to what has the focus, which the table loses while it loads."""
    if app.focused is None:
        await pilot.press("tab")
    await pilot.press(*keys)


async def only(pilot, app, name):
    """Has the list show one topic, which then is the one that keys are about."""
    await press(pilot, app, "slash")
    await within(pilot, f"filter-{name}", lambda: len(app.screen.query("#topic-filter")), lambda n: n == 1)
    await pilot.press(*name, "enter")
    await within(pilot, f"filtered-{name}", lambda: [r[0] for r in rows(app, "topics-table")], lambda r: r == [name])


async def admin():
    produce(300)
    first = confluent_kafka.Consumer({**config, "group.id": "first"})
    first.commit(offsets=[confluent_kafka.TopicPartition("orders", p, 100) for p in range(3)], asynchronous=False)
    first.close()
    member = confluent_kafka.Consumer({**config, "group.id": "second", "group.protocol": "consumer", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    member.subscribe(["orders"])
    read = 0
    while read < 900:
        read += len(member.consume(900, 1))
    member.commit(asynchronous=False)

    app = KaskadeAdmin(config, refresh_interval=0)
    async with app.run_test(size=(180, 50)) as pilot:
        # Partitions, replicas, in sync, groups, members, records, lag.
        await within(pilot, "lists-topics", lambda: topic(app, "orders"), lambda r: r == ["3", "1", "1", "2", "1", "≈900", "≈600"])
        check("lists-internal", topic(app, "__consumer_offsets") is not None, rows(app, "topics-table"))
        await only(pilot, app, "orders")
        await press(pilot, app, "d")
        seen = await within(pilot, "describes-partitions", lambda: rows(app, "partitions-table"), lambda r: len(r) == 3)
        check("partitions-records", all(r[2:5] == ["0", "300", "300"] for r in seen), seen)
        check("partitions-replicas", all(r[1] == "1" and r[5] == r[6] == "[1]" for r in seen), seen)
        configurations = dict(rows(app, "configurations-table"))
        check("configurations", configurations.get("retention.ms") == "86400000" and configurations.get("cleanup.policy") == "delete" and len(configurations) > 20, configurations)
        # State, assignor, partitions, members, lag.
        groups = {r[0]: r[2:] for r in rows(app, "groups-table")}
        check("group-classic", "first" in groups and groups["first"][0] == "empty" and groups["first"][2:] == ["3", "0", "600"], groups)
        check("group-consumer", groups.get("second") == ["stable", "uniform", "3", "1", "0"], groups)
        # Partition, committed, end, lag.
        offsets = sorted(rows(app, "group-offsets-table"))
        check("offsets", offsets == [[g, str(p), str(at), "300", str(300 - at)] for g, at in (("first", 100), ("second", 300)) for p in range(3)], offsets)
        members = rows(app, "group-members-table")
        check("members", len(members) == 1 and members[0][0] == "second" and members[0][2] == member.memberid() and members[0][4] == "[0, 1, 2]", members)
        await press(pilot, app, "escape")

        produce(33)
        await press(pilot, app, "ctrl+r")
        await within(pilot, "lag-follows", lambda: topic(app, "orders"), lambda r: r == ["3", "1", "1", "2", "1", "≈999", "≈798"])
        await press(pilot, app, "escape")
        await within(pilot, "shows-all", lambda: topic(app, "__consumer_offsets"), lambda r: r is not None)

        await press(pilot, app, "n")
        await within(pilot, "form", lambda: len(app.screen.query("#name")), lambda n: n == 1)
        await pilot.press(*"created")
        app.screen.query_one("#partitions", Input).value = "4"
        await pilot.press("ctrl+s")
        await within(pilot, "creates", lambda: topic(app, "created"), lambda r: r is not None and r[0] == "4")
        described = run("topic", "describe", "created")
        check("created-as-wanted", "4 partitions" in described and "retention.ms" in described, described)
        await only(pilot, app, "created")
        await press(pilot, app, "e")
        await within(pilot, "edits", lambda: len(app.screen.query("#retention")), lambda n: n == 1)
        app.screen.query_one("#retention", Input).value = "3600000"
        app.screen.query_one("#partitions", Input).value = "6"
        await pilot.press("ctrl+s")
        await within(pilot, "edited", lambda: topic(app, "created"), lambda r: r is not None and r[0] == "6")
        described = run("topic", "describe", "created")
        check("edited-as-wanted", "6 partitions" in described and "3600000" in described, described)
        await press(pilot, app, "ctrl+d")
        await within(pilot, "confirms", lambda: len(app.screen.query("#topic-confirmation")), lambda n: n == 1)
        await pilot.press(*"created", "enter")
        await within(pilot, "deletes", lambda: rows(app, "topics-table"), lambda r: r == [])
        check("deleted", "created" not in run("topic", "list"), run("topic", "list"))
        said = [f"{n.title}: {n.message}" for n in app._notifications]
        check("no-complaint", not [s for s in said if "Error" in s or "Partial" in s or "not" in s], said)
    member.close()


async def records():
    transactional = confluent_kafka.Producer({**config, "transactional.id": "ui"})
    transactional.init_transactions()
    for value, commit in [("undone", False), ("kept", True)]:
        transactional.begin_transaction()
        for _ in range(5):
            transactional.produce("orders", key="customer", value=value, headers={"by": "ui"})
        if commit:
            transactional.commit_transaction()
        else:
            transactional.flush()
            transactional.abort_transaction()

    app = KaskadeConsumer("orders", {**config, "auto.offset.reset": "earliest"}, {}, {}, {}, Deserialization.STRING, Deserialization.STRING)
    async with app.run_test(size=(180, 50)) as pilot:
        await within(pilot, "shows-records", lambda: len(rows(app, "records-table")), lambda n: n == 25)
        await press(pilot, app, "number_sign")
        await within(pilot, "chunk-size", lambda: len(app.screen.query("#chunk-size")), lambda n: n == 1)
        await pilot.press("end", "enter")
        await press(pilot, app, "n")
        seen = await within(pilot, "shows-all-records", lambda: rows(app, "records-table"), lambda r: len(r) >= 1004)
        # Key, value, size, timestamp, partition, offset, headers.
        values = sorted(r[1] for r in seen)
        check("values", values == sorted([f"{p}.{i}" for p in range(3) for n in (300, 33) for i in range(n)] + ["kept"] * 5), values)
        check("keys-and-headers", all(r[0] == "customer" and r[6] == "1" for r in seen if r[1] == "kept"), [r for r in seen if r[1] == "kept"])
        await press(pilot, app, "slash")
        await within(pilot, "filter-records", lambda: len(app.screen.query("#value")), lambda n: n == 1)
        app.screen.query_one("#value", Input).value = "kept"
        await pilot.press("enter")
        await within(pilot, "filtered-records", lambda: [r[1] for r in rows(app, "records-table")], lambda r: r == ["kept"] * 5)
        said = [f"{n.title}: {n.message}" for n in app._notifications]
        check("records-no-complaint", not [s for s in said if "Error" in s], said)


async def main():
    for part in (admin, records):
        try:
            await asyncio.wait_for(part(), 120)
        except Exception as e:
            check(part.__name__, False, repr(e))


asyncio.run(main())
print(f"{passed} passed, {failed} failed")
sys.exit(0 if failed == 0 else 1)
