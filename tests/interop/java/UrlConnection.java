import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/** HttpURLConnection, and a BufferedReader for the lines. */
final class UrlConnection {
    private final Scenario scenario;

    private UrlConnection(Scenario scenario) {
        this.scenario = scenario;
    }

    public static void main(String[] arguments) throws Exception {
        for (Scenario scenario : Scenario.all(arguments)) {
            UrlConnection program = new UrlConnection(scenario);
            if (scenario.listens) program.listen();
            else program.stop();
        }
    }

    private HttpURLConnection opened(String method, String path) throws IOException {
        HttpURLConnection connection =
            (HttpURLConnection) new URL(scenario.url + path).openConnection();
        connection.setRequestMethod(method);
        connection.setConnectTimeout(Scenario.CONNECT_MILLIS);
        connection.setReadTimeout(Scenario.READ_MILLIS); // none by default: a dead link is for ever
        connection.setRequestProperty("Authorization", scenario.authorization);
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
                if (!scenario.lastId.isEmpty()) {
                    connection.setRequestProperty("Last-Event-ID", scenario.lastId);
                }
                BufferedReader reader = lines(connection);
                for (String line; (line = reader.readLine()) != null; ) {
                    if (!scenario.line(line)) continue;
                    connection.disconnect();
                    scenario.reportClosed();
                    return;
                }
                scenario.reportEnd("over");
            } catch (IOException error) {
                scenario.reportEnd(error);
            }
            if (!scenario.reconnects) return;
            Scenario.pause();
        }
    }

    private void stop() throws IOException {
        HttpURLConnection connection = opened("POST", "/generations");
        connection.setRequestProperty("Content-Type", "application/json");
        connection.setDoOutput(true);
        connection.getOutputStream().write(scenario.body.getBytes(StandardCharsets.UTF_8));
        BufferedReader reader = lines(connection);
        for (String line; (line = reader.readLine()) != null; ) {
            if (!scenario.line(line)) continue;
            if (scenario.name.equals("hangup")) {
                connection.disconnect();
                scenario.reportClosed();
                return;
            }
            opened("DELETE", connection.getHeaderField("Location")).getInputStream().close();
        }
        scenario.reportEnd("over");
    }
}
