import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** The roles of integration/workload, played by Apache Kafka's Java client. Flags and history: spec.go, history/doc.go. */
public final class Workload {
    static final long TOO_LATE_MS = 48L * 3600 * 1000;

    static volatile boolean ending;

    final Map<String, String> flags;
    final String topic;
    final int partitions, process, rate, size;
    final Random random;
    final FileOutputStream file;
    int sends, commits;

    Workload(Map<String, String> flags) throws IOException {
        this.flags = flags;
        topic = flags.get("topic");
        partitions = Integer.parseInt(flags.get("partitions"));
        process = Integer.parseInt(flags.get("process"));
        rate = Integer.parseInt(flags.get("rate"));
        size = Integer.parseInt(flags.get("size"));
        random = new Random(Long.parseUnsignedLong(flags.get("seed")) + process);
        file = new FileOutputStream(flags.get("history"), true);
        line("begin java idempotent");
    }

    /** Every line is written at once, unbuffered: an invocation must be out before what it announces. */
    synchronized void line(String event) {
        try {
            file.write((process + " " + System.nanoTime() + " " + event + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            e.printStackTrace();
            Runtime.getRuntime().halt(1); // what happens from here on would not be in the history
        }
    }

    static byte letter(long process, long n, long i) { return (byte) ('a' + (process + n + i) % 26); }

    static byte[] payload(int process, int n, int size) {
        byte[] head = (process + "." + n + ":").getBytes(StandardCharsets.US_ASCII);
        byte[] all = Arrays.copyOf(head, Math.max(size, head.length));
        for (int i = head.length; i < all.length; i++) all[i] = letter(process, n, i);
        return all;
    }

    /** The value that a record carries, or null when its bytes are not those of any. */
    static String parse(byte[] raw) {
        int colon = -1, dot = -1;
        for (int i = 0; raw != null && i < Math.min(raw.length, 24) && colon < 0; i++) {
            if (raw[i] == ':') colon = i;
            if (raw[i] == '.') dot = i;
        }
        if (colon < 0 || dot < 0) return null;
        try {
            long p = Long.parseLong(new String(raw, 0, dot, StandardCharsets.US_ASCII));
            long n = Long.parseLong(new String(raw, dot + 1, colon - dot - 1, StandardCharsets.US_ASCII));
            for (int i = colon + 1; i < raw.length; i++) if (raw[i] != letter(p, n, i)) return null;
            return p + "." + n;
        } catch (NumberFormatException e) {
            return null;
        }
    }

    /** What a broker has refused for the record's own sake cannot have been appended by an earlier try. */
    static boolean definite(Throwable e) {
        return e instanceof InvalidTimestampException || e instanceof org.apache.kafka.common.InvalidRecordException || e instanceof RecordTooLargeException;
    }

    Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", flags.get("bootstrap"));
        p.put("client.id", "java-" + process);
        return p;
    }

    // Producers

    void produce(boolean refused) throws Exception {
        Properties p = common();
        if (process % 2 == 0) {
            p.put("delivery.timeout.ms", "10000");
            p.put("request.timeout.ms", "4000");
        }
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
        long due = System.nanoTime();
        while (!ending) {
            due = Math.max(due + 1_000_000_000L / rate, System.nanoTime() - 1_000_000_000L);
            long wait = due - System.nanoTime();
            if (wait > 0) Thread.sleep(wait / 1_000_000, (int) (wait % 1_000_000));
            int partition = random.nextInt(partitions), n = sends++;
            line("send s" + n + " " + partition);
            Long timestamp = refused && random.nextInt(3) == 0 ? System.currentTimeMillis() + TOO_LATE_MS : null;
            byte[] value = payload(process, n, size / 2 + random.nextInt(size));
            var sent = producer.send(new ProducerRecord<>(topic, partition, timestamp, null, value), (m, e) -> {
                if (e == null) line("ok s" + n + " " + (m.hasOffset() ? m.offset() : -1));
                else line((definite(e) ? "fail s" : "unknown s") + n + " " + e.getClass().getSimpleName());
            });
            if (refused) {
                try {
                    sent.get();
                } catch (ExecutionException e) {
                    // the callback has told it
                }
            }
        }
        producer.close(Duration.ofSeconds(15));
    }

    // Consumers

    KafkaConsumer<byte[], byte[]> consumer(Map<String, String> more) {
        Properties p = common();
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.putAll(more);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    void polled(ConsumerRecords<byte[], byte[]> records, Map<Integer, Long> next) {
        for (TopicPartition tp : records.partitions()) {
            StringBuilder run = new StringBuilder();
            long first = -1, after = -1;
            for (ConsumerRecord<byte[], byte[]> r : records.records(tp)) {
                String value = parse(r.value());
                if (run.length() > 0 && (r.offset() != after || value == null)) {
                    line("poll " + tp.partition() + " " + first + run);
                    run.setLength(0);
                }
                if (value == null) {
                    line("bad " + tp.partition() + " " + r.offset() + " bytes");
                } else {
                    if (run.length() == 0) first = r.offset();
                    run.append(' ').append(value);
                }
                after = r.offset() + 1;
                next.put(tp.partition(), after);
            }
            if (run.length() > 0) line("poll " + tp.partition() + " " + first + run);
        }
    }

    void read() {
        try (var consumer = consumer(Map.of())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int p = 0; p < partitions; p++) all.add(new TopicPartition(topic, p));
            consumer.assign(all);
            for (TopicPartition tp : all) {
                line("seek " + tp.partition() + " 0");
                consumer.seek(tp, 0);
            }
            Map<Integer, Long> next = new HashMap<>();
            while (!ending) polled(consumer.poll(Duration.ofMillis(500)), next);
        }
    }

    void group() {
        String group = flags.get("group");
        Map<String, String> more = new HashMap<>(Map.of("group.id", group, "session.timeout.ms", "10000", "max.poll.interval.ms", "15000"));
        more.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        if ("broker".equals(flags.get("assignor"))) { // the consumer protocol (KIP-848): the broker assigns, and says how long a session is
            more.keySet().removeAll(List.of("session.timeout.ms", "partition.assignment.strategy"));
            more.put("group.protocol", "consumer");
        }
        try (var consumer = consumer(more)) {
            Member member = new Member(consumer, group);
            consumer.subscribe(List.of(topic), member);
            while (!ending) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
                polled(records, member.next);
                records.partitions().forEach(tp -> member.dirty.add(tp.partition()));
                if (!member.dirty.isEmpty() && random.nextInt(5) == 0) member.commit();
            }
        }
    }

    /** A group of one at the client's defaults, which commits by itself. */
    void follow() {
        try (var consumer = consumer(Map.of("group.id", flags.get("group"), "enable.auto.commit", "true"))) {
            consumer.subscribe(List.of(topic));
            Map<Integer, Long> next = new HashMap<>();
            while (!ending) polled(consumer.poll(Duration.ofMillis(500)), next);
        }
    }

    /** A member's partitions, and what it has to commit. All is called by the thread that polls. */
    final class Member implements ConsumerRebalanceListener {
        final KafkaConsumer<byte[], byte[]> consumer;
        final String group;
        final Set<Integer> owned = new TreeSet<>(), dirty = new TreeSet<>();
        final Map<Integer, Long> next = new HashMap<>();

        Member(KafkaConsumer<byte[], byte[]> consumer, String group) {
            this.consumer = consumer;
            this.group = group;
        }

        int generation() { return consumer.groupMetadata().generationId(); }

        void commit() {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            List<Integer> names = new ArrayList<>();
            for (int p : dirty) {
                names.add(commits);
                line("commit c" + commits++ + " " + group + " " + generation() + " " + p + " " + next.get(p));
                offsets.put(new TopicPartition(topic, p), new OffsetAndMetadata(next.get(p)));
            }
            dirty.clear();
            try {
                consumer.commitSync(offsets, Duration.ofSeconds(5));
                for (int n : names) line("ok c" + n);
            } catch (RuntimeException e) {
                for (int n : names) line("unknown c" + n + " " + e.getClass().getSimpleName());
            }
        }

        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            added.forEach(tp -> owned.add(tp.partition()));
            line("assign " + group + " " + generation() + " " + list(owned) + " " + list(numbers(added)));
        }

        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            if (!dirty.isEmpty()) commit();
            giveUp(gone);
        }

        public void onPartitionsLost(Collection<TopicPartition> gone) { giveUp(gone); }

        void giveUp(Collection<TopicPartition> gone) {
            if (gone.isEmpty()) return;
            owned.removeAll(numbers(gone));
            dirty.removeAll(numbers(gone));
            line("revoke " + group + " " + generation() + " " + list(numbers(gone)));
        }
    }

    static Set<Integer> numbers(Collection<TopicPartition> all) {
        return all.stream().map(TopicPartition::partition).collect(Collectors.toCollection(TreeSet::new));
    }

    static String list(Set<Integer> all) {
        return all.isEmpty() ? "-" : all.stream().map(String::valueOf).collect(Collectors.joining(","));
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> flags = new HashMap<>();
        for (String a : args) {
            String[] kv = a.replaceFirst("^-+", "").split("=", 2);
            flags.put(kv[0], kv[1]);
        }
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ending = true;
            try {
                main.join(18_000);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        Workload w = new Workload(flags);
        switch (flags.get("role")) {
            case "produce" -> w.produce(false);
            case "refused" -> w.produce(true);
            case "read" -> w.read();
            case "group" -> w.group();
            case "follow" -> w.follow();
            default -> throw new IllegalArgumentException("role " + flags.get("role") + " is not known");
        }
        w.line("end");
        // Asked to end by a signal, a JVM answers 143 however well that went, which would look as if somebody else had ended it.
        if (ending) Runtime.getRuntime().halt(0);
    }
}
