import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Calls the application's handler for a message, and knows whether it worked. */
final class Handlers {
  interface Handler {
    /** May be called again for the same message when it throws. */
    void handle(Message message) throws Exception;
  }

  /** Of types that have no handler of their own. */
  static final String ANY = "*";

  private static final int ATTEMPTS = 3;
  private static final long RETRY_MS = 500;
  private final Map<String, Handler> byType = new ConcurrentHashMap<>();

  void put(String type, Handler handler) {
    byType.put(type, handler);
  }

  /** @return false: nobody handles its type, or its handler has failed three times. */
  boolean run(Message message) throws InterruptedException {
    Handler handler = byType.get(message.type);
    // What Warren itself says and this client does not know is no news for the application.
    if (handler == null && message.type.startsWith("warren.")) return true;
    if (handler == null) handler = byType.get(ANY);
    if (handler == null) return false;
    for (int attempt = 1; ; attempt++) {
      try {
        handler.handle(message);
        return true;
      } catch (InterruptedException error) {
        throw error;
      } catch (Exception error) {
        if (attempt == ATTEMPTS) return false;
        Thread.sleep(RETRY_MS << attempt);
      }
    }
  }
}
