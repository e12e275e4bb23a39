package com.example.hub;

import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Predicate;

/** Asks for an answer with LangChain4j. */
final class LangChain {
    private LangChain() {}

    static StreamingChatModel model(String hub, String token, String model) {
        return OpenAiStreamingChatModel.builder()
            .baseUrl(hub + "/v1")
            .apiKey(token) // the token of the user
            .modelName(model)
            .timeout(Duration.ofHours(1)) // 60 seconds by default
            .customParameters(Map.of("on_disconnect", "stop"))
            .build();
    }

    /**
     * Call show with each piece of the answer, until it returns false: the answer then stops at the LLM.
     * The future has the error of a failed answer.
     */
    static CompletableFuture<Void> ask(StreamingChatModel model, String prompt, Predicate<String> show) {
        CompletableFuture<Void> ended = new CompletableFuture<>();
        model.chat(prompt, new StreamingChatResponseHandler() {
            @Override
            public void onPartialResponse(PartialResponse part, PartialResponseContext context) {
                if (show.test(part.text())) return;
                context.streamingHandle().cancel(); // closes the connection; no other method is called
                ended.complete(null);
            }

            @Override
            public void onCompleteResponse(ChatResponse response) {
                if (response.finishReason() != null) ended.complete(null);
                else ended.completeExceptionally(new IllegalStateException("the answer is incomplete"));
            }

            @Override
            public void onError(Throwable error) {
                ended.completeExceptionally(error);
            }
        });
        return ended;
    }
}
