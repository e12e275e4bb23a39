import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** What the programs share: the lines they print for the test (see ../python/story.py), when they
 *  have had enough, and events from lines, which all four must read by hand. */
final class Story {
    static final int CONNECT_MILLIS = 5_000;
    static final int READ_MILLIS = 20_000; // more than two heartbeats

    final String scenario, url, authorization, body;
    final boolean listens, comesAgain;
    String lastId = "";

    private final String awaited;
    private int left;
    private String name = "message";
    private final List<String> data = new ArrayList<>();

    /** `scenario+scenario url token count`, in turn. */
    static List<Story> all(String[] arguments) {
        List<Story> all = new ArrayList<>();
        for (String scenario : arguments[0].split("\\+")) all.add(new Story(scenario, arguments));
        return all;
    }

    private Story(String scenario, String[] arguments) {
        this.scenario = scenario;
        url = arguments[1];
        authorization = "Bearer " + arguments[2];
        left = Integer.parseInt(arguments[3]);
        listens = scenario.startsWith("listen");
        comesAgain = scenario.equals("listen-again");
        awaited = listens ? "note" : "generation.delta";
        body = scenario.equals("hangup")
            ? "{\"prompt\":\"count to 900\",\"on_disconnect\":\"stop\"}"
            : "{\"prompt\":\"count to 900\"}";
    }

    /** A line of the stream; true when it completes the event at which to do something. */
    boolean line(String line) {
        int colon = line.indexOf(':');
        String field = colon < 0 ? line : line.substring(0, colon);
        String value = colon < 0 ? "" : line.substring(colon + 1);
        if (value.startsWith(" ")) value = value.substring(1);
        switch (field) {
            case "event" -> name = value;
            case "id" -> lastId = value;
            case "data" -> data.add(value);
            default -> {
                return line.isEmpty() && dispatch();
            }
        }
        return false;
    }

    private boolean dispatch() {
        boolean due = false;
        if (!data.isEmpty()) {
            say("event " + name + " " + (lastId.isEmpty() ? "-" : lastId) + " "
                + encoded(String.join("\n", data)));
            due = name.equals(awaited) && --left == 0;
        }
        name = "message";
        data.clear();
        return due;
    }

    /** The stream has ended, and not by the program. */
    void end(Object how) {
        name = "message";
        data.clear();
        say("end " + encoded(String.valueOf(how)));
    }

    /** The program has closed it. */
    void closed() {
        say("closed");
    }

    /** Before it comes again. */
    static void pause() throws InterruptedException {
        Thread.sleep(100);
    }

    private static String encoded(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void say(String line) {
        System.out.println(line);
    }
}
