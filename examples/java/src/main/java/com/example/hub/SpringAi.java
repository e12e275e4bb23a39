package com.example.hub;

import java.time.Duration;
import java.util.Map;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.openai.OpenAiChatModel;
import org.springframework.ai.openai.OpenAiChatOptions;
import reactor.core.publisher.Flux;

/** Asks for an answer with Spring AI. */
final class SpringAi {
    private SpringAi() {}

    static ChatModel model(String hub, String token, String model) {
        return OpenAiChatModel.builder()
            .options(OpenAiChatOptions.builder()
                .baseUrl(hub + "/v1")
                .apiKey(token) // the token of the user
                .model(model)
                .timeout(Duration.ofHours(1)) // 60 seconds by default
                .extraBody(Map.of("on_disconnect", "stop"))
                .build())
            .build();
    }

    /**
     * Return the pieces of the answer, and the error of a failed answer. The answer stops at the LLM when
     * the subscription is cancelled, for example by takeUntil.
     */
    static Flux<String> ask(ChatModel model, String prompt) {
        return model.stream(new Prompt(prompt))
            .mapNotNull(response -> response.getResult() == null ? null : response.getResult().getOutput().getText());
    }
}
