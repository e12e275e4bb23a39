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
    private final Scenario scenario;
    private final AsyncHttpClient client;
    private final ByteArrayOutputStream line = new ByteArrayOutputStream();
    private String location;
    private boolean closed;

    private AsyncHttp(Scenario scenario, AsyncHttpClient client) {
        this.scenario = scenario;
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        try (AsyncHttpClient client = asyncHttpClient(config()
                .setConnectTimeout(Scenario.CONNECT_MILLIS)
                .setReadTimeout(Scenario.READ_MILLIS)
                .setRequestTimeout(-1) // 60 s by default, however much has come
                .setMaxRequestRetry(0))) { // by default it repeats a POST whose connection breaks
            for (Scenario scenario : Scenario.all(arguments)) {
                if (scenario.listens) listen(scenario, client);
                else stop(scenario, client);
            }
        }
    }

    private static void listen(Scenario scenario, AsyncHttpClient client) throws InterruptedException {
        while (true) {
            BoundRequestBuilder request = client.prepareGet(scenario.url + "/sse/connect");
            if (!scenario.lastId.isEmpty()) request.setHeader("Last-Event-ID", scenario.lastId);
            if (followed(scenario, client, request) || !scenario.reconnects) return;
            Scenario.pause();
        }
    }

    private static void stop(Scenario scenario, AsyncHttpClient client) throws InterruptedException {
        followed(scenario, client, client.preparePost(scenario.url + "/generations")
            .setHeader("Content-Type", "application/json")
            .setBody(scenario.body));
    }

    /** True when the program closed it. */
    private static boolean followed(
            Scenario scenario, AsyncHttpClient client, BoundRequestBuilder request)
            throws InterruptedException {
        request.setHeader("Authorization", scenario.authorization)
            .setHeader("Accept", "text/event-stream");
        try {
            if (request.execute(new AsyncHttp(scenario, client)).get()) {
                scenario.reportClosed();
                return true;
            }
            scenario.reportEnd("over");
        } catch (ExecutionException error) {
            scenario.reportEnd(error.getCause());
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
        location = headers.get("Location");
        return State.CONTINUE;
    }

    @Override
    public State onBodyPartReceived(HttpResponseBodyPart part) {
        for (byte each : part.getBodyPartBytes()) {
            if (each != '\n') {
                line.write(each);
                continue;
            }
            boolean due = scenario.line(line.toString(StandardCharsets.UTF_8));
            line.reset();
            if (!due) continue;
            if (!scenario.name.equals("delete")) {
                closed = true;
                return State.ABORT;
            }
            client.prepareDelete(scenario.url + location)
                .setHeader("Authorization", scenario.authorization)
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
