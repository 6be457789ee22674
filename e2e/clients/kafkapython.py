"""kafka-python as a client under test; the protocol is in README.md."""
import json
import sys
import threading

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def create(o):
    admin = KafkaAdminClient(bootstrap_servers=o["bootstrap"])
    admin.create_topics([NewTopic(o["topic"], o["partitions"], 1)])
    admin.close()


def produce(o):
    codec = None if o["codec"] == "none" else o["codec"]
    producer = KafkaProducer(bootstrap_servers=o["bootstrap"], compression_type=codec, acks="all", linger_ms=5)
    futures = [
        producer.send(o["topic"], key=b"k%d" % (i % 97), value=b"%s-%d" % (o["codec"].encode(), i))
        for i in range(o["first"], o["first"] + o["count"])
    ]
    producer.flush(60)
    for future in futures:
        future.get(60)
    producer.close()


class Assignments(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        say("assigned", partitions=[p.partition for p in assigned])


def consume(o):
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    consumer = KafkaConsumer(
        bootstrap_servers=o["bootstrap"], group_id=o["group"], auto_offset_reset="earliest", enable_auto_commit=False,
        session_timeout_ms=6000, heartbeat_interval_ms=500,
    )
    consumer.subscribe([o["topic"]], listener=Assignments())
    while not done.is_set():
        # Long, since a poll of 3.0.12 that times out while the answer to its SyncGroup comes in forgets that it
        # has joined: it neither reads nor sends heartbeats from then on.
        batches = consumer.poll(timeout_ms=2000, max_records=1000)
        values = [record.value.decode() for records in batches.values() for record in records]
        if values:
            say("records", values=values)
            consumer.commit()
    consumer.close()


def at(o):
    consumer = KafkaConsumer(bootstrap_servers=o["bootstrap"])
    partitions = [TopicPartition(o["topic"], p) for p in consumer.partitions_for_topic(o["topic"])]
    found = consumer.offsets_for_times({p: o["timestamp"] for p in partitions})
    say("offsets", offsets={str(p.partition): f.offset if f else -1 for p, f in found.items()})
    consumer.close()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    {"create": create, "produce": produce, "consume": consume, "at": at}[options["step"]](options)
    say("done")
