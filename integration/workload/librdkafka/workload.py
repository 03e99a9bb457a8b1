"""The roles of integration/workload, played by librdkafka (confluent-kafka). Flags and history: spec.go, history/doc.go."""

import random
import signal
import struct
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

DEFINITE = {KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE}
TOO_LATE_MS = 48 * 3600 * 1000

ending = False


def end(*_):
    global ending
    ending = True


def letter(process, n, i):
    return 97 + (process + n + i) % 26


def payload(process, n, size):
    head = b"%d.%d:" % (process, n)
    return head + bytes(letter(process, n, i) for i in range(len(head), size))


def parse(raw):
    """The value that a record carries, as text; ValueError says what is wrong with its bytes."""
    colon = raw.find(b":", 0, 24)
    process, dot, n = raw[: max(colon, 0)].partition(b".")
    if not dot or not process.isdigit() or not n.isdigit():
        raise ValueError("no value")
    p, k = int(process), int(n)
    for i in range(colon + 1, len(raw)):
        if raw[i] != letter(p, k, i):
            raise ValueError("byte %d" % i)
    return "%d.%d" % (p, k)


class History:
    """One process's events. Every line is written at once: an invocation must be out before what it announces."""

    def __init__(self, path, process):
        self.file = open(path, "ab", buffering=0)
        self.process = process
        self.sends = self.commits = 0

    def line(self, *words):
        self.file.write(("%d %d %s\n" % (self.process, time.monotonic_ns(), " ".join(map(str, words)))).encode())

    def send(self, partition):
        n = self.sends
        self.sends += 1
        self.line("send", "s%d" % n, partition)
        return n


class Client:
    def __init__(self, flags):
        self.flags = flags
        self.topic = flags["topic"]
        self.partitions = int(flags["partitions"])
        self.process = int(flags["process"])
        self.rate, self.size = int(flags["rate"]), int(flags["size"])
        self.random = random.Random("%s-%d" % (flags["seed"], self.process))
        self.history = History(flags["history"], self.process)
        # Who gives up on records is not idempotent: librdkafka then takes a new producer epoch, and sends again under that what it had
        # sent under the one before, and what may have been appended.
        self.gives_up = self.process % 2 == 0
        self.history.line("begin", "librdkafka", *([] if self.gives_up else ["idempotent"]))

    def config(self, **more):
        base = {"bootstrap.servers": self.flags["bootstrap"], "client.id": "librdkafka-%d" % self.process, "log_level": 3}
        return base | {k.replace("_", "."): v for k, v in more.items()}

    # -- producers -------------------------------------------------------------------------------------------------

    def delivered(self, n):
        def report(err, message):
            if err is None:
                self.history.line("ok", "s%d" % n, message.offset() if message.offset() is not None and message.offset() >= 0 else -1)
            elif err.code() in DEFINITE:
                self.history.line("fail", "s%d" % n, err.name())
            else:
                self.history.line("unknown", "s%d" % n, err.name())

        return report

    def produce(self, refused=False):
        producer = Producer(self.config(enable_idempotence=True, **({"delivery_timeout_ms": 8000} if self.gives_up else {})))
        due = time.monotonic()
        while not ending:
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            producer.poll(max(0, due - time.monotonic()))
            if len(producer) > 2000:
                continue
            partition = self.random.randrange(self.partitions)
            n = self.history.send(partition)
            more = {}
            if refused and self.random.randrange(3) == 0:
                more["timestamp"] = int(time.time() * 1000) + TOO_LATE_MS
            value = payload(self.process, n, self.size // 2 + self.random.randrange(self.size))
            producer.produce(self.topic, value, partition=partition, on_delivery=self.delivered(n), **more)
            while refused and len(producer) > 0 and not ending:
                producer.poll(0.1)
        producer.flush(20)

    def refused(self):
        self.produce(refused=True)

    # -- consumers -------------------------------------------------------------------------------------------------

    def polled(self, messages, next_offset):
        runs = {}
        for m in messages:
            if m.error() is not None:
                continue
            p, offset = m.partition(), m.offset()
            run = runs.get(p)
            if run is not None and run[0] + len(run[1]) != offset:
                self.flush(p, runs.pop(p))
                run = None
            try:
                value = parse(m.value() or b"")
            except ValueError as wrong:
                if run is not None:
                    self.flush(p, runs.pop(p))
                self.history.line("bad", p, offset, wrong)
            else:
                if run is None:
                    run = runs[p] = (offset, [])
                run[1].append(value)
            next_offset[p] = offset + 1
        for p, run in runs.items():
            self.flush(p, run)

    def flush(self, partition, run):
        self.history.line("poll", partition, run[0], *run[1])

    def read(self):
        consumer = Consumer(self.config(group_id="unused-%d" % self.process, enable_auto_commit=False, auto_offset_reset="earliest"))
        for p in range(self.partitions):
            self.history.line("seek", p, 0)
        consumer.assign([TopicPartition(self.topic, p, 0) for p in range(self.partitions)])
        following = {}
        while not ending:
            self.polled(consumer.consume(500, 0.5), following)
        consumer.close()

    def follow(self):
        """A group of one at the client's defaults, which commits by itself."""
        consumer = Consumer(self.config(group_id=self.flags["group"], auto_offset_reset="earliest"))
        consumer.subscribe([self.topic])
        following = {}
        while not ending:
            self.polled(consumer.consume(500, 0.01), following)
        consumer.close()

    def group(self):
        group = self.flags["group"]
        owned, following, dirty = set(), {}, set()
        # The strategies are two; a group's members must share one.
        consumer = Consumer(self.config(group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                                        partition_assignment_strategy="range,roundrobin", session_timeout_ms=10000, max_poll_interval_ms=15000))

        def generation():
            raw = consumer.consumer_group_metadata()
            return struct.unpack_from("=i", raw, 7)[0]  # "CGMDv2:", then the generation in the machine's order

        def commit():
            at, names, offsets = generation(), {}, []
            for p in sorted(dirty):
                names[p] = "c%d" % self.history.commits
                self.history.commits += 1
                self.history.line("commit", names[p], group, at, p, following[p])
                offsets.append(TopicPartition(self.topic, p, following[p]))
            dirty.clear()
            try:
                for r in consumer.commit(offsets=offsets, asynchronous=False):
                    if r.error is None:
                        self.history.line("ok", names[r.partition])
                    else:
                        self.history.line("unknown", names[r.partition], r.error.name())
            except KafkaException as e:
                for name in names.values():
                    self.history.line("unknown", name, e.args[0].name())

        def listed(partitions):
            return ",".join(map(str, sorted(partitions))) or "-"

        def assigned(_, partitions):
            added = [p.partition for p in partitions]
            owned.update(added)
            self.history.line("assign", group, generation(), listed(owned), listed(added))

        def given_up(partitions, lost):
            gone = [p.partition for p in partitions]
            if dirty and not lost:
                commit()
            owned.difference_update(gone)
            dirty.difference_update(gone)
            if gone:
                self.history.line("revoke", group, generation(), listed(gone))

        consumer.subscribe([self.topic], on_assign=assigned, on_revoke=lambda _, p: given_up(p, False), on_lost=lambda _, p: given_up(p, True))
        while not ending:
            messages = consumer.consume(500, 0.5)
            self.polled(messages, following)
            dirty.update(m.partition() for m in messages if m.error() is None and m.partition() in owned)
            if dirty and self.random.randrange(5) == 0:
                commit()
        consumer.close()


def main():
    flags = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:])
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    client = Client(flags)
    roles = {"produce": client.produce, "refused": client.refused, "read": client.read, "group": client.group, "follow": client.follow}
    roles[flags["role"]]()
    client.history.line("end")


main()
