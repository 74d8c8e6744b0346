package main

import (
	"fmt"
	"strings"
	"sync"
)

const (
	keys       = 200
	valueBytes = 100
)

func keyOf(number int) string { return fmt.Sprintf("key-%03d", number%keys) }

func valueOf(number int) string {
	text := fmt.Sprintf("%s/%08d/", keyOf(number), number/keys)
	return text + strings.Repeat("x", valueBytes-len(text))
}

type place struct {
	partition int32
	offset    int64
}

type content struct{ key, value string }

type assignment struct {
	member    string
	partition int32
}

// ledger holds what was produced and what was read back. The rules are those of python/ledger.py.
type ledger struct {
	mutex        sync.Mutex
	seen         map[place]content
	acknowledged map[place]int
	nextOffset   map[assignment]int64
	redelivered  int
}

func newLedger() *ledger {
	return &ledger{
		seen:         map[place]content{},
		acknowledged: map[place]int{},
		nextOffset:   map[assignment]int64{},
	}
}

// acknowledge notes where the server said that a record is.
func (l *ledger) acknowledge(number int, at place) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if other, taken := l.acknowledged[at]; taken {
		return fmt.Errorf("records %d and %d were both acknowledged at %v", other, number, at)
	}
	l.acknowledged[at] = number
	return nil
}

// reassigned forgets a member's place: it may start again at a committed offset.
func (l *ledger) reassigned(member string, partition int32) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.nextOffset, assignment{member, partition})
}

// observe notes a record handed to a member; within one assignment offsets have neither holes nor repeats.
func (l *ledger) observe(member string, at place, record content) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	held := assignment{member, at.partition}
	if expected, running := l.nextOffset[held]; running && at.offset != expected {
		return fmt.Errorf("%s was handed %v where %d was next", member, at, expected)
	}
	l.nextOffset[held] = at.offset + 1
	first, again := l.seen[at]
	if !again {
		l.seen[at] = record
		return nil
	}
	l.redelivered++
	if first != record {
		return fmt.Errorf("%v has two values: %v and %v", at, first, record)
	}
	return nil
}

func (l *ledger) count() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.seen)
}

// ends returns the offset after the last one seen, for each partition.
func (l *ledger) ends() map[int32]int64 {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	ends := map[int32]int64{}
	for at := range l.seen {
		ends[at.partition] = max(ends[at.partition], at.offset+1)
	}
	return ends
}

// checkComplete demands that all of 0..total was read: no hole, no duplicate, every key in order in one partition.
func (l *ledger) checkComplete(total int) error {
	ends := l.ends()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	placeOfKey, home := map[string]int{}, map[string]int32{}
	for partition, end := range ends {
		for offset := int64(0); offset < end; offset++ {
			record, found := l.seen[place{partition, offset}]
			if !found {
				return fmt.Errorf("%d@%d was not read", partition, offset)
			}
			if at, known := home[record.key]; known && at != partition {
				return fmt.Errorf("%s is in partitions %d and %d", record.key, at, partition)
			}
			home[record.key] = partition
			var number int
			if _, err := fmt.Sscanf(record.key, "key-%d", &number); err != nil {
				return err
			}
			number += placeOfKey[record.key] * keys
			placeOfKey[record.key]++
			if record.value != valueOf(number) {
				return fmt.Errorf("%d@%d holds %q, expected %q", partition, offset, record.value, valueOf(number))
			}
		}
	}
	for at, number := range l.acknowledged {
		if l.seen[at] != (content{keyOf(number), valueOf(number)}) {
			return fmt.Errorf("record %d was acknowledged at %v, where %v is", number, at, l.seen[at])
		}
	}
	if len(l.seen) != total {
		return fmt.Errorf("read %d records, expected %d", len(l.seen), total)
	}
	return nil
}
