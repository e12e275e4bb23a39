import java.io.IOException;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;
import okio.BufferedSource;

/** OkHttp with the timeouts it comes with: it gives up after 10 s of silence. */
final class OkHttpLines {
    private final Story story;
    private final OkHttpClient client = new OkHttpClient();

    private OkHttpLines(Story story) {
        this.story = story;
    }

    public static void main(String[] arguments) throws Exception {
        for (Story story : Story.all(arguments)) {
            OkHttpLines program = new OkHttpLines(story);
            if (story.listens) program.listen();
            else program.stop();
        }
        System.exit(0); // its threads would go on for a while
    }

    private Request.Builder request(String path) {
        return new Request.Builder()
            .url(story.url + path)
            .header("Authorization", story.authorization)
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
            if (!story.lastId.isEmpty()) request.header("Last-Event-ID", story.lastId);
            try (Response response = send(request)) {
                BufferedSource source = response.body().source();
                for (String line; (line = source.readUtf8Line()) != null; ) {
                    if (!story.line(line)) continue;
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
        RequestBody body = RequestBody.create(MediaType.get("application/json"), story.body);
        try (Response response = send(request("/generations").post(body))) {
            BufferedSource source = response.body().source();
            for (String line; (line = source.readUtf8Line()) != null; ) {
                if (!story.line(line)) continue;
                if (story.scenario.equals("hangup")) {
                    story.closed();
                    return;
                }
                send(request(response.header("Location")).delete()).close();
            }
        }
        story.end("over");
    }
}
