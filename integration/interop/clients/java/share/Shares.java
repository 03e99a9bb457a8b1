import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** What ../../README.md says of share groups. It compiles against 4.1 as against 4.3; Clients runs it where it was compiled. */
public final class Shares implements Clients.Check {
    static final int N = Clients.N;

    final Clients c;
    /** Clients from 4.2 on. Those before take a refusal to change a share group's offsets for its success. */
    final boolean renews = Arrays.stream(AcknowledgeType.values()).anyMatch(t -> t.name().equals("RENEW"));

    public Shares(Clients c) { this.c = c; }

    @Override public void run() throws Exception {
        taken();
        verdicts();
        limit();
        locks();
        if (renews) renewed();
        committed();
        admin();
    }

    /** A member of the group, which begins at the earliest record. */
    KafkaShareConsumer<byte[], byte[]> member(String group, String topic, String mode) {
        Properties p = c.common();
        p.put("group.id", group);
        p.put("share.acknowledgement.mode", mode);
        p.put("max.poll.records", "20");
        KafkaShareConsumer<byte[], byte[]> m = new KafkaShareConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        m.subscribe(Collections.singleton(topic));
        return m;
    }

    void group(String name, String... configs) throws Exception {
        List<AlterConfigOp> ops = new ArrayList<>();
        ops.add(new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET));
        for (int i = 0; i < configs.length; i += 2) ops.add(new AlterConfigOp(new ConfigEntry(configs[i], configs[i + 1]), AlterConfigOp.OpType.SET));
        c.admin.incrementalAlterConfigs(Collections.singletonMap(new ConfigResource(ConfigResource.Type.GROUP, name), ops)).all().get();
    }

    /** A topic of one partition with the records 0 to n, each in a batch of its own: what is given out is then bounded by max.poll.records. */
    void topic(String name, int n) throws Exception {
        c.topic(name, 1);
        try (KafkaProducer<byte[], byte[]> p = c.producer("batch.size", "0")) {
            c.send(p, name, 0, n);
        }
    }

    interface Until { boolean is(); }

    interface Taken { void by(KafkaShareConsumer<byte[], byte[]> m, ConsumerRecord<byte[], byte[]> r); }

    /** Polls members in turn, and commits what they acknowledge, until something is so or 30 seconds are over. */
    @SafeVarargs
    final void poll(Until until, Taken taken, KafkaShareConsumer<byte[], byte[]>... members) {
        for (long end = System.nanoTime() + 30_000_000_000L; !until.is() && System.nanoTime() < end; ) {
            for (KafkaShareConsumer<byte[], byte[]> m : members) {
                for (ConsumerRecord<byte[], byte[]> r : m.poll(Duration.ofMillis(200))) taken.by(m, r);
                errors(m.commitSync()).ifPresent(e -> { throw e; });
            }
        }
    }

    static Optional<KafkaException> errors(Map<TopicIdPartition, Optional<KafkaException>> of) {
        return of.values().stream().filter(Optional::isPresent).map(Optional::get).findFirst();
    }

    static String seen(ConsumerRecord<byte[], byte[]> r) { return r.offset() + "x" + r.deliveryCount().orElse((short) -1); }

    /** Two members take records of one partition, each of them once. */
    void taken() throws Exception {
        topic("j-jobs", N);
        group("j-taken");
        Map<Long, ConsumerRecord<byte[], byte[]>> all = new TreeMap<>();
        int[] took = new int[2];
        try (KafkaShareConsumer<byte[], byte[]> a = member("j-taken", "j-jobs", "implicit"); KafkaShareConsumer<byte[], byte[]> b = member("j-taken", "j-jobs", "implicit")) {
            poll(() -> took[0] + took[1] >= N, (m, r) -> {
                took[m == a ? 0 : 1]++;
                all.put(r.offset(), r);
            }, a, b);
        }
        c.check("both took some", took[0] > 0 && took[1] > 0, Arrays.toString(took));
        c.equal("none was given out twice", N, took[0] + took[1]);
        c.same("all, byte for byte", new ArrayList<>(all.values()), 0, N);
    }

    /** What is accepted and rejected is done, what is released comes again. */
    void verdicts() throws Exception {
        topic("j-verdicts", 10);
        group("j-verdicts");
        List<String> seen = new ArrayList<>();
        try (KafkaShareConsumer<byte[], byte[]> m = member("j-verdicts", "j-verdicts", "explicit")) {
            poll(() -> seen.size() >= 13, (by, r) -> {
                seen.add(seen(r));
                boolean first = r.deliveryCount().orElse((short) 0) == 1;
                by.acknowledge(r, r.offset() < 4 || r.offset() < 7 && !first ? AcknowledgeType.ACCEPT : r.offset() < 7 ? AcknowledgeType.RELEASE : AcknowledgeType.REJECT);
            }, m);
            c.equal("nothing else is given out", 0, m.poll(Duration.ofSeconds(1)).count());
        }
        Collections.sort(seen);
        c.equal("what was released comes again, and is counted", Arrays.asList("0x1", "1x1", "2x1", "3x1", "4x1", "4x2", "5x1", "5x2", "6x1", "6x2", "7x1", "8x1", "9x1"), seen);
    }

    /** A record that is released for ever is given up after group.share.delivery.count.limit times, which are five, and the next one comes. */
    void limit() throws Exception {
        topic("j-limit", 2);
        group("j-limit");
        List<String> seen = new ArrayList<>();
        try (KafkaShareConsumer<byte[], byte[]> m = member("j-limit", "j-limit", "explicit")) {
            poll(() -> seen.size() >= 6, (by, r) -> {
                seen.add(seen(r));
                by.acknowledge(r, r.offset() == 0 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
            }, m);
            c.equal("and is not given out any more", 0, m.poll(Duration.ofSeconds(1)).count());
        }
        Collections.sort(seen);
        c.equal("given out five times", Arrays.asList("0x1", "0x2", "0x3", "0x4", "0x5", "1x1"), seen);
    }

    /** What a member keeps is another's when its lock is over, and the first one is told. */
    void locks() throws Exception {
        topic("j-locks", 1);
        group("j-locks", "share.record.lock.duration.ms", "1000");
        List<String> seen = new ArrayList<>();
        try (KafkaShareConsumer<byte[], byte[]> a = member("j-locks", "j-locks", "explicit"); KafkaShareConsumer<byte[], byte[]> b = member("j-locks", "j-locks", "explicit")) {
            List<ConsumerRecord<byte[], byte[]>> kept = new ArrayList<>();
            poll(() -> kept.size() > 0, (m, r) -> kept.add(r), a);
            poll(() -> seen.size() > 0, (m, r) -> {
                seen.add(seen(r));
                m.acknowledge(r);
            }, b);
            c.equal("another gets it when the lock is over", Collections.singletonList("0x2"), seen);
            a.acknowledge(kept.get(0));
            Optional<KafkaException> told = errors(a.commitSync());
            c.check("who had it is told", told.isPresent() && told.get() instanceof InvalidRecordStateException, told);
        }
    }

    /** A lock that is renewed in time goes on (KIP-1222): for more than two of its times here. */
    void renewed() throws Exception {
        topic("j-renewed", 1);
        group("j-renewed", "share.record.lock.duration.ms", "4000");
        AcknowledgeType renew = AcknowledgeType.valueOf("RENEW");
        int[] got = {0}, others = {0};
        boolean[] done = {false};
        try (KafkaShareConsumer<byte[], byte[]> a = member("j-renewed", "j-renewed", "explicit"); KafkaShareConsumer<byte[], byte[]> b = member("j-renewed", "j-renewed", "explicit")) {
            long until = System.nanoTime() + 10_000_000_000L;
            Taken taken = (m, r) -> {
                (m == a ? got : others)[0]++;
                done[0] = m == a && System.nanoTime() > until;
                m.acknowledge(r, m == a && !done[0] ? renew : AcknowledgeType.ACCEPT);
            };
            poll(() -> got[0] > 0, taken, a);
            poll(() -> done[0], taken, a, b);
            c.check("it was renewed, again and again", done[0] && got[0] > 2, got[0]);
            c.equal("nobody else gets what is renewed", 0, others[0]);
            c.equal("nor what is accepted then", 0, b.poll(Duration.ofSeconds(1)).count());
        }
    }

    /** share.isolation.level. */
    void committed() throws Exception {
        c.topic("j-shared-tx", 1);
        try (KafkaProducer<byte[], byte[]> p = c.producer("transactional.id", "j-shared")) {
            p.initTransactions();
            for (int i = 0; i < 4; i++) {
                p.beginTransaction();
                c.send(p, "j-shared-tx", i % 2 == 0 ? 100 : i / 2 * 10, i % 2 == 0 ? 110 : i / 2 * 10 + 10);
                if (i % 2 == 0) p.abortTransaction(); else p.commitTransaction();
            }
        }
        for (String level : new String[] {"read_committed", "read_uncommitted"}) {
            group("j-" + level, "share.isolation.level", level);
            Map<Long, ConsumerRecord<byte[], byte[]>> got = new TreeMap<>();
            int want = level.equals("read_committed") ? 20 : 40;
            try (KafkaShareConsumer<byte[], byte[]> m = member("j-" + level, "j-shared-tx", "implicit")) {
                poll(() -> got.size() >= want, (by, r) -> got.put(r.offset(), r), m);
            }
            if (want == 20) c.same("committed records alone", new ArrayList<>(got.values()), 0, 20);
            else c.equal("all who asks for them", 40, got.size());
        }
    }

    void admin() throws Exception {
        topic("j-queue", 10);
        group("j-queue");
        TopicPartition tp = new TopicPartition("j-queue", 0);
        int[] n = {0};
        try (KafkaShareConsumer<byte[], byte[]> m = member("j-queue", "j-queue", "implicit")) {
            poll(() -> n[0] >= 10, (by, r) -> n[0]++, m);
            ShareGroupDescription d = c.admin.describeShareGroups(Collections.singleton("j-queue")).all().get().get("j-queue");
            c.check("a share group's members", d.members().size() == 1 && d.groupState().toString().equals("Stable"), d);
            c.refused("a share group with members", GroupNotEmptyException.class, () -> c.admin.deleteShareGroups(Collections.singleton("j-queue")).all().get());
            if (renews) c.refused("its offsets", GroupNotEmptyException.class, () -> c.admin.alterShareGroupOffsets("j-queue", Collections.singletonMap(tp, 5L)).all().get());
        }
        check(tp, 10);
        c.admin.alterShareGroupOffsets("j-queue", Collections.singletonMap(tp, 5L)).all().get();
        check(tp, 5);
        List<ConsumerRecord<byte[], byte[]>> again = new ArrayList<>();
        try (KafkaShareConsumer<byte[], byte[]> m = member("j-queue", "j-queue", "implicit")) {
            poll(() -> again.size() >= 5, (by, r) -> again.add(r), m);
        }
        c.same("begins anew where it was set", again, 5, 10);
        c.admin.deleteShareGroupOffsets("j-queue", Collections.singleton("j-queue")).all().get();
        c.equal("its offsets deleted", "{}", offsets());
        c.admin.deleteShareGroups(Collections.singleton("j-queue")).all().get();
        c.refused("a share group that is not there", GroupIdNotFoundException.class, () -> c.admin.deleteShareGroups(Collections.singleton("j-queue")).all().get());
    }

    void check(TopicPartition tp, long start) throws Exception {
        String seen = offsets();
        c.check("where a share starts: " + start, seen.startsWith("{" + tp + "=") && seen.contains("" + start), seen);
    }

    /** The group's offsets as text: their type is another one in each version. */
    String offsets() throws Exception {
        ListShareGroupOffsetsResult r = c.admin.listShareGroupOffsets(Collections.singletonMap("j-queue", new ListShareGroupOffsetsSpec()));
        for (java.lang.reflect.Method m : r.getClass().getMethods()) {
            if (m.getName().startsWith("partitionsTo")) return ((org.apache.kafka.common.KafkaFuture<?>) m.invoke(r, "j-queue")).get().toString();
        }
        return "no such method";
    }
}
