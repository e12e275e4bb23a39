import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** Code that the programs share: the lines that they print for the test (see ../python/scenario.py), the
 *  event at which they must act, and a parser for the lines of a stream. */
final class Scenario {
    static final int CONNECT_MILLIS = 5_000;
    static final int READ_MILLIS = 20_000; // more than two heartbeats

    final String name, url, authorization, body;
    final boolean listens, reconnects;
    String lastId = "";

    private final String awaited;
    private int left;
    private String eventName = "message", eventId = "";
    private final List<String> data = new ArrayList<>();

    /** Parse the arguments `scenario+scenario url token count`. */
    static List<Scenario> all(String[] arguments) {
        List<Scenario> all = new ArrayList<>();
        for (String name : arguments[0].split("\\+")) all.add(new Scenario(name, arguments));
        return all;
    }

    private Scenario(String name, String[] arguments) {
        this.name = name;
        url = arguments[1];
        authorization = "Bearer " + arguments[2];
        left = Integer.parseInt(arguments[3]);
        listens = name.startsWith("listen");
        reconnects = name.equals("listen-again");
        awaited = listens ? "note" : "generation.delta";
        body = name.equals("hangup")
            ? "{\"prompt\":\"count to 900\",\"on_disconnect\":\"stop\"}"
            : "{\"prompt\":\"count to 900\"}";
    }

    /** Parse a line of the stream. Return true if it completes the event at which the program must act. */
    boolean line(String line) {
        int colon = line.indexOf(':');
        String field = colon < 0 ? line : line.substring(0, colon);
        String value = colon < 0 ? "" : line.substring(colon + 1);
        if (value.startsWith(" ")) value = value.substring(1);
        switch (field) {
            case "event" -> eventName = value;
            case "id" -> eventId = value; // not yet lastId: the connection may break inside this event
            case "data" -> data.add(value);
            default -> {
                return line.isEmpty() && dispatch();
            }
        }
        return false;
    }

    private boolean dispatch() {
        boolean due = false;
        lastId = eventId;
        if (!data.isEmpty()) {
            print("event " + eventName + " " + (lastId.isEmpty() ? "-" : lastId) + " "
                + encode(String.join("\n", data)));
            due = eventName.equals(awaited) && --left == 0;
        }
        eventName = "message";
        data.clear();
        return due;
    }

    /** Print that the stream has ended, and how. */
    void reportEnd(Object how) {
        eventName = "message";
        eventId = lastId;
        data.clear();
        print("end " + encode(String.valueOf(how)));
    }

    /** Print that the program has closed the stream. */
    void reportClosed() {
        print("closed");
    }

    /** Wait before a reconnect. */
    static void pause() throws InterruptedException {
        Thread.sleep(100);
    }

    private static String encode(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void print(String line) {
        System.out.println(line);
    }
}
