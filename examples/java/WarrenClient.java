import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.ShutdownNotifier;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * One device's connection to its queues, from {@link #start} to {@link #stop}: on Android, from an
 * activity's onStart to its onStop, since a phone in a pocket has no time for sockets.
 */
final class WarrenClient {
  /** Gives a JWT of the application's own login; null when nobody is logged in. */
  interface TokenSource {
    String token() throws IOException, JSONException;
  }

  interface Listener {
    /** For a person to read. */
    void onState(String state);
  }

  private static final long FIRST_RETRY_MS = 500;
  private static final long LAST_RETRY_MS = 30_000;
  private static final long TELL_MS = 200;
  /** Renewed when so much of a token's life is left. */
  private static final double SPARE = 0.2;

  /** Trying again cannot help. */
  private static final Set<String> FINAL_CODES =
      new HashSet<>(
          Arrays.asList("session_replaced", "session_ended", "token_revoked", "upgrade_required"));

  private final WarrenApi api;
  private final TokenSource tokens;
  private final DeviceState state;
  private final Listener listener;
  private final Handlers handlers = new Handlers();
  private final Random random = new Random();
  private final String installationId = UUID.randomUUID().toString();
  /** All that happens to the connection happens here, one after the other. */
  private final ScheduledExecutorService thread = Executors.newSingleThreadScheduledExecutor();

  private boolean isWanted;
  private Connection connection;
  private String sessionId;
  private int failures;
  private boolean isTelling;
  private Future<?> next;

  WarrenClient(WarrenApi api, TokenSource tokens, DeviceState state, Listener listener) {
    this.api = api;
    this.tokens = tokens;
    this.state = state;
    this.listener = listener;
  }

  /** Before {@link #start}: a message whose type nobody handles is rejected. */
  void handle(String type, Handlers.Handler handler) {
    handlers.put(type, handler);
  }

  void start() {
    thread.execute(
        () -> {
          if (isWanted) return;
          isWanted = true;
          connect();
        });
  }

  /** Closes the connection; what comes from now on waits in the queue. */
  void stop() {
    thread.execute(
        () -> {
          isWanted = false;
          disconnect();
          listener.onState("closed");
        });
  }

  /** As {@link #stop}, for good: when the program ends. */
  void close() throws InterruptedException {
    stop();
    thread.shutdown();
    thread.awaitTermination(5, TimeUnit.SECONDS);
  }

  private void connect() {
    if (!isWanted) return;
    disconnect();
    try {
      String token = tokens.token();
      if (token == null) {
        give("logged out");
        return;
      }
      JSONObject grant = api.openSession(token, session());
      sessionId = grant.getString("sessionId");
      if (grant.optBoolean("missed")) catchUp(token);
      connection = Dial.dial(grant);
      retryAfter(connection, connection);
      consume(grant.getString("queue"), grant.getInt("prefetch"));
      consume(grant.getString("liveQueue"), grant.getInt("prefetch"));
      failures = 0;
      listener.onState("connected");
      renewBefore(Instant.parse(grant.getString("expiresAt")));
      tellHandled();
    } catch (WarrenApi.Refused refused) {
      refused(refused);
    } catch (Exception error) {
      retry(0);
    }
  }

  private JSONObject session() throws JSONException {
    return new JSONObject()
        .put("deviceId", state.deviceId)
        .put("installationId", installationId)
        .put("hasHandled", state.hasHandledAny())
        // With it the session is renewed; without, this device takes it over.
        .put("sessionId", sessionId);
  }

  /** Whether the connection ends or a channel of it: a new one is made. */
  private void retryAfter(ShutdownNotifier closing, Connection owner) {
    closing.addShutdownListener(
        cause ->
            thread.execute(
                () -> {
                  if (owner == connection) retry(0);
                }));
  }

  /** A channel for each queue: each has its order, and live messages do not wait for mail. */
  private void consume(String queue, int prefetch) throws IOException {
    Channel channel = connection.createChannel();
    retryAfter(channel, connection);
    channel.basicQos(prefetch);
    channel.basicConsume(
        queue,
        false,
        new DefaultConsumer(channel) {
          @Override
          public void handleDelivery(
              String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
              throws IOException {
            String id = properties.getMessageId();
            Message message = new Message(id, properties.getType(), body, properties.getHeaders());
            try {
              boolean isHandled = take(message);
              if (isHandled) channel.basicAck(envelope.getDeliveryTag(), false);
              else channel.basicReject(envelope.getDeliveryTag(), false);
            } catch (InterruptedException error) {
              // The connection is being closed; without an ack the message comes again.
              Thread.currentThread().interrupt();
            } catch (JSONException error) {
              throw new IOException(error);
            }
          }

          @Override
          public void handleCancel(String tag) {
            // The queue is gone: the next grant names the new one.
            thread.execute(() -> retry(0));
          }
        });
  }

  /** Each message once, wherever it comes from. */
  private boolean take(Message message) throws InterruptedException, IOException, JSONException {
    if (message.type.equals("warren.missed")) {
      // The mailbox has lost something: the next grant says so, too.
      thread.execute(this::connect);
      return true;
    }
    if (!state.hasHandled(message.id)) {
      if (!handlers.run(message)) return false;
      state.add(message);
    }
    if (message.isTracked) thread.execute(this::tellSoon);
    return true;
  }

  /** What the mailbox has lost and the history has, before anything newer. */
  private void catchUp(String token) throws IOException, JSONException, InterruptedException {
    JSONObject since = state.since();
    String mark = null;
    for (; ; ) {
      JSONObject page = api.missed(token, state.deviceId, since);
      if (mark == null) mark = page.getString("mark");
      JSONArray items = page.getJSONArray("items");
      for (int index = 0; index < items.length(); index++) take(stored(items.getJSONObject(index)));
      if (!page.has("next")) break;
      since.put("cursor", page.get("next"));
    }
    api.caughtUp(token, state.deviceId, mark);
  }

  private static Message stored(JSONObject item) throws JSONException {
    Map<String, Object> headers = new HashMap<>();
    headers.put("x-warren-at", item.get("at"));
    if (item.has("from")) headers.put("x-warren-from", WarrenApi.encode(item.getString("from")));
    Object data = item.opt("data");
    // What is no JSON was text; bytes are in "base64", for which this program has no use.
    boolean isJsonText = data instanceof String && !item.has("contentType");
    String text = isJsonText ? JSONObject.quote((String) data) : String.valueOf(data);
    byte[] body = text.getBytes(StandardCharsets.UTF_8);
    return new Message(item.getString("id"), item.getString("type"), body, headers);
  }

  /** In batches. What could not be told is told with the next connection. */
  private void tellHandled() {
    isTelling = false;
    List<String> ids = state.untold();
    if (ids.isEmpty() || connection == null) return;
    try {
      api.tellHandled(tokens.token(), ids);
      state.told(ids);
      tellSoon();
    } catch (IOException | JSONException error) {
      // The message is handled all the same.
    }
  }

  private void tellSoon() {
    if (isTelling) return;
    isTelling = true;
    thread.schedule(this::tellHandled, TELL_MS, TimeUnit.MILLISECONDS);
  }

  private void renewBefore(Instant expiry) {
    long lifeMs = expiry.toEpochMilli() - System.currentTimeMillis();
    schedule(Math.max(1000, (long) (lifeMs * (1 - SPARE))));
  }

  private void refused(WarrenApi.Refused refused) {
    if (FINAL_CODES.contains(refused.code)) give(refused.code);
    else retry(refused.retryAfterSeconds * 1000L);
  }

  private void give(String reason) {
    isWanted = false;
    disconnect();
    listener.onState("failed: " + reason);
  }

  /** Some time within a bound that doubles, so that not all come back in one moment. */
  private void retry(long leastMs) {
    if (!isWanted) return;
    disconnect();
    long bound = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS << Math.min(failures, 10));
    failures++;
    listener.onState("waiting");
    schedule(leastMs + (long) (random.nextDouble() * bound));
  }

  private void schedule(long inMs) {
    if (next != null) next.cancel(false);
    next = thread.schedule(this::connect, inMs, TimeUnit.MILLISECONDS);
  }

  private void disconnect() {
    if (next != null) next.cancel(false);
    Connection closing = connection;
    connection = null;
    if (closing != null) closing.abort(2000);
  }
}
