"""Lines to and from a topic, by kafka-python with its defaults.

lines.py produce BROKER TOPIC         each line of standard input is a record
lines.py consume BROKER TOPIC COUNT   the first COUNT records' values, a line each

Further arguments, KEY=VALUE, are the client's settings.
"""
import sys

from kafka import KafkaConsumer, KafkaProducer


def settings(more):
    return dict(pair.split("=", 1) for pair in more)


def produce(broker, topic, *more):
    producer = KafkaProducer(bootstrap_servers=broker, **settings(more))
    sent = [producer.send(topic, line.rstrip(b"\n")) for line in sys.stdin.buffer]
    producer.flush()
    for future in sent:
        future.get(timeout=0)
    producer.close()


def consume(broker, topic, count, *more):
    consumer = KafkaConsumer(topic, bootstrap_servers=broker, group_id="lines-" + topic, auto_offset_reset="earliest", **settings(more))
    for _ in range(int(count)):
        sys.stdout.buffer.write(next(consumer).value + b"\n")
    consumer.close()


{"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
