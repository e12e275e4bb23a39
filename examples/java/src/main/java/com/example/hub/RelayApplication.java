package com.example.hub;

import java.io.IOException;
import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.web.bind.annotation.CookieValue;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestClient;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.servlet.mvc.method.annotation.SseEmitter;
import reactor.core.Disposable;

/** An application that publishes to the hub, and passes streams of the hub on to its own pages. */
@SpringBootApplication
@RestController
class RelayApplication {
    private static final ParameterizedTypeReference<ServerSentEvent<String>> EVENT =
        new ParameterizedTypeReference<>() {};

    private final WebClient hub;
    private final RestClient internal;

    RelayApplication(
        WebClient.Builder webClient,
        RestClient.Builder restClient,
        @Value("${hub.url}") String url,
        @Value("${hub.internal-url}") String internalUrl,
        @Value("${hub.key}") String key
    ) {
        hub = webClient.baseUrl(url)
            .codecs(codecs -> codecs.defaultCodecs().maxInMemorySize(1 << 20))
            .build();
        internal = restClient.baseUrl(internalUrl).defaultHeader("Authorization", "Bearer " + key).build();
    }

    /** Publish an event: no emitters in a map, and it reaches the user on every node. */
    @PostMapping("/orders/{order}/ship/{user}")
    void ship(@PathVariable String user, @PathVariable long order) {
        internal.post().uri("/publish")
            .header("Idempotency-Key", "order-" + order + "-shipped") // a repeat publishes nothing
            .body(Map.of("to", Map.of("user", user), "event", "order.shipped", "data", Map.of("order", order)))
            .retrieve()
            .toBodilessEntity();
    }

    /** Pass the stream of a user on. EventSource reconnects with the id of the hub when it ends. */
    @GetMapping("/events")
    SseEmitter events(
        @CookieValue("hub_token") String token,
        @RequestHeader(name = "Last-Event-ID", required = false) String cursor
    ) {
        SseEmitter emitter = new SseEmitter(0L); // without a time limit; 30 s by default
        Disposable stream = hub.get().uri("/sse/connect?heartbeat_event=true")
            .headers(headers -> {
                headers.setBearerAuth(token);
                if (cursor != null) headers.set("Last-Event-ID", cursor);
            })
            .retrieve()
            .bodyToFlux(EVENT)
            .filter(event -> event.data() != null)
            .doOnNext(event -> send(emitter, event))
            .subscribe(event -> {}, emitter::completeWithError, emitter::complete);
        emitter.onCompletion(stream::dispose); // the page has gone
        return emitter;
    }

    private static void send(SseEmitter emitter, ServerSentEvent<String> event) {
        try {
            SseEmitter.SseEventBuilder builder = SseEmitter.event().name(event.event());
            // SseEmitter writes no blank after the colon, and EventSource removes one.
            builder.data(" " + event.data().replace("\n", "\n "));
            if (event.id() != null) builder.id(event.id()); // last: see docs/reference/events.md
            emitter.send(builder);
        } catch (IOException error) {
            throw new IllegalStateException("the page has gone", error); // ends the stream of the hub
        }
    }
}
