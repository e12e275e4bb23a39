package com.example.hub;

import java.time.Duration;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException;
import reactor.core.publisher.Flux;
import reactor.util.retry.Retry;

/** Follows the events of a user with Spring's WebClient, which reads one stream; this class resumes it. */
final class WebClientFollower {
    private static final ParameterizedTypeReference<ServerSentEvent<String>> EVENT =
        new ParameterizedTypeReference<>() {};

    private final WebClient client;
    private volatile String cursor = "";
    private volatile boolean isEnded;

    WebClientFollower(WebClient.Builder builder, String hub, String token) {
        client = builder.baseUrl(hub)
            .defaultHeader("Authorization", "Bearer " + token)
            .codecs(codecs -> codecs.defaultCodecs().maxInMemorySize(1 << 20)) // of one event; 256 KiB by default
            .build();
    }

    /** Return the events until the hub ends the stream; an error if the hub refuses it. */
    Flux<ServerSentEvent<String>> events() {
        return Flux.defer(this::oneStream)
            .retryWhen(Retry.backoff(Long.MAX_VALUE, Duration.ofSeconds(1))
                .maxBackoff(Duration.ofSeconds(30))
                .transientErrors(true) // begin with a second again after an event
                .filter(WebClientFollower::isTemporary))
            .repeatWhen(ends -> ends.takeWhile(count -> !isEnded).delayElements(Duration.ofSeconds(3)));
    }

    private Flux<ServerSentEvent<String>> oneStream() {
        return client.get()
            // Flux.timeout does not see comments, so the hub sends heartbeats as events.
            .uri("/sse/connect?heartbeat_event=true")
            .headers(headers -> {
                if (!cursor.isEmpty()) headers.set("Last-Event-ID", cursor);
            })
            .retrieve()
            .bodyToFlux(EVENT)
            .timeout(Duration.ofSeconds(20)) // more than two heartbeats
            .filter(event -> event.data() != null) // a stream that ends inside an event gives half of it
            .doOnNext(event -> {
                if (event.id() != null) cursor = event.id();
                if ("hub.bye".equals(event.event())) isEnded = Bye.of(event.data()).isFinal();
            })
            .takeUntil(event -> "hub.bye".equals(event.event()))
            .filter(event -> !"hub.heartbeat".equals(event.event()));
    }

    private static boolean isTemporary(Throwable error) {
        return !(error instanceof WebClientResponseException response)
            || !response.getStatusCode().is4xxClientError() // a broken stream may arrive with the status 200
            || response.getStatusCode().value() == 429;
    }
}
