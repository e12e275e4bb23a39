package com.example.hub;

import java.io.IOException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Follows the events of a user. okhttp-sse reads one stream; this class resumes it. */
final class OkHttpFollower {
    private static final long MAX_DELAY_MILLIS = 30_000;

    private final OkHttpClient client = new OkHttpClient.Builder()
        .readTimeout(20, TimeUnit.SECONDS) // more than two heartbeats; 10 by default
        .build();
    private final String hub, token;
    private String cursor = "";

    OkHttpFollower(String hub, String token) {
        this.hub = hub;
        this.token = token;
    }

    /** Call handle with each event and its data, until the hub ends the stream or refuses it. */
    void follow(BiConsumer<String, String> handle) throws IOException, InterruptedException {
        long delayMillis = 1000;
        while (true) {
            Request.Builder request = new Request.Builder()
                .url(hub + "/sse/connect")
                .header("Authorization", "Bearer " + token);
            if (!cursor.isEmpty()) request.header("Last-Event-ID", cursor);
            Stream stream = new Stream(handle);
            EventSources.createFactory(client).newEventSource(request.build(), stream);
            stream.ended.join();
            if (stream.status != 200 && stream.status != 0 && stream.status != 429 && stream.status < 500) {
                throw new IOException("the hub refuses the stream: status " + stream.status);
            }
            if (stream.bye != null && stream.bye.isFinal()) return;
            if (stream.bye != null) delayMillis = stream.bye.retryMillis();
            else if (stream.isOpen) delayMillis = 1000;
            else delayMillis = Math.min(2 * delayMillis, MAX_DELAY_MILLIS);
            Thread.sleep(ThreadLocalRandom.current().nextLong(delayMillis / 2, delayMillis + 1));
        }
    }

    private final class Stream extends EventSourceListener {
        final CompletableFuture<Void> ended = new CompletableFuture<>();
        private final BiConsumer<String, String> handle;
        volatile int status; // 0 without a response
        volatile boolean isOpen;
        volatile Bye bye;

        Stream(BiConsumer<String, String> handle) {
            this.handle = handle;
        }

        @Override
        public void onOpen(EventSource source, Response response) {
            status = response.code();
            isOpen = true;
        }

        @Override
        public void onEvent(EventSource source, String id, String event, String data) {
            handle.accept(event, data);
            if (id != null) cursor = id; // ephemeral events repeat the last id of this stream, or have none
            if ("hub.bye".equals(event)) bye = Bye.of(data);
        }

        @Override
        public void onClosed(EventSource source) {
            ended.complete(null);
        }

        @Override
        public void onFailure(EventSource source, Throwable error, Response response) {
            if (response != null) status = response.code();
            ended.complete(null);
        }
    }
}
