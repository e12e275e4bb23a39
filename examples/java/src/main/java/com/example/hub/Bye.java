package com.example.hub;

import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The data of hub.bye, the last event of a stream that the hub ends. */
record Bye(boolean isFinal, long retryMillis) {
    private static final JsonMapper JSON = new JsonMapper();

    static Bye of(String data) {
        JsonNode bye = JSON.readTree(data);
        return new Bye(!bye.path("reconnect").asBoolean(true), bye.path("retry_ms").asLong(3000));
    }
}
