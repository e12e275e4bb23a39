import static org.asynchttpclient.Dsl.asyncHttpClient;
import static org.asynchttpclient.Dsl.config;

import io.netty.handler.codec.http.HttpHeaders;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import org.asynchttpclient.AsyncHandler;
import org.asynchttpclient.AsyncHttpClient;
import org.asynchttpclient.BoundRequestBuilder;
import org.asynchttpclient.HttpResponseBodyPart;
import org.asynchttpclient.HttpResponseStatus;

/** AsyncHttpClient: body parts as they come, split into lines as bytes. */
final class AsyncHttp implements AsyncHandler<Boolean> {
    private final Story story;
    private final AsyncHttpClient client;
    private final ByteArrayOutputStream line = new ByteArrayOutputStream();
    private String place;
    private boolean closed;

    private AsyncHttp(Story story, AsyncHttpClient client) {
        this.story = story;
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        try (AsyncHttpClient client = asyncHttpClient(config()
                .setConnectTimeout(Story.CONNECT_MILLIS)
                .setReadTimeout(Story.READ_MILLIS)
                .setRequestTimeout(-1) // 60 s by default, however much has come
                .setMaxRequestRetry(0))) { // by default it repeats a POST whose connection breaks
            for (Story story : Story.all(arguments)) {
                if (story.listens) listen(story, client);
                else stop(story, client);
            }
        }
    }

    private static void listen(Story story, AsyncHttpClient client) throws InterruptedException {
        while (true) {
            BoundRequestBuilder request = client.prepareGet(story.url + "/sse/connect");
            if (!story.lastId.isEmpty()) request.setHeader("Last-Event-ID", story.lastId);
            if (followed(story, client, request) || !story.comesAgain) return;
            Story.pause();
        }
    }

    private static void stop(Story story, AsyncHttpClient client) throws InterruptedException {
        followed(story, client, client.preparePost(story.url + "/generations")
            .setHeader("Content-Type", "application/json")
            .setBody(story.body));
    }

    /** True when the program closed it. */
    private static boolean followed(
            Story story, AsyncHttpClient client, BoundRequestBuilder request)
            throws InterruptedException {
        request.setHeader("Authorization", story.authorization)
            .setHeader("Accept", "text/event-stream");
        try {
            if (request.execute(new AsyncHttp(story, client)).get()) {
                story.closed();
                return true;
            }
            story.end("over");
        } catch (ExecutionException error) {
            story.end(error.getCause());
        }
        return false;
    }

    @Override
    public State onStatusReceived(HttpResponseStatus status) throws IOException {
        if (status.getStatusCode() != 200) throw new IOException("status " + status);
        return State.CONTINUE;
    }

    @Override
    public State onHeadersReceived(HttpHeaders headers) {
        place = headers.get("Location");
        return State.CONTINUE;
    }

    @Override
    public State onBodyPartReceived(HttpResponseBodyPart part) {
        for (byte each : part.getBodyPartBytes()) {
            if (each != '\n') {
                line.write(each);
                continue;
            }
            boolean due = story.line(line.toString(StandardCharsets.UTF_8));
            line.reset();
            if (!due) continue;
            if (!story.scenario.equals("delete")) {
                closed = true;
                return State.ABORT;
            }
            client.prepareDelete(story.url + place)
                .setHeader("Authorization", story.authorization)
                .execute();
        }
        return State.CONTINUE;
    }

    @Override
    public void onThrowable(Throwable error) {
        // The future tells it.
    }

    @Override
    public Boolean onCompleted() {
        return closed;
    }
}
