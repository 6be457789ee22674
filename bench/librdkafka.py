# Produces records with confluent-kafka and prints for how many seconds:
# address topic records bytes seed setting=value...
import random
import sys
import time

from confluent_kafka import Producer

address, topic, records, size, seed = sys.argv[1:6]
settings = dict(setting.split("=", 1) for setting in sys.argv[6:])
settings["bootstrap.servers"] = address
source = random.Random(int(seed))
values = [source.randbytes(int(size) // 2) + bytes(int(size) - int(size) // 2) for _ in range(1024)]
producer = Producer(settings)
began = time.monotonic()
for i in range(int(records)):
    while True:
        try:
            producer.produce(topic, values[i % 1024])
            break
        except BufferError:
            producer.poll(0.01)
left = producer.flush(60)
if left:
    sys.exit(f"{left} records were not acknowledged")
print(time.monotonic() - began)
