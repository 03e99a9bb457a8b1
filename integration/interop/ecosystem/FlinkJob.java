import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/**
 * A job of Apache Flink that writes to a topic exactly once: numbers, or what it reads from another topic. It goes on from the last checkpoint in its directory.
 *
 * <pre>
 *   FlinkJob numbers BROKERS DIR STRATEGY TOPIC COUNT RATE     0 … COUNT-1, RATE a second
 *   FlinkJob copy    BROKERS DIR STRATEGY TOPIC FROM           what FROM has now, committed
 * </pre>
 *
 * STRATEGY is how the sink names its transactions: INCREMENTING, a new id for each, what lingers being found by trying ids; or POOLING, ids that are used again, what lingers
 * being found by ListTransactions and DescribeTransactions. Either aborts them by InitProducerId, and commits what the checkpoint holds as prepared with the producer id and epoch from there.
 */
public class FlinkJob {
    public static void main(String[] args) throws Exception {
        String brokers = args[1], dir = args[2], topic = args[4];
        Configuration c = new Configuration();
        c.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + dir + "/checkpoints");
        c.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(400));
        c.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION, ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        c.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
        Optional<Path> last = last(Path.of(dir, "checkpoints"));
        last.ifPresent(p -> c.set(StateRecoveryOptions.SAVEPOINT_PATH, p.toString()));
        System.out.println("goes on from " + last.map(Path::toString).orElse("nothing"));

        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(c);
        env.setParallelism(2);
        DataStream<String> in;
        if (args[0].equals("numbers")) {
            in = env.fromSource(new DataGeneratorSource<>(i -> Long.toString(i), Long.parseLong(args[5]),
                RateLimiterStrategy.perSecond(Double.parseDouble(args[6])), Types.STRING), WatermarkStrategy.noWatermarks(), "numbers");
        } else {
            in = env.fromSource(KafkaSource.<String>builder().setBootstrapServers(brokers).setTopics(args[5]).setGroupId("flink-copy")
                .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST)).setBounded(OffsetsInitializer.latest())
                .setProperty("isolation.level", "read_committed").setValueOnlyDeserializer(new SimpleStringSchema()).build(),
                WatermarkStrategy.noWatermarks(), "topic");
        }
        in.sinkTo(KafkaSink.<String>builder().setBootstrapServers(brokers)
            .setRecordSerializer(KafkaRecordSerializationSchema.builder().setTopic(topic).setValueSerializationSchema(new SimpleStringSchema()).build())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix("flink-" + topic)
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(args[3]))
            // What a killed job leaves open would hide everything behind it for this long, if the next one did not end it.
            .setProperty("transaction.timeout.ms", "600000").build());
        env.execute();
        System.out.println("done");
        System.exit(0);
    }

    /** The newest checkpoint that is whole, of whichever run. */
    static Optional<Path> last(Path checkpoints) throws IOException {
        if (!Files.isDirectory(checkpoints)) {
            return Optional.empty();
        }
        try (Stream<Path> files = Files.walk(checkpoints, 3)) {
            return files.filter(p -> p.endsWith("_metadata")).max(Comparator.comparingLong(p -> p.toFile().lastModified())).map(Path::getParent);
        }
    }
}
