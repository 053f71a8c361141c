import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Scanner;
import org.json.JSONException;
import org.json.JSONObject;

/** Prints what a user is sent: `Main <dev.json> <user> <file for the device's state>`. */
public final class Main {
  public static void main(String[] arguments) throws Exception {
    byte[] file = Files.readAllBytes(Paths.get(arguments[0]));
    JSONObject dev = new JSONObject(new String(file, StandardCharsets.UTF_8));
    String apiUrl = dev.getString("apiUrl");
    String user = arguments[1];
    WarrenClient client =
        new WarrenClient(
            new WarrenApi(apiUrl),
            () -> logIn(apiUrl, user),
            new DeviceState(new File(arguments[2])),
            state -> System.out.println("[" + state + "]"));
    client.handle(
        Handlers.ANY,
        message -> {
          String from = message.from == null ? "" : " from " + message.from;
          System.out.println(message.type + from + ": " + message.text());
        });
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  try {
                    client.close();
                  } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                  }
                }));
    client.start();
  }

  /** Where an app has its login. After `npm start`, anybody gets a token for any name. */
  private static String logIn(String apiUrl, String user) throws IOException, JSONException {
    HttpURLConnection connection =
        (HttpURLConnection) new URL(apiUrl + "/dev/token").openConnection();
    connection.setRequestProperty("content-type", "application/json");
    connection.setDoOutput(true);
    try (OutputStream out = connection.getOutputStream()) {
      out.write(new JSONObject().put("userId", user).toString().getBytes(StandardCharsets.UTF_8));
    }
    try (InputStream in = connection.getInputStream();
        Scanner scanner = new Scanner(in, "UTF-8").useDelimiter("\\A")) {
      return new JSONObject(scanner.next()).getString("token");
    }
  }
}
