import io.debezium.config.Configuration;
import io.debezium.relational.history.HistoryRecord;
import io.debezium.relational.history.HistoryRecordComparator;
import io.debezium.relational.history.SchemaHistoryListener;
import io.debezium.storage.kafka.history.KafkaSchemaHistory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Debezium's history of schemas in a topic, without a database: it creates the topic with its own configurations and checks them, writes with an idempotent producer, and at each
 * start reads all of the topic.
 *
 * <pre>
 *   SchemaHistory record  BROKERS TOPIC FROM COUNT   what was there, then COUNT statements more, numbered on
 *   SchemaHistory recover BROKERS TOPIC              the statements
 * </pre>
 */
public class SchemaHistory {
    /** Recovery without a database's parser. */
    static class History extends KafkaSchemaHistory {
        List<String> statements() {
            List<String> all = new ArrayList<>();
            recoverRecords((HistoryRecord r) -> all.add(r.document().getString(HistoryRecord.Fields.DDL_STATEMENTS)));
            return all;
        }
    }

    public static void main(String[] args) throws Exception {
        History h = new History();
        h.configure(Configuration.create()
            .with(KafkaSchemaHistory.BOOTSTRAP_SERVERS, args[1]).with(KafkaSchemaHistory.TOPIC, args[2]).with(KafkaSchemaHistory.NAME, "history")
            .with(KafkaSchemaHistory.RECOVERY_POLL_INTERVAL_MS, 500)
            .with(KafkaSchemaHistory.INTERNAL_CONNECTOR_CLASS, SchemaHistory.class.getName()).with(KafkaSchemaHistory.INTERNAL_CONNECTOR_ID, "server").build(),
            HistoryRecordComparator.INSTANCE, SchemaHistoryListener.NOOP, true);
        h.start();
        System.out.println("storage " + h.storageExists());
        if (args[0].equals("recover")) {
            System.out.println("history " + h.exists());
            h.statements().forEach(System.out::println);
        } else {
            if (!h.storageExists()) {
                h.initializeStorage();
            }
            int from = Integer.parseInt(args[3]);
            for (int i = from; i < from + Integer.parseInt(args[4]); i++) {
                h.record(Map.of("server", "db"), Map.of("pos", i), "shop", "create table t" + i + " (id int)");
            }
            System.out.println("recorded");
        }
        h.stop();
        System.exit(0);
    }
}
