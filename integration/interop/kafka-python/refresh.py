"""A pytest plugin: consumers of kafka-python's own tests look for new metadata every half second, not every five minutes.

A race in the client is lost otherwise: its constructor asks for the metadata of no topics, and when that answer comes while or after subscribe
runs, the client takes it for the one that subscribe waits for (cluster.py: update_metadata clears _need_update, whatever was asked) and sleeps
until the metadata is old. The faster a broker answers, the more often: 8 of 40 runs of one test that polls for two seconds only.
"""

from kafka import KafkaConsumer

KafkaConsumer.DEFAULT_CONFIG["metadata_max_age_ms"] = 500
