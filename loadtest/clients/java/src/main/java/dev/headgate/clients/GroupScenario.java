package dev.headgate.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** The client scenario with Apache Kafka's Java client, SASL AWS_MSK_IAM or OAUTHBEARER; its steps are those of python/scenario.py. */
public final class GroupScenario {
    private static final String CLIENT = "kafka-clients";
    private static final int PARTITIONS = 6;
    private static final int RECORDS = 10_000;
    private static final int MORE_RECORDS = 1_000;
    private static final int REBALANCE_AFTER = 2_000;
    private static final Duration DEADLINE = Duration.ofSeconds(120);
    private static final int REQUEST_SECONDS = 30;

    private final long started = System.nanoTime();
    private final Connection connection;
    private final String topic;
    private final String group;
    private final Ledger ledger = new Ledger();

    private GroupScenario(Connection connection) {
        this.connection = connection;
        String random = UUID.randomUUID().toString().substring(0, 8);
        this.topic = "%s-%s-%s".formatted(CLIENT, connection.mechanism().toLowerCase(Locale.ROOT), random);
        this.group = topic + "-group";
    }

    public static void main(String[] arguments) {
        int status = 1;
        try {
            new GroupScenario(Connection.parse(arguments)).run();
            status = 0;
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAILED " + CLIENT + ": " + error);
        }
        // Threads of a failed client must not keep the process alive.
        Runtime.getRuntime().halt(status);
    }

    private void run() throws Exception {
        try (Admin admin = Admin.create(connection.properties())) {
            NewTopic created = new NewTopic(topic, Optional.of(PARTITIONS), Optional.empty());
            admin.createTopics(List.of(created)).all().get(REQUEST_SECONDS, TimeUnit.SECONDS);
            say("created " + topic);
            produce(0, RECORDS);
            say(RECORDS + " records acknowledged");
            readThroughARebalance(admin);
            produce(RECORDS, RECORDS + MORE_RECORDS);
            continueAfterARestart(admin);
            ledger.checkComplete(RECORDS + MORE_RECORDS);
        }
        System.out.printf(
                "ok %s %s records=%d redelivered=%d seconds=%.1f%n",
                CLIENT, connection.mechanism(), RECORDS + MORE_RECORDS, ledger.redelivered(), seconds());
    }

    private void produce(int from, int to) throws Exception {
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(connection.with(
                "acks", "all",
                "enable.idempotence", "true",
                "linger.ms", "5",
                "compression.type", "snappy",
                "key.serializer", StringSerializer.class.getName(),
                "value.serializer", StringSerializer.class.getName()))) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = from; number < to; number++) {
                sent.add(producer.send(new ProducerRecord<>(topic, Ledger.key(number), Ledger.value(number))));
            }
            for (int index = 0; index < sent.size(); index++) {
                RecordMetadata metadata = sent.get(index).get(REQUEST_SECONDS, TimeUnit.SECONDS);
                ledger.acknowledge(from + index, metadata.partition(), metadata.offset());
            }
        }
    }

    private void readThroughARebalance(Admin admin) throws Exception {
        Member first = new Member(connection, "member-1", topic, group, ledger, REBALANCE_AFTER);
        first.start();
        until("member 1 reads the first records", first::isPaused, first);
        int rounds = first.rounds();
        say("member 1 holds " + first.holds() + " and has read " + ledger.count());
        Member second = new Member(connection, "member-2", topic, group, ledger, 0);
        second.start();
        until(
                "a rebalance gives both members partitions",
                () -> first.rounds() > rounds
                        && !first.holds().isEmpty()
                        && !second.holds().isEmpty()
                        && first.holds().size() + second.holds().size() == PARTITIONS,
                first, second);
        say("after the rebalance: " + first.holds() + " and " + second.holds());
        until("both members together read everything", () -> ledger.count() >= RECORDS, first, second);
        // Both commit before either leaves: leaving starts a rebalance, which a commit may lose against.
        first.finish();
        second.finish();
        until("both members commit", () -> first.hasCommitted() && second.hasCommitted(), first, second);
        checkCommitted(admin);
        first.leave();
        second.leave();
        until("both members leave", () -> !first.isAlive() && !second.isAlive(), first, second);
        ledger.checkComplete(RECORDS);
        say("read, committed, closed");
    }

    private void continueAfterARestart(Admin admin) throws Exception {
        int before = ledger.redelivered();
        Member restarted = new Member(connection, "member-restarted", topic, group, ledger, 0);
        restarted.start();
        until("the restarted member reads the new records", () -> ledger.count() >= RECORDS + MORE_RECORDS, restarted);
        Thread.sleep(1000); // Nothing more may come. A shorter wait could not fail falsely.
        restarted.finish();
        restarted.leave();
        until("the restarted member leaves", () -> !restarted.isAlive(), restarted);
        checkCommitted(admin);
        if (ledger.redelivered() != before) {
            throw new Ledger.Disagreement(
                    ledger.redelivered() - before + " committed records came again after the restart");
        }
        say("restarted member read the " + MORE_RECORDS + " new records and no other");
    }

    private void checkCommitted(Admin admin) throws Exception {
        Map<Integer, Long> committed = new TreeMap<>();
        admin.listConsumerGroupOffsets(group)
                .partitionsToOffsetAndMetadata()
                .get(REQUEST_SECONDS, TimeUnit.SECONDS)
                .forEach((partition, offset) -> committed.put(partition.partition(), offset.offset()));
        if (!committed.equals(ledger.ends())) {
            throw new Ledger.Disagreement("committed " + committed + ", read up to " + ledger.ends());
        }
    }

    /** Polls a condition that the members make true, and gives up with the first of their errors. */
    private void until(String what, BooleanSupplier condition, Member... members) throws InterruptedException {
        while (!condition.getAsBoolean()) {
            for (Member member : members) {
                member.throwFailure();
            }
            if (seconds() > DEADLINE.toSeconds()) {
                throw new Ledger.Disagreement("not within %s: %s; %d records were read".formatted(DEADLINE, what, ledger.count()));
            }
            Thread.sleep(20);
        }
        for (Member member : members) {
            member.throwFailure();
        }
    }

    private double seconds() {
        return (System.nanoTime() - started) / 1e9;
    }

    private void say(String text) {
        System.out.printf("%7.2fs %s%n", seconds(), text);
    }
}
