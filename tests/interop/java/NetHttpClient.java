import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Iterator;
import java.util.stream.Stream;

/** java.net.http.HttpClient, and BodyHandlers.ofLines. */
final class NetHttpClient {
    private final Story story;
    private final HttpClient client = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1) // else it asks to upgrade to HTTP/2 by a header
        .connectTimeout(Duration.ofMillis(Story.CONNECT_MILLIS))
        .build();

    private NetHttpClient(Story story) {
        this.story = story;
    }

    public static void main(String[] arguments) throws Exception {
        for (Story story : Story.all(arguments)) {
            NetHttpClient program = new NetHttpClient(story);
            if (story.listens) program.listen();
            else program.stop();
        }
        System.exit(0); // its threads would go on for a while
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(story.url + path))
            .header("Authorization", story.authorization)
            .header("Accept", "text/event-stream");
    }

    private HttpResponse<Stream<String>> send(HttpRequest.Builder request)
            throws IOException, InterruptedException {
        HttpResponse<Stream<String>> response = client.send(request.build(), BodyHandlers.ofLines());
        if (response.statusCode() != 200) throw new IOException("status " + response.statusCode());
        return response;
    }

    private void listen() throws InterruptedException {
        while (true) {
            HttpRequest.Builder request = request("/sse/connect");
            if (!story.lastId.isEmpty()) request.header("Last-Event-ID", story.lastId);
            try (Stream<String> lines = send(request).body()) { // closing cancels
                for (Iterator<String> each = lines.iterator(); each.hasNext(); ) {
                    if (!story.line(each.next())) continue;
                    story.closed();
                    return;
                }
                story.end("over");
            } catch (IOException | UncheckedIOException error) {
                story.end(error);
            }
            if (!story.comesAgain) return;
            Story.pause();
        }
    }

    private void stop() throws IOException, InterruptedException {
        HttpResponse<Stream<String>> response = send(request("/generations")
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(story.body)));
        String place = response.headers().firstValue("Location").orElseThrow();
        try (Stream<String> lines = response.body()) {
            for (Iterator<String> each = lines.iterator(); each.hasNext(); ) {
                if (!story.line(each.next())) continue;
                if (story.scenario.equals("hangup")) {
                    story.closed();
                    return;
                }
                client.send(request(place).DELETE().build(), BodyHandlers.discarding());
            }
        }
        story.end("over");
    }
}
