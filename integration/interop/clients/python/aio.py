"""What ../README.md says that every client does, by aiokafka.

    aio.py BROKERS
"""

import asyncio
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from checks import LARGE, N, PLACED, T0, Checks, headers, key, value

brokers = sys.argv[1]
c = Checks(aiokafka.__version__)
admin = None  # made in main: it wants a running loop


async def topic(name, partitions, **config):
    r = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs={k.replace("_", "."): v for k, v in config.items()})])
    for t in r.topic_errors:
        if t[1]:
            raise errors.for_code(t[1])(t[2])


def producer(**settings):
    return AIOKafkaProducer(bootstrap_servers=brokers, **settings)


def consumer(*topics, **settings):
    return AIOKafkaConsumer(*topics, bootstrap_servers=brokers, **{"auto_offset_reset": "earliest", "enable_auto_commit": False, **settings})


async def send(p, name, first, end, partitions=1):
    futures = [await p.send(name, value(n), key(n), n % partitions, T0 + n, headers(n)) for n in range(first, end)]
    sent = await asyncio.gather(*futures)
    return [m.offset if m else None for m in sent]


async def sent(name, first, end, partitions=1, **settings):
    async with producer(**settings) as p:
        return await send(p, name, first, end, partitions)


async def poll(ks, until, seconds=60):
    reads, loop = [[] for _ in ks], asyncio.get_running_loop()
    end = loop.time() + seconds
    while not until(reads) and loop.time() < end:
        for k, read in zip(ks, reads):
            for records in (await k.getmany(timeout_ms=100)).values():
                read.extend(records)
    return reads


def plain(records):
    return [(r.key, r.value, r.timestamp, list(r.headers)) for r in records]


async def read(name, offset, count, **settings):
    k, tp = consumer(**settings), TopicPartition(name, 0)
    k.assign([tp])
    async with k:
        k.seek(tp, offset)
        return (await poll([k], lambda r: len(r[0]) >= count, 20))[0]


async def refused(what, by, awaitable):
    try:
        c.check(what, False, await awaitable)
    except Exception as e:
        c.check(what, isinstance(e, by), repr(e))


async def produce():
    await topic("a-produce", 1)
    for i, acks in enumerate(("all", 1)):
        c.equal(f"offsets, acks={acks}", list(range(i * N, (i + 1) * N)), await sent("a-produce", 0, N, acks=acks))
        c.same(f"records, acks={acks}", plain(await read("a-produce", i * N, N)), 0, N)
    await sent("a-produce", 0, N, acks=0)
    c.same("records, acks=0", plain(await read("a-produce", 2 * N, N)), 0, N)
    await topic("a-keys", 7)
    async with producer() as p:
        c.equal("partitions of keys", PLACED, "".join([str((await p.send_and_wait("a-keys", b"", b"key-%d" % i)).partition) for i in range(len(PLACED))]))
    await topic("a-large", 1)
    async with producer(max_request_size=4_000_000) as p:
        await p.send_and_wait("a-large", LARGE)
        got = await read("a-large", 0, 1)
        c.check("a record of 1 MB", [r.value for r in got] == [LARGE], len(got))
        await refused("a record of 2 MB", errors.MessageSizeTooLargeError, p.send_and_wait("a-large", bytes(2_000_000)))


async def compression():
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        name = f"a-{codec}"
        await topic(name, 1)
        await sent(name, 0, N, compression_type=codec, linger_ms=50)
        c.same(codec or "none", plain(await read(name, 0, N)), 0, N)
        c.same(f"{codec}, from the middle of a batch", plain(await read(name, 101, N - 101)), 101, N)


async def idempotence():
    await topic("a-idempotent", 1)
    c.equal("offsets", list(range(N)), await sent("a-idempotent", 0, N, enable_idempotence=True, max_batch_size=2000))
    c.same("records", plain(await read("a-idempotent", 0, N)), 0, N)


async def consume():
    await topic("a-consume", 1)
    await sent("a-consume", 0, N)
    tp = TopicPartition("a-consume", 0)
    k = consumer(max_poll_records=17)
    k.assign([tp])
    async with k:
        c.same("from the beginning", plain((await poll([k], lambda r: len(r[0]) >= N))[0]), 0, N)
        c.equal("position", N, await k.position(tp))
        c.equal("beginning and end", (0, N), ((await k.beginning_offsets([tp]))[tp], (await k.end_offsets([tp]))[tp]))
        at = (await k.offsets_for_times({tp: T0 + 77}))[tp]
        c.equal("offset of a time", (77, T0 + 77), (at.offset, at.timestamp))
        c.equal("offset of a time to come", None, (await k.offsets_for_times({tp: T0 + N}))[tp])
        k.seek(tp, 10 * N)
        c.same("from an offset out of range, reset to the earliest", plain((await poll([k], lambda r: len(r[0]) >= N, 20))[0]), 0, N)
    k = consumer(auto_offset_reset="none")
    k.assign([tp])
    async with k:
        k.seek(tp, 10 * N)
        await refused("out of range, and no reset", errors.OffsetOutOfRangeError, k.getmany(timeout_ms=5000))


class Commits(ConsumerRebalanceListener):
    def __init__(self, k):
        self.k = k

    async def on_partitions_revoked(self, revoked):
        if revoked:
            await self.k.commit()

    async def on_partitions_assigned(self, assigned):
        pass


async def groups():
    name = "a-group"
    await topic(name, 6)
    await sent(name, 0, N, 6)
    settings = dict(group_id="a-classic", session_timeout_ms=10000, heartbeat_interval_ms=500)

    def owned(k):
        return {tp.partition for tp in k.assignment()}

    async def member():
        k = consumer(**settings)
        k.subscribe([name], listener=Commits(k))
        await k.start()
        return k
    a = await member()
    first = (await poll([a], lambda r: len(r[0]) >= N))[0]
    c.equal("one member owns all and reads all", (6, N), (len(owned(a)), len(first)))
    joining = asyncio.create_task(member())
    early = await poll([a], lambda r: joining.done())
    b = await joining
    early += await poll([a, b], lambda r: len(owned(a)) == 3 and len(owned(b)) == 3)
    c.equal("two own half each, none is owned twice", (3, 3, set(range(6))), (len(owned(a)), len(owned(b)), owned(a) | owned(b)))
    c.equal("nothing is read again", 0, sum(len(e) for e in early))
    await sent(name, N, 2 * N, 6)
    both = await poll([a, b], lambda r: len(r[0]) + len(r[1]) >= N)
    c.check("both read", both[0] and both[1], [len(r) for r in both])
    await b.commit()
    await b.stop()
    await poll([a], lambda r: len(owned(a)) == 6)
    c.equal("one is left and owns all", 6, len(owned(a)))
    await a.stop()
    c.once("every record once, in order", [(r.partition, r.offset, plain([r])[0]) for r in first + both[0] + both[1]], 6, 2 * N)
    tp = TopicPartition(name, 1)
    k = consumer(group_id="a-classic")
    k.assign([tp])
    async with k:
        await k.commit({tp: OffsetAndMetadata(40, "a note")})
        c.equal("what was committed", 40, await k.committed(tp))
    c.equal("with its note", OffsetAndMetadata(40, "a note"), (await admin.list_consumer_group_offsets("a-classic"))[tp])
    async with consumer(name, **settings) as k:
        again = (await poll([k], lambda r: len(r[0]) >= 60))[0]
        c.equal("goes on at what was committed", [(1, o) for o in range(40, 100)], [(r.partition, r.offset) for r in again])
    k = consumer(group_id="a-pattern")
    k.subscribe(pattern="^a-group.*")
    async with k:
        c.equal("subscribed by a pattern", 2 * N, len((await poll([k], lambda r: len(r[0]) >= 2 * N))[0]))


async def transactions():
    for name in ("a-in", "a-out", "a-other", "a-open", "a-etl"):
        await topic(name, 1)
    await sent("a-in", 0, N)
    committed = {"isolation_level": "read_committed"}
    async with producer(transactional_id="a-tx") as p:
        for first, end, other, commit in ((0, 10, True, True), (100, 150, True, False), (10, 20, False, True)):
            await p.begin_transaction()
            await send(p, "a-out", first, end)
            if other:
                await send(p, "a-other", first, end)
            await (p.commit_transaction() if commit else p.abort_transaction())
    c.same("committed are read, aborted are not", plain(await read("a-out", 0, 20, **committed)), 0, 20)
    c.same("in the other partition too", plain(await read("a-other", 0, 10, **committed)), 0, 10)
    c.equal("all are read by who does not ask for committed ones", 70, len(await read("a-out", 0, 70)))
    tp = TopicPartition("a-open", 0)
    k = consumer(**committed)
    k.assign([tp])
    async with producer(transactional_id="a-open") as p, k:
        await p.begin_transaction()
        await send(p, "a-open", 0, 5)
        await sent("a-open", 5, 10)
        c.equal("nothing before it is decided", [], (await poll([k], lambda r: r[0], 0.5))[0])
        await p.commit_transaction()
        c.same("all when it is", plain((await poll([k], lambda r: len(r[0]) >= 10, 20))[0]), 0, 10)

    tp, following, tries = TopicPartition("a-in", 0), 0, 0
    async with producer(transactional_id="a-etl") as p, consumer("a-in", group_id="a-etl", max_poll_records=50, **committed) as k:
        while following < N and tries < 60:
            records = (await k.getmany(tp, timeout_ms=1000)).get(tp)
            if not records:
                continue
            await p.begin_transaction()
            for r in records:
                n = r.offset
                await p.send("a-etl", value(n), key(n), 0, T0 + n, headers(n))
            after, tries = records[-1].offset + 1, tries + 1
            await p.send_offsets_to_transaction({tp: after}, "a-etl")
            if tries % 2:
                await p.abort_transaction()
                k.seek(tp, following)
            else:
                await p.commit_transaction()
                following = after
        c.equal("offsets committed with the transactions", N, await k.committed(tp))
    c.same("each once, over aborted tries", plain(await read("a-etl", 0, N, **committed)), 0, N)

    old = producer(transactional_id="a-fenced")
    await old.start()
    await old.begin_transaction()
    await send(old, "a-out", 200, 205)
    async with producer(transactional_id="a-fenced") as p:
        await refused("the older one is fenced", (errors.ProducerFenced, errors.InvalidProducerEpoch), old.commit_transaction())
        await p.begin_transaction()
        await send(p, "a-out", 20, 25)
        await p.commit_transaction()
    await old.stop()
    c.same("what the older one sent is not read", plain(await read("a-out", 0, 25, **committed)), 0, 25)


async def administration():
    await topic("a-admin", 3, retention_ms="86400000")
    await refused("a topic that is there", errors.TopicAlreadyExistsError, topic("a-admin", 3))
    await refused("a bad name", errors.InvalidTopicError, topic("a bad/name", 1))
    await refused("a bad configuration", errors.InvalidConfigurationError, topic("a-bad", 1, retention_ms="soon"))
    c.check("list of topics", "a-admin" in await admin.list_topics(), "it is not listed")
    t = (await admin.describe_topics(["a-admin"]))[0]
    c.equal("partitions", [0, 1, 2], sorted(p["partition"] for p in t["partitions"]))
    await admin.create_partitions({"a-admin": NewPartitions(5)})
    c.equal("more partitions", 5, len((await admin.describe_topics(["a-admin"]))[0]["partitions"]))

    async def config(name):
        r = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "a-admin")])
        return next(e[1] for e in r[0].resources[0][4] if e[0] == name)
    c.equal("configuration", "86400000", await config("retention.ms"))
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "a-admin", {"cleanup.policy": "compact"})])
    c.equal("altered, and what is not named is a default again", ("compact", "604800000"), (await config("cleanup.policy"), await config("retention.ms")))
    cluster = await admin.describe_cluster()
    c.check("cluster id and controller", cluster["cluster_id"] and cluster["controller_id"] >= 0, cluster)
    await topic("a-offsets", 2)
    await sent("a-offsets", 0, N)
    await admin.delete_records({TopicPartition("a-offsets", 0): RecordsToDelete(100)})
    c.same("what is left after records were deleted", plain(await read("a-offsets", 0, N - 100)), 100, N)
    async with consumer("a-offsets", group_id="a-admin", client_id="who") as k:
        await poll([k], lambda r: len(r[0]) >= N - 100, 20)
        await k.commit()
        names = {g[0] for g in await admin.list_consumer_groups()}
        c.check("list of groups", {"a-admin", "a-classic"} <= names, names)
        g = (await admin.describe_consumer_groups(["a-admin"]))[0].groups[0]
        c.equal("a group's state and members", ("Stable", ["who"]), (g[2], [m[1] for m in g[5]]))
    c.equal("a group's offsets", N, (await admin.list_consumer_group_offsets("a-admin"))[TopicPartition("a-offsets", 0)].offset)
    await admin.delete_topics(["a-admin"])
    c.check("a topic deleted", "a-admin" not in await admin.list_topics(), "it is listed")


async def main():
    global admin
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    for name, run in (("produce", produce), ("compression", compression), ("idempotence", idempotence), ("consume", consume),
                      ("classic groups", groups), ("transactions", transactions), ("admin", administration)):
        c.begin(name)
        try:
            await run()
        except Exception:
            c.broke()
    await admin.close()
    return c.end()


sys.exit(asyncio.run(main()))
