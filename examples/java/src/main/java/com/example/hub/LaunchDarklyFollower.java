package com.example.hub;

import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamException;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.function.BiConsumer;

/** Follows the events of a user with LaunchDarkly's okhttp-eventsource, which resumes by itself. */
final class LaunchDarklyFollower {
    private LaunchDarklyFollower() {}

    /** Call handle with each event and its data, until the hub ends the stream or refuses it. */
    static void follow(String hub, String token, BiConsumer<String, String> handle) throws StreamException {
        // This client gives up after 5 seconds without a byte, so the hub sends a heartbeat every 4.
        URI uri = URI.create(hub + "/sse/connect?heartbeat=4");
        ConnectStrategy http = ConnectStrategy.http(uri).header("Authorization", "Bearer " + token);
        try (EventSource source = new EventSource.Builder(http).errorStrategy(new Retry()).build()) {
            while (true) {
                MessageEvent event = source.readMessage(); // throws when Retry does not continue
                handle.accept(event.getEventName(), event.getData());
                if (event.getEventName().equals("hub.bye") && Bye.of(event.getData()).isFinal()) return;
            }
        }
    }

    /** Continue after a broken connection and a temporary status, not after a refusal. */
    private static final class Retry extends ErrorStrategy {
        @Override
        public Result apply(StreamException error) {
            boolean isRefused = error instanceof StreamHttpErrorException http
                && http.getCode() != 429 && http.getCode() < 500;
            return new Result(isRefused ? Action.THROW : Action.CONTINUE, null);
        }
    }
}
