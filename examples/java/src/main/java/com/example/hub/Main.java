package com.example.hub;

import java.io.PrintStream;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.function.Predicate;
import org.springframework.boot.SpringApplication;
import org.springframework.web.reactive.function.client.WebClient;

/** Runs one part: `java com.example.hub.Main PART …`. docs/clients/java.md explains them. */
final class Main {
    private static final String USAGE = """
        parts:
          okhttp|launchdarkly|webclient URL TOKEN
          relay URL INTERNAL_URL KEY PORT
          openai|langchain|spring URL TOKEN MODEL PROMPT [STOP_AFTER]
          grpc-follow ADDRESS TOKEN
          grpc-publish ADDRESS KEY USER ID
          grpc-ask ADDRESS TOKEN PROMPT [STOP_AFTER]
        STOP_AFTER: stop the answer after so many characters""";

    private static final PrintStream OUT = System.out;

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 3) throw new IllegalArgumentException(USAGE);
        if (arguments[0].equals("relay")) {
            runRelay(arguments);
            return;
        }
        System.setOut(System.err); // for the logs of the libraries
        int code = 0;
        try {
            run(arguments[0], arguments[1], arguments[2], arguments);
        } catch (Exception error) {
            System.err.println(error instanceof CompletionException ? error.getCause() : error);
            code = 1;
        }
        OUT.flush();
        System.exit(code); // threads of the clients would go on for a while
    }

    private static void run(String part, String hub, String token, String[] more) throws Exception {
        switch (part) {
            case "okhttp" -> new OkHttpFollower(hub, token).follow(Main::print);
            case "launchdarkly" -> LaunchDarklyFollower.follow(hub, token, Main::print);
            case "webclient" -> new WebClientFollower(WebClient.builder(), hub, token).events()
                .doOnNext(event -> print(event.event(), event.data()))
                .blockLast();
            case "openai" -> OpenAiJava.ask(OpenAiJava.client(hub, token), more[3], more[4], show(more, 5));
            case "langchain" -> LangChain.ask(LangChain.model(hub, token, more[3]), more[4], show(more, 5)).join();
            case "spring" -> {
                Predicate<String> show = show(more, 5);
                SpringAi.ask(SpringAi.model(hub, token, more[3]), more[4]).takeUntil(text -> !show.test(text)).blockLast();
            }
            default -> runGrpc(part, hub, token, more);
        }
    }

    private static void runGrpc(String part, String address, String token, String[] more) throws Exception {
        try (Grpc grpc = new Grpc(address, token)) {
            switch (part) {
                case "grpc-follow" -> grpc.follow(Main::print);
                case "grpc-publish" -> OUT.println(grpc.publish(more[3], more[4]));
                case "grpc-ask" -> {
                    Predicate<String> show = show(more, 4);
                    grpc.ask(more[3], (generation, text) -> {
                        if (!show.test(text)) grpc.stop(generation);
                    });
                }
                default -> throw new IllegalArgumentException(USAGE);
            }
        }
    }

    private static void runRelay(String[] more) {
        SpringApplication application = new SpringApplication(RelayApplication.class);
        application.setDefaultProperties(Map.of(
            "hub.url", more[1], "hub.internal-url", more[2], "hub.key", more[3], "server.port", more[4]));
        application.run();
    }

    private static void print(String event, String data) {
        OUT.println(event + "\t" + data);
        OUT.flush();
    }

    /** Return a function that prints text, and returns false after so many characters. */
    private static Predicate<String> show(String[] more, int index) {
        long limit = more.length > index ? Long.parseLong(more[index]) : Long.MAX_VALUE;
        long[] shown = {0};
        return text -> {
            OUT.print(text);
            OUT.flush();
            shown[0] += text.codePointCount(0, text.length());
            return shown[0] < limit;
        };
    }
}
