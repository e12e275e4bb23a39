import java.io.IOException;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;
import okio.BufferedSource;

/** OkHttp with the timeouts it comes with: it gives up after 10 s of silence. */
final class OkHttpLines {
    private final Scenario scenario;
    private final OkHttpClient client = new OkHttpClient();

    private OkHttpLines(Scenario scenario) {
        this.scenario = scenario;
    }

    public static void main(String[] arguments) throws Exception {
        for (Scenario scenario : Scenario.all(arguments)) {
            OkHttpLines program = new OkHttpLines(scenario);
            if (scenario.listens) program.listen();
            else program.stop();
        }
        System.exit(0); // its threads would go on for a while
    }

    private Request.Builder request(String path) {
        return new Request.Builder()
            .url(scenario.url + path)
            .header("Authorization", scenario.authorization)
            .header("Accept", "text/event-stream");
    }

    private Response send(Request.Builder request) throws IOException {
        Response response = client.newCall(request.build()).execute();
        if (!response.isSuccessful()) throw new IOException("status " + response.code());
        return response;
    }

    private void listen() throws InterruptedException {
        while (true) {
            Request.Builder request = request("/sse/connect");
            if (!scenario.lastId.isEmpty()) request.header("Last-Event-ID", scenario.lastId);
            try (Response response = send(request)) {
                BufferedSource source = response.body().source();
                for (String line; (line = source.readUtf8Line()) != null; ) {
                    if (!scenario.line(line)) continue;
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
        RequestBody body = RequestBody.create(MediaType.get("application/json"), scenario.body);
        try (Response response = send(request("/generations").post(body))) {
            BufferedSource source = response.body().source();
            for (String line; (line = source.readUtf8Line()) != null; ) {
                if (!scenario.line(line)) continue;
                if (scenario.name.equals("hangup")) {
                    scenario.reportClosed();
                    return;
                }
                send(request(response.header("Location")).delete()).close();
            }
        }
        scenario.reportEnd("over");
    }
}
