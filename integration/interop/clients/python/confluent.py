"""What ../README.md says that every client does, by confluent-kafka (librdkafka).

    confluent.py BROKERS
"""

import sys
import time

import confluent_kafka as ck
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec)

from checks import LARGE, N, PLACED, T0, Checks, headers, key, value

brokers = sys.argv[1]
c = Checks(f"{ck.__version__} (librdkafka {ck.libversion()[0]})")
admin = AdminClient({"bootstrap.servers": brokers})


def done(futures):
    for f in futures.values():
        f.result()


def topic(name, partitions, **config):
    done(admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=-1, config=config)]))


def producer(**settings):
    return ck.Producer({"bootstrap.servers": brokers, **{k.replace("_", "."): v for k, v in settings.items()}})


def consumer(group="none", **settings):
    return ck.Consumer({"bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                        **{k.replace("_", "."): v for k, v in settings.items()}})


def send(p, name, first, end, partitions=1):
    """Sends the records first to end and returns their offsets, in the order in which they were sent."""
    offsets, errors = {}, []

    def delivered(n):
        return lambda err, m: errors.append(err) if err else offsets.__setitem__(n, m.offset())
    for n in range(first, end):
        p.produce(name, value(n), key(n), n % partitions, delivered(n), timestamp=T0 + n, headers=headers(n))
    p.flush(30)
    if errors or len(offsets) != end - first:
        raise RuntimeError(f"{len(offsets)} of {end - first} delivered, {errors[:1]}")
    return [offsets[n] for n in range(first, end)]


def poll(cs, until, seconds=60):
    """Polls the consumers in turn; until is called with what has been read so far, one list for each."""
    reads, end = [[] for _ in cs], time.monotonic() + seconds
    while not until(reads) and time.monotonic() < end:
        for consumer_, read in zip(cs, reads):
            for m in consumer_.consume(100, 0.1):
                if m.error():
                    raise ck.KafkaException(m.error())
                read.append(m)
    return reads


def plain(messages):
    return [(m.key(), m.value(), m.timestamp()[1], m.headers()) for m in messages]


def read(name, offset, count, **settings):
    k = consumer(**settings)
    k.assign([ck.TopicPartition(name, 0, offset)])
    got = poll([k], lambda reads: len(reads[0]) >= count, 20)[0]
    k.close()
    return got


def refused(what, code, call):
    try:
        c.check(what, False, call())
    except ck.KafkaException as e:
        c.equal(what, code, e.args[0].code())


def produce():
    topic("p-produce", 1)
    for i, acks in enumerate((-1, 1)):
        c.equal(f"offsets, acks={acks}", list(range(i * N, (i + 1) * N)), send(producer(acks=acks), "p-produce", 0, N))
        c.same(f"records, acks={acks}", plain(read("p-produce", i * N, N)), 0, N)
    send(producer(acks=0), "p-produce", 0, N)
    c.same("records, acks=0", plain(read("p-produce", 2 * N, N)), 0, N)
    topic("p-keys", 7)
    p, placed = producer(partitioner="murmur2_random"), {}
    for i in range(len(PLACED)):
        p.produce("p-keys", b"%d" % i, b"key-%d" % i, on_delivery=lambda _, m: placed.__setitem__(m.value(), str(m.partition())))
    p.flush(10)
    c.equal("partitions of keys", PLACED, "".join(placed[b"%d" % i] for i in range(len(PLACED))))
    topic("p-large", 1)
    p, refusals = producer(message_max_bytes=4_000_000), []
    p.produce("p-large", LARGE)
    p.flush(10)
    got = read("p-large", 0, 1, fetch_message_max_bytes=1000)
    c.check("a record of 1 MB, read by who asks for 1000 bytes", [m.value() for m in got] == [LARGE], len(got))
    p.produce("p-large", bytes(2_000_000), on_delivery=lambda err, _: refusals.append(err.code() if err else None))
    p.flush(10)
    c.equal("a record of 2 MB", [ck.KafkaError.MSG_SIZE_TOO_LARGE], refusals)


def compression():
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic("p-" + codec, 1)
        send(producer(compression_type=codec, linger_ms=50), "p-" + codec, 0, N)
        c.same(codec, plain(read("p-" + codec, 0, N)), 0, N)
        c.same(codec + ", from the middle of a batch", plain(read("p-" + codec, 101, N - 101)), 101, N)


def idempotence():
    topic("p-idempotent", 1)
    c.equal("offsets", list(range(N)), send(producer(enable_idempotence=True, batch_num_messages=10), "p-idempotent", 0, N))
    c.same("records, five batches in flight", plain(read("p-idempotent", 0, N)), 0, N)


def consume():
    topic("p-consume", 1)
    send(producer(), "p-consume", 0, N)
    c.same("from an offset", plain(read("p-consume", 123, N - 123)), 123, N)
    c.same("from an offset out of range, reset to the earliest", plain(read("p-consume", 10 * N, N)), 0, N)
    k = consumer()
    c.equal("beginning and end", (0, N), k.get_watermark_offsets(ck.TopicPartition("p-consume", 0), 10))
    at = k.offsets_for_times([ck.TopicPartition("p-consume", 0, T0 + 77)], 10)
    c.equal("offset of a time", 77, at[0].offset)
    at = k.offsets_for_times([ck.TopicPartition("p-consume", 0, T0 + N)], 10)
    c.equal("offset of a time to come", ck.OFFSET_END, at[0].offset)
    k.close()
    try:
        c.check("out of range, and no reset", False, read("p-consume", 10 * N, 1, auto_offset_reset="error"))
    except ck.KafkaException as e:
        c.equal("out of range, and no reset", ck.KafkaError._AUTO_OFFSET_RESET, e.args[0].code())


def groups(protocol, **settings):
    name, group = "p-group-" + protocol, "p-" + protocol
    topic(name, 6)
    send(producer(), name, 0, N, 6)

    def owned(k):
        return {tp.partition for tp in k.assignment()}

    def listen(k):
        if settings.get("partition_assignment_strategy") == "cooperative-sticky" or protocol == "consumer":
            k.subscribe([name], on_assign=lambda k, ps: k.incremental_assign(ps), on_revoke=lambda k, ps: (commit(k), k.incremental_unassign(ps)))
        else:
            k.subscribe([name], on_assign=lambda k, ps: k.assign(ps), on_revoke=lambda k, ps: (commit(k), k.unassign()))

    def commit(k):
        try:
            k.commit(asynchronous=False)
        except ck.KafkaException as e:
            if e.args[0].code() != ck.KafkaError._NO_OFFSET:
                raise
    a = consumer(group, **settings)
    listen(a)
    first = poll([a], lambda r: len(r[0]) >= N and len(owned(a)) == 6)[0]
    c.equal("one member owns all and reads all", (6, N), (len(owned(a)), len(first)))
    b = consumer(group, **settings)
    listen(b)
    early = poll([a, b], lambda r: len(owned(a)) == 3 and len(owned(b)) == 3)
    c.equal("two own half each, none is owned twice", (3, 3, set(range(6))), (len(owned(a)), len(owned(b)), owned(a) | owned(b)))
    c.equal("nothing is read again", 0, len(early[0]) + len(early[1]))
    send(producer(), name, N, 2 * N, 6)
    both = poll([a, b], lambda r: len(r[0]) + len(r[1]) >= N)
    c.check("both read", both[0] and both[1], [len(r) for r in both])
    commit(b)
    b.close()
    poll([a], lambda r: len(owned(a)) == 6)
    c.equal("one is left and owns all", 6, len(owned(a)))
    a.close()
    reads = [(m.partition(), m.offset(), p) for m, p in ((m, plain([m])[0]) for m in first + both[0] + both[1])]
    c.once("every record once, in order", reads, 6, 2 * N)
    k = consumer(group)
    noted = ck.TopicPartition(name, 1, 40, metadata="a note")
    k.commit(offsets=[noted], asynchronous=False)
    got = k.committed([ck.TopicPartition(name, 1)], 10)[0]
    c.equal("what was committed, with its note", (40, "a note"), (got.offset, got.metadata))
    k.close()
    a = consumer(group, **settings)
    listen(a)
    again = poll([a], lambda r: len(r[0]) >= 60)[0]
    c.equal("goes on at what was committed", [(1, o) for o in range(40, 100)], [(m.partition(), m.offset()) for m in again])
    a.close()
    k = consumer(group + "-pattern", **settings)
    k.subscribe(["^" + name + ".*"])
    c.equal("subscribed by a pattern", 2 * N, len(poll([k], lambda r: len(r[0]) >= 2 * N)[0]))
    k.close()


def shares():
    def member(group, name, mode):
        k = ck.ShareConsumer({"bootstrap.servers": brokers, "group.id": group, "share.acknowledgement.mode": mode, "max.poll.records": 20})
        k.subscribe([name])
        return k

    def group(name, **config):
        entries = [ConfigEntry(k.replace("_", "."), v, incremental_operation=AlterConfigOpType.SET) for k, v in {"share_auto_offset_reset": "earliest", **config}.items()]
        done(admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.GROUP, name, incremental_configs=entries)]))

    def take(until, taken, *members):
        end = time.monotonic() + 30
        while not until() and time.monotonic() < end:
            for k in members:
                for m in k.poll(0.2):
                    if m.error():
                        raise ck.KafkaException(m.error())
                    taken(k, m)
                for error in k.commit_sync(20.0).values():
                    if error:
                        raise error

    def one_by_one(name, n):
        topic(name, 1)
        send(producer(batch_num_messages=1), name, 0, n)

    one_by_one("p-jobs", N)
    group("p-taken")
    a, b = member("p-taken", "p-jobs", "implicit"), member("p-taken", "p-jobs", "implicit")
    got, by = {}, []
    take(lambda: len(by) >= N, lambda k, m: (by.append(k), got.__setitem__(m.offset(), m)), a, b)
    a.close()
    b.close()
    c.check("both took some", 0 < by.count(a) < N, by.count(a))
    c.equal("none was given out twice", N, len(by))
    c.same("all, byte for byte", plain([got[o] for o in sorted(got)]), 0, N)

    def verdict(k, m):
        first = m.delivery_count() == 1
        seen.append(f"{m.offset()}x{m.delivery_count()}")
        k.acknowledge(m, ck.AcknowledgeType.ACCEPT if m.offset() < 4 or m.offset() < 7 and not first else ck.AcknowledgeType.RELEASE if m.offset() < 7 else ck.AcknowledgeType.REJECT)
    one_by_one("p-verdicts", 10)
    group("p-verdicts")
    a, seen = member("p-verdicts", "p-verdicts", "explicit"), []
    take(lambda: len(seen) >= 13, verdict, a)
    c.equal("nothing else is given out", 0, len(list(a.poll(1.0))))
    a.close()
    c.equal("what was released comes again, and is counted", "0x1 1x1 2x1 3x1 4x1 4x2 5x1 5x2 6x1 6x2 7x1 8x1 9x1", " ".join(sorted(seen)))

    def release(k, m):
        seen.append(f"{m.offset()}x{m.delivery_count()}")
        k.acknowledge(m, ck.AcknowledgeType.RELEASE if m.offset() == 0 else ck.AcknowledgeType.ACCEPT)
    one_by_one("p-limit", 2)
    group("p-limit")
    a, seen = member("p-limit", "p-limit", "explicit"), []
    take(lambda: len(seen) >= 6, release, a)
    c.equal("and is not given out any more", 0, len(list(a.poll(1.0))))
    a.close()
    c.equal("given out five times", "0x1 0x2 0x3 0x4 0x5 1x1", " ".join(sorted(seen)))

    topic("p-shared-tx", 1)
    p = producer(transactional_id="p-shared")
    p.init_transactions(20)
    for first, end, commit in ((100, 110, False), (0, 10, True), (100, 110, False), (10, 20, True)):
        p.begin_transaction()
        send(p, "p-shared-tx", first, end)
        p.commit_transaction(20) if commit else p.abort_transaction(20)
    for level, n in (("read_committed", 20), ("read_uncommitted", 40)):
        group("p-" + level, share_isolation_level=level)
        a, got = member("p-" + level, "p-shared-tx", "implicit"), {}
        take(lambda: len(got) >= n, lambda _, m: got.__setitem__(m.offset(), m), a)
        a.close()
        if n == 20:
            c.same("committed records alone", plain([got[o] for o in sorted(got)]), 0, 20)
        else:
            c.equal("all who asks for them", n, len(got))


def transactions():
    for name in ("p-in", "p-out", "p-other", "p-open", "p-etl"):
        topic(name, 1)
    send(producer(), "p-in", 0, N)
    p = producer(transactional_id="p-tx")
    p.init_transactions(20)
    for first, end, other, commit in ((0, 10, True, True), (100, 150, True, False), (10, 20, False, True)):
        p.begin_transaction()
        send(p, "p-out", first, end)
        if other:
            send(p, "p-other", first, end)
        p.commit_transaction(20) if commit else p.abort_transaction(20)
    c.same("committed are read, aborted are not", plain(read("p-out", 0, 20)), 0, 20)
    c.same("in the other partition too", plain(read("p-other", 0, 10)), 0, 10)
    c.equal("all are read by who does not ask for committed ones", 70, len(read("p-out", 0, 70, isolation_level="read_uncommitted")))
    p = producer(transactional_id="p-open")
    p.init_transactions(20)
    p.begin_transaction()
    send(p, "p-open", 0, 5)
    send(producer(), "p-open", 5, 10)
    k = consumer()
    k.assign([ck.TopicPartition("p-open", 0, 0)])
    c.equal("nothing before it is decided", [], poll([k], lambda r: r[0], 0.5)[0])
    p.commit_transaction(20)
    c.same("all when it is", plain(poll([k], lambda r: len(r[0]) >= 10, 20)[0]), 0, 10)
    k.close()

    p, k = producer(transactional_id="p-etl"), consumer("p-etl")
    p.init_transactions(20)
    k.subscribe(["p-in"])
    following = tries = 0
    while following < N and tries < 60:
        messages = k.consume(50, 1)
        if not messages:
            continue
        p.begin_transaction()
        for m in messages:
            n = m.offset()
            p.produce("p-etl", value(n), key(n), 0, timestamp=T0 + n, headers=headers(n))
        after = messages[-1].offset() + 1
        p.send_offsets_to_transaction([ck.TopicPartition("p-in", 0, after)], k.consumer_group_metadata(), 20)
        tries += 1
        if tries % 2:
            p.abort_transaction(20)
            k.seek(ck.TopicPartition("p-in", 0, following))
        else:
            p.commit_transaction(20)
            following = after
    c.equal("offsets committed with the transactions", N, k.committed([ck.TopicPartition("p-in", 0)], 10)[0].offset)
    k.close()
    c.same("each once, over aborted tries", plain(read("p-etl", 0, N)), 0, N)

    old = producer(transactional_id="p-fenced")
    old.init_transactions(20)
    old.begin_transaction()
    send(old, "p-out", 200, 205)
    p = producer(transactional_id="p-fenced")
    p.init_transactions(20)
    refused("the older one is fenced", ck.KafkaError._FENCED, lambda: old.commit_transaction(20))
    p.begin_transaction()
    send(p, "p-out", 20, 25)
    p.commit_transaction(20)
    c.same("what the older one sent is not read", plain(read("p-out", 0, 25)), 0, 25)


def administration():
    topic("p-admin", 3, **{"retention.ms": "86400000"})
    refused("a topic that is there", ck.KafkaError.TOPIC_ALREADY_EXISTS, lambda: topic("p-admin", 3))
    refused("a bad name", ck.KafkaError.TOPIC_EXCEPTION, lambda: topic("a bad/name", 1))
    refused("a bad configuration", ck.KafkaError.INVALID_CONFIG, lambda: topic("p-bad", 1, **{"retention.ms": "soon"}))
    t = admin.list_topics(timeout=10).topics["p-admin"]
    c.equal("partitions", [0, 1, 2], sorted(t.partitions))
    c.check("leader and replicas", t.partitions[2].leader >= 0 and len(t.partitions[2].isrs) == 1, t.partitions[2])
    done(admin.create_partitions([NewPartitions("p-admin", 5)]))
    c.equal("more partitions", 5, len(admin.list_topics(timeout=10).topics["p-admin"].partitions))

    def config(name):
        r = ConfigResource(ConfigResource.Type.TOPIC, "p-admin")
        e = admin.describe_configs([r])[r].result()[name]
        return e.value, e.is_default
    c.equal("configuration", ("86400000", False), config("retention.ms"))
    c.equal("a default", ("1048588", True), config("max.message.bytes"))
    done(admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, "p-admin", incremental_configs=[
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)])]))
    c.equal("appended", ("delete,compact", False), config("cleanup.policy"))
    c.equal("deleted", ("604800000", True), config("retention.ms"))
    cluster = admin.describe_cluster().result()
    c.check("cluster id and controller", cluster.cluster_id and cluster.controller is not None, cluster)

    topic("p-offsets", 2)
    send(producer(), "p-offsets", 0, N)
    tp, tp1 = ck.TopicPartition("p-offsets", 0), ck.TopicPartition("p-offsets", 1)

    def offset(spec):
        return admin.list_offsets({tp: spec})[tp].result().offset
    c.equal("latest offset", N, offset(OffsetSpec.latest()))
    c.equal("offset of a time", 7, offset(OffsetSpec.for_timestamp(T0 + 7)))
    done(admin.delete_records([ck.TopicPartition("p-offsets", 0, 100)]))
    c.equal("earliest after records were deleted", 100, offset(OffsetSpec.earliest()))
    c.same("what is left", plain(read("p-offsets", 0, N - 100)), 100, N)
    wanted = [ck.TopicPartition("p-offsets", 0, 150), ck.TopicPartition("p-offsets", 1, 0)]
    done(admin.alter_consumer_group_offsets([ck.ConsumerGroupTopicPartitions("p-admin", wanted)]))
    got = admin.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions("p-admin")])["p-admin"].result().topic_partitions
    c.equal("a group's offsets", {(0, 150), (1, 0)}, {(p.partition, p.offset) for p in got})
    names = {g.group_id for g in admin.list_consumer_groups().result().valid}
    c.check("list of groups", {"p-admin", "p-classic", "p-consumer"} <= names, names)
    k = consumer("p-admin", client_id="who")
    k.subscribe(["p-offsets"])
    c.same("a consumer goes on there", plain(poll([k], lambda r: len(r[0]) >= N - 150, 20)[0]), 150, N)
    g = admin.describe_consumer_groups(["p-admin"])["p-admin"].result()
    c.equal("a group's members", [("who", 2)], [(m.client_id, len(m.assignment.topic_partitions)) for m in g.members])
    c.equal("a group's state", "STABLE", g.state.name)
    refused("a group with members", ck.KafkaError.NON_EMPTY_GROUP, lambda: done(admin.delete_consumer_groups(["p-admin"])))
    k.close()
    done(admin.delete_consumer_groups(["p-admin"]))
    refused("a group that is not there", ck.KafkaError.GROUP_ID_NOT_FOUND, lambda: done(admin.delete_consumer_groups(["p-admin"])))
    done(admin.delete_topics(["p-admin"]))
    c.check("a topic deleted", "p-admin" not in admin.list_topics(timeout=10).topics, "it is listed")


for name, run in (("produce", produce), ("compression", compression), ("idempotence", idempotence), ("consume", consume),
                  ("classic groups", lambda: groups("classic")),
                  ("cooperative groups", lambda: groups("cooperative", partition_assignment_strategy="cooperative-sticky")),
                  ("consumer groups", lambda: groups("consumer", group_protocol="consumer")),
                  ("share groups", shares),
                  ("transactions", transactions), ("admin", administration)):
    c.begin(name)
    try:
        run()
    except Exception:
        c.broke()
sys.exit(c.end())
