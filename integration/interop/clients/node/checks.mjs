// What the JavaScript programs beside this check with. ../README.md says what is checked.

export const N = 300
// Of the records' timestamps the first: none is so old that the broker would remove it.
export const T0 = Date.now() - 3_600_000
// Where Kafka's partitioner puts key-0, key-1, … among seven partitions.
export const PLACED = '0544545342332221026553013001305225321450'
export const LARGE = Buffer.from(Uint8Array.from({ length: 1_000_000 }, (_, i) => i * 31 + Math.trunc(i / 251)))

export const key = n => (n % 10 === 9 ? null : Buffer.from(`key-${n}`))
// Binary, compressible, and of another length for each n.
export const value = n => (n % 50 === 48 ? null : Buffer.from(Uint8Array.from({ length: (n * 7) % 2000 }, (_, i) => n + Math.trunc(i / 16))))

export const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)
const shown = x => JSON.stringify(x, (_, v) => (typeof v === 'bigint' ? Number(v) : v))

const counts = new Map()
let feature

export function check (what, ok, seen) {
  counts.get(feature)[ok ? 0 : 1]++
  if (!ok) console.log(`FAILED ${feature}: ${what}; seen: ${shown(seen)}`.slice(0, 2000))
}

export function equal (what, want, got) {
  check(what, shown(want) === shown(got), { got, want })
}

// same compares what was read, as { key, value, timestamp, headers: [[name, text], …] }, with the records from to to, byte for byte.
export function same (what, got, from, to, headers) {
  let wrong = got.length === to - from ? '' : `${got.length} records, wanted ${to - from}`
  const bytes = b => (b == null ? null : Buffer.from(b).toString('hex'))
  for (let i = 0; i < got.length && !wrong; i++) {
    const n = from + i
    const want = [bytes(key(n)), bytes(value(n)), T0 + n, headers(n)]
    const have = [bytes(got[i].key), bytes(got[i].value), Number(got[i].timestamp), got[i].headers]
    const part = ['key', 'value', 'timestamp', 'headers'].find((_, j) => shown(want[j]) !== shown(have[j]))
    if (part) wrong = `${part} of record ${n}`
  }
  check(what, !wrong, wrong)
}

export async function refused (what, by, call) {
  try {
    check(what, false, await call())
  } catch (e) {
    check(what, by(e), `${e.type ?? e.code}: ${e.message}`)
  }
}

export async function until (condition, seconds = 60) {
  const end = Date.now() + seconds * 1000
  while (!condition()) {
    if (Date.now() > end) return false
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  return true
}

export async function run (version, features) {
  console.log(`version ${version}`)
  for (const [name, what] of Object.entries(features)) {
    feature = name
    counts.set(name, [0, 0])
    try {
      await what()
    } catch (e) {
      console.log(e)
      check('went to its end', false, e.message)
    }
  }
  let passed = 0
  let failed = 0
  for (const [name, [ok, bad]] of counts) {
    console.log(`feature ${name}: ${ok} passed, ${bad} failed`)
    passed += ok
    failed += bad
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}
