package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

var errEnded = errors.New("the hub has ended the stream")

// followWithGoSSE calls handle for each event of the user, until the hub ends the stream or refuses it.
func followWithGoSSE(ctx context.Context, hub, token string, handle func(event, data string)) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, hub+"/sse/connect", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)

	status := 0
	client := sse.Client{
		HTTPClient: newHTTPClient(20 * time.Second), // more than two heartbeats
		Backoff:    sse.Backoff{MaxInterval: 30 * time.Second},
		ResponseValidator: func(response *http.Response) error {
			status = response.StatusCode
			return sse.DefaultValidator(response)
		},
	}
	connection := client.NewConnection(request)
	connection.Buffer(nil, 1<<20) // an event may have 256 KiB of data; the default ends at 64 KiB
	connection.SubscribeToAll(func(event sse.Event) {
		handle(event.Type, event.Data)
		if event.Type == "hub.bye" && isFinal(event.Data) {
			end(errEnded)
		}
	})
	for {
		err := connection.Connect() // reconnects with Last-Event-ID by itself
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if status != http.StatusTooManyRequests && status < 500 {
			return fmt.Errorf("the hub refuses the stream: %w", err)
		}
		// A proxy answers 502 while a node restarts. go-sse takes each status but 200 for final.
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isFinal returns whether hub.bye asks the client not to reconnect.
func isFinal(data string) bool {
	var bye struct{ Reconnect bool }
	return json.Unmarshal([]byte(data), &bye) == nil && !bye.Reconnect
}
