package com.example.hub;

import hub.v1.ConnectRequest;
import hub.v1.Event;
import hub.v1.Events;
import hub.v1.GenerateRequest;
import hub.v1.HubGrpc;
import hub.v1.HubInternalGrpc;
import hub.v1.OnDisconnect;
import hub.v1.PublishRequest;
import hub.v1.StopRequest;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.util.Iterator;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Calls the hub over gRPC. */
final class Grpc implements AutoCloseable {
    private static final long MAX_SILENCE_SECONDS = 20; // more than two heartbeats
    private static final JsonMapper JSON = new JsonMapper();

    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    private final ManagedChannel channel;
    private final Metadata metadata = new Metadata();
    private String cursor = "";
    private long delayMillis = 1000;

    /** token: that of the user on the public listener, an API key on the internal one. */
    Grpc(String address, String token) {
        channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build(); // useTransportSecurity() over TLS
        metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    }

    @Override
    public void close() {
        timer.shutdownNow();
        channel.shutdownNow();
    }

    private HubGrpc.HubBlockingStub hub() {
        return HubGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
    }

    /** Call handle with each event and its data. Returns only with the status that ends the stream for good. */
    void follow(BiConsumer<String, String> handle) throws InterruptedException {
        while (true) {
            try {
                readStream(handle);
            } catch (StatusRuntimeException error) {
                Status.Code code = error.getStatus().getCode();
                if (code != Status.Code.UNAVAILABLE && code != Status.Code.CANCELLED) throw error;
            }
            Thread.sleep(delayMillis);
        }
    }

    private void readStream(BiConsumer<String, String> handle) {
        try (Context.CancellableContext context = Context.current().withCancellation()) {
            context.run(() -> {
                Iterator<Events> batches = hub().connect(ConnectRequest.newBuilder().setCursor(cursor).build());
                while (true) {
                    Runnable cancel = () -> context.cancel(null);
                    ScheduledFuture<?> silence = timer.schedule(cancel, MAX_SILENCE_SECONDS, TimeUnit.SECONDS);
                    try {
                        if (!batches.hasNext()) return;
                    } finally {
                        silence.cancel(false);
                    }
                    for (Event event : batches.next().getEventsList()) { // none in a heartbeat
                        handle.accept(event.getEvent(), event.getData());
                        if (!event.getId().isEmpty()) cursor = event.getId(); // ephemeral events have none
                        if (event.getEvent().equals("hub.bye")) delayMillis = Bye.of(event.getData()).retryMillis();
                    }
                }
            });
        }
    }

    /** Publish an event to a user and return its cursor. id: repeat a failed call with the same one. */
    String publish(String user, String id) {
        return HubInternalGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
            .publish(PublishRequest.newBuilder()
                .setUser(user)
                .setEvent("order.shipped")
                .setData("{\"order\":981}")
                .setId(id)
                .build())
            .getPublished(0)
            .getCursor();
    }

    /** Call show with the id of the answer and each piece of it. Throws an exception if the answer fails. */
    void ask(String prompt, BiConsumer<String, String> show) {
        try (Context.CancellableContext context = Context.current().withCancellation()) {
            context.run(() -> {
                Iterator<Events> batches = hub().generate(GenerateRequest.newBuilder()
                    .setPrompt(prompt)
                    .setOnDisconnect(OnDisconnect.ON_DISCONNECT_STOP) // of this call: the context ends it
                    .build());
                while (batches.hasNext()) {
                    for (Event event : batches.next().getEventsList()) {
                        JsonNode data = JSON.readTree(event.getData());
                        switch (event.getEvent()) {
                            case "generation.snapshot", "generation.delta" -> show.accept(
                                data.path("generation").asString(), data.path("text").asString());
                            case "generation.failed" ->
                                throw new IllegalStateException(data.path("message").asString());
                            case "generation.stopped", "generation.replaced", "generation.restarted", "generation.continued" ->
                                throw new IllegalStateException(event.getEvent());
                            default -> {}
                        }
                    }
                }
            });
        }
    }

    /** Stop an answer from anywhere. */
    void stop(String generation) {
        hub().stop(StopRequest.newBuilder().setGeneration(generation).build());
    }
}
