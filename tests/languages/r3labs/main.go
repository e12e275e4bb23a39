// Shows what r3labs/sse does with a stream: prints each event and the end of Subscribe.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

func main() {
	client := sse.NewClient(os.Args[1] + "/sse/connect")
	client.ReconnectStrategy = backoff.NewConstantBackOff(50 * time.Millisecond)
	err := client.SubscribeRaw(func(event *sse.Event) {
		fmt.Printf("%s\t%s\n", event.Event, event.Data)
	})
	fmt.Printf("ended\t%v\n", err)
}
