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
    private final Scenario scenario;
    private final HttpClient client = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1) // else it asks to upgrade to HTTP/2 by a header
        .connectTimeout(Duration.ofMillis(Scenario.CONNECT_MILLIS))
        .build();

    private NetHttpClient(Scenario scenario) {
        this.scenario = scenario;
    }

    public static void main(String[] arguments) throws Exception {
        for (Scenario scenario : Scenario.all(arguments)) {
            NetHttpClient program = new NetHttpClient(scenario);
            if (scenario.listens) program.listen();
            else program.stop();
        }
        System.exit(0); // its threads would go on for a while
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(scenario.url + path))
            .header("Authorization", scenario.authorization)
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
            if (!scenario.lastId.isEmpty()) request.header("Last-Event-ID", scenario.lastId);
            try (Stream<String> lines = send(request).body()) { // closing cancels
                for (Iterator<String> each = lines.iterator(); each.hasNext(); ) {
                    if (!scenario.line(each.next())) continue;
                    scenario.reportClosed();
                    return;
                }
                scenario.reportEnd("over");
            } catch (IOException | UncheckedIOException error) {
                scenario.reportEnd(error);
            }
            if (!scenario.reconnects) return;
            Scenario.pause();
        }
    }

    private void stop() throws IOException, InterruptedException {
        HttpResponse<Stream<String>> response = send(request("/generations")
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(scenario.body)));
        String location = response.headers().firstValue("Location").orElseThrow();
        try (Stream<String> lines = response.body()) {
            for (Iterator<String> each = lines.iterator(); each.hasNext(); ) {
                if (!scenario.line(each.next())) continue;
                if (scenario.name.equals("hangup")) {
                    scenario.reportClosed();
                    return;
                }
                client.send(request(location).DELETE().build(), BodyHandlers.discarding());
            }
        }
        scenario.reportEnd("over");
    }
}
