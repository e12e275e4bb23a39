import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/** HttpURLConnection, and a BufferedReader for the lines. */
final class UrlConnection {
    private final Story story;

    private UrlConnection(Story story) {
        this.story = story;
    }

    public static void main(String[] arguments) throws Exception {
        for (Story story : Story.all(arguments)) {
            UrlConnection program = new UrlConnection(story);
            if (story.listens) program.listen();
            else program.stop();
        }
    }

    private HttpURLConnection opened(String method, String path) throws IOException {
        HttpURLConnection connection =
            (HttpURLConnection) new URL(story.url + path).openConnection();
        connection.setRequestMethod(method);
        connection.setConnectTimeout(Story.CONNECT_MILLIS);
        connection.setReadTimeout(Story.READ_MILLIS); // none by default: a dead link is for ever
        connection.setRequestProperty("Authorization", story.authorization);
        connection.setRequestProperty("Accept", "text/event-stream");
        return connection;
    }

    private static BufferedReader lines(HttpURLConnection connection) throws IOException {
        return new BufferedReader(
            new InputStreamReader(connection.getInputStream(), StandardCharsets.UTF_8));
    }

    private void listen() throws InterruptedException {
        while (true) {
            try {
                HttpURLConnection connection = opened("GET", "/sse/connect");
                if (!story.lastId.isEmpty()) {
                    connection.setRequestProperty("Last-Event-ID", story.lastId);
                }
                BufferedReader reader = lines(connection);
                for (String line; (line = reader.readLine()) != null; ) {
                    if (!story.line(line)) continue;
                    connection.disconnect();
                    story.closed();
                    return;
                }
                story.end("over");
            } catch (IOException error) {
                story.end(error);
            }
            if (!story.comesAgain) return;
            Story.pause();
        }
    }

    private void stop() throws IOException {
        HttpURLConnection connection = opened("POST", "/generations");
        connection.setRequestProperty("Content-Type", "application/json");
        connection.setDoOutput(true);
        connection.getOutputStream().write(story.body.getBytes(StandardCharsets.UTF_8));
        BufferedReader reader = lines(connection);
        for (String line; (line = reader.readLine()) != null; ) {
            if (!story.line(line)) continue;
            if (story.scenario.equals("hangup")) {
                connection.disconnect();
                story.closed();
                return;
            }
            opened("DELETE", connection.getHeaderField("Location")).getInputStream().close();
        }
        story.end("over");
    }
}
