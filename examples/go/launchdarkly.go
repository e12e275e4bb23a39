package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/launchdarkly/eventsource"
)

// followWithLaunchDarkly calls handle for each event of the user, until the hub ends the stream or
// refuses it.
func followWithLaunchDarkly(ctx context.Context, hub, token string, handle func(event, data string)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, hub+"/sse/connect", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)

	var final error // set before the stream closes
	stream, err := eventsource.SubscribeWithRequestAndOptions(request,
		eventsource.StreamOptionReadTimeout(20*time.Second), // more than two heartbeats
		eventsource.StreamOptionCanRetryFirstConnection(-1), // as long as it takes
		eventsource.StreamOptionUseBackoff(30*time.Second),
		eventsource.StreamOptionUseJitter(0.5),
		eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
			refusal := eventsource.SubscriptionError{}
			if errors.As(err, &refusal) && refusal.Code != http.StatusTooManyRequests && refusal.Code < 500 {
				final = err
			} else if ctx.Err() != nil {
				final = ctx.Err()
			}
			return eventsource.StreamErrorHandlerResult{CloseNow: final != nil}
		}),
	)
	if err != nil {
		return err
	}
	defer stream.Close()
	for event := range stream.Events {
		handle(event.Event(), event.Data())
		if event.Event() == "hub.bye" && isFinal(event.Data()) {
			return errEnded
		}
	}
	return final
}
