"""What the Python programs beside this check with: features, what passed and failed, and the records that they write.

../README.md says what is checked.
"""

import time
import traceback

N = 300
# Of the records' timestamps the first: none is so old that the broker would remove it.
T0 = int(time.time() * 1000) - 3_600_000
# Where Kafka's partitioner puts key-0, key-1, ... among seven partitions.
PLACED = "0544545342332221026553013001305225321450"
LARGE = bytes((i * 31 + i // 251) % 256 for i in range(1_000_000))


def key(n):
    return None if n % 10 == 9 else b"key-%d" % n


def value(n):
    """Binary, compressible, and of another length for each n."""
    return None if n % 50 == 48 else bytes((n + i // 16) % 256 for i in range(n * 7 % 2000))


def headers(n):
    return [("n", b"%d" % n), ("empty", b""), ("none", None), ("n", b"again")]


class Checks:
    def __init__(self, version):
        self.counts, self.feature = {}, None
        print("version", version)

    def begin(self, feature):
        self.feature = feature
        self.counts[feature] = [0, 0]

    def broke(self):
        """To be called of an exception: it ends a feature, as one check that failed."""
        traceback.print_exc()
        self.check("went to its end", False, "an exception, above")

    def check(self, what, ok, seen=""):
        self.counts[self.feature][0 if ok else 1] += 1
        if not ok:
            print(f"FAILED {self.feature}: {what}; seen: {seen}"[:2000])

    def equal(self, what, want, got):
        self.check(what, want == got, f"{got!r}, wanted {want!r}")

    def same(self, what, got, first, end):
        """got are the records first to end, byte for byte, as (key, value, timestamp, headers)."""
        wrong = "" if len(got) == end - first else f"{len(got)} records, wanted {end - first}"
        for n, r in zip(range(first, end), got):
            want = (key(n), value(n), T0 + n, headers(n))
            if not wrong and r != want:
                wrong = f"record {n}: {[g for g, w in zip(r, want) if g != w]}"
        self.check(what, not wrong, wrong)

    def once(self, what, reads, partitions, count):
        """reads, as (partition, offset, record) of records n that went to partition n % partitions, hold each once and in order."""
        wrong, next_ = "", [0] * partitions
        for p, o, r in reads:
            n = o * partitions + p
            if o != next_[p]:
                wrong = wrong or f"offset {o} of partition {p}, expected {next_[p]}"
            elif r != (key(n), value(n), T0 + n, headers(n)):
                wrong = wrong or f"record {n} is another"
            next_[p] = o + 1
        if not wrong and sum(next_) != count:
            wrong = f"{next_} records of partitions"
        self.check(what, not wrong, wrong)

    def end(self):
        for name, (ok, bad) in self.counts.items():
            print(f"feature {name}: {ok} passed, {bad} failed")
        ok, bad = (sum(c[i] for c in self.counts.values()) for i in (0, 1))
        print(f"{ok} passed, {bad} failed")
        return 1 if bad else 0
