package com.example.hub;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.JsonValue;
import com.openai.core.Timeout;
import com.openai.core.http.StreamResponse;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import java.time.Duration;
import java.util.Iterator;
import java.util.function.Predicate;

/** Asks for an answer with OpenAI's SDK for Java. */
final class OpenAiJava {
    private OpenAiJava() {}

    static OpenAIClient client(String hub, String token) {
        return OpenAIOkHttpClient.builder()
            .baseUrl(hub + "/v1")
            .apiKey(token) // the token of the user
            .timeout(Timeout.builder()
                .request(Duration.ofHours(1)) // of the whole answer; 10 minutes by default
                .read(Duration.ofSeconds(20)) // more than two heartbeats
                .build())
            .build();
    }

    /**
     * Call show with each piece of the answer, until it returns false: the answer then stops at the LLM.
     * Throws an exception if the answer fails.
     */
    static void ask(OpenAIClient client, String model, String prompt, Predicate<String> show) {
        ChatCompletionCreateParams request = ChatCompletionCreateParams.builder()
            .model(model)
            .addUserMessage(prompt)
            .putAdditionalBodyProperty("on_disconnect", JsonValue.from("stop"))
            .build();
        boolean isComplete = false;
        try (StreamResponse<ChatCompletionChunk> stream = client.chat().completions().createStreaming(request)) {
            for (Iterator<ChatCompletionChunk> chunks = stream.stream().iterator(); chunks.hasNext(); ) {
                for (ChatCompletionChunk.Choice choice : chunks.next().choices()) {
                    if (!show.test(choice.delta().content().orElse(""))) return; // closes the connection
                    isComplete |= choice.finishReason().isPresent();
                }
            }
        }
        if (!isComplete) throw new IllegalStateException("the answer is incomplete");
    }
}
