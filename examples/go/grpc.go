package main

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/hub-examples/hub/v1" // generated, see docs/clients/grpc.md
)

func dial(address string) (*grpc.ClientConn, error) {
	// Over TLS: credentials.NewClientTLSFromCert(nil, "")
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// followWithGRPC calls handle for each event of the user, until the hub ends the stream or refuses it.
func followWithGRPC(ctx context.Context, conn *grpc.ClientConn, token string, handle func(event, data string)) error {
	client := hubv1.NewHubClient(conn)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	cursor, delay := "", time.Second
	for {
		err := readStream(ctx, client, &cursor, &delay, handle)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readStream reads one stream to its end. It keeps the cursor and the delay before the next stream.
func readStream(
	ctx context.Context, client hubv1.HubClient, cursor *string, delay *time.Duration,
	handle func(event, data string),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const maxSilence = 20 * time.Second // more than two heartbeats
	silence := time.AfterFunc(maxSilence, cancel)
	defer silence.Stop()
	stream, err := client.Connect(ctx, &hubv1.ConnectRequest{Cursor: *cursor})
	if err != nil {
		return err
	}
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		silence.Reset(maxSilence)
		for _, event := range batch.Events { // none in a heartbeat
			handle(event.Event, event.Data)
			if event.Id != "" { // ephemeral events and hub.bye have none
				*cursor = event.Id
			}
			if event.Event == "hub.bye" {
				var bye struct {
					RetryMs int64 `json:"retry_ms"`
				}
				if json.Unmarshal([]byte(event.Data), &bye) == nil && bye.RetryMs > 0 {
					*delay = time.Duration(bye.RetryMs) * time.Millisecond
				}
			}
		}
	}
}

// publish sends an event to a user. conn: a connection to the internal listener.
func publish(ctx context.Context, conn *grpc.ClientConn, key, user, id string) (cursor string, err error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	response, err := hubv1.NewHubInternalClient(conn).Publish(ctx, &hubv1.PublishRequest{
		To:    &hubv1.PublishRequest_User{User: user},
		Event: "order.shipped",
		Data:  `{"order":981}`,
		Id:    id, // an idempotency key: repeat a failed call with the same one
	})
	if err != nil {
		return "", err
	}
	return response.Published[0].Cursor, nil
}

// ask calls show for each piece of an answer. The answer stops at the LLM when ctx is cancelled. started
// gets the id of the answer.
func ask(
	ctx context.Context, conn *grpc.ClientConn, token, prompt string, started, show func(text string),
) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	stream, err := hubv1.NewHubClient(conn).Generate(ctx, &hubv1.GenerateRequest{
		Prompt:       prompt,
		OnDisconnect: hubv1.OnDisconnect_ON_DISCONNECT_STOP,
	})
	if err != nil {
		return err
	}
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, event := range batch.Events {
			var data struct{ Generation, Text, Message string }
			if err := json.Unmarshal([]byte(event.Data), &data); err != nil {
				return err
			}
			switch event.Event {
			case "generation.snapshot":
				started(data.Generation)
				show(data.Text)
			case "generation.delta":
				show(data.Text)
			case "generation.done":
				return nil
			case "generation.failed":
				return status.Error(codes.Aborted, data.Message)
			case "generation.stopped", "generation.replaced", "generation.restarted", "generation.continued":
				return status.Error(codes.Aborted, event.Event)
			}
		}
	}
}

// stop stops an answer from anywhere.
func stop(ctx context.Context, conn *grpc.ClientConn, token, generation string) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	_, err := hubv1.NewHubClient(conn).Stop(ctx, &hubv1.StopRequest{Generation: generation})
	return err
}
