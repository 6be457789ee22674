"""confluent-kafka (librdkafka) as a client under test; the protocol is in README.md."""
import json
import sys
import threading

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def create(o):
    admin = AdminClient({"bootstrap.servers": o["bootstrap"]})
    for future in admin.create_topics([NewTopic(o["topic"], o["partitions"], 1)]).values():
        future.result(30)


def produce(o):
    failed = []

    def acknowledged(err, _):
        if err is not None:
            failed.append(err)

    producer = Producer({
        "bootstrap.servers": o["bootstrap"], "compression.codec": o["codec"], "enable.idempotence": True, "linger.ms": 5,
    })
    for i in range(o["first"], o["first"] + o["count"]):
        while True:
            try:
                producer.produce(o["topic"], key="k%d" % (i % 97), value="%s-%d" % (o["codec"], i), on_delivery=acknowledged)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60) > 0 or failed:
        raise RuntimeError("not acknowledged: %s" % failed[:3])


def consume(o):
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    consumer = Consumer({
        "bootstrap.servers": o["bootstrap"], "group.id": o["group"], "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "session.timeout.ms": 6000,
    })
    consumer.subscribe([o["topic"]], on_assign=lambda _, ps: say("assigned", partitions=[p.partition for p in ps]))
    while not done.is_set():
        values = []
        for message in consumer.consume(1000, 0.2):
            if message.error():
                raise KafkaException(message.error())
            values.append(message.value().decode())
        if values:
            say("records", values=values)
            consumer.commit(asynchronous=False)
    consumer.close()


def at(o):
    consumer = Consumer({"bootstrap.servers": o["bootstrap"], "group.id": "unused"})
    partitions = consumer.list_topics(o["topic"], 30).topics[o["topic"]].partitions
    found = consumer.offsets_for_times([TopicPartition(o["topic"], p, o["timestamp"]) for p in partitions], 30)
    # librdkafka gives OFFSET_END (-1) where no record is that young.
    say("offsets", offsets={str(p.partition): p.offset for p in found})
    consumer.close()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    {"create": create, "produce": produce, "consume": consume, "at": at}[options["step"]](options)
    say("done")
