package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is one consumer of the group. It commits what it returned whenever partitions are revoked.
type member struct {
	name       string
	topic      string
	client     *kgo.Client
	ledger     *ledger
	pauseAfter int // Zero: never.

	mutex    sync.Mutex
	rounds   int
	assigned map[int32]bool
	paused   bool
	failure  error
	finish   bool
	done     chan struct{}
}

func startMember(base connection, name, topic, group string, ledger *ledger, pauseAfter int) (*member, error) {
	m := &member{
		name: name, topic: topic, ledger: ledger, pauseAfter: pauseAfter,
		assigned: map[int32]bool{}, done: make(chan struct{}),
	}
	client, err := kgo.NewClient(append(slices.Clone(base.options),
		kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.OnPartitionsAssigned(m.onAssigned),
		kgo.OnPartitionsRevoked(m.onRevoked),
	)...)
	if err != nil {
		return nil, err
	}
	m.client = client
	go m.run()
	return m, nil
}

func (m *member) onAssigned(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.rounds++
	for _, partition := range partitions[m.topic] {
		m.assigned[partition] = true
		m.ledger.reassigned(m.name, partition)
	}
	if m.rounds > 1 {
		client.ResumeFetchTopics(m.topic)
	}
}

func (m *member) onRevoked(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		m.fail(err)
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, partition := range partitions[m.topic] {
		delete(m.assigned, partition)
	}
	client.ResumeFetchTopics(m.topic)
}

func (m *member) fail(err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.failure = errors.Join(m.failure, err)
}

// run reads until told to finish, then commits.
func (m *member) run() {
	defer close(m.done)
	for !m.finishing() {
		ctx, cancel := context.WithTimeout(context.Background(), pollTimeout)
		fetches := m.client.PollRecords(ctx, recordsPerPoll)
		cancel()
		for _, failed := range fetches.Errors() {
			if !errors.Is(failed.Err, context.DeadlineExceeded) {
				m.fail(failed.Err)
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			at := place{record.Partition, record.Offset}
			if err := m.ledger.observe(m.name, at, content{string(record.Key), string(record.Value)}); err != nil {
				m.fail(err)
			}
		})
		m.pauseIfDue()
		m.client.AllowRebalance()
	}
	if err := m.client.CommitUncommittedOffsets(context.Background()); err != nil {
		m.fail(err)
	}
}

// pauseIfDue stops a fast member before it has read everything, so that the second one has something to take over.
func (m *member) pauseIfDue() {
	if m.pauseAfter == 0 || m.ledger.count() < m.pauseAfter {
		return
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.pauseAfter, m.paused = 0, true
	m.client.PauseFetchTopics(m.topic)
}

func (m *member) finishing() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.finish
}

func (m *member) isPaused() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.paused
}

func (m *member) holds() []int32 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Sorted(maps.Keys(m.assigned))
}

// stop makes the member commit; it stays in the group until close.
func (m *member) stop() error {
	m.mutex.Lock()
	m.finish = true
	m.mutex.Unlock()
	<-m.done
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.failure
}

func (m *member) close() { m.client.CloseAllowingRebalance() }
