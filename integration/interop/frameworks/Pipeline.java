import java.io.File;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.StreamsGroupDescription;
import org.apache.kafka.clients.admin.StreamsGroupMemberAssignment;
import org.apache.kafka.clients.admin.StreamsGroupMemberDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;

/**
 * Kafka Streams, exactly once, over faults: word count and a join, each with a repartition topic and a state store, in a process that
 * is killed half-way and started again, and over a fault of the cluster's. What comes out is compared with what was computed.
 *
 * <pre>
 *   Pipeline drive BROKERS DIR PROTOCOL FAULT     fills the topics, runs the application, kills it, runs FAULT (a shell command), compares
 *   Pipeline app BROKERS DIR PROTOCOL             an instance of the application alone, until it is killed
 * </pre>
 *
 * PROTOCOL is classic, or streams (KIP-1071): then a second instance joins before the fault, the group is described when all tasks and their
 * standbys are where they are to be, and the instance that was there first is killed for good after it.
 *
 * The application's caches are off, so that each word's counts are 1, 2, 3, … to the last, each once and in order: a record that was
 * processed twice, or not, shows.
 */
public class Pipeline {
    static final int LINES = 10_000, WORDS = 5, DICTIONARY = 400, CUSTOMERS = 200, ORDERS = 20_000, PARTITIONS = 4;
    static final long PATIENCE_MS = 150_000;

    public static void main(String[] args) throws Exception {
        if (args[0].equals("app")) {
            app(args[1], args[2], args[3]);
        } else {
            new Pipeline(args[1], args[2], args[3]).drive(args[4]);
        }
    }

    // ---- the application

    static void app(String brokers, String dir, String protocol) throws InterruptedException {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, "pipeline");
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        p.put(StreamsConfig.STATE_DIR_CONFIG, dir + "/state");
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        p.put(StreamsConfig.GROUP_PROTOCOL_CONFIG, protocol);
        if (protocol.equals("classic")) { // else the broker says so
            p.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
        }
        p.put(StreamsConfig.consumerPrefix("max.poll.records"), 200);
        p.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 10_000);

        StreamsBuilder b = new StreamsBuilder();
        KStream<String, String> lines = b.stream("lines");
        lines.flatMapValues(l -> Arrays.asList(l.split(" "))).groupBy((k, word) -> word).count(Materialized.as("counts"))
            .toStream().mapValues(n -> Long.toString(n)).to("counts");
        KTable<String, String> customers = b.table("customers", Materialized.as("customers"));
        KStream<String, String> orders = b.stream("orders");
        orders.map((id, customer) -> KeyValue.pair(customer, id)).join(customers, (id, name) -> id + " of " + name).to("joined");

        KafkaStreams streams = new KafkaStreams(b.build(), p);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            ended.countDown();
        }));
        streams.start();
        ended.await();
    }

    // ---- the driver

    final String brokers, dir, protocol;
    final Map<String, Integer> words = new HashMap<>(); // expected
    final Set<String> joined = new HashSet<>();         // expected
    int wordTotal;
    final List<Process> apps = new ArrayList<>();

    Pipeline(String brokers, String dir, String protocol) {
        this.brokers = brokers;
        this.dir = dir;
        this.protocol = protocol;
    }

    void drive(String fault) throws Exception {
        fill();
        int total = wordTotal + joined.size();
        try (KafkaConsumer<String, String> out = reader()) {
            Results r = new Results();
            start("a");
            readTo(out, r, total / 4);
            apps.remove(0).destroyForcibly().waitFor();
            System.out.printf("killed the application after %d of %d results%n", r.read, total);
            check(r.read < total, "it had ended before it was killed");
            start("a");
            if (protocol.equals("streams")) {
                start("b");
                settled(4);
            }
            readTo(out, r, total / 2);
            System.out.printf("the fault, after %d of %d results%n", r.read, total);
            check(r.read < total, "it had ended before the fault");
            check(new ProcessBuilder("sh", "-c", fault).inheritIO().start().waitFor() == 0, "the fault failed");
            if (apps.size() > 1) {
                readTo(out, r, total * 3 / 4);
                apps.remove(0).destroyForcibly().waitFor();
                System.out.printf("killed one of two instances after %d of %d results%n", r.read, total);
                check(r.read < total, "it had ended before that was killed");
            }
            readTo(out, r, total);
            apps.get(0).destroy(); // in order: what it has in hand is committed or aborted
            check(apps.get(0).waitFor() != -1, "");
            readRest(out, r);
            compare(r);
            System.out.printf("%d counts of %d words and %d joined orders: exact%n", wordTotal, words.size(), joined.size());
        } finally {
            apps.forEach(Process::destroyForcibly);
        }
    }

    static void check(boolean ok, String otherwise) {
        if (!ok) {
            throw new IllegalStateException(otherwise);
        }
    }

    void start(String instance) throws Exception {
        String java = System.getProperty("java.home") + "/bin/java";
        apps.add(new ProcessBuilder(java, "-Xmx192M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", System.getProperty("java.class.path"), "Pipeline", "app", brokers, dir + "/" + instance, protocol)
            .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(new File(dir, "app-" + instance + ".log"))).start());
    }

    /** Waits until the group has its members, and each of them what it is to have; every task with a state has a standby. */
    void settled(int members) throws Exception {
        long until = System.currentTimeMillis() + PATIENCE_MS;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            while (true) {
                StreamsGroupDescription d = admin.describeStreamsGroups(List.of("pipeline")).all().get().get("pipeline");
                if (d.groupState() == GroupState.STABLE && d.members().size() == members) {
                    int active = 0, standby = 0;
                    for (StreamsGroupMemberDescription m : d.members()) {
                        active += tasks(m.assignment().activeTasks());
                        standby += tasks(m.assignment().standbyTasks());
                    }
                    System.out.printf("%d members have %d tasks and %d standbys, in epoch %d%n", members, active, standby, d.groupEpoch());
                    check(active == 4 * PARTITIONS && standby == 2 * PARTITIONS, "tasks are not where they are to be: " + d.members());
                    return;
                }
                check(System.currentTimeMillis() < until, "the group does not settle: " + d.groupState() + " " + d.members());
                Thread.sleep(200);
            }
        }
    }

    static int tasks(List<StreamsGroupMemberAssignment.TaskIds> tasks) {
        return tasks.stream().mapToInt(t -> t.partitions().size()).sum();
    }

    void fill() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            List<NewTopic> topics = new ArrayList<>();
            for (String t : List.of("lines", "customers", "orders", "counts", "joined")) {
                topics.add(new NewTopic(t, PARTITIONS, (short) -1));
            }
            admin.createTopics(topics).all().get();
        }
        Random random = new Random(7);
        try (KafkaProducer<String, String> p = new KafkaProducer<>(Map.of("bootstrap.servers", brokers, "linger.ms", 20),
                new StringSerializer(), new StringSerializer())) {
            for (int c = 0; c < CUSTOMERS; c++) {
                p.send(new ProducerRecord<>("customers", "c" + c, "name" + c)).get();
            }
            for (int i = 0; i < LINES; i++) {
                List<String> line = new ArrayList<>();
                for (int j = 0; j < WORDS; j++) {
                    String w = "w" + (int) (Math.pow(random.nextDouble(), 2) * DICTIONARY);
                    words.merge(w, 1, Integer::sum);
                    line.add(w);
                }
                p.send(new ProducerRecord<>("lines", "l" + i, String.join(" ", line)));
            }
            for (int i = 0; i < ORDERS; i++) {
                int c = random.nextInt(CUSTOMERS);
                p.send(new ProducerRecord<>("orders", "o" + i, "c" + c));
                joined.add("o" + i + " of name" + c);
            }
        }
        wordTotal = LINES * WORDS;
    }

    static class Results {
        int read;
        final Map<String, List<Integer>> counts = new HashMap<>();
        final List<String> joined = new ArrayList<>();
    }

    KafkaConsumer<String, String> reader() {
        KafkaConsumer<String, String> c = new KafkaConsumer<>(Map.of("bootstrap.servers", brokers, "isolation.level", "read_committed"),
            new StringDeserializer(), new StringDeserializer());
        List<TopicPartition> all = new ArrayList<>();
        for (int i = 0; i < PARTITIONS; i++) {
            all.add(new TopicPartition("counts", i));
            all.add(new TopicPartition("joined", i));
        }
        c.assign(all);
        c.seekToBeginning(all);
        return c;
    }

    void readTo(KafkaConsumer<String, String> c, Results r, int n) {
        long until = System.currentTimeMillis() + PATIENCE_MS;
        while (r.read < n) {
            check(System.currentTimeMillis() < until, "only " + r.read + " results, wanted " + n);
            poll(c, r);
        }
    }

    /** Reads to where the partitions end, when nobody writes any more. */
    void readRest(KafkaConsumer<String, String> c, Results r) {
        Map<TopicPartition, Long> ends = c.endOffsets(c.assignment());
        long until = System.currentTimeMillis() + PATIENCE_MS;
        while (ends.entrySet().stream().anyMatch(e -> c.position(e.getKey()) < e.getValue())) {
            check(System.currentTimeMillis() < until, "the ends are not reached");
            poll(c, r);
        }
    }

    void poll(KafkaConsumer<String, String> c, Results r) {
        for (ConsumerRecord<String, String> x : c.poll(Duration.ofMillis(100))) {
            r.read++;
            if (x.topic().equals("counts")) {
                r.counts.computeIfAbsent(x.key(), k -> new ArrayList<>()).add(Integer.parseInt(x.value()));
            } else {
                r.joined.add(x.value());
            }
        }
    }

    void compare(Results r) {
        check(r.counts.keySet().equals(words.keySet()), r.counts.size() + " words counted, of " + words.size());
        r.counts.forEach((word, counts) -> {
            check(counts.size() == words.get(word), word + ": " + counts.size() + " counts, wanted " + words.get(word));
            for (int i = 0; i < counts.size(); i++) {
                check(counts.get(i) == i + 1, word + ": count " + counts.get(i) + " where " + (i + 1) + " belongs");
            }
        });
        check(r.joined.size() == joined.size(), r.joined.size() + " joined orders, wanted " + joined.size());
        check(new HashSet<>(r.joined).equals(joined), "the joined orders are others");
    }
}
