// AWS's event-ruler, asked. As `decide` it is the oracle of tests/ruler.sh: {"rule": …, "event": …} on a line,
// {"match": …} or {"error": …} on a line. As `speed` it is the reference of `bench-selectors p6`: the first line gives
// {"rules": ["…"], "events": ["…"]} and is answered with how many match; then each {"millis": …} is answered with how
// many events were decided in that time, one after the other, by one thread. In between it waits.
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import software.amazon.event.ruler.GenericMachine;

final class Ruler {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final JsonFactory FACTORY = new JsonFactory();

  public static void main(String[] arguments) throws Exception {
    var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
    var output = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
    switch (arguments.length == 1 ? arguments[0] : "") {
      case "decide" -> decide(input, output);
      case "speed" -> speed(input, output);
      default -> throw new IllegalArgumentException("decide or speed");
    }
    output.flush();
  }

  private static void decide(BufferedReader input, PrintStream output) throws IOException {
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      Map<String, Object> answer = new HashMap<>();
      try {
        Map<String, String> asked = members(line);
        var machine = GenericMachine.<String>builder().build();
        machine.addRule("rule", asked.get("rule"));
        answer.put("match", !machine.rulesForJSONEvent(asked.get("event")).isEmpty());
      } catch (Exception error) {
        answer.put("error", String.valueOf(error.getMessage()));
      }
      output.println(JSON.writeValueAsString(answer));
    }
  }

  // The members of an object as they are written: `1.0` must not become `1` on the way.
  private static Map<String, String> members(String line) throws IOException {
    Map<String, String> members = new HashMap<>();
    try (JsonParser parser = FACTORY.createParser(line)) {
      parser.nextToken();
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        parser.nextToken();
        long from = parser.currentTokenLocation().getCharOffset();
        parser.skipChildren();
        members.put(name, line.substring((int) from, (int) parser.currentLocation().getCharOffset()));
      }
    }
    return members;
  }

  private static void speed(BufferedReader input, PrintStream output) throws Exception {
    JsonNode given = JSON.readTree(input.readLine());
    var machine = GenericMachine.<Integer>builder().build();
    int number = 0;
    for (JsonNode rule : given.get("rules")) {
      machine.addRule(number++, rule.textValue());
    }
    List<String> events = new ArrayList<>();
    given.get("events").forEach(event -> events.add(event.textValue()));
    long matches = 0;
    for (String event : events) {
      matches += machine.rulesForJSONEvent(event).size();
    }
    output.println(JSON.writeValueAsString(Map.of("matches", matches)));
    output.flush();

    for (String line = input.readLine(); line != null; line = input.readLine()) {
      long length = JSON.readTree(line).get("millis").longValue() * 1_000_000;
      long decided = 0;
      long found = 0;
      long begin = System.nanoTime();
      long elapsed = 0;
      while (elapsed < length) {
        for (int i = 0; i < 8; i++) {
          found += machine.rulesForJSONEvent(events.get((int) (decided++ % events.size()))).size();
        }
        elapsed = System.nanoTime() - begin;
      }
      output.println(JSON.writeValueAsString(
          Map.of("events", decided, "seconds", elapsed / 1e9, "found", found)));
      output.flush();
    }
  }
}
