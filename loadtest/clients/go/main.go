// The client scenario with franz-go, SASL AWS_MSK_IAM; its steps are those of python/scenario.py.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	clientName        = "franz-go"
	partitions        = 6
	records           = 10_000
	moreRecords       = 1_000
	rebalanceAfter    = 2_000
	recordsPerPoll    = 500
	deadline          = 120 * time.Second
	pollTimeout       = 200 * time.Millisecond
	sessionTimeout    = 10 * time.Second
	heartbeatInterval = 500 * time.Millisecond
)

type scenario struct {
	connection connection
	topic      string
	group      string
	ledger     *ledger
	admin      *kadm.Client
	started    time.Time
}

func main() {
	connection, err := parseConnection()
	if err == nil {
		err = run(connection)
	}
	if err != nil {
		fmt.Printf("FAILED %s %s: %v\n", clientName, connection.mechanism, err)
		os.Exit(1)
	}
}

func run(connection connection) error {
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	client, err := kgo.NewClient(connection.options...)
	if err != nil {
		return err
	}
	defer client.Close()
	topic := strings.ToLower(fmt.Sprintf("%s-%s-%s", clientName, connection.mechanism, hex.EncodeToString(random)))
	s := &scenario{
		connection: connection, topic: topic, group: topic + "-group",
		ledger: newLedger(), admin: kadm.NewClient(client), started: time.Now(),
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return s.run(ctx)
}

func (s *scenario) run(ctx context.Context) error {
	if _, err := s.admin.CreateTopic(ctx, partitions, -1, nil, s.topic); err != nil {
		return fmt.Errorf("create topic: %w", err)
	}
	s.say("created %s", s.topic)
	if err := s.produce(ctx, 0, records); err != nil {
		return err
	}
	s.say("%d records acknowledged", records)
	if err := s.readThroughARebalance(ctx); err != nil {
		return err
	}
	if err := s.produce(ctx, records, records+moreRecords); err != nil {
		return err
	}
	if err := s.continueAfterARestart(ctx); err != nil {
		return err
	}
	if err := s.ledger.checkComplete(records + moreRecords); err != nil {
		return err
	}
	fmt.Printf("ok %s %s records=%d redelivered=%d seconds=%.1f\n", clientName, s.connection.mechanism,
		records+moreRecords, s.ledger.redelivered, time.Since(s.started).Seconds())
	return nil
}

// produce sends records from..to; franz-go's producer is idempotent with acks=all unless told otherwise.
func (s *scenario) produce(ctx context.Context, from, to int) error {
	client, err := kgo.NewClient(append(slices.Clone(s.connection.options),
		kgo.DefaultProduceTopic(s.topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()
	errs := make(chan error, to-from)
	for number := from; number < to; number++ {
		record := kgo.KeyStringRecord(keyOf(number), valueOf(number))
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			if err == nil {
				err = s.ledger.acknowledge(number, place{record.Partition, record.Offset})
			}
			errs <- err
		})
	}
	for range to - from {
		if err := <-errs; err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	return nil
}

func (s *scenario) readThroughARebalance(ctx context.Context) error {
	first, err := startMember(s.connection, "member-1", s.topic, s.group, s.ledger, rebalanceAfter)
	if err != nil {
		return err
	}
	defer first.close()
	if err := s.until(ctx, "member 1 reads the first records", first.isPaused, first); err != nil {
		return err
	}
	s.say("member 1 holds %v and has read %d", first.holds(), s.ledger.count())
	second, err := startMember(s.connection, "member-2", s.topic, s.group, s.ledger, 0)
	if err != nil {
		return err
	}
	defer second.close()
	shared := func() bool {
		mine, others := len(first.holds()), len(second.holds())
		return mine > 0 && others > 0 && mine+others == partitions
	}
	if err := s.until(ctx, "a rebalance gives both members partitions", shared, first, second); err != nil {
		return err
	}
	s.say("after the rebalance: %v and %v", first.holds(), second.holds())
	everything := func() bool { return s.ledger.count() >= records }
	if err := s.until(ctx, "both members together read everything", everything, first, second); err != nil {
		return err
	}
	// Both commit before either leaves: leaving starts a rebalance, which a commit may lose against.
	if err := errors.Join(first.stop(), second.stop(), s.ledger.checkComplete(records), s.checkCommitted(ctx)); err != nil {
		return err
	}
	s.say("read, committed")
	return nil
}

func (s *scenario) continueAfterARestart(ctx context.Context) error {
	before := s.ledger.redelivered
	restarted, err := startMember(s.connection, "member-restarted", s.topic, s.group, s.ledger, 0)
	if err != nil {
		return err
	}
	defer restarted.close()
	everything := func() bool { return s.ledger.count() >= records+moreRecords }
	if err := s.until(ctx, "the restarted member reads the new records", everything, restarted); err != nil {
		return err
	}
	time.Sleep(time.Second) // Nothing more may come. A shorter wait could not fail falsely.
	if err := errors.Join(restarted.stop(), s.checkCommitted(ctx)); err != nil {
		return err
	}
	if s.ledger.redelivered != before {
		return fmt.Errorf("%d committed records came again after the restart", s.ledger.redelivered-before)
	}
	s.say("restarted member read the %d new records and no other", moreRecords)
	return nil
}

func (s *scenario) checkCommitted(ctx context.Context) error {
	offsets, err := s.admin.FetchOffsets(ctx, s.group)
	if err != nil {
		return fmt.Errorf("fetch offsets: %w", err)
	}
	committed := map[int32]int64{}
	for partition, offset := range offsets[s.topic] {
		committed[partition] = offset.At
	}
	if !maps.Equal(committed, s.ledger.ends()) {
		return fmt.Errorf("committed %v, read up to %v", committed, s.ledger.ends())
	}
	return nil
}

// until polls a condition that the members make true, and gives up with the first of their errors.
func (s *scenario) until(ctx context.Context, what string, condition func() bool, members ...*member) error {
	for !condition() {
		for _, member := range members {
			member.mutex.Lock()
			failure := member.failure
			member.mutex.Unlock()
			if failure != nil {
				return failure
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s; %d records were read", deadline, what, s.ledger.count())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (s *scenario) say(format string, arguments ...any) {
	fmt.Printf("%7.2fs %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, arguments...))
}
