// What was produced, what was read back, and whether the two agree. The rules are those of python/ledger.py.

const KEYS = 200;
const VALUE_BYTES = 100;

const padded = (number, width) => String(number).padStart(width, "0");

export const keyOf = (number) => `key-${padded(number % KEYS, 3)}`;
export const valueOf = (number) =>
  `${keyOf(number)}/${padded(Math.floor(number / KEYS), 8)}/`.padEnd(VALUE_BYTES, "x");

export class Ledger {
  #seen = new Map(); // partition -> Map(offset -> {key, value})
  #nextOffset = new Map(); // "member partition" -> the offset it must be handed next
  redelivered = 0;
  count = 0;

  // After a rebalance a member may start again at a committed offset.
  reassigned(member) {
    for (const place of [...this.#nextOffset.keys()]) {
      if (place.startsWith(`${member} `)) this.#nextOffset.delete(place);
    }
  }

  // A member was handed this record; within one assignment offsets have neither holes nor repeats.
  observe(member, partition, offset, key, value) {
    const place = `${member} ${partition}`;
    const expected = this.#nextOffset.get(place) ?? offset;
    if (offset !== expected) {
      throw new Error(`${member} was handed ${partition}@${offset} where ${expected} was next`);
    }
    this.#nextOffset.set(place, offset + 1);
    if (!this.#seen.has(partition)) this.#seen.set(partition, new Map());
    const first = this.#seen.get(partition).get(offset);
    if (first === undefined) {
      this.#seen.get(partition).set(offset, { key, value });
      this.count += 1;
      return;
    }
    this.redelivered += 1;
    if (first.key !== key || first.value !== value) {
      throw new Error(`${partition}@${offset} has two values: ${first.value} and ${value}`);
    }
  }

  // The offset after the last one seen, for each partition.
  ends(partitions) {
    return Array.from({ length: partitions }, (_, partition) => {
      const offsets = [...(this.#seen.get(partition) ?? new Map()).keys()];
      return offsets.reduce((end, offset) => Math.max(end, offset + 1), 0);
    });
  }

  // All of 0..total was read: no hole, no duplicate, every key in order in one partition.
  checkComplete(total) {
    const placeOfKey = new Map();
    const home = new Map();
    for (const [partition, records] of this.#seen) {
      for (let offset = 0; offset < records.size; offset += 1) {
        const record = records.get(offset);
        if (record === undefined) throw new Error(`${partition}@${offset} was not read`);
        const { key, value } = record;
        if ((home.get(key) ?? partition) !== partition) {
          throw new Error(`${key} is in partitions ${home.get(key)} and ${partition}`);
        }
        home.set(key, partition);
        const place = placeOfKey.get(key) ?? 0;
        placeOfKey.set(key, place + 1);
        const expected = valueOf(place * KEYS + Number(key.slice("key-".length)));
        if (value !== expected) throw new Error(`${partition}@${offset} holds ${value}, expected ${expected}`);
      }
    }
    if (this.count !== total) throw new Error(`read ${this.count} records, expected ${total}`);
  }
}
