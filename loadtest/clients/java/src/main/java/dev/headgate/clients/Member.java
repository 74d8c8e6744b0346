package dev.headgate.clients;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** One consumer of the group, on a thread of its own. It commits what it returned whenever partitions are revoked. */
final class Member extends Thread implements ConsumerRebalanceListener {
    private static final Duration POLL = Duration.ofMillis(100);

    private final Ledger ledger;
    private final KafkaConsumer<String, String> consumer;
    private final CountDownLatch mayClose = new CountDownLatch(1);
    private int pauseAfter;
    private final TreeSet<Integer> assigned = new TreeSet<>();
    private volatile List<Integer> holds = List.of();
    private volatile int rounds;
    private volatile boolean paused;
    private volatile boolean finish;
    private volatile boolean committed;
    private volatile Throwable failure;

    Member(Connection connection, String name, String topic, String group, Ledger ledger, int pauseAfter) {
        super(name);
        setDaemon(true);
        this.ledger = ledger;
        this.pauseAfter = pauseAfter;
        this.consumer = new KafkaConsumer<>(connection.with(
                "group.id", group,
                "auto.offset.reset", "earliest",
                "enable.auto.commit", "false",
                "session.timeout.ms", "10000",
                "heartbeat.interval.ms", "500",
                "key.deserializer", StringDeserializer.class.getName(),
                "value.deserializer", StringDeserializer.class.getName()));
        consumer.subscribe(List.of(topic), this);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        ledger.reassigned(getName());
        partitions.forEach(partition -> assigned.add(partition.partition()));
        consumer.resume(consumer.assignment());
        holds = List.copyOf(assigned);
        rounds++;
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        consumer.commitSync();
        partitions.forEach(partition -> assigned.remove(partition.partition()));
        holds = List.copyOf(assigned);
    }

    @Override
    public void run() {
        try (consumer) {
            while (!finish) {
                for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                    ledger.observe(getName(), record.partition(), record.offset(), record.key(), record.value());
                }
                if (pauseAfter > 0 && ledger.count() >= pauseAfter) {
                    // Without a pause a fast member would have read everything before the second one has joined.
                    pauseAfter = 0;
                    consumer.pause(consumer.assignment());
                    paused = true;
                }
            }
            consumer.commitSync();
            committed = true;
            mayClose.await();
        } catch (Throwable error) {
            failure = error;
        }
    }

    List<Integer> holds() {
        return holds;
    }

    int rounds() {
        return rounds;
    }

    boolean isPaused() {
        return paused;
    }

    boolean hasCommitted() {
        return committed;
    }

    /** Reads no more and commits; the member stays in the group until {@link #leave}. */
    void finish() {
        finish = true;
    }

    void leave() {
        mayClose.countDown();
    }

    void throwFailure() {
        if (failure != null) {
            throw new IllegalStateException(getName() + ": " + failure, failure);
        }
    }
}
