import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * What ../README.md says that every client does, by Apache Kafka's Java client. It compiles against 2.8 as against 4.3.
 *
 * <pre>Clients BROKERS</pre>
 */
public final class Clients {
    static final int N = 300;
    /** Of the records' timestamps the first: none is so old that the broker would remove it. */
    static final long T0 = System.currentTimeMillis() - 3_600_000;
    /** Where Kafka's partitioner puts key-0, key-1, … among seven partitions. */
    static final String PLACED = "0544545342332221026553013001305225321450";

    final String brokers;
    final Admin admin;
    final Map<String, int[]> counts = new LinkedHashMap<>();
    String feature;

    Clients(String brokers) {
        this.brokers = brokers;
        admin = Admin.create(common());
    }

    public static void main(String[] args) throws Exception {
        System.out.println("version " + AppInfoParser.getVersion());
        System.exit(new Clients(args[0]).run() ? 0 : 1);
    }

    interface Check { void run() throws Exception; }

    boolean run() {
        feature("produce", this::produce);
        feature("compression", this::compression);
        feature("idempotence", this::idempotence);
        feature("consume", this::consume);
        feature("classic groups", () -> groups("classic"));
        if (!AppInfoParser.getVersion().startsWith("2.") && !AppInfoParser.getVersion().startsWith("3.")) {
            feature("consumer groups", () -> groups("consumer"));
            shareGroups();
        }
        feature("transactions", this::transactions);
        feature("admin", this::admin);
        feature("quotas", this::quotas);
        int passed = 0, failed = 0;
        for (Map.Entry<String, int[]> e : counts.entrySet()) {
            System.out.println("feature " + e.getKey() + ": " + e.getValue()[0] + " passed, " + e.getValue()[1] + " failed");
            passed += e.getValue()[0];
            failed += e.getValue()[1];
        }
        System.out.println(passed + " passed, " + failed + " failed");
        return failed == 0;
    }

    /** By share/Shares.java, which compiles against clients that have a share consumer alone. */
    void shareGroups() {
        feature("share groups", () -> ((Check) Class.forName("Shares").getConstructor(Clients.class).newInstance(this)).run());
    }

    /** Checks come as they are made; an exception ends the feature, as one that failed. */
    void feature(String name, Check what) {
        feature = name;
        counts.put(name, new int[2]);
        try {
            what.run();
        } catch (Throwable e) {
            e.printStackTrace(System.out);
            check("went to its end", false, e);
        }
    }

    void check(String what, boolean ok, Object seen) {
        counts.get(feature)[ok ? 0 : 1]++;
        if (!ok) System.out.println("FAILED " + feature + ": " + what + "; seen: " + seen);
    }

    void equal(String what, Object want, Object got) { check(what, want.equals(got), got + ", wanted " + want); }

    interface Failing { Object run() throws Exception; }

    void refused(String what, Class<?> by, Failing f) {
        try {
            check(what, false, f.run());
        } catch (Exception e) {
            Throwable cause = e instanceof ExecutionException ? e.getCause() : e;
            check(what, by.isInstance(cause), cause);
        }
    }

    // ---- the parts

    Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", brokers);
        return p;
    }

    KafkaProducer<byte[], byte[]> producer(String... settings) {
        Properties p = common();
        for (int i = 0; i < settings.length; i += 2) p.put(settings[i], settings[i + 1]);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(String... settings) {
        Properties p = common();
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        for (int i = 0; i < settings.length; i += 2) p.put(settings[i], settings[i + 1]);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    void topic(String name, int partitions) throws Exception {
        admin.createTopics(Collections.singleton(new NewTopic(name, partitions, (short) -1))).all().get();
    }

    static byte[] bytes(String s) { return s.getBytes(StandardCharsets.UTF_8); }

    static String text(byte[] b) { return b == null ? null : new String(b, StandardCharsets.UTF_8); }

    /** Binary, compressible, and of another length for each n. */
    static byte[] value(int n) {
        byte[] v = new byte[n * 7 % 2000];
        for (int i = 0; i < v.length; i++) v[i] = (byte) (n + i / 16);
        return v;
    }

    static ProducerRecord<byte[], byte[]> record(String topic, Integer partition, int n) {
        ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(topic, partition, T0 + n, n % 10 == 9 ? null : bytes("key-" + n), n % 50 == 48 ? null : value(n));
        r.headers().add("n", bytes(Integer.toString(n))).add("empty", new byte[0]).add("none", null).add("n", bytes("again"));
        return r;
    }

    /** Empty when r is, byte for byte, the record n. */
    static String differs(ConsumerRecord<byte[], byte[]> r, int n) {
        ProducerRecord<byte[], byte[]> want = record("", 0, n);
        if (!Arrays.equals(r.key(), want.key())) return "key of " + n + ": " + text(r.key());
        if (!Arrays.equals(r.value(), want.value())) return "value of " + n + ": " + (r.value() == null ? null : r.value().length);
        if (r.timestamp() != T0 + n) return "timestamp of " + n + ": " + r.timestamp();
        List<Header> h = new ArrayList<>();
        r.headers().forEach(h::add);
        List<Header> w = new ArrayList<>();
        want.headers().forEach(w::add);
        return h.equals(w) ? "" : "headers of " + n + ": " + h;
    }

    List<RecordMetadata> send(KafkaProducer<byte[], byte[]> p, String topic, int from, int to) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int n = from; n < to; n++) sent.add(p.send(record(topic, 0, n)));
        p.flush();
        List<RecordMetadata> got = new ArrayList<>();
        for (Future<RecordMetadata> f : sent) got.add(f.get());
        return got;
    }

    /** Reads until there are n records, or nothing has come for a while. */
    static List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> c, int n) {
        List<ConsumerRecord<byte[], byte[]>> all = new ArrayList<>();
        for (long until = System.nanoTime() + 20_000_000_000L; all.size() < n && System.nanoTime() < until; ) {
            for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(200))) all.add(r);
        }
        return all;
    }

    List<ConsumerRecord<byte[], byte[]>> readFrom(String topic, long offset, int n, String... settings) {
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> c = consumer(settings)) {
            c.assign(Collections.singleton(tp));
            c.seek(tp, offset);
            return read(c, n);
        }
    }

    void same(String what, List<ConsumerRecord<byte[], byte[]>> got, int from, int to) {
        String wrong = got.size() == to - from ? "" : got.size() + " records, wanted " + (to - from);
        for (int i = 0; i < got.size() && wrong.isEmpty(); i++) wrong = differs(got.get(i), from + i);
        check(what, wrong.isEmpty(), wrong);
    }

    static List<Long> offsets(List<ConsumerRecord<byte[], byte[]>> records) {
        List<Long> all = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> r : records) all.add(r.offset());
        return all;
    }

    static List<Long> range(long from, long to) {
        List<Long> all = new ArrayList<>();
        for (long i = from; i < to; i++) all.add(i);
        return all;
    }

    // ---- the features

    void produce() throws Exception {
        topic("j-produce", 1);
        for (String acks : new String[] {"all", "1"}) {
            try (KafkaProducer<byte[], byte[]> p = producer("acks", acks, "enable.idempotence", "false")) {
                List<RecordMetadata> sent = send(p, "j-produce", 0, N);
                long base = acks.equals("all") ? 0 : N;
                List<Long> got = new ArrayList<>();
                for (RecordMetadata m : sent) got.add(m.offset());
                equal("offsets, acks=" + acks, range(base, base + N), got);
                same("records, acks=" + acks, readFrom("j-produce", base, N), 0, N);
            }
        }
        try (KafkaProducer<byte[], byte[]> p = producer("acks", "0", "enable.idempotence", "false")) {
            send(p, "j-produce", 0, N);
        }
        same("records, acks=0", readFrom("j-produce", 2 * N, N), 0, N);

        topic("j-keys", 7);
        StringBuilder placed = new StringBuilder();
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            for (int i = 0; i < PLACED.length(); i++) placed.append(p.send(new ProducerRecord<>("j-keys", bytes("key-" + i), bytes("" + i))).get().partition());
        }
        equal("partitions of keys", PLACED, placed.toString());

        topic("j-large", 1);
        try (KafkaProducer<byte[], byte[]> p = producer("max.request.size", "4000000")) {
            byte[] large = new byte[1_000_000];
            for (int i = 0; i < large.length; i++) large[i] = (byte) (i * 31 + i / 251);
            p.send(new ProducerRecord<>("j-large", large)).get();
            List<ConsumerRecord<byte[], byte[]>> got = readFrom("j-large", 0, 1, "fetch.max.bytes", "1000", "max.partition.fetch.bytes", "1000");
            check("a record of 1 MB, read by who asks for 1000 bytes", got.size() == 1 && Arrays.equals(got.get(0).value(), large), got.size());
            refused("a record of 2 MB", RecordTooLargeException.class, () -> p.send(new ProducerRecord<>("j-large", new byte[2_000_000])).get());
        }
    }

    void compression() throws Exception {
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            topic("j-" + codec, 1);
            try (KafkaProducer<byte[], byte[]> p = producer("compression.type", codec, "linger.ms", "50", "batch.size", "100000")) {
                send(p, "j-" + codec, 0, N);
            }
            same(codec, readFrom("j-" + codec, 0, N), 0, N);
            same(codec + ", from the middle of a batch", readFrom("j-" + codec, 101, N - 101), 101, N);
        }
    }

    void idempotence() throws Exception {
        topic("j-idempotent", 1);
        try (KafkaProducer<byte[], byte[]> p = producer("enable.idempotence", "true", "acks", "all", "max.in.flight.requests.per.connection", "5", "batch.size", "2000")) {
            send(p, "j-idempotent", 0, N);
        }
        List<ConsumerRecord<byte[], byte[]>> got = readFrom("j-idempotent", 0, N);
        equal("offsets", range(0, N), offsets(got));
        same("records, five batches in flight", got, 0, N);
    }

    void consume() throws Exception {
        topic("j-consume", 1);
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            send(p, "j-consume", 0, N);
        }
        TopicPartition tp = new TopicPartition("j-consume", 0);
        try (KafkaConsumer<byte[], byte[]> c = consumer("max.poll.records", "17")) {
            c.assign(Collections.singleton(tp));
            same("from the beginning", read(c, N), 0, N);
            equal("position", (long) N, c.position(tp));
            c.seek(tp, 123);
            same("from an offset", read(c, N - 123), 123, N);
            equal("beginning", 0L, c.beginningOffsets(Collections.singleton(tp)).get(tp));
            equal("end", (long) N, c.endOffsets(Collections.singleton(tp)).get(tp));
            OffsetAndTimestamp at = c.offsetsForTimes(Collections.singletonMap(tp, T0 + 77)).get(tp);
            check("offset of a time", at.offset() == 77 && at.timestamp() == T0 + 77, at);
            check("offset of a time to come", c.offsetsForTimes(Collections.singletonMap(tp, T0 + N)).get(tp) == null, "an offset");
            c.seek(tp, 10 * N);
            same("from an offset out of range, reset to the earliest", read(c, N), 0, N);
            c.pause(Collections.singleton(tp));
            c.seek(tp, 5);
            check("nothing while paused", c.poll(Duration.ofMillis(300)).isEmpty(), "records");
            c.resume(Collections.singleton(tp));
            same("after that", read(c, N - 5), 5, N);
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("auto.offset.reset", "none")) {
            c.assign(Collections.singleton(tp));
            c.seek(tp, 10 * N);
            refused("out of range, and no reset", org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> read(c, 1));
        }
    }

    /** One member of a group: what it owns, and every record that it was given. */
    final class Member implements AutoCloseable {
        final KafkaConsumer<byte[], byte[]> c;
        final Set<TopicPartition> owns = new HashSet<>();
        final List<ConsumerRecord<byte[], byte[]>> read = new ArrayList<>();

        Member(String group, String protocol, String topic) {
            c = protocol.equals("consumer") ? consumer("group.id", group, "group.protocol", protocol) : consumer("group.id", group, "session.timeout.ms", "10000", "heartbeat.interval.ms", "500");
            c.subscribe(Collections.singleton(topic), new ConsumerRebalanceListener() {
                @Override public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                    c.commitSync();
                    owns.removeAll(gone);
                }
                @Override public void onPartitionsAssigned(Collection<TopicPartition> come) { owns.addAll(come); }
                @Override public void onPartitionsLost(Collection<TopicPartition> gone) { owns.removeAll(gone); }
            });
        }

        void poll() { for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(100))) read.add(r); }

        @Override public void close() { c.close(); }
    }

    static boolean poll(Member[] members, java.util.function.BooleanSupplier until) {
        for (long end = System.nanoTime() + 60_000_000_000L; !until.getAsBoolean(); ) {
            if (System.nanoTime() > end) return false;
            for (Member m : members) m.poll();
        }
        return true;
    }

    void groups(String protocol) throws Exception {
        String topic = "j-group-" + protocol, group = "j-" + protocol;
        topic(topic, 6);
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            for (int n = 0; n < N; n++) p.send(record(topic, n % 6, n));
        }
        List<ConsumerRecord<byte[], byte[]>> all = new ArrayList<>();
        try (Member a = new Member(group, protocol, topic)) {
            check("one member owns all and reads all", poll(new Member[] {a}, () -> a.owns.size() == 6 && a.read.size() == N), a.owns + ", " + a.read.size());
            try (Member b = new Member(group, protocol, topic)) {
                check("two own half each", poll(new Member[] {a, b}, () -> a.owns.size() == 3 && b.owns.size() == 3), a.owns + ", " + b.owns);
                check("none is owned twice", Collections.disjoint(a.owns, b.owns), a.owns + ", " + b.owns);
                try (KafkaProducer<byte[], byte[]> p = producer()) {
                    for (int n = N; n < 2 * N; n++) p.send(record(topic, n % 6, n));
                }
                check("both read", poll(new Member[] {a, b}, () -> a.read.size() + b.read.size() >= 2 * N && !b.read.isEmpty()), a.read.size() + ", " + b.read.size());
                b.c.commitSync();
                all.addAll(a.read); // of what b has read a has read what was before
                all.addAll(b.read);
            }
            check("one is left and owns all", poll(new Member[] {a}, () -> a.owns.size() == 6), a.owns);
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", group)) {
            c.commitSync(Collections.singletonMap(new TopicPartition(topic, 1), new OffsetAndMetadata(40, "a note")));
        }
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> by = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> r : all) by.computeIfAbsent(r.partition(), k -> new ArrayList<>()).add(r);
        String wrong = by.size() == 6 ? "" : by.size() + " partitions";
        for (List<ConsumerRecord<byte[], byte[]>> l : by.values()) {
            if (!offsets(l).equals(range(0, 2 * N / 6))) wrong += "partition " + l.get(0).partition() + ": " + offsets(l) + "; ";
            for (ConsumerRecord<byte[], byte[]> r : l) if (wrong.isEmpty()) wrong = differs(r, (int) r.offset() * 6 + r.partition());
        }
        check("every record once, in order", wrong.isEmpty(), wrong);
        try (Member a = new Member(group, protocol, topic)) {
            OffsetAndMetadata committed = a.c.committed(Collections.singleton(new TopicPartition(topic, 1))).get(new TopicPartition(topic, 1));
            check("what was committed, with its note", committed != null && committed.offset() == 40 && committed.metadata().equals("a note"), committed);
            check("goes on at what was committed", poll(new Member[] {a}, () -> a.read.size() >= 60), a.read.size());
            equal("and reads what comes after", range(40, 100), offsets(a.read));
        }
        try (KafkaConsumer<byte[], byte[]> c = protocol.equals("consumer") ? consumer("group.id", group + "-pattern", "group.protocol", protocol) : consumer("group.id", group + "-pattern")) {
            c.subscribe(java.util.regex.Pattern.compile("j-group-" + protocol + ".*"));
            equal("subscribed by a pattern", 2 * N, read(c, 2 * N).size());
        }
        if (protocol.equals("consumer")) subscribedByTheBrokersPattern(group, "j-group-consumer.*");
    }

    /** The broker says which topics match (RE2), and the client asks for them by id. Clients before 4.0 do not have it. */
    void subscribedByTheBrokersPattern(String group, String pattern) throws Exception {
        Class<?> type;
        try {
            type = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
        } catch (ClassNotFoundException e) {
            return;
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", group + "-re2", "group.protocol", "consumer")) {
            KafkaConsumer.class.getMethod("subscribe", type).invoke(c, type.getConstructor(String.class).newInstance(pattern));
            equal("subscribed by a pattern that the broker looks at", 2 * N, read(c, 2 * N).size());
        }
    }

    void transactions() throws Exception {
        topic("j-in", 1);
        topic("j-out", 1);
        topic("j-other", 1);
        TopicPartition in = new TopicPartition("j-in", 0);
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            send(p, "j-in", 0, N);
        }
        try (KafkaProducer<byte[], byte[]> p = producer("transactional.id", "j-tx")) {
            p.initTransactions();
            p.beginTransaction();
            send(p, "j-out", 0, 10);
            send(p, "j-other", 0, 10);
            p.commitTransaction();
            p.beginTransaction();
            send(p, "j-out", 100, 150);
            send(p, "j-other", 100, 150);
            p.abortTransaction();
            p.beginTransaction();
            send(p, "j-out", 10, 20);
            p.commitTransaction();
        }
        same("committed are read, aborted are not", readFrom("j-out", 0, 20, "isolation.level", "read_committed"), 0, 20);
        same("in the other partition too", readFrom("j-other", 0, 10, "isolation.level", "read_committed"), 0, 10);
        equal("all are read by who does not ask for committed ones", 70, readFrom("j-out", 0, 70).size());

        // An open transaction holds back what follows it.
        try (KafkaProducer<byte[], byte[]> open = producer("transactional.id", "j-open"); KafkaProducer<byte[], byte[]> plain = producer()) {
            topic("j-open", 1);
            open.initTransactions();
            open.beginTransaction();
            send(open, "j-open", 0, 5);
            send(plain, "j-open", 5, 10);
            TopicPartition tp = new TopicPartition("j-open", 0);
            try (KafkaConsumer<byte[], byte[]> c = consumer("isolation.level", "read_committed")) {
                c.assign(Collections.singleton(tp));
                equal("the last stable offset", 0L, c.endOffsets(Collections.singleton(tp)).get(tp));
                check("nothing before it is decided", c.poll(Duration.ofMillis(500)).isEmpty(), "records");
                open.commitTransaction();
                same("all when it is", read(c, 10), 0, 10);
            }
        }

        // Consume, transform, produce; offsets go with the transaction.
        try (KafkaProducer<byte[], byte[]> p = producer("transactional.id", "j-etl"); KafkaConsumer<byte[], byte[]> c = consumer("group.id", "j-etl", "isolation.level", "read_committed", "max.poll.records", "50")) {
            topic("j-etl", 1);
            p.initTransactions();
            c.subscribe(Collections.singleton("j-in"));
            int next = 0, batches = 0;
            while (next < N) {
                ConsumerRecords<byte[], byte[]> records = c.poll(Duration.ofMillis(200));
                if (records.isEmpty()) continue;
                p.beginTransaction();
                for (ConsumerRecord<byte[], byte[]> r : records) p.send(record("j-etl", 0, (int) r.offset()));
                long after = c.position(in);
                p.sendOffsetsToTransaction(Collections.singletonMap(in, new OffsetAndMetadata(after)), c.groupMetadata());
                if (batches++ % 2 == 0) {
                    p.abortTransaction();
                    c.seek(in, next);
                } else {
                    p.commitTransaction();
                    next = (int) after;
                }
                if (batches > 40) break;
            }
            equal("offsets committed with the transactions", (long) N, c.committed(Collections.singleton(in)).get(in).offset());
        }
        same("each once, over aborted tries", readFrom("j-etl", 0, N, "isolation.level", "read_committed"), 0, N);

        // Another producer of the same id.
        KafkaProducer<byte[], byte[]> old = producer("transactional.id", "j-fenced");
        old.initTransactions();
        old.beginTransaction();
        send(old, "j-out", 200, 205);
        try (KafkaProducer<byte[], byte[]> p = producer("transactional.id", "j-fenced")) {
            p.initTransactions();
            try {
                old.commitTransaction();
                check("the older one is fenced", false, "committed");
            } catch (ProducerFencedException | InvalidProducerEpochException e) {
                check("the older one is fenced", true, e);
            }
            p.beginTransaction();
            send(p, "j-out", 20, 25);
            p.commitTransaction();
        }
        old.close(Duration.ZERO);
        same("what the older one sent is not read", readFrom("j-out", 0, 25, "isolation.level", "read_committed"), 0, 25);
    }

    @SuppressWarnings("unchecked")
    Map<String, TopicDescription> described(String topic) throws Exception {
        DescribeTopicsResult r = admin.describeTopics(Collections.singleton(topic));
        String all = "all"; // until 3.x; allTopicNames from 3.1
        for (java.lang.reflect.Method m : r.getClass().getMethods()) if (m.getName().equals("allTopicNames")) all = "allTopicNames";
        return ((KafkaFuture<Map<String, TopicDescription>>) r.getClass().getMethod(all).invoke(r)).get();
    }

    String config(ConfigResource r, String name) throws Exception {
        ConfigEntry e = admin.describeConfigs(Collections.singleton(r)).all().get().get(r).get(name);
        return e.value() + " " + e.source();
    }

    void admin() throws Exception {
        NewTopic t = new NewTopic("j-admin", 3, (short) 1).configs(Collections.singletonMap("retention.ms", "86400000"));
        admin.createTopics(Collections.singleton(t)).all().get();
        refused("a topic that is there", TopicExistsException.class, () -> admin.createTopics(Collections.singleton(t)).all().get());
        refused("a bad name", InvalidTopicException.class, () -> admin.createTopics(Collections.singleton(new NewTopic("a bad/name", 1, (short) 1))).all().get());
        refused("a bad configuration", InvalidConfigurationException.class,
            () -> admin.createTopics(Collections.singleton(new NewTopic("j-bad", 1, (short) 1).configs(Collections.singletonMap("retention.ms", "soon")))).all().get());
        check("list of topics", admin.listTopics().names().get().contains("j-admin"), admin.listTopics().names().get());
        equal("partitions", 3, described("j-admin").get("j-admin").partitions().size());
        check("leader and replicas", described("j-admin").get("j-admin").partitions().get(2).leader() != null && described("j-admin").get("j-admin").partitions().get(2).isr().size() == 1, described("j-admin"));
        admin.createPartitions(Collections.singletonMap("j-admin", NewPartitions.increaseTo(5))).all().get();
        equal("more partitions", 5, described("j-admin").get("j-admin").partitions().size());

        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, "j-admin");
        equal("configuration", "86400000 DYNAMIC_TOPIC_CONFIG", config(r, "retention.ms"));
        equal("a default", "1048588 DEFAULT_CONFIG", config(r, "max.message.bytes"));
        admin.incrementalAlterConfigs(Collections.singletonMap(r, Arrays.asList(
            new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE),
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
        equal("appended", "delete,compact DYNAMIC_TOPIC_CONFIG", config(r, "cleanup.policy"));
        equal("deleted", "604800000 DEFAULT_CONFIG", config(r, "retention.ms"));
        String node = admin.describeCluster().nodes().get().iterator().next().idString();
        check("a broker's configuration", config(new ConfigResource(ConfigResource.Type.BROKER, node), "num.partitions").startsWith("4 "), "not 4");
        check("cluster id and controller", !admin.describeCluster().clusterId().get().isEmpty() && admin.describeCluster().controller().get() != null, "none");

        topic("j-offsets", 2);
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            send(p, "j-offsets", 0, N);
        }
        TopicPartition tp = new TopicPartition("j-offsets", 0), tp1 = new TopicPartition("j-offsets", 1);
        Map<TopicPartition, OffsetSpec> ask = new HashMap<>();
        ask.put(tp, OffsetSpec.latest());
        ask.put(tp1, OffsetSpec.earliest());
        equal("latest offset", (long) N, admin.listOffsets(ask).partitionResult(tp).get().offset());
        equal("offset of a time", 7L, admin.listOffsets(Collections.singletonMap(tp, OffsetSpec.forTimestamp(T0 + 7))).partitionResult(tp).get().offset());
        admin.deleteRecords(Collections.singletonMap(tp, RecordsToDelete.beforeOffset(100))).all().get();
        equal("earliest after records were deleted", 100L, admin.listOffsets(Collections.singletonMap(tp, OffsetSpec.earliest())).partitionResult(tp).get().offset());
        same("what is left", readFrom("j-offsets", 0, N - 100), 100, N);

        Map<TopicPartition, OffsetAndMetadata> commit = new HashMap<>();
        commit.put(tp, new OffsetAndMetadata(150, "by hand"));
        commit.put(tp1, new OffsetAndMetadata(0));
        admin.alterConsumerGroupOffsets("j-admin", commit).all().get();
        equal("a group's offsets", commit, admin.listConsumerGroupOffsets("j-admin").partitionsToOffsetAndMetadata().get());
        Set<String> groups = new TreeSet<>();
        for (ConsumerGroupListing g : admin.listConsumerGroups().all().get()) groups.add(g.groupId());
        check("list of groups", groups.contains("j-admin") && groups.contains("j-classic"), groups);
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", "j-admin", "client.id", "who")) {
            c.subscribe(Collections.singleton("j-offsets"));
            same("a consumer goes on there", read(c, N - 150), 150, N);
            ConsumerGroupDescription d = admin.describeConsumerGroups(Collections.singleton("j-admin")).all().get().get("j-admin");
            check("a group's members", d.members().size() == 1 && d.members().iterator().next().clientId().equals("who") && d.members().iterator().next().assignment().topicPartitions().size() == 2, d);
            equal("a group's state", "Stable", d.state().toString());
            refused("offsets of a topic that is read", GroupSubscribedToTopicException.class, () -> admin.deleteConsumerGroupOffsets("j-admin", Collections.singleton(tp)).all().get());
            refused("a group with members", GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(Collections.singleton("j-admin")).all().get());
        }
        admin.deleteConsumerGroupOffsets("j-admin", Collections.singleton(tp1)).all().get();
        equal("an offset deleted", Collections.singleton(tp), admin.listConsumerGroupOffsets("j-admin").partitionsToOffsetAndMetadata().get().keySet());
        admin.deleteConsumerGroups(Collections.singleton("j-admin")).all().get();
        refused("a group that is not there", GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(Collections.singleton("j-admin")).all().get());
        admin.deleteTopics(Collections.singleton("j-admin")).all().get();
        check("a topic deleted", !admin.listTopics().names().get().contains("j-admin"), "it is listed");
        refused("a topic that is not there", UnknownTopicOrPartitionException.class, () -> described("j-admin"));
    }

    /** What a client's metric says, the largest of those with that name. */
    static double metric(Map<?, ? extends Metric> metrics, String name) {
        double max = -1;
        for (Metric m : metrics.values()) if (m.metricName().name().equals(name) && m.metricValue() instanceof Double) max = Math.max(max, (Double) m.metricValue());
        return max;
    }

    void quotas() throws Exception {
        ClientQuotaEntity slow = new ClientQuotaEntity(Collections.singletonMap("client-id", "j-slow"));
        admin.alterClientQuotas(Collections.singleton(new ClientQuotaAlteration(slow, Arrays.asList(
            new ClientQuotaAlteration.Op("producer_byte_rate", 100_000d), new ClientQuotaAlteration.Op("consumer_byte_rate", 100_000d))))).all().get();
        equal("as it was set", 100_000d, admin.describeClientQuotas(org.apache.kafka.common.quota.ClientQuotaFilter.all()).entities().get().get(slow).get("producer_byte_rate"));
        topic("j-slow", 1);
        try (KafkaProducer<byte[], byte[]> p = producer("client.id", "j-slow", "batch.size", "100000")) {
            for (int i = 0; i < 15; i++) p.send(new ProducerRecord<>("j-slow", new byte[90_000])).get();
            check("a producer is told of its throttling", metric(p.metrics(), "produce-throttle-time-max") > 0, metric(p.metrics(), "produce-throttle-time-max"));
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("client.id", "j-slow", "max.partition.fetch.bytes", "200000")) {
            c.assign(Collections.singleton(new TopicPartition("j-slow", 0)));
            equal("all is read", 15, read(c, 15).size());
            check("a consumer is told of its throttling", metric(c.metrics(), "fetch-throttle-time-max") > 0, metric(c.metrics(), "fetch-throttle-time-max"));
        }
        admin.alterClientQuotas(Collections.singleton(new ClientQuotaAlteration(slow, Arrays.asList(
            new ClientQuotaAlteration.Op("producer_byte_rate", null), new ClientQuotaAlteration.Op("consumer_byte_rate", null))))).all().get();
        check("and removed", !admin.describeClientQuotas(org.apache.kafka.common.quota.ClientQuotaFilter.all()).entities().get().containsKey(slow), "it is there");
    }
}
