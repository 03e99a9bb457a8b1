// What ../README.md says that every client does, by kafkajs.
//
//   kafkajs.mjs BROKERS

import { createRequire } from 'node:module'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import { LARGE, N, PLACED, T0, check, equal, key, range, refused, run, same, until, value } from './checks.mjs'

const { CompressionTypes, CompressionCodecs, Kafka, Partitioners, logLevel, ConfigResourceTypes } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = snappy
const { version } = createRequire(import.meta.url)('kafkajs/package.json')
const kafka = new Kafka({ clientId: 'k', brokers: process.argv[2].split(','), logLevel: logLevel.NOTHING })
const admin = kafka.admin()

// kafkajs keeps headers in an object: those of one name are together.
const headers = n => [['n', `${n}`], ['n', 'again'], ['empty', '']]
const record = (n, partition = 0) => ({ key: key(n), value: value(n), partition, timestamp: `${T0 + n}`, headers: { n: [`${n}`, 'again'], empty: '' } })
const topic = (name, numPartitions, configEntries = []) => admin.createTopics({ topics: [{ topic: name, numPartitions, replicationFactor: 1, configEntries }] })

async function producer (settings = {}) {
  const p = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...settings })
  await p.connect()
  return p
}

async function send (p, name, from, to, { partitions = 1, acks = -1, compression } = {}) {
  return await p.send({ topic: name, acks, compression, messages: range(from, to).map(n => record(n, n % partitions)) })
}

async function sent (name, from, to, options = {}) {
  const p = await producer(options.producer)
  const answer = await send(p, name, from, to, options)
  await p.disconnect()
  return answer
}

let consumers = 0
// A consumer that runs until it is closed; read is what it was given, as it came.
async function consumer (name, { group = `k-${++consumers}`, from, commit = true, ...settings } = {}) {
  const c = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 10000, retry: { retries: 3 }, ...settings })
  const read = []
  const own = { partitions: [] }
  c.on(c.events.GROUP_JOIN, e => { own.partitions = Object.values(e.payload.memberAssignment).flat().sort() })
  c.on(c.events.REBALANCING, () => { own.partitions = [] })
  await c.connect()
  await c.subscribe({ topic: name, fromBeginning: true })
  await c.run({
    autoCommit: commit,
    eachMessage: async ({ partition, message: m }) => {
      read.push({
        partition,
        offset: Number(m.offset),
        key: m.key,
        value: m.value,
        timestamp: m.timestamp,
        headers: Object.entries(m.headers ?? {}).flatMap(([k, v]) => [v].flat().map(x => [k, x.toString()]))
      })
    }
  })
  if (from !== undefined) c.seek({ topic: name, partition: 0, offset: `${from}` })
  return { c, read, own, close: () => c.disconnect() }
}

async function read (name, from, count, settings = {}) {
  const k = await consumer(name, { from, commit: false, ...settings })
  await until(() => k.read.filter(r => r.offset >= from).length >= count, 20)
  await k.close()
  return k.read.filter(r => r.offset >= from)
}

async function produce () {
  await topic('k-produce', 1)
  for (const [i, acks] of [-1, 1].entries()) {
    const [answer] = await sent('k-produce', 0, N, { acks })
    equal(`offset, acks=${acks}`, `${i * N}`, answer.baseOffset)
    same(`records, acks=${acks}`, await read('k-produce', i * N, N), 0, N, headers)
  }
  await sent('k-produce', 0, N, { acks: 0 })
  same('records, acks=0', await read('k-produce', 2 * N, N), 0, N, headers)
  await topic('k-keys', 7)
  const p = await producer()
  let placed = ''
  for (let i = 0; i < PLACED.length; i++) placed += (await p.send({ topic: 'k-keys', messages: [{ key: `key-${i}`, value: '' }] }))[0].partition
  equal('partitions of keys', PLACED, placed)
  await topic('k-large', 1)
  await p.send({ topic: 'k-large', messages: [{ value: LARGE }] })
  const got = await read('k-large', 0, 1, { maxBytesPerPartition: 1000 })
  check('a record of 1 MB, read by who asks for 1000 bytes', got.length === 1 && LARGE.equals(got[0].value), got.length)
  await refused('a record of 2 MB', e => e.type === 'MESSAGE_TOO_LARGE', () => p.send({ topic: 'k-large', messages: [{ value: Buffer.alloc(2_000_000) }] }))
  await p.disconnect()
}

async function compression () {
  for (const [name, codec] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy]]) {
    await topic(`k-${name}`, 1)
    await sent(`k-${name}`, 0, N, { compression: codec })
    same(name, await read(`k-${name}`, 0, N), 0, N, headers)
    same(`${name}, from the middle of a batch`, await read(`k-${name}`, 101, N - 101), 101, N, headers)
  }
}

async function idempotence () {
  await topic('k-idempotent', 1)
  const p = await producer({ idempotent: true, maxInFlightRequests: 5 })
  await Promise.all(range(0, 10).map(i => send(p, 'k-idempotent', i * 30, i * 30 + 30)))
  await p.disconnect()
  const got = await read('k-idempotent', 0, N)
  equal('offsets', range(0, N), got.map(r => r.offset))
  // The order among requests that are sent together is the client's.
  equal('each once', range(0, N), got.map(r => Number(r.timestamp) - T0).sort((a, b) => a - b))
}

async function consume () {
  await topic('k-consume', 1)
  await sent('k-consume', 0, N)
  same('from the beginning', await read('k-consume', 0, N), 0, N, headers)
  same('from an offset', await read('k-consume', 123, N - 123), 123, N, headers)
  equal('beginning and end', [{ partition: 0, offset: `${N}`, high: `${N}`, low: '0' }], await admin.fetchTopicOffsets('k-consume'))
  equal('offset of a time', [{ partition: 0, offset: '77' }], await admin.fetchTopicOffsetsByTimestamp('k-consume', T0 + 77))
  const k = await consumer('k-consume', { from: 10 * N, commit: false })
  await until(() => k.read.length >= N, 20)
  await k.close()
  same('from an offset out of range, reset to the earliest', k.read.slice(-N), 0, N, headers)
}

async function groups () {
  const name = 'k-group'
  await topic(name, 6)
  await sent(name, 0, N, { partitions: 6 })
  const a = await consumer(name, { group: 'k-classic' })
  check('one member owns all and reads all', await until(() => a.own.partitions.length === 6 && a.read.length === N), [a.own, a.read.length])
  const b = await consumer(name, { group: 'k-classic' })
  check('two own half each', await until(() => a.own.partitions.length === 3 && b.own.partitions.length === 3), [a.own, b.own])
  equal('none is owned twice', range(0, 6), [...a.own.partitions, ...b.own.partitions].sort())
  await sent(name, N, 2 * N, { partitions: 6 })
  check('both read', await until(() => a.read.length + b.read.length >= 2 * N && b.read.length > 0), [a.read.length, b.read.length])
  await b.close()
  check('one is left and owns all', await until(() => a.own.partitions.length === 6), a.own)
  await a.close()
  const all = [...a.read, ...b.read]
  for (let p = 0; p < 6; p++) equal(`every record once, in order, partition ${p}`, range(0, (2 * N) / 6), all.filter(r => r.partition === p).map(r => r.offset))
  await admin.setOffsets({ groupId: 'k-classic', topic: name, partitions: [{ partition: 1, offset: '40', metadata: 'a note' }] })
  const [{ partitions }] = await admin.fetchOffsets({ groupId: 'k-classic', topics: [name] })
  const found = partitions.find(p => p.partition === 1)
  equal('what was committed', '40', found.offset)
  const again = await consumer(name, { group: 'k-classic' })
  await until(() => again.read.length >= 60)
  await again.close()
  equal('goes on at what was committed', range(40, 100), again.read.map(r => r.offset))
  const pattern = await consumer(/^k-group.*/, { group: 'k-pattern' })
  check('subscribed by a pattern', await until(() => pattern.read.length >= 2 * N), pattern.read.length)
  await pattern.close()
}

async function transactions () {
  for (const name of ['k-in', 'k-out', 'k-other', 'k-open', 'k-etl']) await topic(name, 1)
  await sent('k-in', 0, N)
  const transactional = id => producer({ transactionalId: id, maxInFlightRequests: 1, idempotent: true })
  const p = await transactional('k-tx')
  for (const [from, to, other, commit] of [[0, 10, true, true], [100, 150, true, false], [10, 20, false, true]]) {
    const t = await p.transaction()
    await send(t, 'k-out', from, to)
    if (other) await send(t, 'k-other', from, to)
    await (commit ? t.commit() : t.abort())
  }
  await p.disconnect()
  same('committed are read, aborted are not', await read('k-out', 0, 20), 0, 20, headers)
  same('in the other partition too', await read('k-other', 0, 10), 0, 10, headers)
  equal('all are read by who does not ask for committed ones', 70, (await read('k-out', 0, 70, { readUncommitted: true })).length)

  const open = await transactional('k-open')
  const t = await open.transaction()
  await send(t, 'k-open', 0, 5)
  await sent('k-open', 5, 10)
  const waiting = await consumer('k-open', { commit: false })
  const uncommitted = await consumer('k-open', { commit: false, readUncommitted: true })
  check('who does not ask for committed ones reads meanwhile', await until(() => uncommitted.read.length === 10, 20), uncommitted.read.length)
  equal('nothing before it is decided', 0, waiting.read.length)
  await t.commit()
  await until(() => waiting.read.length >= 10, 20)
  same('all when it is', waiting.read, 0, 10, headers)
  await Promise.all([open.disconnect(), waiting.close(), uncommitted.close()])

  const etl = await transactional('k-etl')
  const input = await read('k-in', 0, N)
  for (let at = 0, tries = 0; at < N; tries++) {
    const t = await etl.transaction()
    await t.send({ topic: 'k-etl', messages: input.slice(at, at + 50).map(r => record(r.offset)) })
    await t.sendOffsets({ consumerGroupId: 'k-etl', topics: [{ topic: 'k-in', partitions: [{ partition: 0, offset: `${at + 50}` }] }] })
    if (tries % 2 === 0) await t.abort()
    else {
      await t.commit()
      at += 50
    }
    const [{ partitions }] = await admin.fetchOffsets({ groupId: 'k-etl', topics: ['k-in'] })
    equal('the offset after a transaction', `${at || -1}`, partitions[0].offset)
  }
  await etl.disconnect()
  same('each once, over aborted tries', await read('k-etl', 0, N), 0, N, headers)

  const old = await transactional('k-fenced')
  const lost = await old.transaction()
  await send(lost, 'k-out', 200, 205)
  const young = await transactional('k-fenced')
  const mine = await young.transaction()
  await refused('the older one is fenced', e => /PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/.test(e.type), () => lost.commit())
  await send(mine, 'k-out', 20, 25)
  await mine.commit()
  await Promise.all([old.disconnect(), young.disconnect()])
  same('what the older one sent is not read', await read('k-out', 0, 25), 0, 25, headers)
}

async function administration () {
  equal('a topic is created', true, await topic('k-admin', 3, [{ name: 'retention.ms', value: '86400000' }]))
  equal('a topic that is there', false, await topic('k-admin', 3))
  await refused('a bad name', e => e.type === 'INVALID_TOPIC_EXCEPTION' || e.errors?.[0]?.type === 'INVALID_TOPIC_EXCEPTION', () => topic('a bad/name', 1))
  await refused('a bad configuration', e => e.type === 'INVALID_CONFIG' || e.errors?.[0]?.type === 'INVALID_CONFIG', () => topic('k-bad', 1, [{ name: 'retention.ms', value: 'soon' }]))
  check('list of topics', (await admin.listTopics()).includes('k-admin'), await admin.listTopics())
  const described = async () => (await admin.fetchTopicMetadata({ topics: ['k-admin'] })).topics[0].partitions
  equal('partitions', [0, 1, 2], (await described()).map(p => p.partitionId).sort())
  await admin.createPartitions({ topicPartitions: [{ topic: 'k-admin', count: 5 }] })
  equal('more partitions', 5, (await described()).length)
  const config = async name => {
    const { resources } = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'k-admin', configNames: [name] }] })
    return resources[0].configEntries[0].configValue
  }
  equal('configuration', '86400000', await config('retention.ms'))
  await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'k-admin', configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }] })
  equal('altered, and what is not named is a default again', ['compact', '604800000'], [await config('cleanup.policy'), await config('retention.ms')])
  const cluster = await admin.describeCluster()
  check('cluster id and controller', cluster.clusterId && cluster.controller !== null, cluster)
  await topic('k-offsets', 1)
  await sent('k-offsets', 0, N)
  await admin.fetchTopicOffsets('k-offsets') // or kafkajs does not know the leader: it looks before it asks
  await admin.deleteTopicRecords({ topic: 'k-offsets', partitions: [{ partition: 0, offset: '100' }] })
  equal('earliest after records were deleted', '100', (await admin.fetchTopicOffsets('k-offsets'))[0].low)
  same('what is left', await read('k-offsets', 0, N - 100), 100, N, headers)
  const k = await consumer('k-offsets', { group: 'k-admin' })
  await until(() => k.read.length >= N - 100, 20)
  check('list of groups', (await admin.listGroups()).groups.some(g => g.groupId === 'k-admin'), await admin.listGroups())
  const [g] = (await admin.describeGroups(['k-admin'])).groups
  equal('a group\'s state and members', ['Stable', 1, 'k'], [g.state, g.members.length, g.members[0]?.clientId])
  await refused('a group with members', e => /NON_EMPTY_GROUP/.test(e.type ?? e.groups?.[0]?.error?.type), () => admin.deleteGroups(['k-admin']))
  await k.close()
  equal('a group\'s offsets', `${N}`, (await admin.fetchOffsets({ groupId: 'k-admin', topics: ['k-offsets'] }))[0].partitions[0].offset)
  await admin.deleteGroups(['k-admin'])
  await admin.deleteTopics({ topics: ['k-admin'] })
  check('a topic deleted', !(await admin.listTopics()).includes('k-admin'), 'it is listed')
}

await admin.connect()
await run(version, { produce, compression, idempotence, consume, 'classic groups': groups, transactions, admin: administration })
