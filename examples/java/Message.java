import java.nio.charset.StandardCharsets;
import java.util.Map;

/** What a handler gets. */
final class Message {
  /** The sender's idempotency key; null for a bare message of a back end that sets none. */
  final String id;
  /** Picks the handler. */
  final String type;
  final byte[] body;
  /** The user who sent it; null for the application's server. */
  final String from;
  /** Whether the server asks to be told when it was handled. */
  final boolean isTracked;
  /** Whether the history has it too. */
  final boolean isStored;

  Message(String id, String type, byte[] body, Map<String, Object> headers) {
    this.id = id;
    this.type = type == null ? "message" : type;
    this.body = body;
    Object sender = headers == null ? null : headers.get("x-warren-from");
    this.from = sender == null ? null : WarrenApi.decode(sender.toString());
    this.isTracked = headers != null && headers.containsKey("x-warren-track");
    this.isStored = headers != null && headers.containsKey("x-warren-at");
  }

  /** The body as text; JSON, unless the sender says otherwise. */
  String text() {
    return new String(body, StandardCharsets.UTF_8);
  }
}
