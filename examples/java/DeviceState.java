import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** What a device remembers between two starts, in a file of the app's own. */
final class DeviceState {
  private static final int MOST = 1000;
  private static final int MOST_TOLD = 500;

  private final Path file;
  final String deviceId;
  private final Deque<String> handled = new ArrayDeque<>();
  private final Set<String> known = new HashSet<>();
  /** Tracked messages of which the server does not know yet that they were handled. */
  private final Set<String> untold = new LinkedHashSet<>();
  private boolean hasForgotten;
  private String lastStored;
  private long lastStoredAt;

  DeviceState(File file) throws IOException, JSONException {
    this.file = file.toPath();
    JSONObject kept =
        file.exists()
            ? new JSONObject(new String(Files.readAllBytes(this.file), StandardCharsets.UTF_8))
            : new JSONObject();
    deviceId = kept.optString("deviceId", UUID.randomUUID().toString());
    hasForgotten = kept.optBoolean("hasForgotten");
    lastStored = kept.optString("lastStored", null);
    lastStoredAt = kept.optLong("lastStoredAt");
    JSONArray ids = kept.optJSONArray("handled");
    for (int index = 0; ids != null && index < ids.length(); index++) {
      remember(ids.getString(index));
    }
    JSONArray late = kept.optJSONArray("untold");
    for (int index = 0; late != null && index < late.length(); index++) {
      untold.add(late.getString(index));
    }
    save();
  }

  synchronized boolean hasHandled(String id) {
    return id != null && known.contains(id);
  }

  synchronized boolean hasHandledAny() {
    return !handled.isEmpty();
  }

  /** Before the ack: a message whose ack is lost comes again, and must be known then. */
  synchronized void add(Message message) throws IOException, JSONException {
    if (message.id == null) return;
    remember(message.id);
    if (message.isTracked) untold.add(message.id);
    if (message.isStored) {
      lastStored = message.id;
      lastStoredAt = System.currentTimeMillis();
    }
    save();
  }

  /** So many at once as the server takes. */
  synchronized List<String> untold() {
    List<String> some = new ArrayList<>(untold);
    return some.subList(0, Math.min(some.size(), MOST_TOLD));
  }

  synchronized void told(Collection<String> ids) throws IOException, JSONException {
    if (untold.removeAll(ids)) save();
  }

  /** From where on messages may have been missed. */
  synchronized JSONObject since() throws JSONException {
    JSONObject since = new JSONObject();
    if (lastStored == null) return since;
    since.put("last", lastStored).put("lastAt", lastStoredAt);
    if (hasForgotten) since.put("oldest", handled.peekFirst());
    return since;
  }

  private void remember(String id) {
    if (!known.add(id)) return;
    handled.addLast(id);
    if (handled.size() <= MOST) return;
    known.remove(handled.removeFirst());
    hasForgotten = true;
  }

  private void save() throws IOException, JSONException {
    JSONObject kept =
        new JSONObject()
            .put("deviceId", deviceId)
            .put("hasForgotten", hasForgotten)
            .put("lastStored", lastStored)
            .put("lastStoredAt", lastStoredAt)
            .put("handled", new JSONArray(handled))
            .put("untold", new JSONArray(untold));
    // A file that is half written would be a new device.
    Path passing = file.resolveSibling(file.getFileName() + ".new");
    Files.write(passing, kept.toString().getBytes(StandardCharsets.UTF_8));
    Files.move(passing, file, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
  }
}
