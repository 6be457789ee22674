// kafkajs as a client under test; the protocol is in README.md.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy }
const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }))

const steps = {
  async create(kafka, o) {
    const admin = kafka.admin()
    await admin.connect()
    await admin.createTopics({ topics: [{ topic: o.topic, numPartitions: o.partitions, replicationFactor: 1 }] })
    await admin.disconnect()
  },

  async produce(kafka, o) {
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let i = o.first; i < o.first + o.count; ) {
      const messages = []
      for (; i < o.first + o.count && messages.length < 500; i++) {
        messages.push({ key: `k${i % 97}`, value: `${o.codec}-${i}` })
      }
      await producer.send({ topic: o.topic, acks: -1, compression: codecs[o.codec], messages })
    }
    await producer.disconnect()
  },

  async consume(kafka, o) {
    const consumer = kafka.consumer({ groupId: o.group, sessionTimeout: 6000, heartbeatInterval: 500 })
    consumer.on(consumer.events.GROUP_JOIN, (e) =>
      say('assigned', { partitions: (e.payload.memberAssignment[o.topic] || []) }))
    await consumer.connect()
    await consumer.subscribe({ topics: [o.topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: true,
      eachBatch: async ({ batch }) => {
        say('records', { values: batch.messages.map((m) => m.value.toString()) })
        const next = (BigInt(batch.lastOffset()) + 1n).toString()
        await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: next }])
      },
    })
    await new Promise((resolve) => process.stdin.on('end', resolve).resume())
    await consumer.disconnect()
  },

  async at(kafka, o) {
    const admin = kafka.admin()
    await admin.connect()
    const found = await admin.fetchTopicOffsetsByTimestamp(o.topic, o.timestamp)
    say('offsets', { offsets: Object.fromEntries(found.map((f) => [f.partition, Number(f.offset)])) })
    await admin.disconnect()
  },
}

const o = JSON.parse(process.argv[2])
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [o.bootstrap], logLevel: logLevel.ERROR })
steps[o.step](kafka, o).then(() => say('done', {})).then(() => process.exit(0), (err) => {
  console.error(err)
  process.exit(1)
})
