import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Transactions that stay open for long, as a snapshot of a database or a checkpoint of a job holds them: what others see meanwhile, what an admin sees of them, and how they end: by commit
 * after the broker has died in between, by who fences or aborts them, by their time.
 *
 * <pre>
 *   LongTransactions BROKERS
 * </pre>
 *
 * What only its caller can do it asks for by a line, and goes on when a line comes: "restart the broker", "abort ID". Then "N passed, N failed".
 */
public class LongTransactions {
    static final String TOPIC = "long";
    static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    static String brokers;
    static Admin admin;
    static int passed, failed;

    static void check(String name, boolean is, Object seen) {
        if (is) {
            passed++;
            return;
        }
        failed++;
        System.out.println("transactions: " + name + " FAILED: " + seen);
    }

    static void equal(String name, Object want, Object seen) { check(name, Objects.equals(want, seen), seen + ", wanted " + want); }

    static void ask(String what) throws Exception {
        System.out.println(what);
        if (in.readLine() == null) throw new IllegalStateException("nobody answers: " + what);
    }

    interface Asking<T> { T get() throws Exception; }

    /** What comes by itself meanwhile: asked for until it is so, for a minute. */
    static <T> void becomes(String name, Predicate<T> is, Asking<T> ask) throws Exception {
        long until = System.nanoTime() + Duration.ofMinutes(1).toNanos();
        T seen;
        do {
            seen = ask.get();
        } while (!is.test(seen) && System.nanoTime() < until);
        check(name, is.test(seen), seen);
    }

    static KafkaProducer<String, String> producer(String id, long timeoutMs) {
        Map<String, Object> c = new java.util.HashMap<>(Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
            ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class, ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class));
        if (id != null) {
            c.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, id);
            c.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, (int) timeoutMs);
        }
        KafkaProducer<String, String> p = new KafkaProducer<>(c);
        if (id != null) p.initTransactions();
        return p;
    }

    static void send(KafkaProducer<String, String> p, String who, int from, int to) throws Exception {
        var sent = new ArrayList<java.util.concurrent.Future<?>>();
        for (int i = from; i < to; i++) sent.add(p.send(new ProducerRecord<>(TOPIC, who, who + " " + i)));
        p.flush();
        for (var f : sent) f.get();
    }

    static KafkaConsumer<String, String> consumer(boolean committed) {
        KafkaConsumer<String, String> c = new KafkaConsumer<>(Map.of(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers, ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
            ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class, ConsumerConfig.ISOLATION_LEVEL_CONFIG, committed ? "read_committed" : "read_uncommitted"));
        c.assign(List.of(PARTITION));
        return c;
    }

    /** The end of the log, as those see it who read what is committed: the last stable offset; or all do. */
    static long end(boolean committed) {
        try (var c = consumer(committed)) {
            return c.endOffsets(List.of(PARTITION)).get(PARTITION);
        }
    }

    static List<ConsumerRecord<String, String>> committed() {
        try (var c = consumer(true)) {
            long end = c.endOffsets(List.of(PARTITION)).get(PARTITION);
            c.seekToBeginning(List.of(PARTITION));
            List<ConsumerRecord<String, String>> all = new ArrayList<>();
            while (c.position(PARTITION) < end) c.poll(Duration.ofSeconds(1)).forEach(all::add);
            return all;
        }
    }

    static List<String> committedOf(String who) { return committed().stream().filter(r -> who.equals(r.key())).map(ConsumerRecord::value).toList(); }

    static List<String> values(String who, int from, int to) { return IntStream.range(from, to).mapToObj(i -> who + " " + i).toList(); }

    static TransactionDescription describe(String id) throws Exception { return admin.describeTransactions(List.of(id)).description(id).get(); }

    static List<String> list(ListTransactionsOptions o) throws Exception {
        return admin.listTransactions(o).all().get().stream().map(TransactionListing::transactionalId).sorted().toList();
    }

    static ListTransactionsOptions options() { return new ListTransactionsOptions(); }

    static Collection<ProducerState> producers() throws Exception {
        return admin.describeProducers(List.of(PARTITION)).partitionResult(PARTITION).get().activeProducers();
    }

    static ProducerState producerOf(long id) throws Exception { return producers().stream().filter(p -> p.producerId() == id).findFirst().orElse(null); }

    /** A client's transaction that somebody else has ended: it cannot commit it, and whoever comes with its id goes on. */
    static void ended(String how, KafkaProducer<String, String> p, String id) throws Exception {
        String seen = "committed";
        try {
            p.commitTransaction();
        } catch (KafkaException e) {
            seen = e.getClass().getSimpleName();
        }
        check(how + "-fences", Set.of("ProducerFencedException", "InvalidProducerEpochException", "InvalidTxnStateException", "TransactionAbortableException").contains(seen), seen);
        p.close(Duration.ZERO);
        equal(how + "-nothing-is-read", List.of(), committedOf(id));
        try (var next = producer(id, 600_000)) {
            next.beginTransaction();
            send(next, id, 0, 10);
            next.commitTransaction();
        }
        equal(how + "-goes-on", values(id, 0, 10), committedOf(id));
    }

    /** One that is open, with what others have written behind it, which nobody reads who wants what is committed. */
    static KafkaProducer<String, String> opened(String how, String id, long timeoutMs) throws Exception {
        var p = producer(id, timeoutMs);
        p.beginTransaction();
        long begins = end(false);
        send(p, id, 0, 20);
        try (var other = producer(null, 0)) {
            send(other, "other", 0, 20);
        }
        if (timeoutMs > 60_000) equal(how + "-holds", begins, end(true));
        return p;
    }

    public static void main(String[] args) throws Exception {
        brokers = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", brokers));
        admin.createTopics(List.of(new NewTopic(TOPIC, 1, (short) 1), new NewTopic("source", 1, (short) 1))).all().get();

        // A snapshot is under way; others write behind it.
        var snapshot = producer("snapshot", 600_000);
        snapshot.beginTransaction();
        send(snapshot, "snapshot", 0, 500);
        snapshot.sendOffsetsToTransaction(Map.of(new TopicPartition("source", 0), new OffsetAndMetadata(42)), new ConsumerGroupMetadata("cdc"));
        try (var brief = producer("brief", 600_000); var plain = producer(null, 0)) {
            for (int i = 0; i < 20; i++) {
                brief.beginTransaction();
                send(brief, "brief", i * 10, i * 10 + 10);
                if (i % 4 == 3) brief.abortTransaction();
                else brief.commitTransaction();
            }
            send(plain, "plain", 0, 100);
        }
        equal("end-of-all", 500L + 20 * 11 + 100, end(false));
        equal("stable-end", 0L, end(true));
        equal("nothing-is-read", List.of(), committed());
        check("offsets-wait", admin.listConsumerGroupOffsets("cdc").partitionsToOffsetAndMetadata().get().values().stream().allMatch(Objects::isNull), "they are there");

        TransactionDescription d = describe("snapshot");
        equal("described-state", TransactionState.ONGOING, d.state());
        equal("described-timeout", 600_000L, d.transactionTimeoutMs());
        check("described-partitions", d.topicPartitions().contains(PARTITION), d);
        check("described-start", d.transactionStartTimeMs().isPresent() && d.transactionStartTimeMs().getAsLong() <= System.currentTimeMillis(), d);
        String gone = "described";
        try {
            describe("nobody");
        } catch (ExecutionException e) {
            gone = e.getCause().getClass().getSimpleName();
        }
        equal("described-nobody", "TransactionalIdNotFoundException", gone);
        equal("listed", List.of("brief", "snapshot"), list(options()));
        equal("listed-by-state", List.of("snapshot"), list(options().filterStates(List.of(TransactionState.ONGOING))));
        equal("listed-by-producer", List.of("snapshot"), list(options().filterProducerIds(List.of(d.producerId()))));
        equal("listed-by-duration", List.of("snapshot"), list(options().filterOnDuration(1)));
        equal("listed-by-longer", List.of(), list(options().filterOnDuration(600_000)));
        equal("listed-by-pattern", List.of("snapshot"), list(options().filterOnTransactionalIdPattern("snap.*")));
        ProducerState s = producerOf(d.producerId());
        check("producer-holds", s != null && s.currentTransactionStartOffset().isPresent() && s.currentTransactionStartOffset().getAsLong() == 0, s);
        check("others-hold-nothing", producers().stream().filter(o -> o.producerId() != d.producerId()).allMatch(o -> o.currentTransactionStartOffset().isEmpty()), producers());

        ask("restart the broker");
        TransactionDescription again = describe("snapshot");
        equal("restarted-same", d, again);
        equal("restarted-stable-end", 0L, end(true));
        send(snapshot, "snapshot", 500, 1000);
        snapshot.commitTransaction();
        equal("committed-in-order", values("snapshot", 0, 1000), committedOf("snapshot"));
        equal("committed-plain", values("plain", 0, 100), committedOf("plain"));
        equal("committed-brief", IntStream.range(0, 20).filter(i -> i % 4 != 3).boxed().flatMap(i -> values("brief", i * 10, i * 10 + 10).stream()).toList(), committedOf("brief"));
        equal("ends-meet", end(false), end(true));
        equal("offsets-come", 42L, admin.listConsumerGroupOffsets("cdc").partitionsToOffsetAndMetadata().get().get(new TopicPartition("source", 0)).offset());
        becomes("complete", (TransactionDescription t) -> t.state() == TransactionState.COMPLETE_COMMIT, () -> describe("snapshot"));
        equal("complete-lists-none", List.of(), list(options().filterStates(List.of(TransactionState.ONGOING))));
        snapshot.close();

        var fenced = opened("fenced", "fenced", 600_000);
        admin.fenceProducers(List.of("fenced")).all().get();
        becomes("fenced-lets-go", (Long end) -> end == end(false), () -> end(true));
        ended("fenced", fenced, "fenced");

        var aborted = opened("aborted", "aborted", 600_000);
        ask("abort aborted");
        becomes("aborted-lets-go", (Long end) -> end == end(false), () -> end(true));
        ended("aborted", aborted, "aborted");

        // A marker on an admin's word: the coordinator, which knows nothing of it, still has the transaction.
        var marked = opened("marked", "marked", 600_000);
        ProducerState m = producerOf(describe("marked").producerId());
        admin.abortTransaction(new AbortTransactionSpec(PARTITION, m.producerId(), (short) m.producerEpoch(), m.coordinatorEpoch().orElse(0))).all().get();
        becomes("marked-lets-go", (Long end) -> end == end(false), () -> end(true));
        equal("marked-coordinator-has-it", TransactionState.ONGOING, describe("marked").state());
        admin.fenceProducers(List.of("marked")).all().get();
        ended("marked", marked, "marked");

        var late = opened("late", "late", 2_000);
        becomes("late-lets-go", (Long end) -> end == end(false), () -> end(true));
        ended("late", late, "late");
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
