package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// fault is what becomes of the next requests with a verb: pull, acknowledge, modifyAckDeadline, get.
type fault struct {
	Verb         string `json:"verb"`
	Count        int    `json:"count"` // of requests; below 0 until another fault of the verb comes
	Status       int    `json:"status"`
	RetryAfter   string `json:"retryAfter"`
	Keeps        bool   `json:"keeps"` // done, and then answered with the status
	Lost         bool   `json:"lost"`  // answered with success, and not done
	Short        bool   `json:"short"` // one message at most
	Milliseconds int    `json:"milliseconds"`
}

func (f fault) delay() time.Duration { return time.Duration(f.Milliseconds) * time.Millisecond }

func (f fault) message(verb string) string {
	if f.Status == 403 {
		return "User not authorized to perform this action."
	}
	return fmt.Sprintf("%s: fault of the test", verb)
}

type script struct {
	lock          sync.Mutex
	faults        map[string][]fault
	requests      map[string]int
	authorization string
}

func newScript() *script {
	return &script{faults: map[string][]fault{}, requests: map[string]int{}}
}

func (s *script) next(verb, authorization string) fault {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.requests[verb]++
	s.authorization = authorization
	queue := s.faults[verb]
	if len(queue) == 0 {
		return fault{}
	}
	found := queue[0]
	if found.Count > 1 {
		queue[0].Count--
	} else if found.Count == 1 {
		s.faults[verb] = queue[1:]
	}
	return found
}

// addFault takes a fault at the end of its verb's queue; one with count 0 empties the queue.
func (f *front) addFault(w http.ResponseWriter, r *http.Request) {
	var found fault
	if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.script.lock.Lock()
	defer f.script.lock.Unlock()
	queue := f.script.faults[found.Verb]
	if n := len(queue); found.Count == 0 || n > 0 && queue[n-1].Count < 0 {
		queue = nil
	}
	if found.Count != 0 {
		queue = append(queue, found)
	}
	f.script.faults[found.Verb] = queue
}

type seen struct {
	ID         string            `json:"id"`
	Topic      string            `json:"topic"`
	Data       []byte            `json:"data"`
	Attributes map[string]string `json:"attributes"`
	Deliveries int               `json:"deliveries"`
	Acks       int               `json:"acks"`
	Deadlines  []int32           `json:"deadlines"`
}

// state tells what the service has seen: each message with its deliveries, acknowledgements and the deadlines that were asked for.
func (f *front) state(w http.ResponseWriter, _ *http.Request) {
	messages := []seen{}
	for _, m := range f.server.Messages() {
		one := seen{m.ID, m.Topic, m.Data, m.Attributes, m.Deliveries, m.Acks, nil}
		for _, change := range m.Modacks {
			one.Deadlines = append(one.Deadlines, change.AckDeadline)
		}
		messages = append(messages, one)
	}
	f.script.lock.Lock()
	defer f.script.lock.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"messages": messages, "requests": f.script.requests, "authorization": f.script.authorization,
	})
}
