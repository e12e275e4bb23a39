// Programs that use the hub: `hub-examples PART …` runs one part. docs/clients/go.md explains them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
)

const usage = `usage:
  hub-examples gosse URL TOKEN
  hub-examples launchdarkly URL TOKEN
  hub-examples chat URL TOKEN MODEL PROMPT [STOP_AFTER]
  hub-examples response URL TOKEN MODEL PROMPT [STOP_AFTER]
  hub-examples grpc-follow ADDRESS TOKEN
  hub-examples grpc-publish ADDRESS KEY USER ID
  hub-examples grpc-ask ADDRESS TOKEN PROMPT [STOP_AFTER]
STOP_AFTER: stop the answer after so many characters`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, errEnded) {
		fmt.Fprintln(os.Stderr, err)
		if refused := new(openai.Error); errors.As(err, &refused) { // its text has the status only
			fmt.Fprintln(os.Stderr, refused.Code, refused.Message)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) < 3 {
		return errors.New(usage)
	}
	address, token, rest := arguments[1], arguments[2], append(arguments[3:], "", "", "")
	switch arguments[0] {
	case "gosse":
		return followWithGoSSE(ctx, address, token, printEvent)
	case "launchdarkly":
		return followWithLaunchDarkly(ctx, address, token, printEvent)
	case "chat":
		return runChat(ctx, address, token, rest)
	case "response":
		return runResponse(ctx, address, token, rest)
	case "grpc-follow", "grpc-publish", "grpc-ask":
		return runGRPC(ctx, arguments[0], address, token, rest)
	}
	return errors.New(usage)
}

func printEvent(event, data string) { fmt.Printf("%s\t%s\n", event, data) }

// printUntil returns a function that prints text, and that calls stop after so many characters.
func printUntil(limit string, stop func()) func(text string) {
	left, err := strconv.Atoi(limit)
	return func(text string) {
		fmt.Print(text)
		left -= utf8.RuneCountInString(text)
		if err == nil && left <= 0 {
			err = strconv.ErrRange // once
			stop()
		}
	}
}

func runChat(ctx context.Context, url, token string, rest []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return askChat(ctx, newOpenAI(url, token), rest[0], rest[1], printUntil(rest[2], cancel))
}

func runResponse(ctx context.Context, url, token string, rest []string) error {
	client, id := newOpenAI(url, token), ""
	started := func(response string) { id = response }
	var stopped error
	show := printUntil(rest[2], func() { stopped = stopResponse(ctx, client, id) })
	return errors.Join(askResponse(ctx, client, rest[0], rest[1], started, show), stopped)
}

func runGRPC(ctx context.Context, part, address, token string, rest []string) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	switch part {
	case "grpc-follow":
		return followWithGRPC(ctx, conn, token, printEvent)
	case "grpc-publish":
		cursor, err := publish(ctx, conn, token, rest[0], rest[1])
		fmt.Println(cursor)
		return err
	}
	id := ""
	var stopped error
	started := func(generation string) { id = generation }
	show := printUntil(rest[1], func() { stopped = stop(ctx, conn, token, id) })
	return errors.Join(ask(ctx, conn, token, rest[0], started, show), stopped)
}
