package main

import (
	"context"
	"errors"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
)

var errIncomplete = errors.New("the answer is incomplete")

func newOpenAI(hub, token string) openai.Client {
	return openai.NewClient(
		option.WithBaseURL(hub+"/v1"),
		option.WithAPIKey(token),                             // the token of the user
		option.WithHTTPClient(newHTTPClient(20*time.Second)), // more than two heartbeats
	)
}

// askChat calls show for each piece of the answer. It returns nil only for a complete answer. The answer
// stops at the LLM when ctx is cancelled.
func askChat(ctx context.Context, client openai.Client, model, prompt string, show func(text string)) error {
	stream := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
	}, option.WithJSONSet("on_disconnect", "stop"))
	defer stream.Close()
	isComplete := false
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			show(choice.Delta.Content)
			isComplete = isComplete || choice.FinishReason != ""
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	if !isComplete { // a proxy has ended the body of a broken stream
		return errIncomplete
	}
	return nil
}

// askResponse calls show for each piece of the answer. The answer continues while the connection is
// broken, and the client continues behind the last event that it has. started gets the id of the answer.
func askResponse(
	ctx context.Context, client openai.Client, model, prompt string, started, show func(text string),
) error {
	stream := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{
		Model:      model,
		Input:      responses.ResponseNewParamsInputUnion{OfString: openai.String(prompt)},
		Background: openai.Bool(true),
	})
	id, last := "", int64(0)
	for {
		for stream.Next() {
			event := stream.Current()
			last = event.SequenceNumber
			switch event.Type {
			case "response.created":
				id = event.Response.ID
				started(id)
			case "response.output_text.delta":
				show(event.Delta)
			case "response.completed":
				return nil
			case "response.incomplete", "response.failed":
				return errIncomplete
			}
		}
		if err := stream.Err(); id == "" || ctx.Err() != nil || isRefusal(err) {
			return errors.Join(errIncomplete, err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		stream = client.Responses.GetStreaming(ctx, id, responses.ResponseGetParams{
			StartingAfter: openai.Int(last),
		})
	}
}

// isRefusal returns whether an error is the hub's answer, and not a broken connection or a proxy's 502.
func isRefusal(err error) bool {
	refused, failed := new(openai.Error), new(ssestream.StreamError)
	return errors.As(err, &refused) && refused.StatusCode < 500 || errors.As(err, &failed)
}

// stopResponse stops an answer from anywhere, as often as you like.
func stopResponse(ctx context.Context, client openai.Client, id string) error {
	_, err := client.Responses.Cancel(ctx, id)
	return err
}
