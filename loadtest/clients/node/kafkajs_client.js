// The scenario with kafkajs, SASL AWS_MSK_IAM or OAUTHBEARER; its steps are those of python/scenario.py.

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs from "kafkajs";
import { parseArguments } from "./connection.js";
import { Ledger, keyOf, valueOf } from "./ledger.js";

const PARTITIONS = 6;
const RECORDS = 10_000;
const MORE_RECORDS = 1_000;
const REBALANCE_AFTER = 2_000;
const RECORDS_PER_SEND = 200;
const FETCH_BYTES = 1024; // Small fetches, so that a pause comes in time.
const DEADLINE_SECONDS = 120;
const CLIENT = "kafkajs";

const { Kafka, CompressionTypes, logLevel } = kafkajs;
const { mechanism, settings } = parseArguments();
const kafka = new Kafka({ ...settings, clientId: CLIENT, logLevel: logLevel.ERROR });
const topic = `${CLIENT}-${mechanism.toLowerCase()}-${randomBytes(4).toString("hex")}`;
const groupId = `${topic}-group`;
const ledger = new Ledger();
const started = performance.now();
let failure;

const seconds = () => (performance.now() - started) / 1000;
const say = (text) => console.log(`${seconds().toFixed(2).padStart(7)}s ${text}`);

function fail(error) {
  console.error(error);
  console.log(`FAILED ${CLIENT} ${mechanism}: ${error?.message ?? error}`);
  process.exit(1);
}

async function until(what, condition) {
  while (!condition()) {
    if (failure) throw failure;
    if (seconds() > DEADLINE_SECONDS) {
      throw new Error(`not within ${DEADLINE_SECONDS} s: ${what}; ${ledger.count} records were read`);
    }
    await sleep(20);
  }
}

async function createTopic() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }] });
  await admin.disconnect();
}

async function produce(from, to) {
  // kafkajs promises idempotence only for one request in flight.
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let first = from; first < to; first += RECORDS_PER_SEND) {
    const numbers = Array.from({ length: RECORDS_PER_SEND }, (_, index) => first + index);
    const messages = numbers.map((number) => ({ key: keyOf(number), value: valueOf(number) }));
    await producer.send({ topic, acks: -1, compression: CompressionTypes.GZIP, messages });
  }
  await producer.disconnect();
}

// One member of the group. It commits at the end of each batch that kafkajs hands over.
class Member {
  assignments = [];
  paused = false;

  constructor(name, pauseAfter) {
    this.name = name;
    this.pauseAfter = pauseAfter;
    this.consumer = kafka.consumer({
      groupId,
      sessionTimeout: 10_000,
      heartbeatInterval: 500,
      maxWaitTimeInMs: 200,
      maxBytesPerPartition: FETCH_BYTES,
    });
  }

  async start() {
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      ledger.reassigned(this.name);
      this.assignments.push([...(payload.memberAssignment[topic] ?? [])].sort());
      this.consumer.resume([{ topic }]);
    });
    this.consumer.on(this.consumer.events.CRASH, ({ payload }) => {
      failure ??= payload.error;
    });
    await this.consumer.connect();
    await this.consumer.subscribe({ topic, fromBeginning: true });
    await this.consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: (batch) => this.read(batch),
    });
  }

  async read({ batch, isStale, isRunning, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets, heartbeat }) {
    if (isStale() || !isRunning()) return;
    try {
      for (const { offset, key, value } of batch.messages) {
        ledger.observe(this.name, batch.partition, Number(offset), key.toString(), value.toString());
        resolveOffset(offset);
      }
    } catch (error) {
      failure ??= error; // kafkajs would retry it; a disagreement is final.
    }
    await commitOffsetsIfNecessary(uncommittedOffsets());
    if (this.pauseAfter && ledger.count >= this.pauseAfter) {
      // Without a pause a fast member would have read everything before the second one has joined.
      this.pauseAfter = undefined;
      this.consumer.pause([{ topic }]);
      this.paused = true;
    }
    await heartbeat();
  }

  get assigned() {
    return this.assignments.at(-1) ?? [];
  }
}

async function readThroughARebalance() {
  const first = new Member("member-1", REBALANCE_AFTER);
  const second = new Member("member-2");
  await first.start();
  await until("member 1 reads the first records", () => first.paused);
  const rounds = first.assignments.length;
  say(`member 1 holds ${first.assigned} and has read ${ledger.count}`);
  await second.start();
  await until(
    "a rebalance gives both members partitions",
    () => first.assignments.length > rounds && first.assigned.length > 0 && second.assigned.length > 0,
  );
  say(`after the rebalance: ${first.assigned} and ${second.assigned}`);
  await until("both members together read everything", () => ledger.count >= RECORDS);
  const together = [...first.assigned, ...second.assigned].sort().join();
  if (together !== "0,1,2,3,4,5") throw new Error(`assigned: ${together}`);
  await checkCommitted();
  await Promise.all([first.consumer.disconnect(), second.consumer.disconnect()]);
  ledger.checkComplete(RECORDS);
  say("read, committed, closed");
}

// Commits follow the reads closely; this waits for the last of them.
async function checkCommitted() {
  const admin = kafka.admin();
  await admin.connect();
  const expected = ledger.ends(PARTITIONS).join();
  for (;;) {
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
    partitions.sort((left, right) => left.partition - right.partition);
    const committed = partitions.map(({ offset }) => Number(offset)).join();
    if (committed === expected) break;
    if (failure) throw failure;
    if (seconds() > DEADLINE_SECONDS) throw new Error(`committed ${committed}, read up to ${expected}`);
    await sleep(50);
  }
  await admin.disconnect();
}

async function continueAfterARestart() {
  const before = ledger.redelivered;
  const restarted = new Member("member-restarted");
  await restarted.start();
  await until("the restarted member reads the new records", () => ledger.count >= RECORDS + MORE_RECORDS);
  await sleep(1000); // Nothing more may come. A shorter wait could not fail falsely.
  await checkCommitted();
  await restarted.consumer.disconnect();
  if (ledger.redelivered !== before) {
    throw new Error(`${ledger.redelivered - before} committed records came again after the restart`);
  }
  say(`restarted member read the ${MORE_RECORDS} new records and no other`);
}

try {
  await createTopic();
  say(`created ${topic}`);
  await produce(0, RECORDS);
  say(`${RECORDS} records acknowledged`);
  await readThroughARebalance();
  await produce(RECORDS, RECORDS + MORE_RECORDS);
  await continueAfterARestart();
  if (failure) throw failure;
  ledger.checkComplete(RECORDS + MORE_RECORDS);
  console.log(
    `ok ${CLIENT} ${mechanism} records=${RECORDS + MORE_RECORDS} redelivered=${ledger.redelivered} seconds=${seconds().toFixed(1)}`,
  );
  process.exit(0);
} catch (error) {
  fail(error);
}
