package dev.headgate.clients;

import java.util.HashMap;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/** What was produced, what was read back, and whether the two agree. The rules are those of python/ledger.py. */
final class Ledger {
    private static final int KEYS = 200;
    private static final int VALUE_BYTES = 100;

    private record Content(String key, String value) {}

    private record Assignment(String member, int partition) {}

    private final Map<Integer, SortedMap<Long, Content>> seen = new TreeMap<>();
    private final Map<Integer, Map<Long, Integer>> acknowledged = new HashMap<>();
    private final Map<Assignment, Long> nextOffset = new HashMap<>();
    private int count;
    private int redelivered;

    static String key(int number) {
        return "key-%03d".formatted(number % KEYS);
    }

    static String value(int number) {
        String text = "%s/%08d/".formatted(key(number), number / KEYS);
        return text + "x".repeat(VALUE_BYTES - text.length());
    }

    /** The server said that this record is at this place. */
    synchronized void acknowledge(int number, int partition, long offset) {
        Integer other = acknowledged.computeIfAbsent(partition, none -> new HashMap<>()).put(offset, number);
        check(other == null, "records %s and %s were both acknowledged at %s@%s", other, number, partition, offset);
    }

    /** After a rebalance a member may start again at a committed offset. */
    synchronized void reassigned(String member) {
        nextOffset.keySet().removeIf(assignment -> assignment.member.equals(member));
    }

    /** A member was handed this record; within one assignment offsets have neither holes nor repeats. */
    synchronized void observe(String member, int partition, long offset, String key, String value) {
        Long expected = nextOffset.put(new Assignment(member, partition), offset + 1);
        check(
                expected == null || expected == offset,
                "%s was handed %s@%s where %s was next", member, partition, offset, expected);
        Content content = new Content(key, value);
        Content first = seen.computeIfAbsent(partition, none -> new TreeMap<>()).putIfAbsent(offset, content);
        if (first == null) {
            count++;
            return;
        }
        redelivered++;
        check(first.equals(content), "%s@%s has two values: %s and %s", partition, offset, first, content);
    }

    synchronized int count() {
        return count;
    }

    synchronized int redelivered() {
        return redelivered;
    }

    /** The offset after the last one seen, for each partition. */
    synchronized Map<Integer, Long> ends() {
        Map<Integer, Long> ends = new TreeMap<>();
        seen.forEach((partition, records) -> ends.put(partition, records.lastKey() + 1));
        return ends;
    }

    /** All of 0..total was read: no hole, no duplicate, every key in order in one partition. */
    synchronized void checkComplete(int total) {
        Map<String, Integer> home = new HashMap<>();
        Map<String, Integer> placeOfKey = new HashMap<>();
        seen.forEach((partition, records) -> {
            long next = 0;
            for (Map.Entry<Long, Content> entry : records.entrySet()) {
                check(entry.getKey() == next, "partition %s jumps from %s to %s", partition, next, entry.getKey());
                next++;
                Content content = entry.getValue();
                Integer other = home.putIfAbsent(content.key, partition);
                check(
                        other == null || other.equals(partition),
                        "%s is in partitions %s and %s", content.key, other, partition);
                int place = placeOfKey.merge(content.key, 1, Integer::sum) - 1;
                int number = place * KEYS + Integer.parseInt(content.key.substring("key-".length()));
                check(
                        content.value.equals(value(number)),
                        "%s@%s holds %s, expected %s", partition, entry.getKey(), content.value, value(number));
            }
        });
        acknowledged.forEach((partition, places) -> places.forEach((offset, number) -> {
            Content found = seen.getOrDefault(partition, new TreeMap<>()).get(offset);
            check(
                    new Content(key(number), value(number)).equals(found),
                    "record %s was acknowledged at %s@%s, where %s is", number, partition, offset, found);
        }));
        check(count == total, "read %s records, expected %s", count, total);
    }

    private static void check(boolean holds, String format, Object... arguments) {
        if (!holds) {
            throw new Disagreement(format.formatted(arguments));
        }
    }

    /** The log did not keep a promise; the text names the record. */
    static final class Disagreement extends RuntimeException {
        private static final long serialVersionUID = 1;

        Disagreement(String text) {
            super(text);
        }
    }
}
