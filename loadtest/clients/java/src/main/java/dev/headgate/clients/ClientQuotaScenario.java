package dev.headgate.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ThrottlingQuotaExceededException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Quotas of client ids, set and felt with Apache Kafka's Java client (KIP-13, KIP-546, KIP-599).
 *
 * <p>Only upper bounds of rates are checked: a slow machine cannot break them.
 */
public final class ClientQuotaScenario {
    private static final int REQUEST_SECONDS = 30;
    private static final int RECORD_BYTES = 10_000;
    private static final int RECORDS = 200;
    private static final double BYTES_PER_SECOND = 200_000;
    /** What a client may use before it is held: a second's worth, and the request that was let through. */
    private static final double SECONDS_AT_ONCE = 2;
    /** New partitions a second; those that may be made at once are Kafka's window of eleven samples' worth. */
    private static final double PARTITIONS_PER_SECOND = 1;
    private static final int MOST_TOPICS = 12;
    private static final int PARTITIONS_OF_EACH = 3;

    private final Connection connection;
    private final String random = UUID.randomUUID().toString().substring(0, 8);
    private final String topic = "client-quotas-" + random;
    private final String slow = "slow-" + random;
    private final String free = "free-" + random;

    private ClientQuotaScenario(Connection connection) {
        this.connection = connection;
    }

    public static void main(String[] arguments) {
        int status = 1;
        try {
            new ClientQuotaScenario(Connection.parse(arguments)).run();
            status = 0;
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAILED client-quotas: " + error);
        }
        // Threads of a failed client must not keep the process alive.
        Runtime.getRuntime().halt(status);
    }

    private void run() throws Exception {
        try (Admin admin = Admin.create(connection.properties())) {
            admin.createTopics(List.of(new NewTopic(topic, Optional.of(1), Optional.empty()))).all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
            Map<String, Double> limits = Map.of("producer_byte_rate", BYTES_PER_SECOND, "consumer_byte_rate", BYTES_PER_SECOND);
            set(admin, slow, limits);
            require(limits.equals(shown(admin, slow)), "shown after it was set: " + shown(admin, slow));

            double produced = produce(slow, true);
            produce(free, false);
            double consumed = consume(slow, true);
            consume(free, false);
            int refusedAfter = createTopics(admin);

            remove(admin, slow, limits.keySet());
            require(shown(admin, slow).isEmpty(), "shown after it was removed: " + shown(admin, slow));
            produce(slow, false);
            consume(slow, false);
            System.out.printf(
                    Locale.ROOT,
                    "ok client-quotas %s produced=%.0fB/s consumed=%.0fB/s of %.0fB/s; topics refused after %d%n",
                    connection.mechanism(), produced, consumed, BYTES_PER_SECOND, refusedAfter);
        }
    }

    private static ClientQuotaEntity entity(String clientId) {
        return new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, clientId));
    }

    private static void set(Admin admin, String clientId, Map<String, Double> limits) throws Exception {
        List<ClientQuotaAlteration.Op> ops = new ArrayList<>();
        limits.forEach((key, value) -> ops.add(new ClientQuotaAlteration.Op(key, value)));
        alter(admin, clientId, ops);
    }

    private static void remove(Admin admin, String clientId, Collection<String> keys) throws Exception {
        alter(admin, clientId, keys.stream().map(key -> new ClientQuotaAlteration.Op(key, null)).toList());
    }

    private static void alter(Admin admin, String clientId, List<ClientQuotaAlteration.Op> ops) throws Exception {
        var alteration = new ClientQuotaAlteration(entity(clientId), ops);
        admin.alterClientQuotas(List.of(alteration)).all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
    }

    private static Map<String, Double> shown(Admin admin, String clientId) throws Exception {
        var component = ClientQuotaFilterComponent.ofEntity(ClientQuotaEntity.CLIENT_ID, clientId);
        var found = admin.describeClientQuotas(ClientQuotaFilter.containsOnly(List.of(component)));
        return found.entities().get(REQUEST_SECONDS, TimeUnit.SECONDS).getOrDefault(entity(clientId), Map.of());
    }

    /** Bytes a second that were acknowledged. */
    private double produce(String clientId, boolean held) throws Exception {
        var properties = connection.with("client.id", clientId, "batch.size", 2 * RECORD_BYTES, "compression.type", "none");
        try (var producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            // Connections and logins are no part of what is measured.
            producer.partitionsFor(topic);
            long started = System.nanoTime();
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int index = 0; index < RECORDS; index++) {
                sent.add(producer.send(new ProducerRecord<>(topic, new byte[RECORD_BYTES])));
            }
            for (Future<RecordMetadata> acknowledged : sent) {
                acknowledged.get(REQUEST_SECONDS, TimeUnit.SECONDS);
            }
            return judged("produced by " + clientId, held, started, metric(producer.metrics(), "produce-throttle-time-max"));
        }
    }

    /** Bytes a second that were read. */
    private double consume(String clientId, boolean held) {
        var properties = connection.with("client.id", clientId, "auto.offset.reset", "earliest", "max.partition.fetch.bytes", 2 * RECORD_BYTES);
        try (var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            consumer.position(partition);
            long started = System.nanoTime();
            for (int read = 0; read < RECORDS; ) {
                read += consumer.poll(Duration.ofSeconds(1)).count();
                require(secondsSince(started) < REQUEST_SECONDS, "only %d records were read by %s".formatted(read, clientId));
            }
            return judged("read by " + clientId, held, started, metric(consumer.metrics(), "fetch-throttle-time-max"));
        }
    }

    private static double judged(String what, boolean held, long started, double throttleMs) {
        double seconds = secondsSince(started);
        double rate = RECORDS * (double) RECORD_BYTES / seconds;
        System.out.printf(Locale.ROOT, "%s: %.0f B/s, throttled for up to %.0f ms at a time%n", what, rate, throttleMs);
        if (held) {
            double most = BYTES_PER_SECOND * (seconds + SECONDS_AT_ONCE) / seconds;
            require(rate <= most, "%s: %.0f B/s, more than %.0f".formatted(what, rate, most));
        }
        require(held == throttleMs > 0, "%s: its client was throttled for %.0f ms".formatted(what, throttleMs));
        return rate;
    }

    /** Makes topics until the client's rate of new partitions is used up; how many there were. */
    private int createTopics(Admin owner) throws Exception {
        String maker = "maker-" + random;
        Map<String, Double> limits = Map.of("controller_mutation_rate", PARTITIONS_PER_SECOND);
        set(owner, maker, limits);
        List<String> made = new ArrayList<>();
        try (Admin admin = Admin.create(connection.with("client.id", maker))) {
            CreateTopicsOptions once = new CreateTopicsOptions().retryOnQuotaViolation(false);
            while (true) {
                require(made.size() < MOST_TOPICS, made.size() + " topics were made without a refusal");
                String name = topic + "-" + made.size();
                var created = admin.createTopics(List.of(new NewTopic(name, Optional.of(PARTITIONS_OF_EACH), Optional.empty())), once);
                try {
                    created.all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
                    made.add(name);
                } catch (ExecutionException error) {
                    if (!(error.getCause() instanceof ThrottlingQuotaExceededException refused)) {
                        throw error;
                    }
                    System.out.printf("after %d topics: %s, to wait %d ms%n", made.size(), refused.getMessage(), refused.throttleTimeMs());
                    require(refused.throttleTimeMs() > 0, "refused without a time to wait");
                    // By default the client waits as long as it is told, and succeeds.
                    var retried = admin.createTopics(List.of(new NewTopic(name, Optional.of(1), Optional.empty())));
                    retried.all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
                    made.add(name);
                    return made.size() - 1;
                }
            }
        } finally {
            remove(owner, maker, limits.keySet());
            owner.deleteTopics(made).all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
        }
    }

    private static double metric(Map<MetricName, ? extends Metric> metrics, String name) {
        return metrics.entrySet().stream()
                .filter(metric -> metric.getKey().name().equals(name))
                .mapToDouble(metric -> (double) metric.getValue().metricValue())
                .filter(value -> !Double.isNaN(value))
                .max()
                .orElse(0);
    }

    private static double secondsSince(long started) {
        return (System.nanoTime() - started) / 1e9;
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
