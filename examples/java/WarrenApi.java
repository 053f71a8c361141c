import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UnsupportedEncodingException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** The routes of Warren's HTTP API that a client needs, with the user's token. */
final class WarrenApi {
  /** The server has answered, and did not do it. */
  static final class Refused extends IOException {
    final int status;
    /** One of docs/errors.md. */
    final String code;
    /** How long to wait before the next attempt, in seconds. */
    final int retryAfterSeconds;

    Refused(int status, String code, int retryAfterSeconds) {
      super(status + " " + code);
      this.status = status;
      this.code = code;
      this.retryAfterSeconds = retryAfterSeconds;
    }
  }

  private static final int TIMEOUT_MS = 10_000;
  private final String url;

  WarrenApi(String url) {
    this.url = url;
  }

  /** The session grant: queues, token and addresses; docs/wire.md has all of it. */
  JSONObject openSession(String token, JSONObject body) throws IOException, JSONException {
    return call("POST", "sessions", token, body);
  }

  /** A page of what the device has missed. */
  JSONObject missed(String token, String deviceId, JSONObject since)
      throws IOException, JSONException {
    StringBuilder query = new StringBuilder("me/recovery?deviceId=" + encode(deviceId));
    JSONArray names = since.names();
    for (int index = 0; names != null && index < names.length(); index++) {
      String name = names.getString(index);
      query.append('&').append(name).append('=').append(encode(since.get(name).toString()));
    }
    return call("GET", query.toString(), token, null);
  }

  void caughtUp(String token, String deviceId, String mark) throws IOException, JSONException {
    JSONObject body = new JSONObject().put("deviceId", deviceId).put("mark", mark);
    call("POST", "me/recovery", token, body);
  }

  void tellHandled(String token, Collection<String> ids) throws IOException, JSONException {
    call("POST", "me/receipts", token, new JSONObject().put("delivered", new JSONArray(ids)));
  }

  private JSONObject call(String method, String path, String token, JSONObject body)
      throws IOException, JSONException {
    HttpURLConnection connection =
        (HttpURLConnection) new URL(url + "/v1/" + path).openConnection();
    try {
      connection.setConnectTimeout(TIMEOUT_MS);
      connection.setReadTimeout(TIMEOUT_MS);
      connection.setRequestMethod(method);
      connection.setRequestProperty("authorization", "Bearer " + token);
      connection.setRequestProperty("warren-protocol", "1");
      if (body != null) {
        connection.setRequestProperty("content-type", "application/json");
        connection.setDoOutput(true);
        try (OutputStream out = connection.getOutputStream()) {
          out.write(body.toString().getBytes(StandardCharsets.UTF_8));
        }
      }
      int status = connection.getResponseCode();
      boolean isDone = status >= 200 && status < 300;
      String text = read(isDone ? connection.getInputStream() : connection.getErrorStream());
      if (!isDone) throw refusal(status, text, connection.getHeaderField("retry-after"));
      return text.isEmpty() ? new JSONObject() : new JSONObject(text);
    } finally {
      connection.disconnect();
    }
  }

  private static Refused refusal(int status, String text, String retryAfter) {
    String code = "unknown";
    try {
      code = new JSONObject(text).optString("code", code);
    } catch (JSONException error) {
      // Not Warren, but something on the way to it.
    }
    boolean saysWhen = retryAfter != null && retryAfter.matches("\\d{1,5}");
    return new Refused(status, code, saysWhen ? Integer.parseInt(retryAfter) : 0);
  }

  private static String read(InputStream stream) throws IOException {
    if (stream == null) return "";
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    byte[] part = new byte[8192];
    for (int count = stream.read(part); count >= 0; count = stream.read(part)) {
      all.write(part, 0, count);
    }
    return new String(all.toByteArray(), StandardCharsets.UTF_8);
  }

  static String encode(String text) {
    try {
      // As JavaScript does it: a plus would be read as one in a header.
      return URLEncoder.encode(text, "UTF-8").replace("+", "%20");
    } catch (UnsupportedEncodingException error) {
      throw new AssertionError(error);
    }
  }

  static String decode(String text) {
    try {
      // What is percent-encoded may have a plus of its own.
      return URLDecoder.decode(text.replace("+", "%2B"), "UTF-8");
    } catch (UnsupportedEncodingException error) {
      throw new AssertionError(error);
    }
  }
}
