// Pub/Sub for tests: the emulator of Google's own client library behind its REST methods, with a script of faults.
//
//	pubsub [--listen 127.0.0.1:0] [--minimum-ack-deadline 10s]
//
// It prints the address that it listens on. What the real service has beside the methods of a subscriber is under /control.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"cloud.google.com/go/pubsub/pstest"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	minimum := flag.Duration("minimum-ack-deadline", 10*time.Second, "shortest acknowledgement deadline of a subscription")
	flag.Parse()
	pstest.SetMinAckDeadline(*minimum)
	server := pstest.NewServer()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	front := &http.Server{
		Handler:           newFront(server),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return context.Background() },
	}
	log.Fatal(front.Serve(listener))
}
